"""Reports on a split, at toy size: the drawn data set's six validation pictures."""

import dataclasses
import json
import math

import numpy as np
import pytest

from captioner import config
from captioner.encoders import features
from captioner.encoders.splits import pair_features
from captioner.inference import Captioner
from captioner.scoring import claims, evaluation, metrics
from captioner.training import run_files

DEMANDED = {
    "split", "num_photos", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider_d", "rouge_l", "distinct_captions",
    "words_used", "copied_from_train", "captions",
}  # fmt: skip


@pytest.fixture(scope="module")
def validation(splits):
    return splits["validation"]


@pytest.fixture(scope="module")
def train_captions(dataset):
    return [text for _, text in dataset.captions("train")]


@pytest.fixture(scope="module")
def report(_shared_tiny_captioner, validation, train_captions):
    return evaluation.evaluate_captioner(
        _shared_tiny_captioner, validation, train_captions=train_captions, progress=False
    )


def test_a_report_says_what_was_measured_on_what(report, dataset):
    assert report.keys() >= DEMANDED
    assert (report["captioner"], report["data"], report["split"]) == ("tiny", "drawings", "validation")
    assert (report["num_photos"], report["num_beams"], report["unreadable_photos"]) == (6, 2, 0)
    assert list(report["captions"]) == list(dataset.image_ids("validation"))
    assert report["versions"].keys() >= {"python", "keras", "tensorflow", "captioner"}
    assert report["unknown_words"] == 0
    assert report["copied_from_train"] == 0.0
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_report_scores_the_captions_it_holds(report, dataset, train_captions):
    references = dataset.references_of("validation")
    scores = metrics.score_captions(report["captions"], references, train_captions=train_captions)
    assert scores.items() <= report.items()
    assert report["bleu_1"] > 0


def test_the_search_of_a_report_may_be_chosen(tiny_captioner, dataset, validation):
    search = config.DecodingConfig(num_beams=1, length_penalty=0.0)
    chosen = evaluation.evaluate_captioner(tiny_captioner, validation, search=search, progress=False)
    assert (chosen["num_beams"], chosen["length_penalty"]) == (1, 0.0)
    greedy = tiny_captioner.caption_store(validation.features, list(dataset.image_ids("validation")), search)
    assert chosen["captions"] == {image_id: found[0].text for image_id, found in greedy}


def test_without_train_captions_copies_are_not_counted(tiny_captioner, validation):
    report = evaluation.evaluate_captioner(tiny_captioner, validation, progress=False)
    assert report["copied_from_train"] is None


def test_photos_that_cannot_be_read_are_left_out_and_counted(tiny_captioner, dataset, tmp_path):
    paths = dataset.photo_paths("validation")
    broken = list(paths)[2]
    paths[broken] = tmp_path / "broken.jpg"
    paths[broken].write_bytes(b"no picture")
    store = features.extract_features(tiny_captioner.encoder, paths, tmp_path / "features", progress=False)
    split = pair_features(dataset, "validation", store)
    report = evaluation.evaluate_captioner(tiny_captioner, split, progress=False)
    assert (report["unreadable_photos"], report["num_photos"], report["num_references"]) == (1, 5, 25)
    assert broken not in report["captions"]
    assert math.isfinite(report["perplexity"])


def weigh_words(captioner, weights):
    """Makes the probability of each of the 16 words its weight's share, whatever came before; 1 where none is given."""
    captioner.decoder.set_weights([np.zeros_like(weight) for weight in captioner.decoder.get_weights()])
    captioner.decoder.classifier.bias.assign(np.log([weights.get(token_id, 1) for token_id in range(16)]))


def test_a_decoder_that_knows_nothing_has_the_vocabulary_as_its_perplexity(build_captioner, validation):
    captioner = build_captioner()
    weigh_words(captioner, {})
    # V = 4 special words and 12 others.
    assert evaluation.measure_perplexity(captioner, validation) == pytest.approx(16.0, rel=1e-5)


def test_perplexity_equals_the_mean_over_words_and_end_markers_worked_out_by_hand(build_captioner, validation):
    captioner = build_captioner()
    # The other 13 have weight 1, so the sum is 4 + 2 + 3 + 13 = 22.
    weigh_words(captioner, {4: 4, 1: 2, 3: 3})
    one, two = list(validation.references)[:2]
    references = {one: ("a red zebra",), two: ("a a",)}
    # a 4/22, red 1/22, zebra (unknown) 2/22, end 3/22; a 4/22, a 4/22, end 3/22.
    expected = (22**7 / (4 * 1 * 2 * 3 * 4 * 4 * 3)) ** (1 / 7)
    split = dataclasses.replace(validation, references=references)
    assert evaluation.measure_perplexity(captioner, split) == pytest.approx(expected, rel=1e-5)


