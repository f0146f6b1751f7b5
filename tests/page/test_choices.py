"""The searches that a visitor can choose."""

import pytest

from captioner import config
from captioner.page import choices

USUAL = config.DecodingConfig(num_beams=3, length_penalty=1.25, say_once=True)


@pytest.mark.parametrize(
    ("beams", "penalty", "others", "searched"),
    [
        (3, 1.25, 2, 3),
        (1, 1.25, 2, 3),  # Three captions need three beams.
        (5, 1.25, 0, 5),
        # What ranks by length alone needs captions of several lengths.
        (3, 0.0, 2, 8),
        (10, 3.0, 2, 10),
    ],
)
def test_a_search_gets_the_beams_that_it_needs(beams, penalty, others, searched):
    search = choices.build_search(USUAL, beams, penalty, others)
    assert (search.num_beams, search.length_penalty, search.say_once) == (searched, penalty, True)


def test_a_captioner_whose_usual_captions_are_the_shortest_keeps_its_beams():
    usual = config.DecodingConfig(num_beams=3, length_penalty=0.0)
    assert choices.build_search(usual, 3, 0.0, 2) == usual


def test_the_three_lengths_are_the_ends_of_the_slider_and_the_usual_one():
    assert choices.length_penalties(USUAL) == {"Shorter": 0.0, "As usual": 1.25, "Longer": 3.0}
