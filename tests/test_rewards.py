"""Rewards equal the reference implementation's CIDEr-D."""

import pytest

from captioner import metrics, rewards

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
    return rewards.CiderReward({i: [text.split() for text in texts] for i, texts in REFERENCES.items()})


def test_rewards_are_the_scores_of_the_reference_implementation(reward):
    expected = metrics.score_per_photo(CAPTIONS, REFERENCES)
    for image_id, caption in CAPTIONS.items():
        assert 100 * reward.score(image_id, caption.split()) == pytest.approx(expected[image_id], rel=1e-6)
        assert expected[image_id] > 10


def test_an_end_that_counts_as_a_word_is_scored_like_any_word(reward):
    ended = {i: [f"{text} end" for text in texts] for i, texts in REFERENCES.items()}
    captions = {i: f"{text} end" for i, text in CAPTIONS.items()} | {"2.jpg": "a man rides a"}
    expected = metrics.score_per_photo(captions, ended)
    with_end = rewards.CiderReward({i: [text.split() for text in texts] for i, texts in ended.items()})
    for image_id, caption in captions.items():
        assert 100 * with_end.score(image_id, caption.split()) == pytest.approx(expected[image_id], rel=1e-6)


def test_captions_that_share_nothing_or_are_empty_earn_nothing(reward):
    assert reward.score("1.jpg", ["zebra", "zebra"]) == reward.score("1.jpg", []) == 0
