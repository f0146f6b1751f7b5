"""Crops of the train photos: more views of the same few photos, computed once.

A box is a part of a photo in shares of its sides: top, left, bottom, right, 0 to 1; left beyond right mirrors it.
No TensorFlow here.
"""

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]


def draw_boxes(rng: np.random.Generator, shape: tuple[int, ...], *, min_side: float, max_side: float) -> np.ndarray:
    """Draws boxes at random, half of them mirrored.

    Args:
        rng: Source of randomness.
        shape: How many boxes, for example `(N, K)`: `K` for each of `N` photos.
        min_side: Least share of a side that a box keeps.
        max_side: Largest such share; sides of unlike length may exceed it by a tenth, up to the whole.

    Returns:
        float32 `(*shape, 4)`.
    """
    sides = rng.uniform(min_side, max_side, (*shape, 1)) * rng.uniform(0.9, 1.1, (*shape, 2))
    sides = np.clip(sides, min_side, 1.0)
    corners = rng.uniform(0, 1, (*shape, 2)) * (1 - sides)
    boxes = np.concatenate([corners, corners + sides], axis=-1)
    mirrored = rng.random(shape) < 0.5
    boxes[mirrored] = boxes[mirrored][:, [0, 3, 2, 1]]
    return boxes.astype(np.float32)


def name_crop(image_id: str, number: int) -> str:
    """Returns the id of a crop of a photo."""
    return f"{image_id}#{number}"


def photo_of(crop: str) -> str:
    """Returns the image id of the photo that a crop, by its id, is of."""
    return crop.rpartition("#")[0]


def list_boxes(image_ids: Sequence[str], boxes: np.ndarray) -> dict[str, Box]:
    """Returns crop id -> box, for `captioner.features.extract_features`.

    Args:
        image_ids: The photos, `N`.
        boxes: `(N, K, 4)`.
    """
    return {
        name_crop(image_id, number): tuple(box)
        for image_id, listed in zip(image_ids, boxes.tolist(), strict=True)
        for number, box in enumerate(listed)
    }
