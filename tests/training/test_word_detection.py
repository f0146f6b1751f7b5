"""Word detectors learn what toy features show: P=R*D with one number for each thing."""

import numpy as np

from captioner.data.vocabulary import Vocabulary
from captioner.training.word_detection import train_word_detector

THINGS = ("dog", "ball", "tree")
VOCABULARY = Vocabulary.from_captions(["a dog", "a ball", "a tree", "a boy", "a kite"], min_count=1)
PHOTOS = 2400


class ToyFeatures:
    """Each photo shows one thing; its regions are two, of which the second shows it."""

    def __init__(self):
        self.shown = np.arange(PHOTOS) % 3
        self.pooled = np.eye(3, dtype=np.float16)[self.shown]
        self.regions = np.stack([np.full((PHOTOS, 3), 0.1, np.float16), self.pooled], axis=1)

    def rows(self, image_ids):
        numbers = [int(image_id) for image_id in image_ids]
        return self.pooled[numbers], self.regions[numbers]


def train(**options):
    features = ToyFeatures()
    references = {str(n): [f"a {THINGS[thing]}", "a boy"] for n, thing in enumerate(features.shown)}
    references["0"] = ["a dog and a kite"]
    references |= options.pop("described", {})
    return train_word_detector(references, features, VOCABULARY, progress=False, **options), features


def test_words_are_likely_where_their_thing_is_seen_and_unlikely_elsewhere():
    detector, features = train()
    found = np.exp(detector.log_probs(*features.rows(["0", "1", "2"])))
    for photo, thing in enumerate(THINGS):
        others = [found[photo, VOCABULARY.words.index(other)] for other in THINGS if other != thing]
        assert found[photo, VOCABULARY.words.index(thing)] > max(others) + 0.2


def test_a_word_of_one_photo_stays_unlikely_elsewhere():
    detector, features = train()
    found = np.exp(detector.log_probs(*features.rows(["1", "2", "3"]))[:, VOCABULARY.words.index("kite")])
    assert (found < 0.02).all()


def test_content_words_that_say_no_gender_are_detected():
    detector, _ = train()
    assert {VOCABULARY.words[word] for word in detector.word_ids} == {*THINGS, "kite"}


def test_nothing_is_detected_where_photos_are_described_without_content_words():
    assert train(described={str(n): ["a boy"] for n in range(PHOTOS)})[0] is None


def test_weights_follow_from_the_seed_and_are_those_that_are_saved():
    one, again, other = (train(seed=seed)[0] for seed in (1, 1, 2))
    for name in ("shared", "kernel"):
        weights = getattr(one, name)
        np.testing.assert_array_equal(weights, getattr(again, name))
        assert not np.array_equal(weights, getattr(other, name))
        np.testing.assert_array_equal(weights, weights.astype(np.float16))
