"""What the compact encoder is taught with: views, losses and the judge."""

import numpy as np
import pytest
import toy_targets as toys

from captioner import supervision

WHOLE = [0.0, 0.0, 1.0, 1.0]


@pytest.fixture
def toy_targets(tmp_path):
    return toys.write_toy_targets(tmp_path / "targets")


def crop(grid, box, size):
    grids = np.asarray(grid, np.float32)[None, :, :, None]
    return supervision.crop_grids(grids, np.array([box], np.float32), size).numpy()[0, :, :, 0].round(4).tolist()


def test_the_whole_box_gives_the_grid_back():
    assert crop([[1, 2], [3, 4]], WHOLE, 2) == [[1, 2], [3, 4]]


def test_left_beyond_right_mirrors():
    assert crop([[1, 2], [3, 4]], [0, 1, 1, 0], 2) == [[2, 1], [4, 3]]


def test_a_box_on_cell_borders_cuts_cells_out():
    grid = np.arange(16).reshape(4, 4)
    # Rows 0 and 1, columns 2 and 3.
    assert crop(grid, [0, 0.5, 0.5, 1], 2) == [[2, 3], [6, 7]]


def test_cells_between_centres_are_mixed_by_area():
    # Half a cell to the right: between the centres of 0 and 8 lies 4; the outermost cells repeat beyond the border.
    assert crop([[0, 8, 16]] * 3, [0, 0.5 / 3, 1, 1 + 0.5 / 3], 3)[0] == [4, 12, 16]
    # One cell for all: the centre of the middle cell.
    assert crop([[0, 8, 16]] * 3, WHOLE, 1) == [[8]]


def test_photo_and_grid_stay_aligned_under_the_same_box():
    # A ramp sampled on 8 and on 2 cells: the value at any place is the same, whatever the resolution.
    fine = np.tile((np.arange(8) + 0.5) / 8, (8, 1))
    coarse = np.tile((np.arange(4) + 0.5) / 4, (4, 1))
    box = [0.25, 0.8, 0.75, 0.3]
    np.testing.assert_allclose(crop(fine, box, 2), crop(coarse, box, 2), atol=1e-4)
    # From 0.8 down to 0.3, sampled at the middle of both halves.
    np.testing.assert_allclose(crop(fine, box, 2)[0], [0.675, 0.425], atol=1e-4)


def test_a_part_of_a_view_lies_in_the_photo_where_the_view_does():
    outer = np.array([[0.2, 0.4, 0.6, 0.8]] * 2, np.float32)
    inner = np.array([WHOLE, [0.5, 1.0, 1.0, 0.5]], np.float32)
    # The second: the lower right quarter, mirrored.
    expected = [[0.2, 0.4, 0.6, 0.8], [0.4, 0.8, 0.6, 0.6]]
    np.testing.assert_allclose(supervision.combine_boxes(outer, inner), expected, atol=1e-6)


def test_views_stay_inside_and_half_are_mirrored():
    boxes, factors = supervision.draw_views(np.random.default_rng(0), 2000, min_side=0.85, color_jitter=0.25)
    assert boxes.min() >= 0 and boxes.max() <= 1
    widths, heights = np.abs(boxes[:, 3] - boxes[:, 1]), boxes[:, 2] - boxes[:, 0]
    assert min(widths.min(), heights.min()) >= 0.85 - 1e-6
    assert 0.45 < (boxes[:, 1] > boxes[:, 3]).mean() < 0.55
    assert factors.min() >= 0.75 and factors.max() <= 1.25


def test_colors_change_by_their_factors():
    pixels = np.array([[[[30.0, 60.0, 90.0]]]], np.float32)
    # Grey is 60. Saturation 0 leaves grey, brightness 2 doubles, and 255 is the limit.
    for factors, expected in (([0, 1, 1], [60] * 3), ([1, 1, 2], [60, 120, 180]), ([1, 1, 9], [255] * 3)):
        changed = supervision.jitter_colors(pixels, np.array([factors], np.float32))
        np.testing.assert_allclose(changed[0, 0, 0], expected, atol=1e-3)


def test_every_round_shows_every_train_photo_once_in_a_new_order(toy_targets):
    first, second = (toy_targets.train_rows(start, 8, seed=0) for start in (0, 8))
    assert sorted(first) == sorted(second) == list(range(8))
    assert list(first) != list(second)
    # Position alone decides, wherever a batch begins.
    assert list(toy_targets.train_rows(4, 8, seed=0)) == [*first[4:], *second[:4]]


def test_perfect_predictions_have_cosine_one_and_no_loss(toy_targets):
    _, _, maps, pooled, words = toy_targets.batch(np.arange(8))
    losses = toy_targets.losses({"map": maps, "pooled": pooled, "words": words}, maps, pooled, words)
    np.testing.assert_allclose(losses[:3], 0, atol=1e-6)
    held_out = {n: np.asarray(getattr(toy_targets, n)[8:], np.float32) for n in ("pooled", "words")}
    scores = toy_targets.judge(held_out | {"map": np.asarray(toy_targets.maps[8:], np.float32)})
    assert scores["map_cosine"] == scores["pooled_explained"] == scores["class_agreement"] == 1.0


def test_predicting_the_mean_explains_nothing(toy_targets):
    zeros = {"map": np.zeros((4, 4, 4, 3)), "pooled": np.zeros((4, 3)), "words": np.zeros((4, 12))}
    scores = toy_targets.judge(zeros)
    assert scores["map_explained"] == scores["pooled_explained"] == 0.0


def test_pooled_moves_with_the_mean_of_what_is_seen(toy_targets):
    whole, seen = np.zeros((1, 4, 4, 3), np.float32), np.full((1, 4, 4, 3), 2.0, np.float32)
    # The toy's shift is half the identity.
    assert toy_targets.move_pooled(np.ones((1, 3), np.float32), whole, seen).numpy().tolist() == [[2.0, 2.0, 2.0]]
