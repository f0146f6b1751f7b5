"""The files of a feature cache, and whether they are what was written.

A cache is a folder with `pooled.npy` `(N, P)` and `regions.npy` `(N, R, D)`, both float16 and memory-mapped, and
`index.json`, which says whose features they are: image ids in row order, a digest of the photos' bytes, encoder,
fingerprint of its weights, preprocessing version; how many rows are done, the checksum of each batch of them, and which
photos could not be read. Nothing here encodes.
"""

import json
import tokenize
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from captioner import files

FORMAT = 2
VIEWS = ("pooled", "regions")
_IDENTITY = ("encoder", "regions_layer", "fingerprint", "mirrored", "preprocessing_version", "photos", "shapes")


def open_index(folder: Path, expected: dict) -> dict | None:
    """Returns the index of the cache that is there, or `None`.

    Args:
        folder: The cache.
        expected: The index of an empty cache of these photos and this encoder.

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
    if not _is_sound(index, expected):
        raise ValueError(files.damaged(file, remedy))
    for view in VIEWS:
        array = open_array(folder, view, index)
        batches = range(-(-index["num_done"] // index["batch_size"]))
        if index["checksums"].get(view) != [_checksum(array, index, batch) for batch in batches]:
            raise ValueError(f"{folder / view}.npy holds other rows than were written. {remedy}")
    return index


def _is_sound(index: dict, expected: dict) -> bool:
    """Says whether an index of this identity could have been written here."""
    size, done, failed = index["batch_size"], index["num_done"], index["failed"]
    return (
        index["image_ids"] == expected["image_ids"]
        and (type(size), type(done)) == (int, int)
        and size > 0
        and ((0 <= done < len(index["image_ids"]) and done % size == 0) or done == len(index["image_ids"]))
        and isinstance(index["checksums"], dict)
        and isinstance(failed, dict)
        and failed.keys() <= set(index["image_ids"][:done])
        and all(isinstance(reason, str) for reason in failed.values())
    )


def create(folder: Path, index: dict) -> dict:
    """Makes an empty cache; returns its index."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in VIEWS:
        shape = tuple(index["shapes"][view])
        np.lib.format.open_memmap(folder / f"{view}.npy", mode="w+", dtype=np.float16, shape=shape).flush()
    write_index(folder, index)
    return index


def note_rows(index: dict, arrays: Mapping[str, np.memmap], rows: Sequence[int], failed: Mapping[str, str]) -> None:
    """Notes in an index that rows were written, and which of their photos could not be read."""
    for row in rows:
        index["failed"].pop(index["image_ids"][row], None)
    index["failed"].update(failed)
    index["num_done"] = max(index["num_done"], rows[-1] + 1)
    for batch in sorted({row // index["batch_size"] for row in rows}):
        for view, array in arrays.items():
            index["checksums"][view][batch : batch + 1] = [_checksum(array, index, batch)]


def _checksum(array: np.ndarray, index: dict, batch: int) -> int:
    """Returns the checksum of the rows of a batch, without those of photos that could not be read."""
    start = batch * index["batch_size"]
    image_ids = index["image_ids"][: index["num_done"]][start : start + index["batch_size"]]
    rows = array[start : start + len(image_ids)]
    readable = [image_id not in index["failed"] for image_id in image_ids]
    return zlib.crc32((rows if all(readable) else rows[readable]).data)


def open_array(folder: Path, view: str, index: dict) -> np.memmap:
    """Maps the array of a view, float16 `(N, ...)`, for reading.

    Raises:
        ValueError: If it is missing or damaged.
    """
    file = folder / f"{view}.npy"
    count = len(index["image_ids"])
    try:
        array = np.lib.format.open_memmap(file, mode="r")
        if array.dtype == np.float16 and list(array.shape) == index["shapes"][view] and array.flags.c_contiguous:
            return array
        reason = f"{array.dtype} of shape {array.shape}"
    # Missing, shorter than its header says, or no array.
    except (OSError, ValueError, EOFError, tokenize.TokenError) as error:
        reason = str(error)
    raise ValueError(
        f"{file} is missing or damaged: expected float16 features of {count} photos. Delete the folder {folder} "
        f"and extract again. Received: {reason}"
    )


def write_index(folder: Path, index: dict) -> None:
    """Writes the index in one step."""
    with files.replace_file(folder / "index.json") as new:
        new.write_text(json.dumps(index), encoding="utf-8")
