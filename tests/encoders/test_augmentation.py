"""Views of photos: where they are cut, how they are drawn and coloured."""

import numpy as np
import pytest
from keras import ops
from PIL import Image

from captioner.encoders import augmentation

WHOLE = [0.0, 0.0, 1.0, 1.0]


def cut(grid, box, size):
    grids = np.asarray(grid, np.float32)[None, :, :, None]
    pixels = ops.convert_to_numpy(augmentation.cut_boxes(grids, np.array([box], np.float32), size))
    return pixels[0, :, :, 0].round(4).tolist()


def test_the_whole_box_gives_the_grid_back():
    assert cut([[1, 2], [3, 4]], WHOLE, 2) == [[1, 2], [3, 4]]


def test_left_beyond_right_mirrors():
    assert cut([[1, 2], [3, 4]], [0, 1, 1, 0], 2) == [[2, 1], [4, 3]]


def test_a_box_on_cell_borders_cuts_cells_out():
    grid = np.arange(16).reshape(4, 4)
    # Rows 0 and 1, columns 2 and 3.
    assert cut(grid, [0, 0.5, 0.5, 1], 2) == [[2, 3], [6, 7]]


def test_cells_between_centres_are_mixed_by_area():
    # Half a cell to the right: between the centres of 0 and 8 lies 4; the outermost cells repeat beyond the border.
    assert cut([[0, 8, 16]] * 3, [0, 0.5 / 3, 1, 1 + 0.5 / 3], 3)[0] == [4, 12, 16]


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.25, 0.1, 0.8, 0.9), (0.1, 0.9, 0.7, 0.2)])
@pytest.mark.parametrize("size", [6, 16, 24])
def test_views_are_what_pillow_cuts_and_resizes(box, size):
    pixels = np.random.default_rng(0).uniform(0, 255, (16, 16)).astype(np.float32)
    top, left, bottom, right = box
    place = tuple(16 * side for side in (min(left, right), top, max(left, right), bottom))
    # Beyond the box Pillow has no pixels, we have; so only the inside is compared.
    inside = slice(3, -3) if box != (0, 0, 1, 1) and size > 6 else slice(None) if box == (0, 0, 1, 1) else slice(2, -2)
    expected = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=place))
    expected = expected[:, ::-1] if left > right else expected
    ours = np.array(cut(pixels, box, size))
    np.testing.assert_allclose(ours[inside, inside], expected[inside, inside], rtol=1e-3, atol=0.2)


def test_views_stay_inside_and_half_are_mirrored():
    boxes, factors = augmentation.draw_views(np.random.default_rng(0), 2000, min_side=0.6, color_jitter=0.25, share=1.0)
    assert boxes.min() >= 0 and boxes.max() <= 1
    widths, heights = np.abs(boxes[:, 3] - boxes[:, 1]), boxes[:, 2] - boxes[:, 0]
    assert 0.6 - 1e-6 <= min(widths.min(), heights.min()) < 0.62 and widths.max() > 0.98
    assert 0.45 < (boxes[:, 1] > boxes[:, 3]).mean() < 0.55
    assert 0.75 <= factors.min() < 0.76 and 1.24 < factors.max() <= 1.25
    assert {array.dtype for array in (boxes, factors)} == {np.dtype(np.float32)}


def test_a_share_of_the_photos_is_seen_in_part_and_the_others_whole_and_as_they_are():
    first, again = (
        augmentation.draw_views(np.random.default_rng(5), 1000, min_side=0.5, color_jitter=0.1, share=0.3)
        for _ in range(2)
    )
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    boxes, factors = first
    as_they_are = (factors == 1).all(axis=1)
    assert 0.65 < as_they_are.mean() < 0.75
    assert (boxes[as_they_are] == [0, 0, 1, 1]).all() and (boxes[~as_they_are] != [0, 0, 1, 1]).any(axis=1).mean() > 0.9


def test_colors_change_by_their_factors():
    pixels = np.array([[[[30.0, 60.0, 90.0]]]], np.float32)
    # Grey is 60. Saturation 0 leaves grey, brightness 2 doubles, and 255 is the limit.
    for factors, expected in (([0, 1, 1], [60] * 3), ([1, 1, 2], [60, 120, 180]), ([1, 1, 9], [255] * 3)):
        changed = ops.convert_to_numpy(augmentation.jitter_colors(pixels, np.array([factors], np.float32)))
        np.testing.assert_allclose(changed[0, 0, 0], expected, atol=1e-3)


def test_contrast_moves_pixels_from_the_mean_of_their_photo():
    pixels = np.array([[[[10.0] * 3, [30.0] * 3]]], np.float32)
    changed = ops.convert_to_numpy(augmentation.jitter_colors(pixels, np.array([[1, 0.5, 1]], np.float32)))
    # Half as far from 20.
    np.testing.assert_allclose(changed[0, 0, :, 0], [15, 25], atol=1e-3)
