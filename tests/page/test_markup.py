"""What the page says, as text."""

import math
import types

import pytest

from captioner import output
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


@pytest.mark.parametrize("form", ["csv", "json"])
def test_downloads_are_the_very_files_that_the_command_writes(tmp_path, form):
    layout = output.choose_layout(form, 1)
    with output.open_writer(tmp_path / "out", layout) as writer:
        writer.write(output.Row(photo.name, photo.captions, photo.problem) for photo in DONE)
    content = markup.write_captions(DONE, form, 1)
    assert content == (tmp_path / "out").read_bytes()
    assert content.decode().count("bad.jpg is empty.") == 1


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1.0, "100%"), (0.42, "42%"), (0.0194, "1.9%"), (0.000516, "0.052%"), (0.000001, "under 0.001%")],
)
def test_probabilities_keep_two_digits(probability, text):
    assert markup.write_probability(math.log(probability)) == text


def test_an_alt_attribute_cannot_break_out():
    assert markup.alt_attribute('"><script>&') == 'alt="&quot;&gt;&lt;script&gt;&amp;"'


def test_names_are_shown_and_not_rendered():
    photo = CaptionedPhoto("<img src=x>.jpg", [caption("<b>a</b>")])
    card = markup.caption_card(photo)
    assert "<img" not in card and "<b>" not in card and "&lt;img src=x&gt;.jpg" in card
    assert markup.escape_markdown("![a](b)_c_ $d$ :e:") == r"\!\[a\](b)\_c\_ \$d\$ \:e\:"


@pytest.mark.parametrize(
    ("confidence", "text"),
    [("sure", "●●●</span> Sure"), ("fairly sure", "●●○</span> Fairly sure"), ("guessing", "●○○</span> Guessing")],
)
def test_confidence_is_said_in_words_beside_dots_that_are_not_read_aloud(confidence, text):
    card = markup.caption_card(CaptionedPhoto("a.jpg", [caption("a dog", confidence=confidence)]))
    assert f'<span aria-hidden="true">{text}</p>' in card


def test_a_captioner_that_was_never_calibrated_says_nothing_of_confidence():
    assert markup.caption_card(CaptionedPhoto("a.jpg", [caption("a dog")])).endswith("a dog</p>")


def test_other_captions_follow_the_probability_of_the_first():
    first, second = caption("a dog", 0.25), caption("<a cat>", 0.1)
    alone = markup.alternatives_list(first, [])
    assert alone == '<p class="photo-note">Probability of exactly the words above: 25%</p>'
    both = markup.alternatives_list(first, [second])
    assert both == alone + '<ol class="alternatives"><li>&lt;a cat&gt; <small>10%</small></li></ol>'


def test_repeated_words_get_labels_that_differ_but_look_equal():
    labels = markup.label_words(("a", "dog", "and", "a", "a"))
    assert len(set(labels)) == 5
    assert [label.strip("\u200b") for label in labels] == ["a", "dog", "and", "a", "a"]


def test_summaries_count():
    assert markup.summarize(DONE[:1]) == "1 photo captioned."
    assert markup.summarize(DONE) == "2 of 3 photos captioned; 1 could not be read."
