"""What "sure", "fairly sure" and "guessing" are worth, in the sentences that page, command, card and README share."""

import json

import pytest

from captioner import config
from captioner.artifacts import card, confidence

ROWS = [
    {"label": "sure", "count": 120, "right": 0.84},
    {"label": "fairly sure", "count": 398, "right": 0.553},
    {"label": "guessing", "count": 0, "right": None},
]


def test_each_word_that_is_said_has_a_sentence_on_the_split_that_it_was_measured_on():
    said = confidence.explain_confidence({"calibration": {"split": "validation", "table": ROWS[:1], "test": ROWS}})
    assert said == {
        "sure": "Of captions like this, about 8 in 10 are right on photos of the test split.",
        "fairly sure": "Of captions like this, about 6 in 10 are right on photos of the test split.",
    }
    untested = {"data": "drawings", "calibration": {"split": "validation", "table": ROWS[:1]}}
    assert confidence.explain_confidence(untested) == {
        "sure": "Of captions like this, about 8 in 10 are right on drawings of the validation split."
    }


@pytest.mark.parametrize(
    ("right", "share"),
    [
        (0.0, "hardly any is right"),
        (0.12, "about 1 in 10 is right"),
        (0.16, "about 2 in 10 are right"),
        (0.94, "about 9 in 10 are right"),
        (0.96, "nearly all are right"),
    ],
)
def test_shares_are_told_in_tenths(right, share):
    rows = [{"label": "sure", "count": 50, "right": right}]
    [sentence] = confidence.explain_confidence({"calibration": {"test": rows}}).values()
    assert sentence == f"Of captions like this, {share} on photos of the test split."


def test_a_share_of_a_few_captions_is_not_told():
    rows = [{"label": "sure", "count": 10, "right": 1.0}, {"label": "guessing", "count": 9, "right": 1.0}]
    assert list(confidence.explain_confidence({"calibration": {"test": rows}})) == ["sure"]


@pytest.mark.parametrize("metrics", [{}, {"calibration": None}, {"calibration": {"num_photos": 6, "reason": "few"}}])
def test_a_captioner_that_was_never_calibrated_has_no_sentence(metrics):
    assert confidence.explain_confidence(metrics) == {}


@pytest.mark.parametrize("name", ["compact", "efficientnet_lite2"])
def test_the_cards_that_ship_say_what_their_metrics_say(name):
    folder = config.SHIPPED_DIR / name
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    text = (folder / "README.md").read_text(encoding="utf-8")
    said = confidence.explain_confidence(metrics)
    assert list(said) == ["sure", "fairly sure", "guessing"]
    for word, sentence in said.items():
        assert f"- **{word}**: o{sentence[1:]}" in text
    assert "from a CIDEr-D of 46 on" in text
    assert f"The training took {sum(metrics['minutes'].values()):.0f} minutes on {metrics['trained_on']}." in text


def test_the_card_of_a_captioner_of_drawings_speaks_of_drawings(tiny_captioner):
    text = card.write_card(tiny_captioner, "tiny", {"data": "drawings", "split": "validation", "num_photos": 9})
    assert "Describes a drawing of this project" in text and "score on validation (9 drawings)" in text
    assert "say nothing about photos" in text and "says nothing of how sure it is" in text
    assert "Flickr8k" not in text and "{" not in text
