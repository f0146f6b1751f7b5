"""Captions judged by who sees the photos: three photos and two judges."""

import json

import pytest

from benchmarks import judging
from captioner.artifacts import results


def said(*judgements):
    return [{"judgement": judgement, "instead": "" if judgement == "right" else "else"} for judgement in judgements]


@pytest.fixture
def kept():
    photos = {
        "1.jpg": {"A dog.": said("right", "right")},
        "2.jpg": {"A cat.": said("right", "wrong"), "A cow.": said("partly")},
        "3.jpg": {"A hen.": said("partly", "partly")},
    }
    return {"split": "test", "people": {"right": 3}, "photos": photos}


CAPTIONS = {"1.jpg": "A dog.", "2.jpg": "A cat.", "3.jpg": "A hen."}
PEOPLE = {"1.jpg": ["My dog."], "2.jpg": ["My cat."], "3.jpg": ["A hen."]}


def test_the_severest_verdict_counts_and_agreement_is_of_captions_with_several(kept):
    found = judging.count_verdicts(kept, CAPTIONS)
    assert found["counts"] == {"right": 1, "partly": 1, "wrong": 1}
    assert found["photos"][1] == {"photo": "2.jpg", "caption": "A cat.", "judgement": "wrong", "instead": "else"}
    # Of three captions with two verdicts the cat is disputed; the cow has one verdict.
    assert found["agreement"] == {"captions": 3, "share": 0.667}
    assert found["split"] == "test" and found["people"] == {"right": 3}


def test_captions_that_nobody_judged_are_not_counted_as_anything(kept):
    with pytest.raises(ValueError, match="1 captions were never judged, 'A fox.' among them. Have them judged with"):
        judging.count_verdicts(kept, CAPTIONS | {"2.jpg": "A fox."})


def test_lists_hold_what_has_too_few_verdicts_beside_a_caption_by_a_person_once(kept):
    captions, people = CAPTIONS | {"2.jpg": "A cow."}, {photo: texts[0] for photo, texts in PEOPLE.items()}
    [rows] = judging.make_lists(kept, captions, people, num_judges=2, num_lists=1, seed=0)
    assert [(row["photo"], sorted(row["captions"])) for row in rows] == [("2.jpg", ["A cow.", "My cat."])]
    lists = judging.make_lists(kept, captions, people, num_judges=3, num_lists=2, seed=0)
    assert [[row["photo"] for row in rows] for rows in lists] == [["1.jpg", "3.jpg"], ["2.jpg"]]
    # What a person wrote, too, is there once.
    assert lists[0][1]["captions"] == ["A hen."]


def test_nothing_in_the_order_says_whose_a_caption_is(kept):
    people = {photo: texts[0] for photo, texts in PEOPLE.items()}
    orders = {
        tuple(judging.make_lists(kept, CAPTIONS, people, num_judges=3, num_lists=1, seed=seed)[0][0]["captions"])
        for seed in range(20)
    }
    assert orders == {("A dog.", "My dog."), ("My dog.", "A dog.")}


def test_verdicts_are_added_and_captions_by_people_are_not_kept(kept):
    row = {
        "photo": "2.jpg",
        "verdicts": [{"caption": "A cow.", **said("wrong")[0]}, {"caption": "My cat.", **said("right")[0]}],
    }
    new = judging.add_verdicts(kept, {"photos": [row]}, PEOPLE)
    assert new["photos"]["2.jpg"] == {"A cat.": said("right", "wrong"), "A cow.": said("partly", "wrong")}
    assert len(kept["photos"]["2.jpg"]["A cow."]) == 1
    assert new["people"] == {"right": 3}
    with pytest.raises(ValueError, match="These verdicts were counted before"):
        judging.add_verdicts(new, {"photos": [row]}, PEOPLE)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"photo": "9.jpg", "verdicts": []}, "9.jpg is none of the photos in verdicts.json."),
        ({"photo": "1.jpg", "verdicts": [{"caption": "A", "judgement": "so"}]}, "right, partly, wrong. Received: 'so'"),
        ({"photo": "1.jpg"}, "1.jpg has no list of verdicts with `caption` and `judgement`."),
        ({"photo": "1.jpg", "verdicts": [{"judgement": "right"}]}, "1.jpg has no list of verdicts with"),
        ({"verdicts": []}, "None is none of the photos"),
    ],
)  # fmt: skip
def test_verdicts_that_cannot_be_used_are_refused(kept, row, message):
    with pytest.raises(ValueError, match=message):
        judging.add_verdicts(kept, {"photos": [row]}, PEOPLE)


def test_what_is_kept_gives_what_is_shown():
    looked = results.read_looked_at()
    captions = {photo["photo"]: photo["caption"] for photo in looked["photos"]}
    found = judging.count_verdicts(judging.read_verdicts(), captions)
    assert found == {key: looked[key] for key in found}


def test_the_command_makes_lists_and_counts_what_comes_back(kept, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judging.results, "RESULTS_DIR", tmp_path)
    monkeypatch.setattr(
        judging, "write_captions", lambda folder, data, photos: (CAPTIONS | {"3.jpg": "A fox."}, PEOPLE)
    )
    monkeypatch.setattr(judging, "describe_captioner", lambda folder: {"captioner": folder.name})
    (tmp_path / "verdicts.json").write_text(json.dumps(kept), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["judging", "lists", "some", str(tmp_path / "lists")])
    judging.main()
    assert capsys.readouterr().out == f"1 of 3 captions are to be judged: {tmp_path / 'lists'}\n"
    rows = json.loads((tmp_path / "lists" / "list-0.json").read_text(encoding="utf-8"))["photos"]
    for row in rows:
        row["verdicts"] = [{"caption": caption, **said("right")[0]} for caption in row.pop("captions")]
    (tmp_path / "back.json").write_text(json.dumps({"photos": rows}), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["judging", "count", "some", str(tmp_path / "back.json")])
    judging.main()
    assert capsys.readouterr().out == "looked_at.json: right 2, partly 0, wrong 1\n"
    assert json.loads((tmp_path / "looked_at.json").read_text(encoding="utf-8"))["captioner"] == "some"
    with pytest.raises(SystemExit, match="2"):
        judging.main()
    assert "These verdicts were counted before." in capsys.readouterr().err
    assert json.loads((tmp_path / "verdicts.json").read_text(encoding="utf-8"))["photos"]["3.jpg"]["A fox."] == said(
        "right"
    )
