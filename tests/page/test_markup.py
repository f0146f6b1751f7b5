"""What the page says, as text."""

import dataclasses
import math
import types

import pytest

from captioner.page import markup
from captioner.page.uploads import CaptionedPhoto


def caption(text: str, probability: float = 0.5, confidence: str = ""):
    log_prob = math.log(probability)
    return types.SimpleNamespace(text=text, words=text.split(), log_prob=log_prob, confidence=confidence)


DONE = [
    CaptionedPhoto('é, "1".jpg', [caption("a dog", 0.25), caption("a cat", 0.125)]),
    CaptionedPhoto("bad.jpg", problem="bad.jpg is empty."),
    CaptionedPhoto("two.jpg", [caption("a man", 0.5)]),
]


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1.0, "100%"), (0.42, "42%"), (0.0194, "1.9%"), (0.000516, "0.052%"), (0.000001, "under 0.001%")],
)
def test_probabilities_keep_two_digits(probability, text):
    assert markup.write_probability(math.log(probability)) == text


def test_an_alt_attribute_cannot_break_out():
    assert markup.alt_attribute('"><script>&') == 'alt="&quot;&gt;&lt;script&gt;&amp;"'


def test_names_are_shown_and_not_rendered():
    photo = CaptionedPhoto("<img src=x>.jpg", [caption("<b>a</b>")], edited="<i>b</i>")
    card = markup.caption_card(photo, {})
    assert "<img" not in card and "<i>" not in card and "&lt;img src=x&gt;.jpg" in card and "&lt;i&gt;b" in card
    assert "<b" not in markup.problem_rows([CaptionedPhoto("b", problem="<b> is empty.")])
    assert markup.escape_markdown("![a](b)_c_ $d$ :e:") == r"\!\[a\](b)\_c\_ \$d\$ \:e\:"


@pytest.mark.parametrize(
    ("confidence", "text"),
    [("sure", "●●●</span> Sure"), ("fairly sure", "●●○</span> Fairly sure"), ("guessing", "●○○</span> Guessing")],
)
def test_confidence_is_said_in_words_beside_dots_that_are_not_read_aloud(confidence, text):
    photo = CaptionedPhoto("a.jpg", [caption("a dog", confidence=confidence)])
    assert f'<span aria-hidden="true">{text}</p>' in markup.caption_card(photo, {})
    worth = {confidence: "Of captions like this, 1 < 2."}
    assert f"{text} <small>Of captions like this, 1 &lt; 2.</small></p>" in markup.caption_card(photo, worth)


def test_a_captioner_that_was_never_calibrated_says_nothing_of_confidence():
    assert markup.caption_card(CaptionedPhoto("a.jpg", [caption("a dog")]), {}).endswith("A dog.</p>")


def test_a_caption_that_the_visitor_chose_or_wrote_is_no_claim_of_the_captioner():
    captions = [caption("a dog", confidence="sure"), caption("a cat", confidence="sure")]
    for changes, sentence in (({"chosen": 1}, "A cat."), ({"chosen": 1, "edited": "My cat"}, "My cat")):
        card = markup.caption_card(CaptionedPhoto("a.jpg", captions, **changes), {"sure": "It is right."})
        assert f'status">{sentence}</p>' in card and "Sure" not in card and "right" not in card
        # What it would be without the visitor is said, since Reset leads back there.
        assert "Your wording. The captioner’s: “A dog.”" in card


def test_other_captions_stand_in_the_order_of_what_is_said_of_them():
    # By the length penalty, a long caption may stand before likelier ones.
    captions = [
        caption("a big dog", 0.02),
        caption("a dog", 0.04),
        caption("a dog runs far", 0.0001),
        caption("it", 0.01),
    ]
    photo = CaptionedPhoto("a.jpg", captions)
    assert markup.rank_others(photo) == [1, 3, 2]
    labels = [markup.label_wording(captions[number], captions[0]) for number in (1, 3, 2)]
    assert labels == [
        "A dog. :gray[(shorter, 2.0 times as likely)]",
        "It. :gray[(shorter, 0.50 times as likely)]",
        "A dog runs far. :gray[(longer, less than 1 % as likely)]",
    ]
    assert markup.compare_caption(caption("a red dog", 0.0202), captions[0]) == "as likely"
    # The way back is among them, and where none of them stands on the page, all are offered.
    assert markup.label_wording(captions[0], captions[0]) == "A big dog. :gray[(the captioner’s own)]"
    assert markup.rank_others(dataclasses.replace(photo, chosen=1)) == [0, 3, 2]
    assert markup.rank_others(dataclasses.replace(photo, edited="Rex.")) == [1, 0, 3, 2]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a dog runs", "dog"),
        ("two young boys in the snow", "boys"),
        ("a black and white dog", "dog"),
        ("the red blue car", "car"),
        ("a black", "a"),
    ],
)
def test_the_first_thing_of_a_caption_is_no_article_colour_or_number(text, word):
    words = text.split()
    assert words[markup.first_thing(words)] == word


def test_repeated_words_get_labels_that_differ_but_look_equal():
    labels = markup.label_words(("a", "dog", "and", "a", "a"))
    assert len(set(labels)) == 5
    assert [label.strip("\u200b") for label in labels] == ["a", "dog", "and", "a", "a"]


def test_summaries_count():
    assert markup.summarize(DONE[:1]) == "1 photo captioned."
    assert markup.summarize(DONE) == "2 of 3 photos captioned; 1 could not be read."
    assert markup.summarize(DONE[1:2]) == "The photo could not be read."
