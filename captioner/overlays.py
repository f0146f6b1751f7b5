"""Where a captioner looked, laid over the photo. No TensorFlow and no Matplotlib here: the page draws these at a click.

Legend: `T` words, `R` regions, `H` and `W` rows and columns of the grid of regions.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from captioner.inference import Caption


def attention_maps(caption: "Caption") -> np.ndarray:
    """Returns the grid of attention before each word, `(T, H, W)`; each sums to the share not given to the whole photo.

    Raises:
        ValueError: If attention does not range over a square grid.
    """
    scores = caption.attention_scores[:, :-1]  # the last column is the photo as a whole
    side = math.isqrt(scores.shape[1])
    if not caption.has_regions or side * side != scores.shape[1]:
        raise ValueError(
            f"Attention over slots has no place in the photo. Received: {scores.shape[1]} scores for a word."
        )
    return scores.reshape(-1, side, side)


def overlay_attention(photo: Image.Image, attention_map: np.ndarray) -> Image.Image:
    """Returns the photo, bright where attention lay and dark elsewhere.

    Args:
        photo: The photo, any size.
        attention_map: `(H, W)`, not negative.
    """
    peak = float(attention_map.max()) or 1.0
    small = Image.fromarray((255 * attention_map / peak).astype(np.uint8))
    mask = small.resize(photo.size, Image.Resampling.BICUBIC)
    dark = Image.blend(photo, Image.new("RGB", photo.size, "black"), 0.75)
    return Image.composite(photo, dark, mask)
