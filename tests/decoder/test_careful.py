"""Claims that are weighed, with probabilities typed in."""

import numpy as np
import pytest

from captioner.decoder import careful
from captioner.decoder.careful import CarefulClaims

WORDS = ("a", "red", "grey", "gray", "two", "both", "man", "woman", "runs", "running", "stands", "group")
SETTINGS = {
    "color_share": 0.5,
    "action_share": 0.6,
    "gender_share": 0.7,
    "number_probability": 0.3,
    "female_bonus": 0.0,
}


def weigh(probabilities, **settings):
    """Returns which words are as likely as they were, and the probabilities."""
    rule = CarefulClaims(WORDS, careful.CarefulConfig(**SETTINGS | settings))
    log_probs = np.log([probabilities.get(word, 1e-6) for word in WORDS]).astype(np.float32)
    weighed = rule(log_probs[None, None]).numpy()[0, 0]
    losses = log_probs - np.log(np.exp(log_probs).sum()) - weighed
    return {word for word, loss in zip(WORDS, losses, strict=True) if abs(loss) < 1e-4}, np.exp(weighed)


def test_a_color_is_left_where_it_stands_out_among_colors():
    # Red has 0.3 of 0.5, grey in both spellings 0.2 of 0.5.
    left, _ = weigh({"a": 0.5, "red": 0.3, "grey": 0.1, "gray": 0.1})
    assert "red" in left and not {"grey", "gray"} & left


def test_spellings_of_one_color_count_together():
    left, _ = weigh({"a": 0.5, "red": 0.2, "grey": 0.15, "gray": 0.15})
    assert {"grey", "gray"} <= left and "red" not in left


def test_an_action_is_left_where_it_stands_out_among_actions_in_all_its_forms():
    # Running has 0.3 of 0.45, which is more than 0.6 of it; then 0.25 of 0.45.
    assert {"runs", "running"} <= weigh({"a": 0.55, "runs": 0.1, "running": 0.2, "stands": 0.15})[0]
    assert not {"runs", "running", "stands"} & weigh({"a": 0.55, "runs": 0.1, "running": 0.15, "stands": 0.2})[0]


def test_a_number_is_left_where_it_is_likely_at_all():
    assert "two" in weigh({"a": 0.6, "two": 0.2, "both": 0.2})[0]
    assert "two" not in weigh({"a": 0.8, "two": 0.1, "both": 0.1})[0]


def test_a_group_is_held_to_account_as_numbers_are():
    assert "group" in weigh({"a": 0.6, "group": 0.4})[0]
    assert "group" not in weigh({"a": 0.8, "group": 0.2})[0]


@pytest.mark.parametrize(("man", "woman", "left"), [(0.4, 0.1, {"man"}), (0.3, 0.2, set()), (0.1, 0.4, {"woman"})])
def test_a_gender_is_left_where_it_stands_out(man, woman, left):
    assert weigh({"a": 0.5, "man": man, "woman": woman})[0] & {"man", "woman"} == left


def test_what_is_in_doubt_is_as_much_less_likely_as_the_penalty_says():
    _, probabilities = weigh({"a": 0.5, "red": 0.25, "grey": 0.25}, color_share=0.6, penalty=2.0)
    assert probabilities[WORDS.index("red")] == pytest.approx(0.25 * 0.135335, rel=1e-3)


def test_words_for_women_gain_and_all_remain_probabilities():
    # 0.2 becomes 0.2 e, of 0.5 + 0.3 + 0.2 e = 1.3437.
    _, probabilities = weigh({"a": 0.5, "man": 0.3, "woman": 0.2}, female_bonus=1.0, gender_share=0.0)
    assert probabilities[WORDS.index("woman")] == pytest.approx(0.5437 / 1.3437, abs=1e-4)
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-4)


def test_words_that_claim_nothing_are_always_left():
    assert "a" in weigh({"a": 1e-6, "red": 0.5, "gray": 0.5})[0]


def test_a_vocabulary_in_which_nothing_is_a_claim_is_left_as_it_is():
    log_probs = np.log([[0.75, 0.25]]).astype(np.float32)
    np.testing.assert_allclose(CarefulClaims(("a", "hund"))(log_probs), log_probs, atol=1e-6)


@pytest.mark.parametrize("name", ["color_share", "action_share", "gender_share", "number_probability"])
def test_shares_lie_between_0_and_1(name):
    with pytest.raises(ValueError, match=f"{name} must lie in"):
        careful.CarefulConfig(**{name: 1.5})
