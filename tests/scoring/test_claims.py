"""Claims in captions made by hand, counted by hand."""

import pytest

from captioner.scoring import claims


def measure(caption, *references):
    return claims.measure_claims({"1.jpg": caption}, {"1.jpg": references})


def test_a_color_is_supported_by_any_reference_in_any_of_its_words():
    found = measure("a grey dog in a red coat on a blue chair", "a dog in red", "a gray dog")
    # gray, red and blue are claimed; nobody says blue.
    assert found["colors"] == {"claims": 3, "percent": pytest.approx(100 / 3)}


def test_a_color_that_is_said_twice_is_one_claim():
    assert measure("a red dog on a red chair", "a dog")["colors"] == {"claims": 1, "percent": 100.0}


def test_numbers_are_supported_by_words_of_the_same_meaning():
    assert measure("two dogs", "a couple of dogs")["numbers"] == {"claims": 1, "percent": 0.0}
    assert measure("two dogs and three cats", "three animals")["numbers"] == {"claims": 2, "percent": 50.0}


def test_actions_are_supported_in_any_form_and_by_words_of_the_same_meaning():
    found = measure("a dog jogs and leaps at a man holding a ball", "a running dog", "a man carries a ball")
    # Run, jump and carry are claimed; nobody says jump.
    assert found["actions"] == {"claims": 3, "percent": pytest.approx(100 / 3)}


def test_claims_are_added_up_over_photos_not_averaged():
    captions = {"1.jpg": "a red blue green dog", "2.jpg": "a red dog"}
    found = claims.measure_claims(captions, {"1.jpg": ["a red blue green dog"], "2.jpg": ["a dog"]})
    assert found["colors"] == {"claims": 4, "percent": 25.0}


def test_nothing_claimed_has_no_share():
    assert measure("a dog runs", "a dog")["colors"] == {"claims": 0, "percent": None}


@pytest.mark.parametrize(
    ("caption", "references", "claimed", "percent"),
    [
        ("a man runs", ["a woman runs", "somebody runs"], 1, 100.0),
        ("a woman runs", ["a woman runs"], 1, 0.0),
        # Names both, so the woman is there.
        ("a man and a girl", ["a woman runs"], 1, 0.0),
        # Nobody is given a gender.
        ("a person runs", ["a woman runs"], 0, None),
        # People see both, or neither.
        ("a man runs", ["a woman runs", "a man runs"], 0, None),
        ("a man runs", ["somebody runs"], 0, None),
    ],
)
def test_women_called_male_are_counted_where_references_name_women_alone(caption, references, claimed, percent):
    assert measure(caption, *references)["women_called_male"] == {"claims": claimed, "percent": percent}


def test_men_called_female_are_counted_the_other_way_round():
    found = measure("a girl runs", "a boy runs")
    assert found["men_called_female"] == {"claims": 1, "percent": 100.0}
    assert found["women_called_male"] == {"claims": 0, "percent": None}


@pytest.mark.parametrize(
    ("caption", "percent"),
    [
        ("a man in a hat and a blue hat", 100.0),
        ("a jacket over jackets", 100.0),
        # One dog chases another.
        ("a dog chases a dog", 0.0),
        ("a man in a hat and a helmet", 0.0),
        ("the dog is in the grass", 0.0),
    ],
)
def test_a_thing_that_is_named_twice_is_found(caption, percent):
    assert measure(caption, "a man")["named_twice"] == {"percent": percent}


@pytest.mark.parametrize(
    ("caption", "references", "percent"),
    [
        ("a dog runs in the grass", ["a dog runs", "the grass"], 100.0),
        ("a dog runs in the snow", ["a dog runs", "the grass"], 0.0),
        # Another word for the same thing, and little words that nobody used.
        ("a bike and the tree", ["one bicycle", "tree"], 100.0),
        # Of all references together, no single one.
        ("a dog in snow", ["dog", "snow"], 100.0),
    ],
)
def test_a_caption_is_borne_out_if_all_its_content_words_are(caption, references, percent):
    assert measure(caption, *references)["borne_out"] == {"percent": percent}


def test_captions_that_are_borne_out_are_counted_whole():
    captions = {"1.jpg": "a dog", "2.jpg": "a cat", "3.jpg": "a dog in snow", "4.jpg": "a dog"}
    assert claims.measure_borne_out(captions, dict.fromkeys(captions, ("a dog",))) == 50.0
    assert claims.measure_borne_out({}, {}) is None


def test_overused_words_are_ranked_by_how_far_their_share_exceeds_that_of_the_references():
    captions = {"1.jpg": "a dog in a shirt", "2.jpg": "a man in a shirt shirt"}
    references = {"1.jpg": ["a dog runs", "a dog with a shirt"], "2.jpg": ["a man", "a man sits"]}
    overused = claims.measure_claims(captions, references)["overused"]
    # In both captions, and in one of four references; a caption counts once, however often it says the word.
    assert overused[0] == {"word": "shirt", "captions": 100.0, "references": 25.0}
    # "dog" stands in half of both; "a" and "in" name nothing.
    assert [row["word"] for row in overused] == ["shirt", "dog", "man"]


def test_people_are_measured_by_their_first_caption_against_the_others():
    people = claims.measure_people({"1.jpg": ("a red dog", "a blue dog", "a dog"), "2.jpg": ("a lone caption",)})
    assert people["colors"] == {"claims": 1, "percent": 100.0}
    assert people["overused"][0] == {"word": "red", "captions": 100.0, "references": 0.0}
