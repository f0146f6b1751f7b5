"""What the compact encoder is taught with: words, projections, the teacher and the judge."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
from keras import ops

from captioner.data import datasets, photos
from captioner.distillation.lessons import fit_words, read_lessons, share_words
from captioner.distillation.teacher import Teacher, compare, fit_projection
from captioner.encoders import weights


@pytest.fixture
def toy_dataset(tmp_path):
    captions = {"a.jpg": ("a red dog", "a dog runs"), "b.jpg": ("red ball", "the dog"), "c.jpg": ("cat", "cat")}
    return datasets.CaptionDataset(
        "toy", tmp_path, tmp_path, {"train": ("a.jpg", "b.jpg"), "validation": ("c.jpg",)}, captions
    )


def test_words_are_the_frequent_content_words_of_train_photos(toy_dataset):
    # "a" and "the" are function words, "runs" and "ball" are of one photo, "cat" is of a validation photo.
    assert set(fit_words([toy_dataset], 2)) == {"red", "dog"}
    # Two data sets together reach what one does not.
    assert set(fit_words([toy_dataset, toy_dataset], 2)) == {"red", "dog", "runs", "ball"}


def test_words_are_weighted_by_the_share_of_captions_that_use_them(toy_dataset):
    shares = share_words(toy_dataset, ("a.jpg", "b.jpg", "c.jpg"), ("dog", "red"))
    assert shares.tolist() == [[1.0, 0.5], [0.5, 0.5], [0.0, 0.0]]


def test_a_projection_equals_numpys_singular_vectors():
    vectors = np.random.default_rng(0).normal(size=(50, 6)) * [5, 4, 3, 1, 0.5, 0.1] + 2
    mean, axes = fit_projection(vectors, 3)
    centered = vectors - vectors.mean(0)
    expected = centered @ np.linalg.svd(centered, full_matrices=False)[2][:3].T
    np.testing.assert_allclose(np.abs((vectors - mean) @ axes), np.abs(expected), rtol=1e-3, atol=1e-4)


def test_lessons_hold_train_photos_of_all_data_sets_and_no_test_photo(drawn_dir):
    dataset = datasets.read_dataset(drawn_dir, ("train", "validation"))
    other = dataclasses.replace(dataset, name="other")
    lessons = read_lessons([dataset, other], 32, min_photos=1)
    train, validation = (len(dataset.image_ids(split)) for split in ("train", "validation"))
    assert lessons.photos.shape == (2 * train, 32, 32, 3) and lessons.photos.dtype == np.uint8
    assert len(lessons.words) == 2 * train
    pixels, words = lessons.validation[dataset.name]
    assert len(pixels) == len(words) == validation
    first = photos.load_photo(dataset.photo_path(dataset.image_ids("validation")[0]), 32)
    np.testing.assert_array_equal(pixels[0], first)


def test_photos_that_cannot_be_read_are_left_out_and_named(drawn_dir, tmp_path):
    folder = shutil.copytree(drawn_dir, tmp_path / "drawn")
    dataset = datasets.read_dataset(folder, ("train", "validation"))
    broken = dataset.image_ids("train")[1], dataset.image_ids("validation")[0]
    for image_id in broken:
        dataset.photo_path(image_id).write_bytes(b"no picture")
    lessons = read_lessons([dataset], 32, min_photos=1)
    assert [pathlib.Path(path).name for path in lessons.failed] == list(broken)
    assert "is not a picture" in next(iter(lessons.failed.values()))
    assert len(lessons.photos) == len(lessons.words) == len(dataset.image_ids("train")) - 1
    assert [len(array) for array in lessons.validation["drawn"]] == [len(dataset.image_ids("validation")) - 1] * 2
    # Photo and words still belong together: the third photo is the second row now.
    third = dataset.image_ids("train")[2]
    np.testing.assert_array_equal(lessons.photos[1], photos.load_photo(dataset.photo_path(third), 32))
    words = fit_words([dataset], 1)
    np.testing.assert_array_equal(lessons.words[1], share_words(dataset, [third], words)[0])
    for path in dataset.photo_paths("train").values():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"No train or no validation photo can be read, for example: .* is empty"):
        read_lessons([dataset], 32, min_photos=1)


def test_too_few_captions_and_two_data_sets_of_one_name_are_refused(toy_dataset):
    with pytest.raises(ValueError, match="no word is used for 12 train photos"):
        read_lessons([toy_dataset], 32)
    with pytest.raises(ValueError, match=r"one name\. Rename the folder of one\. Received: toy, toy"):
        read_lessons([toy_dataset, toy_dataset], 32)


@pytest.fixture
def taught(tiny_encoder_known):
    """The encoder `tiny` of conftest as a teacher, and 12 photos it has surveyed."""
    pixels = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    teacher = Teacher("tiny")
    teacher.fit_statistics(pixels, num_components=3)
    return teacher, pixels


def look(teacher, pixels):
    return {name: ops.convert_to_numpy(values) for name, values in teacher(pixels.astype(np.float32)).items()}


def test_a_teacher_gives_the_components_of_what_its_network_sees(taught):
    teacher, pixels = taught
    network = weights.load_network("tiny", weights.find_weights("tiny"))
    pooled = np.asarray(network(pixels / np.float32(127.5) - 1))
    # Pairwise distances in all of three components, whatever their signs; tiny's pooled vector has five entries.
    mean, axes = fit_projection(pooled, 3)
    seen = look(teacher, pixels)
    np.testing.assert_allclose(np.abs(seen["pooled"]), np.abs((pooled - mean) @ axes), rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(seen["classes"], pooled, rtol=1e-4, atol=1e-5)
    assert seen["map"].shape == (12, 4, 4, 3) and teacher.grid_size == 4


def test_each_cell_is_centred_and_as_strong_as_the_others(taught):
    teacher, pixels = taught
    maps = look(teacher, pixels)["map"]
    np.testing.assert_allclose(maps.mean(0), 0, atol=1e-3)
    strength = np.square(maps).sum(-1).mean(0)
    np.testing.assert_allclose(strength, strength.mean(), rtol=1e-2)
    np.testing.assert_allclose(teacher.statistics["map_variance"], strength.mean(), rtol=1e-2)


def test_the_teacher_is_frozen(taught):
    assert not taught[0].trainable_variables and taught[0].non_trainable_variables


def test_targets_are_what_is_seen_batch_by_batch(taught):
    teacher, pixels = taught
    expected = look(teacher, pixels)
    for name, values in teacher.targets(pixels).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5)


def test_an_encoder_without_classes_cannot_teach():
    with pytest.raises(ValueError, match=r"trained to tell classes\. Received: teacher='compact'"):
        Teacher("compact")


def test_an_unknown_teacher_is_refused():
    with pytest.raises(ValueError, match=r"encoder must be one of .* Received: encoder='owl'"):
        Teacher("owl")


def test_perfect_predictions_have_cosine_one_and_the_mean_explains_nothing():
    rng = np.random.default_rng(0)
    targets = {"map": rng.normal(size=(4, 2, 2, 3)), "pooled": rng.normal(size=(4, 3)), "classes": np.eye(4)}
    words = np.eye(4, 12)
    scores = compare(targets | {"words": words}, targets, words)
    assert scores["map_cosine"] == scores["pooled_cosine"] == scores["map_explained"] == 1.0
    assert scores["class_agreement"] == 1.0
    # One of the ten likeliest words was used.
    assert scores["word_precision"] == 0.1
    zeros = {name: np.zeros_like(values) for name, values in targets.items()}
    nothing = compare(zeros | {"words": words}, targets, words)
    assert nothing["map_explained"] == nothing["pooled_explained"] == 0.0
    # Of four photos, the first is of the class that a tie gives.
    assert nothing["class_agreement"] == 0.25
