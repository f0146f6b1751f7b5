"""Captions thousands of photo files: batch by batch, in their order, while the photos that come next are read.

No more than two batches of pixels are in memory, however many files there are. Legend: `S` side of a photo in pixels.
"""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from captioner.data import decoders

if TYPE_CHECKING:
    from captioner.config import DecodingConfig
    from captioner.inference import Caption, Captioner


class NamedPhoto(NamedTuple):
    """A photo that is no file of this computer.

    Attributes:
        name: What to call it.
        content: The bytes of its file.
        problem: Why there are none.
    """

    name: str
    content: bytes = b""
    problem: str = ""

    def __str__(self) -> str:
        return self.name


def caption_paths(
    captioner: "Captioner",
    paths: Iterable[Path | NamedPhoto],
    search: "DecodingConfig | None" = None,
    *,
    batch_size: int = 32,
) -> Generator[list[tuple[Path | NamedPhoto, "list[Caption] | Exception"]]]:
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
    return map_photos(
        lambda pixels: captioner.caption_photos(pixels, search), captioner.encoder.image_size, paths, batch_size
    )


def map_photos(
    work: Callable[[np.ndarray], Sequence[Any]], image_size: int, paths: Iterable[Path | NamedPhoto], batch_size: int
) -> Generator[list[tuple[Path | NamedPhoto, Any]]]:
    """Does for any work on pixels, uint8 `(B, S, S, 3)`, what `caption_paths` does for captions."""
    results, pixels = [], []
    with contextlib.closing(_read_ahead(paths, image_size, batch_size)) as loading:
        for path, loaded in loading:
            results.append((path, loaded))
            if isinstance(loaded, np.ndarray):
                pixels.append(loaded)
            if len(pixels) == batch_size:
                yield _finish_batch(work, results, pixels)
                results, pixels = [], []
    if results:
        yield _finish_batch(work, results, pixels)


def _finish_batch(work, results, pixels) -> list:
    """Puts what work makes of them in the place of pixels."""
    found = iter(work(np.stack(pixels)) if pixels else ())
    return [(path, next(found) if isinstance(loaded, np.ndarray) else loaded) for path, loaded in results]


def _read_ahead(
    paths: Iterable[Path | NamedPhoto], image_size: int, num_ahead: int
) -> Generator[tuple[Path | NamedPhoto, "np.ndarray | Exception"]]:
    """Yields each file with its pixels, uint8 `(S, S, 3)`, or its error, and has others read meanwhile."""
    paths, wanted = itertools.tee(paths)
    loading = decoders.shared_pool().load_photos(map(_request, wanted), image_size, num_ahead=num_ahead)
    with contextlib.closing(loading):
        for path, loaded in zip(paths, loading, strict=True):
            problem = path.problem if isinstance(path, NamedPhoto) else ""
            yield path, OSError(problem) if problem else loaded


def _request(path: Path | NamedPhoto) -> decoders.Request:
    return decoders.Request(path.content, path.name) if isinstance(path, NamedPhoto) else decoders.Request(path)
