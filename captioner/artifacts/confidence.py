"""What a captioner's words for how sure it is are worth, in one sentence each, from its saved metrics.

The page, the command, the model card and the README say these sentences. No TensorFlow here.
"""

from collections.abc import Mapping

# A share of fewer captions says nothing.
_MIN_COUNT = 10


def explain_confidence(metrics: Mapping) -> dict[str, str]:
    """Returns for each word that a captioner says of a caption what that word is worth.

    Measured on the test split if that was measured, else on the split that the words were chosen on.

    Args:
        metrics: Content of its `metrics.json`; see `captioner.scoring.calibration` for the part that is read.

    Returns:
        Word -> sentence, the surest word first. Words that were said of fewer than ten captions are left out; all are,
        if the captioner was never calibrated.

    Example:
        >>> row = {"label": "sure", "count": 120, "right": 0.84}
        >>> explain_confidence({"calibration": {"test": [row]}})
        {'sure': 'Of captions like this, about 8 in 10 are right on photos of the test split.'}
    """
    calibration = metrics.get("calibration") or {}
    rows = calibration.get("test")
    rows, split = (rows, "test") if rows else (calibration.get("table") or [], calibration.get("split"))
    where = f"on {subject_of(metrics)} of the {split} split"
    shares = {row["label"]: _write_share(row["right"]) for row in rows if row["count"] >= _MIN_COUNT}
    return {word: f"Of captions like this, {share} right {where}." for word, share in shares.items()}


def list_confidence(metrics: Mapping) -> str:
    """Returns the same as a Markdown list."""
    said = explain_confidence(metrics)
    return "\n".join(f"- **{word}**: {sentence[0].lower()}{sentence[1:]}" for word, sentence in said.items())


def subject_of(metrics: Mapping) -> str:
    """Returns what a captioner was trained and measured on: "photos", or "drawings" of this project."""
    return "drawings" if metrics.get("data") == "drawings" else "photos"


def _write_share(share: float) -> str:
    tenths = round(10 * share)
    if tenths in (0, 10):
        return "nearly all are" if tenths else "hardly any is"
    return f"about {tenths} in 10 are" if tenths > 1 else "about 1 in 10 is"
