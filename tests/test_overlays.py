"""Overlays: light lies where attention lay."""

import types

import numpy as np
import pytest
from PIL import Image

from captioner import overlays


def caption_with(attention, has_regions=True):
    return types.SimpleNamespace(attention_scores=np.array(attention, np.float32), has_regions=has_regions)


def test_attention_maps_go_row_by_row_from_the_top_left_without_the_whole_photo():
    maps = overlays.attention_maps(caption_with([[0.1, 0.2, 0.3, 0.15, 0.25], [0.0, 0.0, 0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(maps, [[[0.1, 0.2], [0.3, 0.15]], [[0, 0], [0, 1]]], atol=1e-6)


@pytest.mark.parametrize(
    "caption",
    [
        caption_with([[0.2, 0.2, 0.2, 0.4]]),
        # Sixteen slots would make a square of four by four, and yet no place in the photo.
        caption_with([[0.05] * 16 + [0.2]], has_regions=False),
    ],
    ids=["three tokens", "sixteen slots"],
)
def test_attention_over_slots_is_not_drawn(caption):
    with pytest.raises(ValueError, match=r"Attention over slots has no place in the photo. Received: \d+ scores"):
        overlays.attention_maps(caption)


@pytest.mark.parametrize("size", [(70, 70), (120, 50), (33, 101)])
def test_an_overlay_keeps_the_size_and_is_brightest_where_attention_lay(size):
    attention = np.zeros((7, 7))
    attention[1, 5] = 0.3
    overlay = overlays.overlay_attention(Image.new("RGB", size, (200, 100, 40)), attention)
    assert (overlay.size, overlay.mode) == (size, "RGB")
    pixels = np.asarray(overlay, dtype=float).sum(axis=2)
    row, column = np.unravel_index(pixels.argmax(), pixels.shape)
    # The cell's share of the photo; the first row is the top.
    assert (row * 7 // size[1], column * 7 // size[0]) == (1, 5)
    assert pixels.max() == pytest.approx(340, abs=10), "the photo itself shows there"
    assert pixels[-1, 0] == pytest.approx(340 / 4, abs=4), "and a quarter of its light elsewhere"


def test_an_overlay_without_any_attention_is_dark_and_does_not_fail():
    overlay = overlays.overlay_attention(Image.new("RGB", (14, 14), "white"), np.zeros((7, 7)))
    assert np.asarray(overlay).max() <= 64


def test_an_overlay_leaves_the_photo_as_it_was():
    photo = Image.new("RGB", (14, 14), "white")
    overlays.overlay_attention(photo, np.eye(7))
    assert np.asarray(photo).min() == 255