def test_perplexity_counts_every_word_of_a_caption_longer_than_training_reads(build_captioner, validation):
    captioner = build_captioner()
    weigh_words(captioner, {3: 5})
    # 40 words of 1/20 each and an end marker of 5/20.
    references = {next(iter(validation.references)): (" ".join(["red"] * 40),)}
    expected = (20**41 / 5) ** (1 / 41)
    split = dataclasses.replace(validation, references=references)
    assert evaluation.measure_perplexity(captioner, split) == pytest.approx(expected, rel=1e-5)


def test_log_probs_come_in_the_order_of_the_captions(build_captioner, dataset, stores):
    captioner = build_captioner()
    weigh_words(captioner, {4: 4, 1: 2, 3: 3})
    one, two = dataset.image_ids("validation")[:2]
    log_probs, counts = evaluation.measure_log_probs(
        captioner, [(one, "a red zebra"), (two, "a"), (one, "red")], stores["validation"]
    )
    # As above, of 22: a 4, red 1, zebra (unknown) 2, end 3.
    assert log_probs == pytest.approx(np.log([4 * 1 * 2 * 3 / 22**4, 4 * 3 / 22**2, 1 * 3 / 22**2]), rel=1e-5)
    assert list(counts) == [4, 2, 2]


def test_a_frozen_captioner_is_not_scored_while_it_learns(build_captioner, validation):
    captioner = build_captioner()
    frozen = Captioner(captioner.decoder, captioner.vocabulary, captioner.encoder, name="tiny", frozen=True)
    with pytest.raises(ValueError, match="tiny is frozen, as captioners are that were loaded, and cannot be trained"):
        evaluation.validation_scorer(frozen, validation)


def test_the_validation_scorer_sees_the_decoder_as_it_is_now(build_captioner, validation):
    captioner = build_captioner()
    score = evaluation.validation_scorer(captioner, validation)
    before = score(captioner.decoder)
    assert before.keys() == {"cider_d", "bleu_4", "rouge_l", "distinct_captions"}
    assert before["distinct_captions"] > 1
    captioner.decoder.set_weights([np.zeros_like(weight) for weight in captioner.decoder.get_weights()])
    assert score(captioner.decoder)["distinct_captions"] == 1


def test_controls_are_shuffled_captions_the_commonest_caption_and_people(report, dataset, train_captions):
    references = dataset.references_of("validation")
    controls = evaluation.score_controls(report["captions"], references, train_captions)
    assert controls.keys() == {"shuffled", "most_common", "human"}
    assert controls["human"].pop("claims") == claims.measure_people(references)
    for scores in controls.values():
        assert tuple(scores) == evaluation.HEADLINE
    assert controls["human"]["cider_d"] > report["cider_d"]
    common = metrics.most_common_caption(train_captions)
    scores = metrics.score_captions(dict.fromkeys(references, common), references)
    assert controls["most_common"]["bleu_1"] == scores["bleu_1"]


def test_people_are_measured_on_the_photos_that_several_of_them_described(report, dataset, train_captions):
    references = dataset.references_of("validation")
    first, *others = references
    controls = evaluation.score_controls(
        report["captions"], references | {first: references[first][:1]}, train_captions
    )
    expected = metrics.human_agreement({image_id: references[image_id] for image_id in others})
    assert controls["human"]["cider_d"] == expected["cider_d"]


def test_controls_that_cannot_be_had_are_left_out(report, dataset, train_captions):
    alone = {image_id: texts[:1] for image_id, texts in dataset.references_of("validation").items()}
    assert "human" not in evaluation.score_controls(report["captions"], alone, train_captions)
    image_id = next(iter(alone))
    one = evaluation.score_controls({image_id: "a"}, {image_id: dataset.references[image_id]}, train_captions)
    assert one.keys() == {"most_common", "human"}


def test_of_equal_epochs_the_earliest_is_the_best():
    history = [{"epoch": number, "val_cider_d": score} for number, score in enumerate((1.0, 3.0, 3.0, 2.0), 1)]
    assert run_files.best_row(history)["epoch"] == 2


def choose(captioner, split, monkeypatch, *, once=0.0, careful=0.0, rarity=-9.0, detector_weight=0.0, **options):
    """Chooses the search where CIDEr-D is 30 at penalties 1 and 1.25, 2 more at 1.5 if careful, and rules add this.

    A rarity of 1 adds `rarity`, a detector's weight of 1 `detector_weight`. Captions are borne out the more often the
    shorter they are and the more the detector weighs.
    """
    scores = {0.75: 10.0, 1.0: 30.0, 1.25: 30.0, 1.5: 20.0}
    found = {"bleu_4": 1.0, "mean_length": 9.0, "words_used": 300}

    def score(search, _):
        cider_d = scores[search.length_penalty] + once * search.say_once
        if search.careful:
            cider_d = (32.0 if search.length_penalty == 1.5 else cider_d) + careful
        return found | {"cider_d": cider_d + rarity * search.rarity + detector_weight * search.detector_weight}

    monkeypatch.setattr(evaluation, "write_captions", lambda *arguments: arguments[-1])
    monkeypatch.setattr(metrics, "score_captions", score)
    monkeypatch.setattr(claims, "measure_borne_out", lambda search, _: search.detector_weight - search.length_penalty)
    return evaluation.choose_search(captioner, split, **options)


