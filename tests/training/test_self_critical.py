"""Self-critical training: captions that score well become likelier, and finished work is kept."""

import dataclasses

import keras
import numpy as np
import pytest

from captioner import config
from captioner.data.vocabulary import Vocabulary
from captioner.decoder import batches
from captioner.decoder.network import CaptionDecoder
from captioner.scoring import metrics
from captioner.training import run_files, self_critical

REFERENCES = {
    "red.jpg": ("a red circle", "a red disc"),
    "blue.jpg": ("a blue circle", "a blue disc"),
    "tall.jpg": ("a tall green tree", "a green tree"),
}
VOCABULARY = Vocabulary.from_captions((text for texts in REFERENCES.values() for text in texts), 1)
SETTINGS = config.SelfCriticalConfig(
    rounds=3, photos_per_round=60, batch_size=3, num_samples=8, learning_rate=0.02, max_length=6
)


class ToyFeatures:
    """One-hot features: each photo is another one."""

    def __init__(self):
        self.pooled = np.eye(3, 6, dtype=np.float16)
        self.regions = np.repeat(np.eye(3, 5, dtype=np.float16)[:, None], 4, axis=1)

    def row_numbers(self, image_ids):
        return np.array([list(REFERENCES).index(image_id) for image_id in image_ids])


@pytest.fixture
def decoder():
    keras.utils.set_random_seed(3)
    settings = config.DecoderConfig(units=16, embedding_size=8, attention_size=8, memory_size=8, dropout=0.0)
    return CaptionDecoder(len(VOCABULARY), 6, 4, 5, settings)


def refine(decoder, folder, score, **changes):
    # Each photo is listed twenty times, so that a round has twenty steps.
    references = {f"{i}#{n}": texts for n in range(20) for i, texts in REFERENCES.items()}

    class Repeated(ToyFeatures):
        def row_numbers(self, image_ids):
            return super().row_numbers([image_id.partition("#")[0] for image_id in image_ids])

    return self_critical.refine_decoder(
        decoder,
        batches.PhotoViews(list(references), Repeated()),
        references,
        VOCABULARY,
        score,
        folder,
        settings=dataclasses.replace(SETTINGS, **changes),
        progress=False,
    )


def rising():
    """Scores each look at the captions higher than the one before."""
    looks = iter(range(100))
    return lambda _decoder: {"cider_d": next(looks)}


def test_drawn_captions_earn_more_and_more(decoder, tmp_path):
    history = refine(decoder, tmp_path, rising())
    assert [row["round"] for row in history] == [0, 1, 2, 3]
    assert history[0]["reward"] is None
    assert history[3]["reward"] > 2 * history[1]["reward"]


def test_the_round_with_the_best_validation_score_is_kept_the_start_included(decoder, tmp_path):
    before = [weight.copy() for weight in decoder.get_weights()]
    scores = iter([9.0, 3.0, 2.0, 1.0])
    history = refine(decoder, tmp_path, lambda _decoder: {"cider_d": next(scores)})
    assert run_files.best_row(history)["round"] == 0
    for ours, old in zip(decoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, old)


def test_finished_work_is_found_again_and_other_work_is_not_taken_for_it(decoder, tmp_path):
    start = decoder.get_weights()
    history = refine(decoder, tmp_path, rising(), rounds=1)
    refined = decoder.get_weights()
    assert any((a != b).any() for a, b in zip(start, refined, strict=True))
    decoder.set_weights(start)
    assert refine(decoder, tmp_path, lambda _decoder: 1 / 0, rounds=1) == history
    for ours, theirs in zip(decoder.get_weights(), refined, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # From other weights, or with other settings, it is other work.
    assert len(refine(decoder, tmp_path, rising(), rounds=0)) == 1


def test_a_run_that_was_stopped_is_never_taken_for_a_finished_one(decoder, tmp_path):
    start = decoder.get_weights()
    refine(decoder, tmp_path, rising(), rounds=1)

    def stop(_decoder):
        raise KeyboardInterrupt

    decoder.set_weights(start)
    with pytest.raises(KeyboardInterrupt):
        refine(decoder, tmp_path, stop, rounds=2)
    # The first run's weights may be overwritten by now, so that run is made again.
    decoder.set_weights(start)
    looks = []
    refine(decoder, tmp_path, lambda _decoder: looks.append(1) or {"cider_d": len(looks)}, rounds=1)
    assert len(looks) == 2


REFERENCES = {
    "1.jpg": ["a dog runs through the grass", "a brown dog is running", "the dog runs"],
    "2.jpg": ["a man rides a red bicycle", "a man on a bicycle", "someone rides a bicycle down the hill"],
    "3.jpg": ["two children play in the water", "two kids are playing in the water", "children play"],
}
CAPTIONS = {
    "1.jpg": "a dog runs through the water",
    "2.jpg": "a man rides a a a red dog",
    "3.jpg": "two children play in the water",
}


@pytest.fixture
def reward():
    return self_critical.CiderReward({i: [text.split() for text in texts] for i, texts in REFERENCES.items()})


def test_rewards_are_the_scores_of_the_reference_implementation(reward):
    expected = metrics.score_per_photo(CAPTIONS, REFERENCES)
    for image_id, caption in CAPTIONS.items():
        assert 100 * reward.score(image_id, caption.split()) == pytest.approx(expected[image_id], rel=1e-6)
        assert expected[image_id] > 10


def test_an_end_that_counts_as_a_word_is_scored_like_any_word(reward):
    ended = {i: [f"{text} end" for text in texts] for i, texts in REFERENCES.items()}
    captions = {i: f"{text} end" for i, text in CAPTIONS.items()} | {"2.jpg": "a man rides a"}
    expected = metrics.score_per_photo(captions, ended)
    with_end = self_critical.CiderReward({i: [text.split() for text in texts] for i, texts in ended.items()})
    for image_id, caption in captions.items():
        assert 100 * with_end.score(image_id, caption.split()) == pytest.approx(expected[image_id], rel=1e-6)


def test_captions_that_share_nothing_or_are_empty_earn_nothing(reward):
    assert reward.score("1.jpg", ["zebra", "zebra"]) == reward.score("1.jpg", []) == 0
