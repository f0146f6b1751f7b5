"""Weights files of half the size, without loss.

Kernels are rounded to float16 once, when their training has ended, so that what is measured is what is saved. A file
then holds in float16 whatever is the same in float16, and the rest in float32.
"""

import tempfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from captioner import files

_WEIGHTS_MEMBER = "model.weights.h5"


def round_kernels(model: keras.Model) -> None:
    """Rounds the matrices of a model to the nearest float16, in place.

    Vectors stay: they are few, and small variances among them would vanish.
    """
    for variable in model.weights:
        if len(variable.shape) > 1:
            variable.assign(variable.numpy().astype(np.float16).astype(np.float32))


def check_finite(model: keras.Model, name: str) -> None:
    """Checks that all weights of a model are numbers.

    Args:
        model: The model.
        name: What to call it in the message.

    Raises:
        ValueError: If one is not; the message names the variable.
    """
    for variable in model.weights:
        # One number for all: a sum is no number if one of its terms is none.
        with np.errstate(invalid="ignore", over="ignore"):
            total = np.sum(variable.numpy())
        if not np.isfinite(total):
            raise ValueError(f"{name} has weights that are no numbers, in {variable.path}: its training has failed.")


def halve_weights(source: str | Path, target: str | Path) -> None:
    """Copies a Keras weights file; arrays that float16 holds exactly are stored so."""
    with h5py.File(source) as full, h5py.File(target, "w") as half:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                copied = half.require_group(name)
            else:
                copied = half.create_dataset(name, data=_smallest(item[()]))
            copied.attrs.update(item.attrs)

        half.attrs.update(full.attrs)
        full.visititems(copy)


def halve_archive(path: str | Path) -> None:
    """Does to the weights within a `.keras` file what `halve_weights` does to a weights file."""
    with (
        files.replace_file(path) as new,
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(new, "w") as archive,
    ):
        for member in old.infolist():
            if member.filename != _WEIGHTS_MEMBER:
                archive.writestr(member, old.read(member))
                continue
            full, half = Path(folder, "full.h5"), Path(folder, "half.h5")
            full.write_bytes(old.read(member))
            halve_weights(full, half)
            archive.write(half, member.filename)


def _smallest(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        halved = values.astype(np.float16) if values.dtype == np.float32 else values
    return halved if np.array_equal(halved, values) else values
