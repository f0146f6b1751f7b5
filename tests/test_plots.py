"""Figures: what they say."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from captioner import inference, plots

HISTORY = [
    {"epoch": 1, "perplexity": 40.0, "val_perplexity": 20.0, "val_cider_d": 30.0},
    {"epoch": 2, "perplexity": 15.0, "val_perplexity": 16.0, "val_cider_d": 50.0},
    {"epoch": 3, "perplexity": 12.0, "val_perplexity": 15.0, "val_cider_d": 45.0},
]


CLAIMS = {
    name: {"percent": percent}
    for name, percent in {
        "colors": 40.0,
        "numbers": 30.0,
        "actions": 25.0,
        "women_called_male": 20.0,
        "men_called_female": 10.0,
        "named_twice": 1.0,
    }.items()
}
RELIABILITY = {
    "bins": [
        {"confidence": -2.0, "right": 0.2, "interval": [0.1, 0.4]},
        {"confidence": -1.0, "right": 0.9, "interval": [0.7, 0.95]},
    ],
    "curve": {"level": 3.0, "slope": 2.0},
    "sure_from": -0.95,
    "fairly_sure_from": None,
}


def caption_with(attention, **fields):
    words = ("dog", "runs", "fast")[: len(attention)]
    zeros = np.zeros(len(words), np.float32)
    return inference.Caption(" ".join(words), words, -1.0, -1.0, zeros, np.array(attention, np.float32), **fields)


def draw(figure):
    """Draws the figure, which is when Matplotlib finds most of what is wrong."""
    figure.savefig(io.BytesIO(), dpi=40)
    return figure.axes


def legend_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize(
    "figure",
    [
        lambda: plots.plot_lengths({"train": [3, 4, 4], "validation": [5]}, cut=4),
        lambda: plots.plot_history(HISTORY),
        lambda: plots.plot_beams({1: {"cider_d": 40.0, "bleu_4": 15.0}, 3: {"cider_d": 44.0, "bleu_4": 17.0}}),
        lambda: plots.plot_controls({"captioner": {"cider_d": 44.0}, "people": {"cider_d": 80.0}}),
        lambda: plots.plot_claims({"captioner": CLAIMS, "people": CLAIMS}),
        lambda: plots.plot_reliability(RELIABILITY),
    ],
    ids=["lengths", "history", "beams", "controls", "claims", "reliability"],
)
def test_every_figure_has_a_title_and_both_axes_labelled(figure):
    for axes in draw(figure()):
        assert axes.get_title() and axes.get_xlabel() and axes.get_ylabel()


def test_lengths_are_shares_of_each_split_and_the_cut_is_marked():
    [axes] = draw(plots.plot_lengths({"train": [3, 4, 4, 6], "validation": [5]}, cut=4))
    # Half of the train captions and the only validation caption are the tallest of their split.
    tallest = {patch.get_label(): patch.get_xy()[:, 1].max() for patch in axes.patches}
    assert tallest == pytest.approx({"train": 50.0, "validation": 100.0})
    assert legend_of(axes) == ["train", "validation", "cut after 4 words"]


def test_the_best_epoch_is_the_one_with_the_highest_cider_d():
    left, right = draw(plots.plot_history(HISTORY))
    assert legend_of(left) == ["train, with dropout", "validation"]
    np.testing.assert_array_equal(right.collections[0].get_offsets(), [[2, 50.0]])


def test_one_epoch_is_enough_for_a_figure():
    draw(plots.plot_history(HISTORY[:1]))


def test_controls_stand_from_top_to_bottom_as_given_with_their_numbers():
    [axes] = draw(plots.plot_controls({"captioner": {"cider_d": 44.04}, "people": {"cider_d": 80.0}}))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["people", "captioner"]
    assert [text.get_text() for text in axes.texts] == ["80.0", "44.0"]


def test_claims_stand_in_the_order_of_their_labels_and_what_nobody_claimed_has_no_number():
    people = CLAIMS | {"numbers": {"claims": 0, "percent": None}}
    [axes] = draw(plots.plot_claims({"captioner": CLAIMS, "people": people}))
    assert legend_of(axes) == ["captioner", "people"]
    assert axes.get_yticklabels()[-1].get_text() == "colours no reference names"
    shares = [text.get_text() for text in axes.texts]
    assert shares == ["1", "10", "20", "25", "30", "40", "1", "10", "20", "25", "", "40"]


def test_stages_follow_one_another_and_show_what_was_measured():
    tuning = [{"epoch": 1}, {"epoch": 2, "val_cider_d": 50.0}]
    refinement = [{"round": 0, "val_cider_d": 50.0}, {"round": 1, "val_cider_d": 52.0}]
    [axes] = draw(plots.plot_stages({"tuning": tuning, "rounds": refinement}))
    assert legend_of(axes) == ["tuning", "rounds"]
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[2, 50]], [[2, 50], [3, 52]]]


def test_beams_are_the_ticks_and_each_score_has_its_own_axis():
    rows = {
        1: {"cider_d": 40.0, "bleu_4": 15.0},
        3: {"cider_d": 44.0, "bleu_4": 17.0},
        10: {"cider_d": 43.0, "bleu_4": 18.0},
    }
    left, right = draw(plots.plot_beams(rows))
    assert list(left.get_xticks()) == list(right.get_xticks()) == [1, 3, 10]
    assert (left.get_ylabel(), right.get_ylabel()) == ("CIDEr-D on validation (%)", "BLEU-4 on validation (%)")
    assert list(left.lines[0].get_ydata()) == [40.0, 44.0, 43.0]
    assert list(right.lines[0].get_ydata()) == [15.0, 17.0, 18.0]


def test_a_shown_figure_has_a_text_alternative_and_a_sentence(monkeypatch):
    shown = []
    monkeypatch.setattr(plots.display, "display", lambda *parts: shown.extend(parts))
    plots.show(plots.show_photos([Image.new("RGB", (9, 9))] * 2, ["a dog\nCIDEr-D 5", "a cat"]), "The best has **5**.")
    picture, sentence = shown
    data, metadata = picture._repr_jpeg_()
    assert metadata["alt"] == "a dog CIDEr-D 5; a cat"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size[0] > metadata["width"]
    assert sentence.data == "The best has **5**."


def test_reliability_shows_shares_intervals_and_the_thresholds_that_there_are():
    [axes] = draw(plots.plot_reliability(RELIABILITY))
    [points] = axes.containers
    assert points.lines[0].get_xydata() == pytest.approx(np.array([[-2, 20], [-1, 90]]))
    ends = [segment[:, 1] for segment in points.lines[2][0].get_segments()]
    assert np.array(ends) == pytest.approx(np.array([[10, 40], [70, 95]]))
    assert sorted(legend_of(axes)) == ['"sure" from here on', "captions, 95% interval", "fitted chance"]


def test_photos_have_their_texts_wrapped_and_signs_taken_as_they_are():
    photos = [Image.new("RGB", size) for size in ((30, 20), (20, 30), (10, 10))]
    axes = draw(plots.show_photos(photos, ["a dog\nruns", "five $ and six $_ more", "word " * 12], columns=2, wrap=20))
    assert len(axes) == 4
    assert [one.get_title() for one in axes[:2]] == ["a dog\nruns", "five $ and six $_\nmore"]
    assert max(map(len, axes[2].get_title().splitlines())) <= 20
    assert [len(one.images) for one in axes] == [1, 1, 1, 0]


def test_attention_is_shown_after_the_photo_with_each_word_and_its_share():
    caption = caption_with([[0.1, 0.2, 0.3, 0.15, 0.25], [0.0, 0.0, 0.0, 1.0, 0.0]])
    axes = draw(plots.show_attention(Image.new("RGB", (20, 30), "white"), caption, columns=2))
    assert [one.get_title() for one in axes] == ["photo", "dog (75%)", "runs (100%)", ""]
    assert [len(one.images) for one in axes] == [1, 1, 1, 0]


def test_figures_leave_no_global_state_behind():
    import matplotlib.pyplot

    draw(plots.plot_history(HISTORY))
    assert matplotlib.pyplot.get_fignums() == []
