"""The pointing game on drawings: does attention lie on a thing when its word is written?

Where it is largest before a word for a thing, there the thing has to be (J. Zhang et al., "Top-down Neural Attention by
Excitation Backprop", 2016, https://arxiv.org/abs/1608.00507). No TensorFlow here.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from captioner.data.drawings import captions as scene_captions
from captioner.data.drawings import dataset, pictures, scenes

# A miss by so many pixels is a hit: what is larger on a picture of this size than a cell's half is seen from beside it.
TOLERANCE = 15


def score_pointing(
    attention: Mapping[str, tuple[Sequence[str], np.ndarray]], folder: str | Path
) -> dict[str, int | float]:
    """Counts the words at which attention was largest on the thing that they name.

    Args:
        attention: Image id -> the words of its caption and the maps before them, float `(T, H, W)`.
        folder: The drawn data set of these pictures.

    Returns:
        `words` that name a thing which is there, `hits` among them, `hit_percent`, and `uniform_percent`, what a place
        drawn by lot would hit.
    """
    known, seed = dataset.read_scenes(folder), dataset.read_seed(folder)
    found = [pair for i, (words, maps) in attention.items() for pair in _point(words, maps, known[i], seed)]
    hits, chances = (sum(column) for column in zip(*found, strict=True)) if found else (0, 0.0)
    count = max(len(found), 1)
    return {
        "words": len(found),
        "hits": int(hits),
        "hit_percent": float(100 * hits / count),
        "uniform_percent": float(100 * chances / count),
    }


def _point(words: Sequence[str], maps: np.ndarray, scene: scenes.Scene, seed: int) -> Iterator[tuple[bool, float]]:
    """Yields for each word for a thing that is there whether attention hit it, and what share of the places would."""
    things = pictures.locate_things(scene, seed)
    for word, attention in zip(words, maps, strict=True):
        noun = scene_captions.named_noun(word)
        meant = [(centre, radius) for group, centre, radius in things if group.noun == noun]
        if meant:
            on_thing = _mark_places(meant, attention.shape)
            yield bool(on_thing.ravel()[attention.argmax()]), float(on_thing.mean())


def _mark_places(things: Sequence[tuple[pictures.Point, float]], shape: tuple[int, int]) -> np.ndarray:
    """Returns which cells of a grid have their middle on or beside one of the things, bool `(H, W)`."""
    rows, columns = ((np.arange(size) + 0.5) * pictures.IMAGE_SIZE / size for size in shape)
    marked = np.zeros(shape, bool)
    for (x, y), radius in things:
        marked |= np.hypot(columns[None] - x, rows[:, None] - y) <= radius + TOLERANCE
    return marked
