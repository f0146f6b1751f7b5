"""Random views of photos: parts of them, mirrored, in other colours.

What is drawn at random is NumPy's, what is done to pixels is `keras.ops`, so that it runs where the training does.
Legend: `B` batch, `S` side of a photo and `V` side of a view in pixels.
"""

import numpy as np
from keras import ops

from captioner.data.photos import draw_boxes

# The box of a whole photo.
WHOLE = np.array([0.0, 0.0, 1.0, 1.0], np.float32)


def draw_views(
    rng: np.random.Generator, count: int, *, min_side: float, color_jitter: float, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draws how `count` photos are to be seen.

    Args:
        rng: Source of randomness.
        count: Number of views `B`.
        min_side: Least share of a side that a view keeps.
        color_jitter: Largest relative change of saturation, contrast and brightness.
        share: How often a view takes the place of the whole photo.

    Returns:
        float32 `boxes` `(B, 4)`, top, left, bottom, right in shares of the sides, left beyond right for the half that
        is mirrored; and `factors` `(B, 3)` for saturation, contrast and brightness.
    """
    boxes = draw_boxes(rng, (count,), min_side=min_side, max_side=1.0).astype(np.float32)
    factors = rng.uniform(1 - color_jitter, 1 + color_jitter, (count, 3)).astype(np.float32)
    whole = rng.random(count) >= share
    boxes[whole], factors[whole] = WHOLE, 1.0
    return boxes, factors


def see(photos, boxes, factors, size: int):
    """Returns views of photos `(B, S, S, 3)` uint8 as pixels, float32 `(B, V, V, 3)`; see `draw_views`."""
    return jitter_colors(cut_boxes(ops.cast(photos, "float32"), boxes, size), factors)


def cut_boxes(photos, boxes, size: int):
    """Cuts a box out of each photo and resamples it bilinearly, with antialiasing, as Pillow does.

    Both directions are matrix products, which every backend does fast and a GPU fastest.

    Args:
        photos: `(B, S, S, C)`, float32.
        boxes: `(B, 4)`, as from `draw_views`.
        size: Side `V` of the result.

    Returns:
        float32 `(B, V, V, C)`.
    """
    side, channels = photos.shape[1], photos.shape[3]
    rows = _sampling_weights(boxes[:, 0], boxes[:, 2], side, size)
    columns = _sampling_weights(boxes[:, 1], boxes[:, 3], side, size)
    cut = ops.reshape(ops.matmul(rows, ops.reshape(photos, (-1, side, side * channels))), (-1, size, side, channels))
    return ops.einsum("bvs,busc->buvc", columns, cut)


def jitter_colors(pixels, factors):
    """Changes saturation, contrast and brightness of pixels `(B, V, V, 3)` by factors `(B, 3)`; stays in 0..255."""
    saturation, contrast, brightness = (ops.reshape(factors[:, i], (-1, 1, 1, 1)) for i in range(3))
    grey = ops.mean(pixels, axis=-1, keepdims=True)
    level = ops.mean(grey, axis=(1, 2), keepdims=True)
    pixels = grey + saturation * (pixels - grey)
    return ops.clip((level + contrast * (pixels - level)) * brightness, 0.0, 255.0)


def _sampling_weights(first, last, side: int, size: int):
    """Returns `(B, V, S)`: how much each of `S` pixels gives to each of `V`, from shares `first` to `last` `(B,)`."""
    first, length = ops.expand_dims(first, -1), ops.expand_dims(last - first, -1)  # (B, 1)
    centres = first + length * (np.arange(size, dtype=np.float32) + 0.5) / size  # (B, V)
    # Where a view is smaller than what it shows, each of its pixels is a mean over more of the photo's.
    reach = ops.expand_dims(ops.maximum(ops.abs(length) * side / size, 1.0), -1)
    places = np.arange(side, dtype=np.float32) + 0.5
    weights = ops.relu(1 - ops.abs(ops.expand_dims(centres * side, -1) - places) / reach)
    return weights / ops.sum(weights, axis=-1, keepdims=True)
