"""Captions thousands of photo files: batch by batch, in their order, while threads read the photos that come next.

No more than two batches of pixels are in memory, however many files there are. Legend: `S` side of a photo in pixels.
"""

import collections
import concurrent.futures
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from captioner.data import decoders, photos

if TYPE_CHECKING:
    from captioner.config import DecodingConfig
    from captioner.inference import Caption, Captioner


def caption_paths(
    captioner: "Captioner",
    paths: Sequence[Path],
    search: "DecodingConfig | None" = None,
    *,
    batch_size: int = 32,
) -> Generator[list[tuple[Path, "list[Caption] | Exception"]]]:
    """Captions photo files; one that cannot be read gets its reason and stops no other.

    Args:
        captioner: The captioner.
        paths: Photo files.
        search: How to search, by default the captioner's `settings`.
        batch_size: Photos captioned together.

    Yields:
        Whenever a batch is done, its files in the order of `paths`, each with its captions, best first, or with the
        error that says why it has none. A batch is `batch_size` photos that can be read, so that a run which leaves
        out the first batches makes the same ones as a run from the start.
    """
    results, pixels = [], []
    for path, loaded in _read_ahead(paths, captioner.encoder.image_size, batch_size):
        results.append((path, loaded))
        if isinstance(loaded, np.ndarray):
            pixels.append(loaded)
        if len(pixels) == batch_size:
            yield _caption_batch(captioner, results, pixels, search)
            results, pixels = [], []
    if results:
        yield _caption_batch(captioner, results, pixels, search)


def _caption_batch(captioner, results, pixels, search) -> list:
    """Puts captions in the place of pixels."""
    found = iter(captioner.caption_photos(np.stack(pixels), search) if pixels else ())
    return [(path, next(found) if isinstance(loaded, np.ndarray) else loaded) for path, loaded in results]


def _read_ahead(
    paths: Sequence[Path], image_size: int, num_ahead: int
) -> Iterator[tuple[Path, "np.ndarray | Exception"]]:
    """Yields each file with its pixels, uint8 `(S, S, 3)`, or its error, and has others read while it waits."""
    pool = concurrent.futures.ThreadPoolExecutor(decoders.NUM_PROCESSES)
    waiting: collections.deque[tuple[Path, concurrent.futures.Future]] = collections.deque()
    try:
        for path in paths:
            waiting.append((path, pool.submit(_read, path, image_size)))
            if len(waiting) > num_ahead:
                path, future = waiting.popleft()
                yield path, future.result()
        for path, future in waiting:
            yield path, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(path: Path, image_size: int) -> "np.ndarray | Exception":
    try:
        return decoders.shared_pool().load_photo(path, image_size)
    except (photos.PhotoError, OSError) as error:
        return error
