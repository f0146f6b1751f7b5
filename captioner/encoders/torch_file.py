"""Tensors of a PyTorch file of the former format, read without PyTorch.

Such a file is a row of pickles (a magic number, a version, the sizes of number types, the tensors by name, the keys of
their storages), and behind them each storage: its length and its numbers. A pickle may call whatever it names. This
reader knows the names that tensors need and refuses all others, so that a file can give numbers and do nothing else.
"""

import collections
import dataclasses
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

_MAGIC_NUMBER, _VERSION = 0x1950A86A20F9469CFC6C, 1001


@dataclasses.dataclass(frozen=True)
class _StorageType:
    """What a pickle names where it means numbers of one type."""

    dtype: str


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage whose numbers come later in the file."""

    key: str
    dtype: str
    offset: int
    shape: Sequence[int]
    strides: Sequence[int]


def _rebuild_tensor(storage: tuple[str, str], offset, shape, strides, *_) -> _Tensor:
    key, dtype = storage
    return _Tensor(key, dtype, offset, shape, strides)


_KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): _StorageType("<f4"),
    ("torch", "LongStorage"): _StorageType("<i8"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no tensor needs")
        return _KNOWN[module, name]

    def persistent_load(self, pid):
        _, storage_type, key, *_ = pid
        return key, storage_type.dtype


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file that holds a dictionary of tensors, float32 or int64, by name.

    Raises:
        ValueError: If the file is of another format, cut short, or holds anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    # What damaged pickles raise, and tuples of another length than ours.
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{path} is no PyTorch file that holds tensors alone, in the format before version 1.6. "
            f"Received: {str(error)[:120]}"
        ) from None


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    magic_number, version, _sizes, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    if (magic_number, version) != (_MAGIC_NUMBER, _VERSION):
        raise ValueError(f"magic number {magic_number}, version {version}")
    dtypes = {tensor.key: tensor.dtype for tensor in tensors.values()}
    storages = {key: _read_storage(file, np.dtype(dtypes[key])) for key in keys}
    return {name: _view(storages[tensor.key], tensor) for name, tensor in tensors.items()}


def _read_storage(file: BinaryIO, dtype: np.dtype) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise ValueError(f"a storage of {count} numbers is cut short")
    return np.frombuffer(content, dtype)


def _view(storage: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """Lays a tensor over its storage."""
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    # Beyond its storage a view would show memory of others.
    if min(tensor.offset, *tensor.shape, *tensor.strides, 0) < 0 or last >= len(storage):
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} does not fit its storage of {len(storage)} numbers")
    strides = [stride * storage.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides).copy()
