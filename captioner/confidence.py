"""What a captioner's "sure" is worth: against the references of a split, and beside what people say of captions."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from captioner import agreement, calibration, evaluation, judgements, metrics
from captioner.datasets import CaptionDataset
from captioner.features import FeatureStore
from captioner.inference import Caption, Captioner


def calibrate_captioner(
    captioner: Captioner, dataset: CaptionDataset, features: FeatureStore, split: str = "validation"
) -> dict:
    """Teaches a captioner to say how sure it is: sets its `calibration`.

    Args:
        captioner: The captioner, with the weights and the search that are saved.
        dataset: The data set, read with this split.
        features: Features of the split's photos.
        split: The split that the thresholds are chosen on.

    Returns:
        The report of `captioner.calibration.calibrate`, with what counted as right (`right_from_cider_d`) and how well
        each number that could be a confidence tells right from wrong (`auc`).
    """
    captions, scores = _caption_and_score(captioner, dataset, features, split)
    right = scores >= judgements.RIGHT_CIDER_D
    captioner.calibration, report = calibration.calibrate(list(captions), _confidences(captions), right)
    candidates = {
        "log_prob_per_word": _confidences(captions),
        "log_prob": [found[0].log_prob for found in captions.values()],
        "least_likely_word": [found[0].word_log_probs.min() for found in captions.values()],
    }
    if all(len(found) > 1 for found in captions.values()):
        candidates["lead_over_second"] = [found[0].score - found[1].score for found in captions.values()]
    auc = {name: agreement.measure_auc(values, right) for name, values in candidates.items()}
    return {"split": split, "right_from_cider_d": judgements.RIGHT_CIDER_D, "auc": auc, **report}


def check_calibration(
    captioner: Captioner, dataset: CaptionDataset, features: FeatureStore, split: str, *, people: dict | None = None
) -> list[dict]:
    """Returns what a calibrated captioner's words are worth on a split that they were not chosen on.

    Args:
        captioner: The captioner, after `calibrate_captioner`.
        dataset: The data set, read with this split.
        features: Features of the split's photos.
        split: The split.
        people: From `compare_with_people`; with it each row has `people`, the share of these captions that experts
            would call right, judging by their CIDEr-D.

    Returns:
        The rows of `captioner.calibration.tabulate`; none, if the captioner could not be calibrated.
    """
    if captioner.calibration is None:
        return []
    captions, scores = _caption_and_score(captioner, dataset, features, split)
    rows = calibration.tabulate(captioner.calibration, _confidences(captions), scores >= judgements.RIGHT_CIDER_D)
    if people:
        chances = judgements.expert_chances(agreement.ChanceCurve(**people["curve"]), scores)
        said = np.array([found[0].confidence for found in captions.values()])
        for row in rows:
            row["people"] = float(chances[said == row["label"]].mean()) if row["count"] else None
    return rows


def compare_with_people(
    captioner: Captioner, dataset: CaptionDataset, features: FeatureStore, split: str = "test"
) -> dict | None:
    """Compares what a captioner thinks of captions by people with what experts said of them.

    Args:
        captioner: The captioner; it reads the judged captions, it writes none.
        dataset: The data set, read with this split.
        features: Features of the split's photos.
        split: The split whose judgements are read; Flickr8k has some for test alone.

    Returns:
        `num_judgements`; `share_right` as the experts say; Kendall's `tau_c` with all their grades and `auc`, each of
        confidence and of scores; `curve`, see `captioner.judgements.fit_expert_curve`, and its chance at the CIDEr-D
        from which captions count as right, `chance_at_mark`. `None` where the data set has no judgements.
    """
    image_ids = evaluation.readable_photos(dataset, features, split)
    judged = judgements.read_judgements(dataset.folder, image_ids)
    if not judged:
        return None
    log_probs, counts = evaluation.measure_log_probs(captioner, [(j.image_id, j.caption) for j in judged], features)
    scores = judgements.score_judgements(judged, {i: dataset.references[i] for i in image_ids})
    values = {"log_prob_per_word": log_probs / counts} | scores
    right = np.array([judgement.right for judgement in judged])
    grades = np.array([judgement.grades for judgement in judged])  # (N, 3)
    curve = judgements.fit_expert_curve(scores["cider_d"], right)
    return {
        "num_judgements": len(judged),
        "share_right": float(right.mean()),
        # Every grade counts, as in published work.
        "tau_c": {name: agreement.measure_tau_c(np.repeat(v, 3), grades.ravel()) for name, v in values.items()},
        "auc": {name: agreement.measure_auc(v, right) for name, v in values.items()},
        "curve": dataclasses.asdict(curve),
        "chance_at_mark": float(judgements.expert_chances(curve, judgements.RIGHT_CIDER_D)),
    }


def _caption_and_score(
    captioner: Captioner, dataset: CaptionDataset, features: FeatureStore, split: str
) -> tuple[dict[str, list[Caption]], np.ndarray]:
    """Captions a split by the captioner's own search: image id -> captions, and CIDEr-D of the best ones, `(N,)`."""
    captions = dict(captioner.caption_store(features, evaluation.readable_photos(dataset, features, split)))
    references = {image_id: dataset.references[image_id] for image_id in captions}
    scores = metrics.score_per_photo({i: found[0].text for i, found in captions.items()}, references)
    return captions, np.array([scores[image_id] for image_id in captions])


def _confidences(captions: Mapping[str, Sequence[Caption]]) -> np.ndarray:
    return np.array([found[0].log_prob_per_word for found in captions.values()])
