"""Plain words for how sure a captioner is: what they promise, and that no word is said that is not borne out."""

import json

import numpy as np
import pytest

from captioner import config, inference
from captioner.config import Calibration
from captioner.scoring import calibration, evaluation, reliability


def simulate(count, *, seed, slope=4.0, level=0.0):
    """Confidences about -1.2 and captions that are right with a chance that rises with them."""
    random = np.random.default_rng(seed)
    confidences = random.normal(-1.2, 0.4, count)
    chances = 1 / (1 + np.exp(-(level + slope * (confidences + 1.2))))
    return confidences, random.random(count) < chances


def names(count):
    return [f"{number}.jpg" for number in range(count)]


def test_confidence_is_the_log_probability_of_each_word_and_the_end_marker():
    assert inference.confidence_of(-6.0, 2) == -2.0


def test_a_word_is_said_from_its_threshold_on():
    calibrated = Calibration(sure_from=-0.5, fairly_sure_from=-1.0)
    said = [calibrated.describe(confidence) for confidence in (-0.2, -0.5, -0.6, -1.0, -1.1)]
    assert said == ["sure", "sure", "fairly sure", "fairly sure", "guessing"]
    assert Calibration(None, -1.0).describe(0.0) == "fairly sure"
    assert Calibration().describe(0.0) == "guessing"


def test_thresholds_lie_where_the_chance_is_three_of_four_and_one_half():
    calibrated = calibration.choose_thresholds(*simulate(20_000, seed=0))
    # 4 (x + 1.2) = ln 3 and 0.
    assert calibrated.sure_from == pytest.approx(-1.2 + np.log(3) / 4, abs=0.03)
    assert calibrated.fairly_sure_from == pytest.approx(-1.2, abs=0.03)


def test_what_is_promised_holds_for_captions_that_nothing_was_chosen_on():
    calibrated = calibration.choose_thresholds(*simulate(500, seed=1))
    sure, fairly_sure, guessing = calibration.tabulate(calibrated, *simulate(5000, seed=2))
    assert sure["count"] > 500 and sure["right"] >= 0.75
    assert fairly_sure["count"] > 500 and 0.5 <= fairly_sure["right"] < 0.75
    assert guessing["right"] < 0.5


def test_a_captioner_that_is_mostly_wrong_always_guesses():
    confidences, _ = simulate(500, seed=3)
    right = np.random.default_rng(4).random(500) < 0.3
    assert calibration.choose_thresholds(confidences, right) == Calibration()
    assert calibration.choose_thresholds(confidences, np.zeros(500, bool)) == Calibration()


def test_a_captioner_that_is_always_right_is_always_sure():
    confidences, _ = simulate(200, seed=5)
    calibrated = calibration.choose_thresholds(confidences, np.ones(200, bool))
    assert calibrated == Calibration(sure_from=confidences.min())


def test_a_word_that_few_captions_bear_out_is_not_said():
    # The curve is steep between -2 and 0, so the nine above would be "sure", but nine are too few to check it.
    confidences = np.array([-2.0] * 91 + [0.0] * 9)
    assert calibration.choose_thresholds(confidences, confidences == 0) == Calibration()
    confidences = np.array([-2.0] * 90 + [0.0] * 10)
    assert calibration.choose_thresholds(confidences, confidences == 0) == Calibration(sure_from=0.0)


def test_a_word_is_not_said_where_the_curve_promises_more_than_the_captions_hold():
    # None of 50 right at -2, 26 of 40 at -1 and 21 of 30 at 0: the curve goes on rising, the captions do not.
    confidences = np.repeat([-2.0, -1.0, 0.0], [50, 40, 30])
    right = np.repeat([False, True, False, True, False], [50, 26, 14, 21, 9])
    assert reliability.fit_chance_curve(confidences, right)([0.0]) > 0.75
    assert calibration.choose_thresholds(confidences, right).sure_from is None


def test_a_table_has_counts_shares_and_intervals():
    confidences, right = np.array([-0.1, -0.2, -0.9, -3.0]), np.array([True, False, True, False])
    rows = calibration.tabulate(Calibration(-0.5, None), confidences, right)
    assert [(row["label"], row["count"], row["share"], row["right"]) for row in rows] == [
        ("sure", 2, 0.5, 0.5),
        ("fairly sure", 0, 0.0, None),
        ("guessing", 2, 0.5, 0.5),
    ]
    assert rows[1]["interval"] == [0.0, 1.0]
    assert calibration.write_table(rows).splitlines() == [
        "             captions  share  right  95% interval",
        "sure                2    50%    50%  9% to 91%",
        "fairly sure         0     0%",
        "guessing            2    50%    50%  9% to 91%",
    ]


