"""Words detected in features, worked out by hand: P=2, R=2, D=2, H=3, V=7."""

import h5py
import numpy as np
import pytest
import tensorflow as tf

from captioner.decoder.word_detector import WordDetector, pool_features

# One photo, whose mean has length 5, and the most that its two regions have, length 13.
POOLED = np.array([[3.0, 4.0]], np.float16)
REGIONS = np.array([[[5.0, -9.0], [2.0, 12.0]]], np.float16)
FEATURES = [6.0, 8.0, 50 / 13, 120 / 13]


def build():
    # Word 6 sees half of the first feature less a quarter of the second, word 4 an eighth of the last.
    shared = np.array([[0.5, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.5]], np.float32)
    kernel = np.array([[1.0, 0.0], [-0.25, 0.0], [0.0, 0.25]], np.float32)
    bias = np.array([0.0, -1.0], np.float32)
    return WordDetector(np.array([6, 4], np.int32), shared, kernel, bias, vocabulary_size=7)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_words_are_detected_by_the_mean_and_the_maximum_over_regions():
    np.testing.assert_allclose(pool_features(POOLED, REGIONS), [FEATURES], rtol=1e-6)


def test_words_are_as_likely_as_a_logistic_regression_says_and_unknown_ones_certain():
    expected = np.zeros((1, 7))
    expected[0, 6], expected[0, 4] = np.log(sigmoid(3 - 2)), np.log(sigmoid(FEATURES[3] / 8 - 1))
    np.testing.assert_allclose(build().log_probs(POOLED, REGIONS), expected, rtol=1e-5, atol=1e-7)


def test_compiled_functions_share_its_weights():
    shared, kernel = np.ones((4, 4), np.float32), np.ones((4, 50_000), np.float32)
    detector = WordDetector(np.arange(50_000, dtype=np.int32), shared, kernel, np.zeros(50_000, np.float32), 50_000)
    compiled = tf.function(detector.log_probs).get_concrete_function(POOLED, REGIONS)
    assert len(compiled.graph.as_graph_def().SerializeToString()) < kernel.nbytes / 2


def test_a_detector_comes_back_as_it_was_saved(tmp_path):
    build().save(tmp_path / "words.h5")
    with h5py.File(tmp_path / "words.h5") as file:
        assert file["shared"].dtype == file["kernel"].dtype == np.float16
    loaded = WordDetector.load(tmp_path / "words.h5", 7, 4)
    np.testing.assert_array_equal(loaded.log_probs(POOLED, REGIONS), build().log_probs(POOLED, REGIONS))


@pytest.mark.parametrize(
    ("sizes", "change", "reason"),
    [
        ((7, 5), {}, "do not fit 5 features"),
        ((6, 4), {}, "not among 6"),
        ((7, 4), {"bias": np.array([0.0, np.nan])}, "do not fit"),
        ((7, 4), {"bias": np.zeros(3)}, "do not fit"),
        ((7, 4), {"word_ids": np.array([-1, 4])}, "not among 7"),
        ((7, 4), {"kernel": None}, "kernel"),
        ((7, 4), {"kernel": np.zeros((2, 2))}, "do not fit"),
        ((7, 4), {"shared": np.zeros(2)}, "do not fit"),
        ((7, 4), {"shared": np.full((4, 3), np.inf)}, "do not fit"),
    ],
)
def test_a_detector_of_another_captioner_or_damaged_is_one_sentence(tmp_path, sizes, change, reason):
    build().save(tmp_path / "words.h5")
    with h5py.File(tmp_path / "words.h5", "a") as file:
        for name, values in change.items():
            del file[name]
            if values is not None:
                file[name] = values
    with pytest.raises(ValueError, match=f"words.h5 is damaged. .*{reason}"):
        WordDetector.load(tmp_path / "words.h5", *sizes)
