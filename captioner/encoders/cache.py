"""The files of a feature cache, and whether they are what was written.

A cache is a folder with `pooled.npy` `(N, P)` and `regions.npy` `(N, R, D)`, both float16, `image_ids.npy` `(N,)`, the
image ids of the rows in UTF-8, and `by_name.npy` `(N,)`, int64, the rows sorted by image id. All are mapped, so that
memory does not grow with the photos. `index.json` says whose features they are: a digest of image ids and photos'
bytes, encoder, fingerprint of its weights, preprocessing version; how many rows are done, checksums, and which photos
could not be read. Nothing here encodes.
"""

import json
import tokenize
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner import files

FORMAT = 3
VIEWS = ("pooled", "regions")
NAMES = ("image_ids", "by_name")
# Kind of the numbers of each array, and what it holds in words.
_ARRAYS = {
    "pooled": ("f2", "float16 features"),
    "regions": ("f2", "float16 features"),
    "image_ids": ("S", "the names"),
    "by_name": ("i8", "the order"),
}
_IDENTITY = ("encoder", "regions_layer", "fingerprint", "mirrored", "preprocessing_version", "photos", "shapes")


def open_index(folder: Path, expected: dict, image_ids: Sequence[str]) -> dict | None:
    """Returns the index of the cache that is there, or `None`.

    Args:
        folder: The cache.
        expected: The index of an empty cache of these photos and this encoder.
        image_ids: The photos, in the order of the rows.

    Raises:
        ValueError: If the cache is of other photos, of another encoder or damaged: a file, or the order of the rows.
    """
    file, remedy = folder / "index.json", f"Delete the folder {folder} and extract again."
    if not file.is_file():
        return None
    index = files.read_json(file, remedy)
    if index.get("format") != FORMAT:
        raise ValueError(f"{folder} holds features of another version of this project. {remedy}")
    if index.keys() != expected.keys():
        raise ValueError(files.damaged(file, remedy))
    different = [
        f"{key} {index[key]!r:.80} instead of {expected[key]!r}" for key in _IDENTITY if index[key] != expected[key]
    ]
    if different:
        raise ValueError(
            f"{folder} holds other features: {'; '.join(different)}. Delete that folder or name another one."
        )
    if not _is_sound(index, image_ids):
        raise ValueError(files.damaged(file, remedy))
    batches = range(-(-index["num_done"] // index["batch_size"]))
    found: dict[str, Any] = {name: zlib.crc32(open_array(folder, name, index).data) for name in NAMES}
    for view in VIEWS:
        array = open_array(folder, view, index)
        found[view] = [_checksum(array, index, image_ids, batch) for batch in batches]
    for name, checksum in found.items():
        if index["checksums"].get(name) != checksum:
            raise ValueError(f"{folder / name}.npy holds other rows than were written. {remedy}")
    return index


def _is_sound(index: dict, image_ids: Sequence[str]) -> bool:
    """Says whether an index of this identity could have been written here."""
    size, done, failed = index["batch_size"], index["num_done"], index["failed"]
    return (
        (type(size), type(done)) == (int, int)
        and size > 0
        and ((0 <= done < len(image_ids) and done % size == 0) or done == len(image_ids))
        and isinstance(index["checksums"], dict)
        and isinstance(failed, dict)
        and failed.keys() <= set(image_ids[:done] if failed else ())
        and all(isinstance(reason, str) for reason in failed.values())
    )


def create(folder: Path, index: dict, image_ids: Sequence[str]) -> dict:
    """Makes an empty cache of photos; returns its index."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in VIEWS:
        shape = tuple(index["shapes"][view])
        np.lib.format.open_memmap(folder / f"{view}.npy", mode="w+", dtype=np.float16, shape=shape).flush()
    names = encode_names(image_ids)
    for name, array in zip(NAMES, (names, np.argsort(names, kind="stable").astype("<i8")), strict=True):
        np.save(folder / f"{name}.npy", array)
        index["checksums"][name] = zlib.crc32(array.data)
    write_index(folder, index)
    return index


def encode_names(image_ids: Sequence[str]) -> np.ndarray:
    """Returns image ids as UTF-8 of equal length, `(N,)`."""
    return np.array([image_id.encode() for image_id in image_ids], np.bytes_)


def note_rows(
    index: dict,
    arrays: Mapping[str, np.memmap],
    image_ids: Sequence[str],
    rows: Sequence[int],
    failed: Mapping[str, str],
) -> None:
    """Notes in an index that rows were written, and which of their photos could not be read."""
    for row in rows:
        index["failed"].pop(image_ids[row], None)
    index["failed"].update(failed)
    index["num_done"] = max(index["num_done"], rows[-1] + 1)
    for batch in sorted({row // index["batch_size"] for row in rows}):
        for view, array in arrays.items():
            index["checksums"][view][batch : batch + 1] = [_checksum(array, index, image_ids, batch)]


def _checksum(array: np.ndarray, index: dict, image_ids: Sequence[str], batch: int) -> int:
    """Returns the checksum of the rows of a batch, without those of photos that could not be read."""
    start = batch * index["batch_size"]
    end = min(start + index["batch_size"], index["num_done"])
    rows, failed = array[start:end], index["failed"]
    readable = [image_id not in failed for image_id in image_ids[start:end]] if failed else []
    return zlib.crc32((rows if all(readable) else rows[readable]).data)


def open_array(folder: Path, name: str, index: dict) -> np.memmap:
    """Maps one of the arrays `VIEWS` and `NAMES` for reading.

    Raises:
        ValueError: If it is missing or damaged.
    """
    file = folder / f"{name}.npy"
    (kind, holds), count = _ARRAYS[name], index["shapes"]["pooled"][0]
    shape = index["shapes"].get(name, [count])
    try:
        array = np.lib.format.open_memmap(file, mode="r")
        if array.dtype.str[1:].startswith(kind) and list(array.shape) == shape and array.flags.c_contiguous:
            return array
        reason = f"{array.dtype} of shape {array.shape}"
    # Missing, shorter than its header says, or no array.
    except (OSError, ValueError, EOFError, tokenize.TokenError) as error:
        reason = str(error)
    raise ValueError(
        f"{file} is missing or damaged: expected {holds} of {count} photos. Delete the folder {folder} "
        f"and extract again. Received: {reason}"
    )


def write_index(folder: Path, index: dict) -> None:
    """Writes the index in one step."""
    with files.replace_file(folder / "index.json") as new:
        new.write_text(json.dumps(index), encoding="utf-8")
