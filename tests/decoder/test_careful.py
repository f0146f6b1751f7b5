"""Claims that are weighed, with probabilities typed in."""

import numpy as np
import pytest

from captioner.decoder import careful
from captioner.decoder.careful import CarefulClaims

WORDS = ("a", "red", "grey", "gray", "two", "both", "man", "woman")
SETTINGS = {"color_share": 0.5, "gender_share": 0.7, "number_probability": 0.3, "female_bonus": 0.0}


def weigh(probabilities, **settings):
    """Returns which words are left, and the probabilities."""
    rule = CarefulClaims(WORDS, careful.CarefulConfig(**SETTINGS | settings))
    log_probs = np.log([probabilities.get(word, 1e-6) for word in WORDS]).astype(np.float32)
    weighed = rule(log_probs[None, None]).numpy()[0, 0]
    return {word for word, value in zip(WORDS, weighed, strict=True) if np.isfinite(value)}, np.exp(weighed)


def test_a_color_is_left_where_it_stands_out_among_colors():
    # Red has 0.3 of 0.5, grey in both spellings 0.2 of 0.5.
    left, _ = weigh({"a": 0.5, "red": 0.3, "grey": 0.1, "gray": 0.1})
    assert "red" in left and not {"grey", "gray"} & left


def test_spellings_of_one_color_count_together():
    left, _ = weigh({"a": 0.5, "red": 0.2, "grey": 0.15, "gray": 0.15})
    assert {"grey", "gray"} <= left and "red" not in left


def test_a_number_is_left_where_it_is_likely_at_all():
    assert "two" in weigh({"a": 0.6, "two": 0.2, "both": 0.2})[0]
    assert "two" not in weigh({"a": 0.8, "two": 0.1, "both": 0.1})[0]


@pytest.mark.parametrize(("man", "woman", "left"), [(0.4, 0.1, {"man"}), (0.3, 0.2, set()), (0.1, 0.4, {"woman"})])
def test_a_gender_is_left_where_it_stands_out(man, woman, left):
    assert weigh({"a": 0.5, "man": man, "woman": woman})[0] & {"man", "woman"} == left


def test_words_for_women_gain_and_all_remain_probabilities():
    # 0.2 becomes 0.2 e, of 0.5 + 0.3 + 0.2 e = 1.3437.
    _, probabilities = weigh({"a": 0.5, "man": 0.3, "woman": 0.2}, female_bonus=1.0, gender_share=0.0)
    assert probabilities[WORDS.index("woman")] == pytest.approx(0.5437 / 1.3437, abs=1e-4)
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-4)


def test_words_that_claim_nothing_are_always_left():
    assert "a" in weigh({"a": 1e-6, "red": 0.5, "gray": 0.5})[0]


@pytest.mark.parametrize("name", ["color_share", "gender_share", "number_probability"])
def test_shares_lie_between_0_and_1(name):
    with pytest.raises(ValueError, match=f"{name} must lie in"):
        careful.CarefulConfig(**{name: 1.5})
