"""What the compact encoder is taught: projections, words and targets."""

import json

import numpy as np
import pytest

from captioner import datasets, encoders, supervision, targets


def test_a_projection_equals_numpys_singular_vectors():
    vectors = np.random.default_rng(0).normal(size=(50, 6)) * [5, 4, 3, 1, 0.5, 0.1] + 2
    project = targets.fit_projection(vectors, 3, whitening=0.0)
    centered = vectors - vectors.mean(0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs(project(vectors)), np.abs(centered @ axes.T), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("whitening", "expected"), [(0.0, [3.0, 1.0]), (0.5, [3**0.5, 1.0]), (1.0, [1.0, 1.0])])
def test_whitening_takes_a_power_of_the_deviation_away(whitening, expected):
    # Four points: deviation 3 along the first axis, 1 along the second.
    vectors = np.array([[3, 1], [3, -1], [-3, 1], [-3, -1]], float)
    project = targets.fit_projection(vectors, 2, whitening)
    np.testing.assert_allclose(project(vectors).std(0), expected, rtol=1e-4)


def test_the_inverse_of_a_full_projection_gives_the_vectors_back():
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    project = targets.fit_projection(vectors, 4, 0.5)
    np.testing.assert_allclose(project(vectors) @ project.inverse + project.mean, vectors, atol=1e-4)


def test_more_components_than_vectors_are_refused():
    with pytest.raises(ValueError, match=r"Received: num_components=5, vectors of shape \(4, 9\)"):
        targets.fit_projection(np.zeros((4, 9)), 5, 0.5)


def test_level_cells_are_centred_and_equally_strong():
    # Deviations of both cells over two grids: 1 and 3; their mean is 2.
    maps = np.array([[[[4.0], [10.0]]], [[[6.0], [16.0]]]])
    assert targets.level_cells(maps, maps).tolist() == [[[[-2.0], [-2.0]]], [[[2.0], [2.0]]]]


def tiny_classifier() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 7)).astype(np.float32), np.zeros(7, np.float32)


@pytest.fixture
def tiny_teacher(tiny_encoder_known, monkeypatch):
    """The encoder `tiny` of conftest, with a classifier that it lacks (P=5, L=7)."""
    monkeypatch.setattr(targets, "_read_classifier", lambda teacher: tiny_classifier())
    return tiny_encoder_known


@pytest.fixture
def toy_dataset(tmp_path):
    captions = {"a.jpg": ("a red dog", "a dog runs"), "b.jpg": ("red ball", "the dog"), "c.jpg": ("cat", "cat")}
    return datasets.CaptionDataset(
        "toy", tmp_path, tmp_path, {"train": ("a.jpg", "b.jpg"), "validation": ("c.jpg",)}, captions
    )


def test_words_are_the_frequent_content_words_of_train_photos(toy_dataset):
    # "a" and "the" are function words, "runs" and "ball" are of one photo, "cat" is of a validation photo.
    assert set(targets.fit_words(toy_dataset, 2)) == {"red", "dog"}


def test_words_are_weighted_by_the_share_of_captions_that_use_them(toy_dataset):
    shares = targets.count_words(toy_dataset, ("a.jpg", "b.jpg", "c.jpg"), ("dog", "red"))
    assert shares.tolist() == [[1.0, 0.5], [0.5, 0.5], [0.0, 0.0]]


TOY = targets.TargetsConfig(photo_size=16, num_crops=2, num_components=3, min_photos=1)


def test_targets_hold_train_photos_their_crops_and_validation_photos(project, drawn_dir, tiny_teacher, tmp_path):
    dataset = datasets.read_dataset(drawn_dir)
    folder = targets.prepare_targets(tmp_path / "targets", dataset, tiny_teacher, TOY)
    taught = supervision.Supervision(folder)
    train, validation = len(dataset.image_ids("train")), len(dataset.image_ids("validation"))
    assert taught.num_views == 3 * train
    assert taught.maps.shape == (3 * train + validation, 4, 4, 3)
    # Views 0, and the first two crops, are of photo 0; the last is of the last photo.
    assert taught.photo_rows[[0, train, train + 1, train + 2, -1]].tolist() == [0, 0, 0, 1, train + validation - 1]
    # The tiny teacher's pooled vector is the mean of its grid, so that of a crop shows how well the crop was seen.
    encoder = encoders.load_encoder(tiny_teacher)
    box = np.array(taught.boxes[train : train + 1])
    photo = supervision.crop_grids(taught.photos[:1], box, 32).numpy().round().astype(np.uint8)
    matrices = np.load(folder / "matrices.npz")
    classes = encoder.encode(photo)[0] @ tiny_classifier()[0] + tiny_classifier()[1]
    expected = taught.pooled[train] @ matrices["classes"] + matrices["class_bias"]
    assert np.corrcoef(classes[0], expected)[0, 1] > 0.95


def test_finished_targets_are_found_again_and_others_refused(project, drawn_dir, tiny_teacher, tmp_path):
    dataset = datasets.read_dataset(drawn_dir)
    arguments = tmp_path / "targets", dataset, tiny_teacher
    folder = targets.prepare_targets(*arguments, TOY)
    before = (folder / "maps.npy").stat().st_mtime_ns
    assert targets.prepare_targets(*arguments, TOY) == folder
    assert (folder / "maps.npy").stat().st_mtime_ns == before
    assert json.loads((folder / "index.json").read_text())["image_ids"][-1] not in dataset.image_ids("test")
    with pytest.raises(ValueError, match="holds other targets. Delete that folder"):
        targets.prepare_targets(*arguments, targets.TargetsConfig(num_components=2))
