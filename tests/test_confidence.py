"""A captioner calibrated on the drawn data set's 28 train pictures, and held against judgements, at toy size."""

import json
import shutil

import numpy as np
import pytest

from captioner import calibration, confidence, datasets, evaluation, features, judgements


@pytest.fixture(scope="module")
def data_dir(drawn_dir, tmp_path_factory):
    """The drawn data set, where experts judged two captions of one photo and one of another."""
    folder = tmp_path_factory.mktemp("judged") / "drawings"
    shutil.copytree(drawn_dir, folder)
    one, two, three = datasets.read_dataset(folder, ("test",)).image_ids("test")[:3]
    lines = [f"{one}\t{two}#0\t1\t2\t1", f"{one}\t{three}#1\t4\t3\t4", f"{two}\t{three}#0\t2\t2\t3"]
    (folder / judgements.EXPERT_FILE).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def stores(_shared_tiny_captioner, data_dir, tmp_path_factory):
    dataset = datasets.read_dataset(data_dir)
    folder = tmp_path_factory.mktemp("features")
    return {
        split: features.extract_features(
            _shared_tiny_captioner.encoder, dataset.photo_paths(split), folder / split, progress=False
        )
        for split in dataset.splits
    }


@pytest.fixture(scope="module")
def dataset(data_dir):
    return datasets.read_dataset(data_dir)


@pytest.fixture
def few_are_enough(monkeypatch):
    """The 28 photos may calibrate, and a score of 1 is right, which some captions of random weights reach."""
    monkeypatch.setattr(calibration, "MIN_PHOTOS", 2)
    monkeypatch.setattr(calibration, "_MIN_SAID", 1)
    monkeypatch.setattr(judgements, "RIGHT_CIDER_D", 1.0)


def test_calibrating_sets_what_the_captioner_says(build_captioner, dataset, stores, few_are_enough):
    captioner = build_captioner()
    report = confidence.calibrate_captioner(captioner, dataset, stores["train"], "train")
    assert (report["split"], report["num_photos"], report["right_from_cider_d"]) == ("train", 28, 1.0)
    assert list(report["auc"]) == ["log_prob_per_word", "log_prob", "least_likely_word", "lead_over_second"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert captioner.calibration == calibration.Calibration(report["sure_from"], report["fairly_sure_from"])
    captions = dict(captioner.caption_store(stores["train"], list(dataset.image_ids("train"))))
    said = [found[0].confidence for found in captions.values()]
    assert [said.count(row["label"]) for row in report["table"]] == [row["count"] for row in report["table"]]


def test_what_is_right_is_decided_by_the_score_of_each_photo(build_captioner, dataset, stores, few_are_enough):
    captioner = build_captioner()
    report = confidence.calibrate_captioner(captioner, dataset, stores["train"], "train")
    captions = evaluation.write_captions(captioner, stores["train"], list(dataset.image_ids("train")))
    scores = confidence.metrics.score_per_photo(captions, dataset.references_of("train"))
    assert report["share_right"] == pytest.approx(np.mean([score >= 1 for score in scores.values()]))
    assert 0 < report["share_right"] < 1, "otherwise this test would compare nothing"


def test_a_greedy_captioner_has_no_second_caption_to_lead_over(build_captioner, dataset, stores, few_are_enough):
    captioner = build_captioner()
    captioner.settings = confidence.dataclasses.replace(captioner.settings, num_beams=1)
    assert "lead_over_second" not in confidence.calibrate_captioner(captioner, dataset, stores["train"], "train")["auc"]


def test_on_six_photos_nothing_is_calibrated_and_it_is_said_why(build_captioner, dataset, stores):
    captioner = build_captioner()
    report = confidence.calibrate_captioner(captioner, dataset, stores["validation"])
    assert report["reason"].startswith("Too few photos")
    assert captioner.calibration is None
    assert confidence.check_calibration(captioner, dataset, stores["test"], "test") == []
    [found] = captioner.caption_features(*stores["test"].rows(dataset.image_ids("test")[:1]))
    assert {caption.confidence for caption in found} == {""}


def test_judged_captions_are_compared_with_what_the_captioner_thinks_of_them(build_captioner, dataset, stores):
    captioner = build_captioner()
    people = confidence.compare_with_people(captioner, dataset, stores["test"])
    assert people["num_judgements"] == 3
    assert people["share_right"] == pytest.approx(1 / 3)
    assert people["tau_c"].keys() == people["auc"].keys() == {
        "log_prob_per_word", "cider_d", "rouge_l", "bleu_1", "bleu_4",
    }  # fmt: skip
    assert json.loads(json.dumps(people, allow_nan=False)) == people
    # One of three is right, so the AUC is the share of the two wrong ones that it beats.
    judged = judgements.read_judgements(dataset.folder, dataset.image_ids("test"))
    pairs = [(judgement.image_id, judgement.caption) for judgement in judged]
    log_probs, counts = evaluation.measure_log_probs(captioner, pairs, stores["test"])
    wrong, right, also_wrong = log_probs / counts
    assert people["auc"]["log_prob_per_word"] == np.mean([right > wrong, right > also_wrong])


def test_data_without_judgements_is_compared_with_nobody(build_captioner, drawn_dir, stores):
    dataset = datasets.read_dataset(drawn_dir)
    assert confidence.compare_with_people(build_captioner(), dataset, stores["test"]) is None


def test_a_check_on_another_split_keeps_the_thresholds(build_captioner, dataset, stores, few_are_enough):
    captioner = build_captioner()
    # Whatever it thinks, it says "sure"; and whatever the score, one half of the experts agree.
    captioner.calibration = calibration.Calibration(sure_from=-1e9)
    people = {"curve": {"level": 0.0, "slope": 0.0}}
    sure, *others = confidence.check_calibration(captioner, dataset, stores["test"], "test", people=people)
    assert (sure["count"], sure["share"], sure["people"]) == (6, 1.0, 0.5)
    assert [(row["count"], row["people"]) for row in others] == [(0, None), (0, None)]
    assert captioner.calibration == calibration.Calibration(sure_from=-1e9)
    assert "people" not in confidence.check_calibration(captioner, dataset, stores["test"], "test")[0]
