"""The files of a training run: written in one step, and one sentence for each that is damaged."""

import contextlib
import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from captioner import files

RUN_FILE, HISTORY_FILE = "run.json", "history.csv"


def alone(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keeps other processes from training in the folder of a run, see `captioner.files.hold`."""
    return files.hold(folder / RUN_FILE, "training")


def describe_run(file: Path, description: dict) -> None:
    """Writes down what is trained in the folder of a file, or checks that it is what was begun there.

    Raises:
        ValueError: If it is something else, or the file that says so is damaged.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(description, indent=2, sort_keys=True) + "\n"
    if not file.is_file():
        with files.replace_file(file) as new:
            new.write_text(text, encoding="utf-8")
    elif read_description(file) != json.loads(text):
        raise ValueError(f"{file.parent} holds another training run. Delete that folder or name another one.")


def read_description(file: Path) -> dict:
    """Returns what a run wrote down of itself, see `describe_run`."""
    return files.read_json(file, _remedy(file))


def write_history(file: Path, history: Sequence[dict]) -> None:
    """Writes the rows of a history, all with the same columns, as CSV."""
    with files.replace_file(file) as new, open(new, "w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def read_history(file: Path, num_rows: int | None = None) -> list[dict]:
    """Returns the rows of a history, empty cells as `None`.

    Args:
        file: From `write_history`.
        num_rows: How many there must be at least, and are returned; by default all.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    with reading(file), open(file, newline="", encoding="utf-8") as lines:
        rows = [{name: _read_number(cell) for name, cell in row.items()} for row in csv.DictReader(lines)]
        if len(rows) < (num_rows or 1) or not all(row["val_cider_d"] is not None for row in rows):
            raise ValueError(f"{len(rows)} rows")
    return rows[:num_rows]


def _read_number(cell: str | None) -> int | float | None:
    """Returns a cell as it was written: a run that goes on leaves the same bytes."""
    if not cell:
        return None
    with contextlib.suppress(ValueError):
        return int(cell)
    return float(cell)


def digest(content: object) -> str:
    """Tells what JSON can hold from everything else, in eight letters."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def best_row(history: Sequence[Mapping]) -> Mapping:
    """Returns the row of a training's history with the highest validation CIDEr-D, the earlier of equals."""
    return max(history, key=lambda row: row["val_cider_d"])


def restart_dropout(decoder: keras.Model, seed: int, epoch: int) -> None:
    """Starts dropout anew, since Keras does not save where it stands: a resumed run drops the same units."""
    random = np.random.default_rng([seed, epoch])
    for layer in decoder.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            layer.seed_generator.state.assign([random.integers(2**31), 0])


def reading(file: Path) -> contextlib.AbstractContextManager[None]:
    """Tells in one sentence of a file of a run that cannot be read, see `captioner.files.reading`."""
    return files.reading(file, _remedy(file))


def _remedy(file: Path) -> str:
    return f"Delete the folder {file.parent} and train again."
