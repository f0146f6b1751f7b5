"""What people say of captions: the file, the scores of what it judges, and what the real one says of "right"."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import expert_judgements
from captioner.artifacts import results
from captioner.data import datasets
from captioner.scoring import calibration, evaluation, metrics, reliability

REFERENCES = {
    "1.jpg": ("a dog runs on grass", "the dog is running"),
    "2.jpg": ("two children play in the sand", "kids at a beach"),
}


@pytest.fixture
def folder(tmp_path):
    lines = [f"{i}#{n}\t{text.capitalize()} ." for i, texts in REFERENCES.items() for n, text in enumerate(texts)]
    (tmp_path / datasets.TOKEN_FILE).write_text("\n".join(lines) + "\n")
    return tmp_path


def write(folder, *lines):
    (folder / expert_judgements.EXPERT_FILE).write_text("\n".join(lines) + "\n")


def test_judgements_are_read_with_the_caption_that_was_judged(folder):
    write(folder, "1.jpg\t2.jpg#1\t1\t1\t2", "", "2.jpg\t1.jpg#0\t3\t4\t2")
    assert expert_judgements.read_judgements(folder, ["1.jpg", "2.jpg"]) == [
        expert_judgements.Judgement("1.jpg", "kids at a beach", (1, 1, 2)),
        expert_judgements.Judgement("2.jpg", "a dog runs on grass", (3, 4, 2)),
    ]


def test_captions_of_the_photo_itself_and_photos_not_asked_for_are_left_out(folder):
    write(folder, "1.jpg\t1.jpg#0\t4\t4\t4", "1.jpg\t2.jpg#0\t1\t1\t1", "2.jpg\t1.jpg#0\t1\t1\t1")
    assert [j.image_id for j in expert_judgements.read_judgements(folder, ["1.jpg"])] == ["1.jpg"]


def test_a_data_set_without_judgements_has_none(folder):
    assert expert_judgements.read_judgements(folder, ["1.jpg"]) == []


@pytest.mark.parametrize(
    "line",
    ["1.jpg\t2.jpg#1\t1\t1", "1.jpg\t2.jpg#1\t1\t1\t5", "1.jpg 2.jpg#1 1 1 1", "1.jpg\t2.jpg#2\t1\t1\t1"],
    ids=["two grades", "grade 5", "blanks", "no such caption"],
)
def test_a_mangled_line_is_named(folder, line):
    write(folder, "1.jpg\t2.jpg#0\t1\t1\t1", line)
    with pytest.raises(ValueError, match="ExpertAnnotations.txt, line 2: expected .* Received: '1.jpg"):
        expert_judgements.read_judgements(folder, ["1.jpg"])


def test_a_caption_is_right_if_two_of_three_experts_find_at_most_minor_errors():
    right = [
        expert_judgements.Judgement("1.jpg", "a dog", grades).right for grades in ((1, 3, 3), (2, 2, 4), (4, 4, 1))
    ]
    assert right == [True, False, True]


def test_every_judged_caption_is_scored_like_a_caption_of_its_photo():
    texts = [("1.jpg", "a dog runs"), ("2.jpg", "kids play"), ("1.jpg", "kids at a beach"), ("1.jpg", "the dog")]
    scores = expert_judgements.score_judgements(
        [expert_judgements.Judgement(*pair, (1, 1, 1)) for pair in texts], REFERENCES
    )
    for place, (image_id, text) in enumerate(texts):
        alone = metrics.score_per_photo(dict.fromkeys(REFERENCES, "") | {image_id: text}, REFERENCES)
        assert scores["cider_d"][place] == pytest.approx(alone[image_id])
    # Both words of "the dog" stand in a reference of four words: exp(1 - 4 / 2) for being so short.
    assert scores["bleu_1"][3] == pytest.approx(100 * np.exp(-1))
    # Its words in order: recall 2 of 4, precision 2 of 2, F with beta 1.2.
    assert scores["rouge_l"][3] == pytest.approx(100 * 2.44 * 1 * 0.5 / (0.5 + 1.44 * 1))


def test_the_mark_is_held_against_where_experts_are_of_two_minds(monkeypatch):
    # On the scale log(1 + CIDEr-D) one of four is right at 0 and three of four at 4: as worked out in test_reliability,
    # the curve is 1/3 at 0, 2/3 at 4, and so one half at 2.
    scores, right = np.expm1([0.0, 0, 0, 0, 4, 4, 4, 4]), np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    monkeypatch.setattr(calibration, "RIGHT_CIDER_D", np.expm1(4))
    judged = expert_judgements.judge_mark(scores, right)
    assert judged == pytest.approx({"mark": np.expm1(4), "chance_at_mark": 2 / 3, "even_cider_d": np.expm1(2)})


def test_where_the_score_tells_nothing_no_cider_d_is_even():
    judged = expert_judgements.judge_mark(np.array([90.0, 10.0]), np.array([False, True]))
    assert judged["even_cider_d"] is None
    assert judged["chance_at_mark"] == pytest.approx(0.5)


def test_what_counts_as_right_is_what_flickr8ks_experts_say(flickr8k_dir):
    if not (flickr8k_dir / expert_judgements.EXPERT_FILE).is_file():
        pytest.skip(f"{expert_judgements.EXPERT_FILE} does not belong to every copy of Flickr8k.")
    dataset = datasets.read_dataset(flickr8k_dir, ("test",))
    judged = expert_judgements.read_judgements(flickr8k_dir, dataset.image_ids("test"))
    assert len(judged) == 5664
    scores = expert_judgements.score_judgements(judged, dataset.references)
    right = np.array([judgement.right for judgement in judged])
    even = expert_judgements.judge_mark(scores["cider_d"], right)["even_cider_d"]
    assert even == pytest.approx(calibration.RIGHT_CIDER_D, abs=0.5)
    # The curve fits: near the mark, about half are right.
    near = np.abs(scores["cider_d"] - calibration.RIGHT_CIDER_D) < 15
    assert right[near].mean() == pytest.approx(0.5, abs=0.05)
    # Of the scores, CIDEr-D tells best what is right.
    auc = {name: reliability.measure_auc(values, right) for name, values in scores.items()}
    assert max(auc, key=auc.get) == "cider_d" and auc["cider_d"] > 0.87
    # Published: 43.9, in J. Hessel et al., "CLIPScore", EMNLP 2021. https://aclanthology.org/2021.emnlp-main.595
    grades = np.array([judgement.grades for judgement in judged])
    tau = reliability.measure_tau_c(np.repeat(scores["cider_d"], 3), grades.ravel())
    assert 100 * tau == pytest.approx(43.9, abs=0.05)


@pytest.fixture
def judged(drawn_dir, tmp_path):
    """The drawn data set, where experts judged two captions of one photo and one of another."""
    folder = Path(shutil.copytree(drawn_dir, tmp_path / "drawings"))
    one, two, three = datasets.read_dataset(folder, ("test",)).image_ids("test")[:3]
    write(folder, f"{one}\t{two}#0\t1\t2\t1", f"{one}\t{three}#1\t4\t3\t4", f"{two}\t{three}#0\t2\t2\t3")
    return datasets.read_dataset(folder)


def test_judged_captions_are_compared_with_what_the_captioner_thinks_of_them(build_captioner, judged, splits, stores):
    captioner = build_captioner()
    people = expert_judgements.compare_with_people(captioner, judged.folder, splits["test"])
    assert people["num_judgements"] == 3
    assert people["share_right"] == pytest.approx(1 / 3)
    assert people["tau_c"].keys() == people["auc"].keys() == {
        "log_prob_per_word", "cider_d", "rouge_l", "bleu_1", "bleu_4",
    }  # fmt: skip
    assert json.loads(json.dumps(people, allow_nan=False)) == people
    # One of three is right, so the AUC is the share of the two wrong ones that it beats.
    judged = expert_judgements.read_judgements(judged.folder, judged.image_ids("test"))
    pairs = [(judgement.image_id, judgement.caption) for judgement in judged]
    log_probs, counts = evaluation.measure_log_probs(captioner, pairs, stores["test"])
    wrong, right, also_wrong = log_probs / counts
    assert people["auc"]["log_prob_per_word"] == np.mean([right > wrong, right > also_wrong])


def test_data_without_judgements_is_refused(build_captioner, dataset, splits):
    with pytest.raises(ValueError, match="no judgements of its test photos. Expected: the file ExpertAnnotations.txt"):
        expert_judgements.compare_with_people(build_captioner(), dataset.folder, splits["test"])


def test_the_command_keeps_what_it_found(tiny_bundle, judged, project, monkeypatch, capsys):
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(judged.folder))
    monkeypatch.setattr(results, "RESULTS_DIR", project)
    monkeypatch.setattr(sys, "argv", ["expert_judgements", str(tiny_bundle)])
    expert_judgements.main()
    kept = json.loads((project / "expert_judgements.json").read_text())
    assert (kept["captioner"], kept["num_judgements"], kept["mark"]) == ("tiny", 3, calibration.RIGHT_CIDER_D)
    assert kept["versions"].keys() >= {"keras", "numpy"}
    assert "Wrote expert_judgements.json" in capsys.readouterr().out
