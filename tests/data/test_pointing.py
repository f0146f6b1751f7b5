"""The pointing game, with attention put where things are drawn."""

import numpy as np
import pytest

from captioner.data.drawings import dataset as drawings
from captioner.data.drawings import pictures, pointing


@pytest.fixture(scope="module")
def scene(drawn_dir):
    """A scene with one thing alone, in the middle."""
    known = drawings.read_scenes(drawn_dir).values()
    return next(s for s in known if s.place == "middle" and [group.count for group in s.groups] == [1])


def look_at(row, column):
    """Attention on one cell of a grid of 7x7."""
    attention = np.zeros((7, 7))
    attention[row, column] = 1.0
    return attention


def test_attention_on_the_thing_is_a_hit_and_in_the_corner_a_miss(drawn_dir, scene):
    words = ("a", scene.groups[0].noun)
    for place, hits in (((3, 3), 1), ((0, 0), 0)):
        maps = np.stack([look_at(0, 0), look_at(*place)])
        found = pointing.score_pointing({scene.image_id: (words, maps)}, drawn_dir)
        assert (found["words"], found["hits"], found["hit_percent"]) == (1, hits, 100.0 * hits)


def test_a_place_by_lot_hits_as_often_as_the_thing_is_large(drawn_dir, scene):
    [(_, (x, y), radius)] = pictures.locate_things(scene)
    cell = pictures.IMAGE_SIZE / 7
    middles = [((column + 0.5) * cell, (row + 0.5) * cell) for row in range(7) for column in range(7)]
    near = sum((a - x) ** 2 + (b - y) ** 2 <= (radius + 15) ** 2 for a, b in middles)
    found = pointing.score_pointing({scene.image_id: ((scene.groups[0].noun,), look_at(3, 3)[None])}, drawn_dir)
    assert found["uniform_percent"] == pytest.approx(100 * near / 49)


def test_words_for_what_is_not_there_do_not_count(drawn_dir, scene):
    other = "moon" if scene.groups[0].noun != "moon" else "car"
    found = pointing.score_pointing({scene.image_id: (("a", other), np.ones((2, 7, 7)))}, drawn_dir)
    assert found == {"words": 0, "hits": 0, "hit_percent": 0.0, "uniform_percent": 0.0}


def test_things_are_where_they_are_drawn(scene):
    # Where the thing is, the picture differs from its own corner.
    [(_, (x, y), _)] = pictures.locate_things(scene)
    pixels = np.asarray(pictures.draw_scene(scene)).astype(int)
    assert np.abs(pixels[round(y), round(x)] - pixels[4, 4]).max() > 30
