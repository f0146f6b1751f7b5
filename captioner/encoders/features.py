"""Features of photos on disk: computed once, read by every epoch.

Rows are written in batches, first the data, then the index in one step, so a run killed at any moment goes on where it
was and ends with the same bytes; see `captioner.encoders.cache` for the files.
"""

import concurrent.futures
import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tqdm

from captioner import config, files
from captioner.data import decoders, photos
from captioner.encoders import cache

if TYPE_CHECKING:
    from captioner.encoders.encoder import Encoder
    from captioner.encoders.stages import Stem

# The index is written after every batch, or of more photos so much more seldom that writing it takes no more of each
# photo's time; a run that is killed encodes again what the index does not claim.
_PHOTOS_OF_AN_INDEX = 10_000
# Of millions of photos, so many are in hand together.
_NAMES_AT_ONCE = 10_000


class FeatureStore:
    """Memory-mapped features of a set of photos. Make one with `extract_features`.

    Attributes:
        pooled: float16 `(N, P)`.
        regions: float16 `(N, R, D)`.
        failed: Image id -> why that photo could not be read. It has no features.
        image_ids: Ids of the photos that have features, read from the disk as they are asked for.
        index: Whose features these are.
    """

    def __init__(self, folder: Path, index: dict):
        self.index = index
        self.failed: dict[str, str] = index["failed"]
        self.pooled, self.regions = (cache.open_array(folder, view, index) for view in cache.VIEWS)
        self._names, self._by_name = (cache.open_array(folder, name, index) for name in cache.NAMES)
        rows: Sequence[int] = range(len(self._names))
        if self.failed:
            rows = [row for row in rows if self._names[row].decode() not in self.failed]
        self.image_ids: Sequence[str] = _ImageIds(self._names, rows)

    def row_numbers(self, image_ids: Sequence[str]) -> np.ndarray:
        """Returns the rows of photos, int64 `(B,)`.

        Raises:
            ValueError: If a photo has no features.
        """
        rows = np.empty(len(image_ids), np.int64)
        missing: list[str] = []
        for start in range(0, len(rows), _NAMES_AT_ONCE):
            some = image_ids[start : start + _NAMES_AT_ONCE]
            wanted = cache.encode_names(some)
            places = np.searchsorted(self._names, wanted.astype(self._names.dtype), sorter=self._by_name)
            found = self._by_name[np.minimum(places, len(self._names) - 1)]
            rows[start : start + len(some)] = found
            is_there = self._names[found] == wanted
            missing += [i for i, there in zip(some, is_there, strict=True) if not there or i in self.failed]
        if missing:
            raise ValueError(f"{len(missing)} photos have no features, for example {missing[0]!r}. Extract them first.")
        return rows

    def rows(self, image_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns float16 `pooled` `(B, P)` and `regions` `(B, R, D)` of the given photos, in their order."""
        numbers = self.row_numbers(image_ids)
        return self.pooled[numbers], self.regions[numbers]


class _ImageIds(Sequence[str]):
    """Image ids of rows of a cache, which stay on the disk."""

    def __init__(self, names: np.memmap, rows: Sequence[int]):
        self._names, self._rows = names, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return tuple(self._names[row].decode() for row in self._rows[index])
        return self._names[self._rows[index]].decode()


def extract_features(
    encoder: "Encoder | Stem",
    photo_paths: Mapping[str, Path],
    folder: str | Path | None = None,
    *,
    boxes: Mapping[str, photos.Box] | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> FeatureStore:
    """Encodes photos into a cache, or opens the finished cache at once.

    A photo that cannot be read leaves a row of zeros and is listed in `failed`; it never stops the others, and is tried
    again by every call.

    Args:
        encoder: The encoder, see `captioner.encoders.encoder.load_encoder`.
        photo_paths: Image id -> photo file.
        folder: Where the cache is or will be; by default a folder in `data/features` named after encoder and photos.
        boxes: Image id -> part of the photo to encode; by default the whole photos.
        batch_size: Photos encoded together; VGG16 takes 2.9 GB for 32 of them, 4.2 for 64, and is no faster. A resumed
            run uses the batch size it began with.
        progress: Whether to show a progress bar.

    Returns:
        The finished cache.

    Raises:
        ValueError: If the folder holds the cache of another encoder, other weights or other photos, or a damaged
            one, or if the features are not finite.
        FileNotFoundError: If none of the photos can be read.
        BlockingIOError: If another process is filling this cache.
    """
    boxes = boxes or {}
    expected = _describe(encoder, photo_paths, boxes, batch_size)
    folder = Path(folder) if folder else _default_folder(expected)
    image_ids = list(photo_paths)
    index = cache.open_index(folder, expected, image_ids)

    def read(image_ids):
        requests = (decoders.Request(photo_paths[i], box=boxes.get(i)) for i in image_ids)
        return decoders.shared_pool().load_photos(requests, encoder.image_size, num_ahead=batch_size)

    if index is None or _plan_batches(index, image_ids, read):
        with files.hold(folder, "extracting features"):
            # Another process may have done it meanwhile.
            index = cache.open_index(folder, expected, image_ids) or cache.create(folder, expected, image_ids)
            _extract(encoder, read, folder, index, image_ids, progress)
    failed = index["failed"]
    if len(failed) == len(photo_paths):
        raise FileNotFoundError(
            f"None of the {len(failed)} photos can be read, for example: {next(iter(failed.values()))}"
        )
    return FeatureStore(folder, index)


def _extract(encoder, read, folder: Path, index: dict, image_ids: Sequence[str], progress: bool) -> None:
    """Fills the rows of a cache that are missing, batch by batch."""
    arrays = {view: cache.open_array(folder, view, index) for view in cache.VIEWS}
    batches = _plan_batches(index, image_ids, read)
    every = max(1, len(image_ids) // _PHOTOS_OF_AN_INDEX)
    bar = tqdm.tqdm(
        total=len(image_ids), initial=len(image_ids) - sum(map(len, batches)), unit="photo", disable=not progress,
        desc=f"{encoder.name} features",
    )  # fmt: skip
    with bar, contextlib.ExitStack() as stack:
        # Plain writes, not through the map: a full disk is then an error, where a map would kill the process.
        opened = [stack.enter_context((folder / f"{view}.npy").open("r+b")) for view in cache.VIEWS]
        for number, (rows, pixels, failed) in enumerate(
            _read_batches(encoder.image_size, read, image_ids, batches, index["batch_size"]), 1
        ):
            views = encoder.encode(pixels)
            for file, array, view in zip(opened, arrays.values(), views, strict=True):
                values = to_float16(view[: len(rows)], encoder)
                values[[image_ids[row] in failed for row in rows]] = 0
                for row, value in zip(rows, values, strict=True):
                    file.seek(array.offset + row * value.nbytes)
                    file.write(value)
                file.flush()
                # After a power cut, too, the index must not claim rows that never reached the disk.
                os.fsync(file.fileno())
            cache.note_rows(index, arrays, image_ids, rows, failed)
            if number % every == 0 or number == len(batches):
                cache.write_index(folder, index)
            bar.update(len(rows))


def _plan_batches(index: dict, image_ids: Sequence[str], read) -> list[Sequence[int]]:
    """Returns the rows that are still to fill: of photos that could not be read but can now, then the missing ones."""
    size, done = index["batch_size"], index["num_done"]
    failed = [row for row, image_id in enumerate(image_ids) if image_id in index["failed"]]
    tried = read(image_ids[row] for row in failed)
    mended = [row for row, photo in zip(failed, tried, strict=True) if isinstance(photo, np.ndarray)]
    missing = range(done, len(image_ids))
    return [rows[start : start + size] for rows in (mended, missing) for start in range(0, len(rows), size)]


def to_float16(view: np.ndarray, encoder) -> np.ndarray:
    """Returns features as they are kept.

    Raises:
        ValueError: If float16 cannot hold them.
    """
    with np.errstate(over="ignore"):
        rows = view.astype(np.float16)
    if not np.isfinite(rows).all():
        raise ValueError(
            f"{encoder.name} gives features that float16 cannot hold, so its weights are hardly right. "
            f"Expected: finite values up to 65504. Received: {np.abs(view).max()}"
        )
    return rows


def _read_batches(
    image_size: int, read, image_ids: Sequence[str], batches: Sequence[Sequence[int]], batch_size: int
) -> Iterator[tuple[Sequence[int], np.ndarray, dict[str, str]]]:
    """Yields rows, uint8 photos `(batch_size, S, S, 3)` and failures, while the photos of the next batch are read."""
    loaded = read(image_ids[row] for rows in batches for row in rows)
    for rows in batches:
        # Every batch has the same shape, the last one padded, so that its rows never depend on the rest.
        pixels, failed = np.zeros((batch_size, image_size, image_size, 3), np.uint8), {}
        for place, row in enumerate(rows):
            if isinstance(photo := next(loaded), photos.PhotoError):
                failed[image_ids[row]] = str(photo)
            else:
                pixels[place] = photo
        yield rows, pixels, failed


def _describe(encoder, photo_paths: Mapping[str, Path], boxes: Mapping[str, photos.Box], batch_size: int) -> dict:
    """Returns a fresh index: what these features are of, and nothing done yet."""
    if not photo_paths:
        raise ValueError("There are no photos to encode. Received: photo_paths={}")
    return {
        "format": cache.FORMAT,
        "encoder": encoder.name,
        "regions_layer": encoder.regions_layer,
        "fingerprint": encoder.fingerprint,
        "mirrored": encoder.mirrored,
        "preprocessing_version": photos.PREPROCESSING_VERSION,
        "photos": _digest_photos(photo_paths, boxes),
        "shapes": {
            "pooled": [len(photo_paths), encoder.pooled_size],
            "regions": [len(photo_paths), encoder.num_regions, encoder.region_size],
        },
        "batch_size": batch_size,
        "num_done": 0,
        "checksums": {view: [] for view in cache.VIEWS},
        "failed": {},
    }


def _digest_photos(photo_paths: Mapping[str, Path], boxes: Mapping[str, photos.Box]) -> str:
    """Tells photos from others by their bytes: equal names, sizes and dates say nothing."""

    def digest(path):
        try:
            return files.digest_file(path)
        except OSError:
            # It will be a failure, and of another digest when it can be read.
            return ""

    whole, left = hashlib.sha256(), iter(photo_paths.items())
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        while some := list(itertools.islice(left, _NAMES_AT_ONCE)):
            # Crops of a photo come one after the other.
            paths = list(dict.fromkeys(path for _, path in some))
            digests = dict(zip(paths, pool.map(digest, paths), strict=True))
            for image_id, path in some:
                whole.update(f"{image_id}\0{digests[path]}\n{boxes.get(image_id, '')}".encode())
    return whole.hexdigest()[:16]


def _default_folder(index: dict) -> Path:
    """Returns a folder that only these photos with these weights share, so nothing of others can be in the way."""
    identity = "".join(str(index[key]) for key in ("fingerprint", "mirrored", "preprocessing_version", "photos"))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return config.FEATURES_DIR / f"{index['encoder']}-{index['regions_layer']}-{digest}"
