"""Training a caption decoder with `fit`: one pass for each caption, chosen by captions it writes by itself.

Teacher forcing covers whole captions at once. After each epoch the decoder captions the validation photos freely, and
their CIDEr-D decides which epoch is the best and when to stop: the loss says little about captions.

A run is a folder: `run.json` (what is trained on what), `history.csv`, the newest `epoch-NNN.keras` (weights,
optimizer, schedule) and `best.weights.h5`. Killed at any moment, the same call goes on after the last whole epoch.

Legend: `B` batch, `T` caption length, `V` vocabulary.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import keras

from captioner import config, files
from captioner.decoder import losses
from captioner.decoder.batches import CaptionBatches
from captioner.decoder.network import CaptionDecoder
from captioner.training import run_files


def compile_decoder(decoder: CaptionDecoder, settings: config.TrainingConfig, steps_per_epoch: int) -> None:
    """Gives a decoder its optimizer (AdamW, warm-up, cosine decay), loss and metric."""
    steps = max(settings.epochs * steps_per_epoch, 2)
    warmup = min(settings.warmup_steps, steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 20,
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
        decay_steps=steps - warmup,
        alpha=settings.final_learning_rate_fraction,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay, global_clipnorm=settings.clip_norm)
    # Biases are few and cannot overfit.
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    # XLA takes three times as long as plain kernels for this recurrence on a CPU.
    loss = losses.CaptionLoss(settings.label_smoothing)
    decoder.compile(optimizer=optimizer, loss=loss, weighted_metrics=[losses.Perplexity()], jit_compile=False)


def train_decoder(
    decoder: CaptionDecoder,
    train: CaptionBatches,
    validation: CaptionBatches,
    score_validation: Callable[[CaptionDecoder], dict[str, float]],
    run_dir: str | Path,
    *,
    settings: config.TrainingConfig | None = None,
    description: dict | None = None,
    verbose: int = 1,
) -> list[dict[str, float]]:
    """Trains a decoder, or goes on with the run in `run_dir`, and leaves it with the weights of its best epoch.

    Args:
        decoder: A fresh decoder. Its weights are replaced.
        train: Captions to learn from.
        validation: Captions for the validation perplexity.
        score_validation: Captions the validation photos with the decoder as it is; returns at least `cider_d`.
        run_dir: Folder of the run.
        settings: How to train.
        description: What the run is of; a run of something else is never gone on with.
        verbose: As for `fit`: 0 silent, 1 a progress bar, 2 a line for each epoch.

    Returns:
        A row for each epoch: `epoch` (from 1), `loss`, `perplexity`, `val_loss`, `val_perplexity`, and the scores
        under `val_<name>`, and `seconds`, validation included.

    Raises:
        BlockingIOError: If another process is training there.
        ValueError: If `run_dir` holds the run of something else, or a file of it is damaged.
    """
    settings = settings or config.TrainingConfig()
    run = _Run(Path(run_dir), settings.patience)
    with run_files.alone(run.folder):
        run_files.describe_run(
            run.folder / run_files.RUN_FILE, {"training": dataclasses.asdict(settings)} | (description or {})
        )
        compile_decoder(decoder, settings, train.num_batches)
        first_epoch = run.restore(decoder)
        if first_epoch < settings.epochs and not run.should_stop():
            decoder.fit(
                train.dataset(first_epoch),
                steps_per_epoch=train.num_batches,
                shuffle=False,
                epochs=settings.epochs,
                initial_epoch=first_epoch,
                validation_data=validation.validation_dataset(),
                validation_steps=validation.num_batches,
                callbacks=[_Scores(score_validation), _Checkpoints(run, settings.seed)],
                verbose=verbose,
            )
        with run_files.reading(run.best_file):
            decoder.load_weights(run.best_file)
        return run.history


class _Run:
    """The files of one training run."""

    def __init__(self, folder: Path, patience: int):
        self.folder, self.patience = folder, patience
        self.best_file = folder / "best.weights.h5"
        self._history_file = folder / run_files.HISTORY_FILE
        self.history: list[dict[str, float]] = []

    def restore(self, decoder: CaptionDecoder) -> int:
        """Loads the newest whole epoch into a compiled decoder and returns how many epochs are done."""
        saved = sorted(self.folder.glob("epoch-*.keras"))
        if not saved:
            return 0
        with run_files.reading(saved[-1]):
            done = int(saved[-1].stem.removeprefix("epoch-"))
            restored = keras.saving.load_model(saved[-1])
            decoder.set_weights(restored.get_weights())
            decoder.optimizer.build(decoder.trainable_variables)
            restored.optimizer.build(restored.trainable_variables)
            for variable, value in zip(decoder.optimizer.variables, restored.optimizer.variables, strict=True):
                variable.assign(value)
        self.history = run_files.read_history(self._history_file, done)
        return done

    def save(self, decoder: CaptionDecoder, row: dict[str, float]) -> None:
        """Adds an epoch. The checkpoint comes last: an epoch without it never happened."""
        self.history.append(row)
        if run_files.best_row(self.history) is row:
            with files.replace_file(self.best_file) as new:
                decoder.save_weights(new)
        run_files.write_history(self._history_file, self.history)
        name = f"epoch-{len(self.history):03d}.keras"
        with files.replace_file(self.folder / name) as new:
            decoder.save(new)
        for old in self.folder.glob("epoch-*.keras"):
            if old.name != name:
                old.unlink()

    def should_stop(self) -> bool:
        """Whether `patience` epochs in a row brought nothing better."""
        return bool(self.history) and len(self.history) - run_files.best_row(self.history)["epoch"] >= self.patience


class _Scores(keras.callbacks.Callback):
    """Adds the scores of freely written validation captions to the logs of each epoch."""

    def __init__(self, score_validation: Callable[[CaptionDecoder], dict[str, float]]):
        super().__init__()
        self._score_validation = score_validation

    def on_epoch_end(self, epoch, logs=None):
        logs.update({f"val_{name}": float(value) for name, value in self._score_validation(self.model).items()})


class _Checkpoints(keras.callbacks.Callback):
    """Saves each epoch and stops a run that has stopped getting better."""

    def __init__(self, run: _Run, seed: int):
        super().__init__()
        self._run, self._seed = run, seed

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()
        run_files.restart_dropout(self.model, self._seed, epoch)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        self._run.save(self.model, row | {"seconds": time.monotonic() - self._started})
        if self._run.should_stop():
            self.model.stop_training = True
