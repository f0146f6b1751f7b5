"""How sure a captioner is, in plain words that were held against captions known to be right or wrong.

A confidence is the log-probability of a caption for each word, the end marker counted. A logistic curve turns it to
the chance that the caption is right (Platt scaling), and the chance to a word: "sure" where it is at least three of
four, "fairly sure" where it is at least one half, else "guessing". A word that the captions at hand do not bear out is
never said. What counts as right is `RIGHT_CIDER_D`.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from captioner import config
from captioner.encoders.splits import EncodedSplit
from captioner.inference import Caption, Captioner
from captioner.scoring import metrics, reliability

SURE_CHANCE, FAIRLY_SURE_CHANCE = 0.75, 0.5
# From this CIDEr-D on a caption counts as right: experts call one like it right more often than not. It is where the
# curve of `benchmarks.expert_judgements` crosses one half on Flickr8k's 5,664 expert judgements, 46.4.
RIGHT_CIDER_D = 46.0
# Of fewer photos a half says too little: the interval of a share of 50 is 27 points wide.
MIN_PHOTOS = 100
# A word said of fewer captions could not be checked.
_MIN_SAID = 10


def calibrate(
    image_ids: Sequence[str], confidences: np.ndarray, right: np.ndarray
) -> tuple[config.Calibration | None, dict]:
    """Chooses the thresholds and reports what they are worth.

    They are chosen twice: on one half of the photos, to see on the other whether the promises hold where nothing was
    chosen (`held_out`); then on all photos, for use.

    Args:
        image_ids: The photos.
        confidences: Of their captions, `(N,)`.
        right: Whether each is right, bool `(N,)`.

    Returns:
        The calibration and a report for `json.dump`. With fewer than 100 photos the calibration is `None`, and the
        report has a `reason` in place of numbers.
    """
    count = len(image_ids)
    if count < MIN_PHOTOS:
        reason = (
            f"Too few photos to say when the captioner is sure: {MIN_PHOTOS} with several captions each are needed, "
            f"here are {count}."
        )
        return None, {"num_photos": count, "reason": reason}
    confidences, right = np.asarray(confidences, float), np.asarray(right, bool)
    # By name, so that a photo is in the same half whatever other photos there are.
    fitted = np.array([hashlib.sha256(image_id.encode()).digest()[0] % 2 == 0 for image_id in image_ids])
    half = choose_thresholds(confidences[fitted], right[fitted])
    calibration = choose_thresholds(confidences, right)
    return calibration, {
        "num_photos": count,
        "share_right": float(right.mean()),
        "curve": dataclasses.asdict(reliability.fit_chance_curve(confidences, right)),
        **dataclasses.asdict(calibration),
        "table": tabulate(calibration, confidences, right),
        "bins": bin_confidences(confidences, right),
        "held_out": {
            "num_photos": int((~fitted).sum()),
            **dataclasses.asdict(half),
            "table": tabulate(half, confidences[~fitted], right[~fitted]),
        },
    }


def choose_thresholds(confidences: np.ndarray, right: np.ndarray) -> config.Calibration:
    """Returns from which confidence on the chance to be right is large enough for "sure" and for "fairly sure".

    Args:
        confidences: `(N,)` float, at least one.
        right: `(N,)` bool.
    """
    chances = reliability.fit_chance_curve(confidences, right)(confidences)
    sure_from = _bear_out(confidences, right, chances >= SURE_CHANCE, SURE_CHANCE)
    left = confidences < (np.inf if sure_from is None else sure_from)
    fairly_sure = left & (chances >= FAIRLY_SURE_CHANCE)
    return config.Calibration(sure_from, _bear_out(confidences, right, fairly_sure, FAIRLY_SURE_CHANCE))


def tabulate(calibration: config.Calibration, confidences: np.ndarray, right: np.ndarray) -> list[dict]:
    """Returns a row for each label: `label`, `count`, `share` of all, `right` (share) and its 95 percent interval.

    Args:
        calibration: Thresholds.
        confidences: `(N,)` float.
        right: `(N,)` bool.
    """
    said = np.array([calibration.describe(confidence) for confidence in confidences])
    return [{"label": label, **_summarize(right[said == label], len(right))} for label in config.LABELS]


def bin_confidences(confidences: np.ndarray, right: np.ndarray, num_bins: int = 10) -> list[dict]:
    """Returns the rows of a reliability plot: equal numbers of captions from the least to the most confident.

    Args:
        confidences: `(N,)` float.
        right: `(N,)` bool.
        num_bins: How many rows.

    Returns:
        Rows with the mean `confidence` and what a row of `tabulate` has.
    """
    parts = np.array_split(np.argsort(confidences, kind="stable"), num_bins)
    return [{"confidence": float(confidences[part].mean()), **_summarize(right[part], len(right))} for part in parts]


def describe_report(report: dict) -> str:
    """Returns the table of a report from `calibrate`, or the reason why there is none."""
    return report.get("reason") or write_table(report["table"])


def write_table(rows: Sequence[dict]) -> str:
    """Returns the rows of `tabulate` as lines of text."""
    lines = [f"{'':<12} captions  share  right  95% interval"]
    for row in rows:
        line = f"{row['label']:<12} {row['count']:>8,} {row['share']:>6.0%}"
        if row["count"]:
            low, high = row["interval"]
            line += f" {row['right']:>6.0%}  {f'{low:.0%} to {high:.0%}':<12}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _bear_out(confidences: np.ndarray, right: np.ndarray, said: np.ndarray, share: float) -> float | None:
    """Returns the least confidence of which a word is said, or `None` where too few of these captions are right."""
    if said.sum() < _MIN_SAID or right[said].mean() < share:
        return None
    return float(confidences[said].min())


def _summarize(right: np.ndarray, total: int) -> dict:
    count, hits = len(right), int(right.sum())
    return {
        "count": count,
        "share": count / total,
        "right": hits / count if count else None,
        "interval": list(reliability.share_interval(hits, count)),
    }


def calibrate_captioner(captioner: Captioner, split: EncodedSplit) -> dict:
    """Teaches a captioner to say how sure it is: sets its `calibration`.

    Args:
        captioner: The captioner, with the weights and the search that are saved.
        split: The split that the thresholds are chosen on.

    Returns:
        The report of `calibrate`, with what counted as right (`right_from_cider_d`) and how well
        each number that could be a confidence tells right from wrong (`auc`).
    """
    captions, scores = _caption_and_score(captioner, split)
    right = scores >= RIGHT_CIDER_D
    captioner.calibration, report = calibrate(list(captions), _confidences(captions), right)
    candidates = {
        "log_prob_per_word": _confidences(captions),
        "log_prob": np.array([found[0].log_prob for found in captions.values()]),
        "least_likely_word": np.array([found[0].word_log_probs.min() for found in captions.values()]),
    }
    if captions and all(len(found) > 1 for found in captions.values()):
        candidates["lead_over_second"] = np.array([found[0].score - found[1].score for found in captions.values()])
    auc = {name: reliability.measure_auc(values, right) for name, values in candidates.items()}
    return {"split": split.name, "right_from_cider_d": RIGHT_CIDER_D, "auc": auc, **report}


def check_calibration(captioner: Captioner, split: EncodedSplit) -> list[dict]:
    """Returns what a calibrated captioner's words are worth on a split that they were not chosen on.

    Args:
        captioner: The captioner, after `calibrate_captioner`.
        split: The split.

    Returns:
        The rows of `tabulate`; none, if the captioner could not be calibrated.
    """
    if captioner.calibration is None:
        return []
    captions, scores = _caption_and_score(captioner, split)
    return tabulate(captioner.calibration, _confidences(captions), scores >= RIGHT_CIDER_D)


def _caption_and_score(captioner: Captioner, split: EncodedSplit) -> tuple[dict[str, list[Caption]], np.ndarray]:
    """Captions a split by the captioner's own search: image id -> captions, and CIDEr-D of the best ones, `(N,)`.

    Photos with one reference are left out: what counts as right is a score against several.
    """
    captions = dict(captioner.caption_store(split.features, list(split.references)))
    scores = metrics.score_per_photo({i: found[0].text for i, found in captions.items()}, split.references)
    judged = {i: found for i, found in captions.items() if len(split.references[i]) > 1}
    return judged, np.array([scores[image_id] for image_id in judged])


def _confidences(captions: Mapping[str, Sequence[Caption]]) -> np.ndarray:
    return np.array([found[0].log_prob_per_word for found in captions.values()])
