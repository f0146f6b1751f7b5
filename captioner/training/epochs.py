"""Training epoch by epoch, in a folder: resumable, scored on validation, of which the best epoch is kept.

A run is a folder: `run.json` (what is trained on what), `history.csv`, `state.npz` (the newest whole epoch) and
`best.npz`. Killed at any moment, the same call goes on after the last whole epoch.
"""

import abc
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from captioner import config, files
from captioner.training import run_files
from captioner.training.tuning import EndToEndConfig

# Captions the validation photos with the weights as they are; returns at least `cider_d`.
Score = Callable[[], Mapping[str, float]]


def read_values(variables: Iterable[keras.Variable]) -> list[np.ndarray]:
    """Returns the values of variables."""
    return [ops.convert_to_numpy(variable) for variable in variables]


def assign_values(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Gives variables values, as `read_values` returned them."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def learning_rate_share(settings: config.FineTuningConfig | EndToEndConfig, step: int, steps: int) -> float:
    """Returns which share of the learning rates step `step` of `steps`, from 0, takes: warm-up, then a cosine."""
    warmup, final = settings.warmup_steps, settings.final_learning_rate_fraction
    if step < warmup:
        return 0.05 + 0.95 * step / warmup
    progress = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


class Trainer(abc.ABC):
    """What is trained. Captions are written by running averages of its weights.

    Args:
        variables: The weights.
        others: What else training goes on from, such as the state of an optimizer.
    """

    def __init__(self, variables: Iterable[keras.Variable], others: Iterable[keras.Variable]):
        self._variables, self._others = list(variables), list(others)

    @abc.abstractmethod
    def train_epoch(self, number: int, progress: bool) -> float:
        """Trains for epoch `number`, from 1, and returns the mean loss for each word."""

    @abc.abstractmethod
    def score_averages(self, score: Score) -> tuple[Mapping[str, float], Sequence[np.ndarray]]:
        """Returns the scores of the running averages, and these; training goes on from the weights as they were."""

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Takes weights as `score_averages` gave them."""
        assign_values(self._variables, weights)

    def get_state(self) -> list[np.ndarray]:
        """Returns all that training goes on from."""
        return read_values(self._variables + self._others)

    def set_state(self, state: Sequence[np.ndarray]) -> None:
        """Takes what `get_state` gave."""
        assign_values(self._variables + self._others, state)


class Run:
    """A run in a folder.

    Args:
        folder: Its folder.
        description: What the run is of; a run of something else is never gone on with.
        num_epochs: How many to train.
        patience: Epochs without a better validation CIDEr-D before training stops.

    Raises:
        ValueError: If the folder holds the run of something else, or a file of it is damaged.
    """

    def __init__(self, folder: Path, description: dict, *, num_epochs: int, patience: int):
        self._num_epochs, self._patience = num_epochs, patience
        self._history: list[dict] = []
        self._files = {name: folder / name for name in (run_files.HISTORY_FILE, "state.npz", "best.npz")}
        run_files.describe_run(folder / run_files.RUN_FILE, description)

    def train(self, trainer: Trainer, score: Score, progress: bool) -> list[dict]:
        """Trains to the last epoch, or until `patience` epochs in a row brought nothing better.

        Returns:
            A row for what came and for each epoch: `epoch` (from 0), mean `loss` for each word (`None` at 0), the
            scores under `val_<name>`, and `seconds`.
        """
        self._restore(trainer)
        while len(self._history) <= self._num_epochs and not self._should_stop():
            started, number = time.monotonic(), len(self._history)
            loss = trainer.train_epoch(number, progress) if number else None
            found, averages = trainer.score_averages(score)
            scores = {f"val_{name}": float(value) for name, value in found.items()}
            self._history.append({"epoch": number, "loss": loss} | scores | {"seconds": time.monotonic() - started})
            if run_files.best_row(self._history) is self._history[-1]:
                self._save_arrays("best.npz", averages)
            run_files.write_history(self._files[run_files.HISTORY_FILE], self._history)
            # Last: an epoch without it never happened.
            self._save_arrays("state.npz", trainer.get_state())
        return self._history

    def load_best(self) -> list[np.ndarray]:
        """Returns the weights of the best epoch."""
        *weights, _ = self._load_arrays("best.npz")
        return weights

    def _restore(self, trainer: Trainer) -> None:
        if not self._files["state.npz"].is_file():
            return
        *state, done = self._load_arrays("state.npz")
        self._history = run_files.read_history(self._files[run_files.HISTORY_FILE], int(done))
        with run_files.reading(self._files["state.npz"]):
            trainer.set_state(state)

    def _should_stop(self) -> bool:
        best = run_files.best_row(self._history)["epoch"] if self._history else 0
        return len(self._history) - 1 - best >= self._patience

    def _save_arrays(self, name: str, arrays: Sequence[np.ndarray]) -> None:
        with files.replace_file(self._files[name]) as new:
            np.savez(new, *arrays, np.array(len(self._history)))

    def _load_arrays(self, name: str) -> list[np.ndarray]:
        with run_files.reading(self._files[name]), np.load(self._files[name]) as file:
            return [file[key] for key in file.files]