def test_bins_hold_equal_numbers_from_the_least_to_the_most_confident():
    rows = calibration.bin_confidences(np.array([-1.0, -4.0, -2.0, -3.0]), np.array([True, False, True, False]), 2)
    assert [(row["confidence"], row["count"], row["right"]) for row in rows] == [(-3.5, 2, 0.0), (-1.5, 2, 1.0)]


def test_a_report_shows_the_half_that_nothing_was_chosen_on():
    confidences, right = simulate(400, seed=6)
    calibrated, report = calibration.calibrate(names(400), confidences, right)
    assert calibrated == calibration.choose_thresholds(confidences, right)
    assert (report["sure_from"], report["fairly_sure_from"]) == (calibrated.sure_from, calibrated.fairly_sure_from)
    assert report["share_right"] == right.mean()
    held_out = report["held_out"]
    assert 150 < held_out["num_photos"] < 250
    assert sum(row["count"] for row in held_out["table"]) == held_out["num_photos"]
    assert held_out["sure_from"] != report["sure_from"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_what_is_held_out_does_not_move_the_thresholds_of_the_other_half():
    confidences, right = simulate(400, seed=6)
    before = calibration.calibrate(names(400), confidences, right)[1]["held_out"]
    # The same captions in another order, and so many more right ones on the half that is checked.
    order = np.random.default_rng(0).permutation(400)
    image_ids = [names(400)[i] for i in order]
    after = calibration.calibrate(image_ids, confidences[order], right[order])[1]["held_out"]
    assert after == before


def test_too_few_photos_say_so_and_calibrate_nothing():
    calibrated, report = calibration.calibrate(names(99), *simulate(99, seed=7))
    assert calibrated is None
    assert report["num_photos"] == 99
    assert calibration.describe_report(report) == (
        "Too few photos to say when the captioner is sure: 100 with several captions each are needed, here are 99."
    )


@pytest.fixture
def few_are_enough(monkeypatch):
    """The 28 photos may calibrate, and a score of 1 is right, which some captions of random weights reach."""
    monkeypatch.setattr(calibration, "MIN_PHOTOS", 2)
    monkeypatch.setattr(calibration, "_MIN_SAID", 1)
    monkeypatch.setattr(calibration, "RIGHT_CIDER_D", 1.0)


def test_calibrating_sets_what_the_captioner_says(build_captioner, dataset, splits, few_are_enough):
    captioner = build_captioner()
    report = calibration.calibrate_captioner(captioner, splits["train"])
    assert (report["split"], report["num_photos"], report["right_from_cider_d"]) == ("train", 28, 1.0)
    assert list(report["auc"]) == ["log_prob_per_word", "log_prob", "least_likely_word", "lead_over_second"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert captioner.calibration == config.Calibration(report["sure_from"], report["fairly_sure_from"])
    captions = dict(captioner.caption_store(splits["train"].features, list(dataset.image_ids("train"))))
    said = [found[0].confidence for found in captions.values()]
    assert [said.count(row["label"]) for row in report["table"]] == [row["count"] for row in report["table"]]


def test_what_is_right_is_decided_by_the_score_of_each_photo(build_captioner, dataset, splits, few_are_enough):
    captioner = build_captioner()
    report = calibration.calibrate_captioner(captioner, splits["train"])
    captions = evaluation.write_captions(captioner, splits["train"])
    scores = calibration.metrics.score_per_photo(captions, dataset.references_of("train"))
    assert report["share_right"] == pytest.approx(np.mean([score >= 1 for score in scores.values()]))
    assert 0 < report["share_right"] < 1, "otherwise this test would compare nothing"


def test_a_greedy_captioner_has_no_second_caption_to_lead_over(build_captioner, dataset, splits, few_are_enough):
    captioner = build_captioner()
    captioner.settings = calibration.dataclasses.replace(captioner.settings, num_beams=1)
    assert "lead_over_second" not in calibration.calibrate_captioner(captioner, splits["train"])["auc"]


def test_on_six_photos_nothing_is_calibrated_and_it_is_said_why(build_captioner, dataset, splits):
    captioner = build_captioner()
    report = calibration.calibrate_captioner(captioner, splits["validation"])
    assert report["reason"].startswith("Too few photos")
    assert captioner.calibration is None
    assert calibration.check_calibration(captioner, splits["test"]) == []
    [found] = captioner.caption_features(*splits["test"].features.rows(dataset.image_ids("test")[:1]))
    assert {caption.confidence for caption in found} == {""}


def test_a_check_on_another_split_keeps_the_thresholds(build_captioner, dataset, splits, few_are_enough):
    captioner = build_captioner()
    # Whatever it thinks, it says "sure".
    captioner.calibration = config.Calibration(sure_from=-1e9)
    sure, *others = calibration.check_calibration(captioner, splits["test"])
    assert (sure["count"], sure["share"]) == (6, 1.0)
    assert [row["count"] for row in others] == [0, 0]
    assert captioner.calibration == config.Calibration(sure_from=-1e9)