@pytest.mark.parametrize(("gain", "say_once"), [(-1.0, False), (0.0, False), (1.0, True)])
def test_the_search_with_the_best_validation_captions_is_chosen(
    build_captioner, validation, monkeypatch, gain, say_once
):
    captioner = build_captioner(None)
    rows = choose(captioner, validation, monkeypatch, once=gain, may_doubt=False)
    # The smaller of equals.
    assert (captioner.settings.length_penalty, captioner.settings.say_once) == (1.0, say_once)
    assert [row["length_penalty"] for row in rows] == [0.75, 1.0, 1.25, 1.5, 1.0]
    assert (rows[-1]["say_once"], rows[-1]["cider_d"]) == (True, 30.0 + gain)
    assert not any(row["careful"] for row in rows) and not captioner.settings.careful


@pytest.mark.parametrize(("gain", "careful"), [(-4.5, False), (-4.0, True), (1.0, True)])
def test_the_careful_rule_is_taken_where_it_costs_at_most_two_points(
    build_captioner, validation, monkeypatch, gain, careful
):
    captioner = build_captioner(None)
    rows = choose(captioner, validation, monkeypatch, careful=gain)
    # With it the best penalty is another: 32 + gain at 1.5.
    assert captioner.settings.careful == careful
    assert captioner.settings.length_penalty == (1.5 if careful else 1.0)
    assert [row["length_penalty"] for row in rows if row["careful"] and not row["rarity"]] == [0.75, 1.0, 1.25, 1.5]
    assert not any(row["detector_weight"] for row in rows)


@pytest.mark.parametrize(
    ("gain", "careful", "chosen"),
    [
        # The best is without the detector, 32 at the penalty 1.5; a weight costs the gain times itself.
        (-0.2, 0.0, (1.5, 1.2)),
        (-1.4, 0.0, (1.5, 0.9)),
        (-2.0, 0.0, (1.5, 0.6)),
        (-4.0, 0.0, (1.5, 0.3)),
        (-10.0, 0.0, (1.5, 0.0)),
        (0.0, -2.0, (1.5, 1.2)),
        # Too dear, unless the detector makes up for it.
        (0.0, -4.5, (1.0, 0.0)),
        (10.0, -4.5, (1.5, 1.2)),
    ],
)
def test_of_the_searches_within_a_point_and_a_half_the_one_is_taken_that_is_borne_out_most_often(
    build_captioner, validation, monkeypatch, gain, careful, chosen
):
    captioner = build_captioner(None)
    captioner.detector = "some"
    rows = choose(captioner, validation, monkeypatch, careful=careful, detector_weight=gain)
    assert (captioner.settings.length_penalty, captioner.settings.detector_weight) == chosen
    assert captioner.settings.careful == (chosen[0] == 1.5)
    tried = [row["detector_weight"] for row in rows if row["careful"] and not row["rarity"]]
    assert tried == [0.0] * 4 + [0.3] * 4 + [0.6] * 4 + [0.9] * 4 + [1.2] * 4
    assert {row["borne_out"] for row in rows} >= {0.3 - 1.5, 0.6 - 0.75}


@pytest.mark.parametrize(("loss", "penalty"), [(1.4, 1.0), (1.6, 1.25)])
def test_a_search_of_shorter_captions_is_taken_where_it_costs_less_than_a_point_and_a_half(
    build_captioner, validation, monkeypatch, loss, penalty
):
    captioner = build_captioner(None)
    found = {"bleu_4": 1.0, "mean_length": 9.0, "words_used": 300}
    scores = {0.75: 10.0, 1.0: 30.0 - loss, 1.25: 30.0, 1.5: 20.0}
    monkeypatch.setattr(evaluation, "write_captions", lambda *arguments: arguments[-1])
    monkeypatch.setattr(metrics, "score_captions", lambda search, _: found | {"cider_d": scores[search.length_penalty]})
    monkeypatch.setattr(claims, "measure_borne_out", lambda search, _: -search.length_penalty)
    evaluation.choose_search(captioner, validation)
    assert captioner.settings.length_penalty == penalty


@pytest.mark.parametrize(
    ("rarity", "chosen"), [(-5.2, 0.0), (-4.8, 0.1), (-2.4, 0.2), (-1.4, 0.3), (0.0, 0.4), (1.0, 0.4)]
)
def test_rare_words_are_favoured_as_far_as_it_costs_at_most_half_a_point(
    build_captioner, validation, monkeypatch, rarity, chosen
):
    captioner = build_captioner(None)
    rows = choose(captioner, validation, monkeypatch, rarity=rarity)
    assert captioner.settings.rarity == chosen
    assert [row["rarity"] for row in rows if row["rarity"]] == [0.1, 0.2, 0.3, 0.4]
    assert captioner.settings.careful and captioner.settings.length_penalty == 1.5
