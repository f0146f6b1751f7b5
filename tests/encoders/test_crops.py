"""Crops: inside the photo, large enough, half of them mirrored, and read at the right place."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from captioner import config
from captioner.data import photos
from captioner.encoders import crops


def test_boxes_stay_inside_keep_their_least_side_and_half_are_mirrored():
    boxes = photos.draw_boxes(np.random.default_rng(0), (500, 2), min_side=0.6, max_side=0.8)
    assert boxes.shape == (500, 2, 4)
    assert boxes.min() >= 0 and boxes.max() <= 1
    heights, widths = boxes[..., 2] - boxes[..., 0], np.abs(boxes[..., 3] - boxes[..., 1])
    assert min(heights.min(), widths.min()) >= 0.6 - 1e-6 and max(heights.max(), widths.max()) <= 0.88 + 1e-6
    # 1,000 draws of one half have a standard deviation of 16.
    assert (boxes[..., 1] > boxes[..., 3]).sum() == pytest.approx(500, abs=64)


def test_boxes_are_listed_under_the_names_of_their_crops():
    boxes = np.arange(16, dtype=np.float32).reshape(2, 2, 4)
    listed = crops.list_boxes(["a.jpg", "b.jpg"], boxes)
    assert list(listed) == ["a.jpg#0", "a.jpg#1", "b.jpg#0", "b.jpg#1"]
    assert listed["b.jpg#0"] == (8, 9, 10, 11)


@pytest.mark.parametrize(
    "box, expected",
    [
        ((0, 0, 0.5, 0.5), [[10]]),
        ((0.5, 0.5, 1, 1), [[40]]),
        ((0, 0, 1, 1), [[10, 20], [30, 40]]),
        ((0, 1, 1, 0), [[20, 10], [40, 30]]),
        ((0, 1, 0.5, 0), [[20, 10]]),
    ],
    ids=["top left", "bottom right", "whole", "mirrored", "mirrored top"],
)
def test_a_box_is_read_where_it_lies(tmp_path, box, expected):
    # Quadrants of 40 x 30 pixels: 10 and 20 above 30 and 40.
    quadrants = np.array([[10, 20], [30, 40]], np.uint8).repeat(30, axis=0).repeat(40, axis=1)
    Image.fromarray(quadrants).save(tmp_path / "quadrants.png")
    pixels = photos.load_photo(tmp_path / "quadrants.png", 8, box=box)[..., 0]
    rows, columns = (8 // len(expected), 8 // len(expected[0]))
    # Away from the seams, which are smoothed.
    middles = pixels[rows // 2 :: rows, columns // 2 :: columns]
    np.testing.assert_array_equal(middles, expected)


def test_crops_of_train_photos_are_encoded_half_of_them_mirrored(tiny_captioner, dataset, project):
    photos_only = dataclasses.replace(dataset, folder=project)
    settings = config.TrainingConfig(num_crops=3)
    store = crops.extract_crops(tiny_captioner.encoder, photos_only, settings, progress=False)
    train = dataset.image_ids("train")
    assert tuple(store.image_ids) == tuple(crops.name_crop(image_id, k) for image_id in train for k in range(3))
    # What is kept of the last crop is what the encoder sees in its box.
    boxes = photos.draw_boxes(np.random.default_rng(0), (len(train), 3), min_side=0.75, max_side=0.95)
    pixels = photos.load_photo(dataset.photo_path(train[-1]), 32, box=tuple(boxes[-1, -1].tolist()))
    pooled, regions = tiny_captioner.encoder.encode(pixels[None])
    found = store.rows([crops.name_crop(train[-1], 2)])
    np.testing.assert_allclose(found[0], pooled, rtol=2e-3, atol=1e-2)
    np.testing.assert_allclose(found[1], regions, rtol=2e-3, atol=1e-2)


def test_drawings_have_no_crops_and_nobody_has_them_without_asking(tiny_captioner, dataset, project):
    encoder = tiny_captioner.encoder
    assert crops.extract_crops(encoder, dataset, config.TrainingConfig(), progress=False) is None
    photos_only = dataclasses.replace(dataset, folder=project)
    assert crops.extract_crops(encoder, photos_only, config.TrainingConfig(num_crops=0), progress=False) is None
