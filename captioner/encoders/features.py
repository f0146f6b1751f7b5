"""Features of photos on disk: computed once, read by every epoch.

A cache is a folder with `pooled.npy` `(N, P)` and `regions.npy` `(N, R, D)`, both float16 and memory-mapped, and
`index.json`, which says whose features they are: image ids in row order, encoder, fingerprint of its weights,
preprocessing version and how many rows are done. Rows are written in batches, first the data, then the index by an
atomic rename, so a run killed at any moment goes on where it was and ends with the same bytes.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tqdm

from captioner import config
from captioner.data import decoders, photos

if TYPE_CHECKING:
    from captioner.encoders.encoder import Encoder

_FORMAT = 1
_VIEWS = ("pooled", "regions")
_IDENTITY = ("format", "encoder", "regions_layer", "fingerprint", "mirrored", "preprocessing_version", "photos")


class FeatureStore:
    """Memory-mapped features of a set of photos. Make one with `extract_features`.

    Attributes:
        pooled: float16 `(N, P)`.
        regions: float16 `(N, R, D)`.
        failed: Image id -> why that photo could not be read. It has no features.
        index: Whose features these are.
    """

    def __init__(self, folder: Path, index: dict):
        self.index = index
        self.failed: dict[str, str] = index["failed"]
        self.pooled, self.regions = (_open_array(folder, view, index) for view in _VIEWS)
        self._rows = {i: row for row, i in enumerate(index["image_ids"]) if i not in self.failed}

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Ids of the photos that have features."""
        return tuple(self._rows)

    def row_numbers(self, image_ids: Sequence[str]) -> np.ndarray:
        """Returns the rows of photos, int64 `(B,)`.

        Raises:
            ValueError: If a photo has no features.
        """
        missing = [image_id for image_id in image_ids if image_id not in self._rows]
        if missing:
            raise ValueError(f"{len(missing)} photos have no features, for example {missing[0]!r}. Extract them first.")
        return np.array([self._rows[image_id] for image_id in image_ids], dtype=np.int64)

    def rows(self, image_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns float16 `pooled` `(B, P)` and `regions` `(B, R, D)` of the given photos, in their order."""
        numbers = self.row_numbers(image_ids)
        return self.pooled[numbers], self.regions[numbers]


def extract_features(
    encoder: "Encoder",
    photo_paths: Mapping[str, Path],
    folder: str | Path | None = None,
    *,
    boxes: Mapping[str, photos.Box] | None = None,
    batch_size: int = 64,
    progress: bool = True,
) -> FeatureStore:
    """Encodes photos into a cache, or opens the finished cache at once.

    A photo that cannot be read leaves a row of zeros and is listed in `failed`; it never stops the others.

    Args:
        encoder: The encoder, see `captioner.encoders.encoder.load_encoder`.
        photo_paths: Image id -> photo file.
        folder: Where the cache is or will be; by default a folder in `data/features` named after encoder and photos.
        boxes: Image id -> part of the photo to encode; by default the whole photos.
        batch_size: Photos encoded together. A resumed run uses the batch size it began with.
        progress: Whether to show a progress bar.

    Returns:
        The finished cache.

    Raises:
        ValueError: If the folder holds the cache of another encoder, other weights or other photos, or a damaged
            one, or if the features are not finite.
        FileNotFoundError: If none of the photos can be read.
    """
    expected = _describe(encoder, photo_paths, boxes or {}, batch_size)
    folder = Path(folder) if folder else _default_folder(expected)
    index = _open_index(folder, expected, encoder)
    image_ids = index["image_ids"]
    if index["num_done"] < len(image_ids):
        _extract(encoder, photo_paths, boxes or {}, folder, index, progress)
    if len(index["failed"]) == len(image_ids):
        raise FileNotFoundError(
            f"None of the {len(image_ids)} photos can be read, for example: {next(iter(index['failed'].values()))}"
        )
    return FeatureStore(folder, index)


def _extract(encoder, photo_paths, boxes, folder, index, progress) -> None:
    """Fills the missing rows of a cache, batch by batch."""
    arrays = [_open_array(folder, view, index) for view in _VIEWS]
    bar = tqdm.tqdm(
        total=len(index["image_ids"]), initial=index["num_done"], unit="photo", disable=not progress,
        desc=f"{encoder.name} features",
    )  # fmt: skip
    with bar, contextlib.ExitStack() as stack:
        # Plain writes, not through the map: a full disk is then an error, where a map would kill the process.
        files = [stack.enter_context((folder / f"{view}.npy").open("r+b")) for view in _VIEWS]
        for image_ids, batch, failed in _read_batches(encoder.image_size, photo_paths, boxes, index):
            start, count = index["num_done"], len(image_ids)
            views = encoder.encode(batch)
            readable = np.array([image_id not in failed for image_id in image_ids])
            for file, array, view in zip(files, arrays, views, strict=True):
                rows = _to_float16(view[:count], encoder)
                rows[~readable] = 0
                file.seek(array.offset + start * rows[0].nbytes)
                file.write(rows)
                file.flush()
                # After a power cut, too, the index must not claim rows that never reached the disk.
                os.fsync(file.fileno())
            index["failed"].update(failed)
            index["num_done"] = start + count
            _write_index(folder, index)
            bar.update(count)


def _to_float16(view: np.ndarray, encoder) -> np.ndarray:
    with np.errstate(over="ignore"):
        rows = view.astype(np.float16)
    if not np.isfinite(rows).all():
        raise ValueError(
            f"{encoder.name} gives features that float16 cannot hold, so its weights are hardly right. "
            f"Expected: finite values up to 65504. Received: {np.abs(view).max()}"
        )
    return rows


def _read_batches(image_size: int, photo_paths, boxes, index) -> Iterator[tuple[list[str], np.ndarray, dict[str, str]]]:
    """Yields ids, uint8 photos `(batch_size, S, S, 3)` and failures, reading one batch ahead of the encoder."""
    size = index["batch_size"]
    starts = range(index["num_done"], len(index["image_ids"]), size)
    batches = [index["image_ids"][start : start + size] for start in starts]

    def read(image_id):
        try:
            return decoders.shared_pool().load_photo(photo_paths[image_id], image_size, box=boxes.get(image_id)), None
        except (photos.PhotoError, OSError) as error:
            return np.zeros((image_size, image_size, 3), np.uint8), str(error)

    with concurrent.futures.ThreadPoolExecutor(max_workers=decoders.NUM_PROCESSES) as pool:
        pending = [pool.submit(read, i) for i in batches[0]] if batches else []
        for number, image_ids in enumerate(batches):
            results = [future.result() for future in pending]
            if number + 1 < len(batches):
                pending = [pool.submit(read, i) for i in batches[number + 1]]
            # Every batch has the same shape, the last one padded, so that its rows never depend on the rest.
            batch = np.zeros((size, image_size, image_size, 3), np.uint8)
            batch[: len(results)] = [photo for photo, _ in results]
            yield image_ids, batch, {i: e for i, (_, e) in zip(image_ids, results, strict=True) if e}


def _describe(encoder, photo_paths: Mapping[str, Path], boxes: Mapping[str, photos.Box], batch_size: int) -> dict:
    """Returns a fresh index: what these features are of, and nothing done yet."""
    if not photo_paths:
        raise ValueError("There are no photos to encode. Received: photo_paths={}")
    digest = hashlib.sha256()
    for image_id, path in photo_paths.items():
        size = path.stat().st_size if path.is_file() else -1
        digest.update(f"{image_id}\0{size}\n{boxes.get(image_id, '')}".encode())
    return {
        "format": _FORMAT,
        "encoder": encoder.name,
        "regions_layer": encoder.regions_layer,
        "fingerprint": encoder.fingerprint,
        "mirrored": encoder.mirrored,
        "preprocessing_version": photos.PREPROCESSING_VERSION,
        "photos": digest.hexdigest()[:16],
        "image_ids": list(photo_paths),
        "batch_size": batch_size,
        "num_done": 0,
        "failed": {},
    }


def _default_folder(index: dict) -> Path:
    """Returns a folder that only these photos with these weights share, so nothing of others can be in the way."""
    identity = "".join(str(index[key]) for key in ("fingerprint", "mirrored", "preprocessing_version", "photos"))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return config.FEATURES_DIR / f"{index['encoder']}-{index['regions_layer']}-{digest}"


def _open_index(folder: Path, expected: dict, encoder) -> dict:
    """Returns the index on disk if it matches, or creates an empty cache."""
    file = folder / "index.json"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        count = len(expected["image_ids"])
        shapes = (count, encoder.pooled_size), (count, encoder.num_regions, encoder.region_size)
        for view, shape in zip(_VIEWS, shapes, strict=True):
            np.lib.format.open_memmap(folder / f"{view}.npy", mode="w+", dtype=np.float16, shape=shape).flush()
        _write_index(folder, expected)
        return expected
    found = _read_index(file)
    different = [
        f"{key} {found[key]!r} instead of {expected[key]!r}" for key in _IDENTITY if found[key] != expected[key]
    ]
    if different:
        raise ValueError(
            f"{folder} holds other features: {'; '.join(different)}. Delete that folder or name another one."
        )
    return found


def _read_index(file: Path) -> dict:
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        if index.keys() >= {*_IDENTITY, "image_ids", "batch_size", "num_done", "failed"}:
            return index
    # No JSON, no text, or JSON that is no dictionary.
    except (ValueError, AttributeError):
        pass
    raise ValueError(f"{file} is damaged. Delete the folder {file.parent} and extract again.")


def _open_array(folder: Path, view: str, index: dict) -> np.memmap:
    """Maps the array of a view, float16 `(N, ...)`, for reading."""
    file = folder / f"{view}.npy"
    count = len(index["image_ids"])
    try:
        array = np.load(file, mmap_mode="r")
        if array.dtype == np.float16 and len(array) == count:
            return array
        reason = f"{array.dtype} of shape {array.shape}"
    # Missing, shorter than its header says, or no array.
    except (OSError, ValueError, EOFError) as error:
        reason = str(error)
    raise ValueError(
        f"{file} is missing or damaged: expected float16 features of {count} photos. Delete the folder {folder} "
        f"and extract again. Received: {reason}"
    )


def _write_index(folder: Path, index: dict) -> None:
    temporary = folder / "index.json.tmp"
    temporary.write_text(json.dumps(index), encoding="utf-8")
    os.replace(temporary, folder / "index.json")
