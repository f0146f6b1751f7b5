"""The model card of a captioner: what it is, what it scored, what it cannot do, and its terms."""

from captioner.artifacts import confidence, parts
from captioner.encoders import compact, specs
from captioner.encoders.encoder import Encoder
from captioner.inference import Captioner


def write_card(captioner: Captioner, name: str, metrics: dict) -> str:
    """Returns the model card of a captioner, Markdown.

    Args:
        captioner: The captioner, with its encoder.
        name: Its name.
        metrics: What was measured; see `captioner.scoring.evaluation.evaluate_captioner`.
    """
    rows = "\n".join(
        f"| {label} | {metrics[key]:.1f} |"
        for key, label in (
            ("bleu_1", "BLEU-1"),
            ("bleu_4", "BLEU-4"),
            ("cider_d", "CIDEr-D"),
            ("rouge_l", "ROUGE-L"),
        )
        if key in metrics
    )
    subject = confidence.subject_of(metrics)
    is_tuned = bool(captioner.encoder.changed_layers) or _went_on(metrics.get("fine_tuning"), "epoch")
    return _CARD.format(
        name=name,
        subject=subject,
        one="photo" if subject == "photos" else "drawing of this project",
        sureness=_describe_confidence(metrics),
        limits=_LIMITS[subject],
        terms=_TERMS[subject] + (_ENCODER_TERMS if subject == "drawings" and captioner.encoder.ships else ""),
        encoder=_describe_encoder(captioner.encoder, is_tuned),
        data=metrics.get("data", "its data set"),
        training=_describe_training(metrics, is_tuned),
        effort=_describe_effort(metrics),
        words=len(captioner.vocabulary),
        parameters=captioner.decoder.count_params() / 1e6,
        beams=captioner.settings.num_beams,
        detector=_describe_detector(captioner),
        split=metrics.get("split", "?"),
        photos=metrics.get("num_photos", "?"),
        rows=rows,
    )


def _describe_confidence(metrics: dict) -> str:
    """Returns a line for each word that says how sure the captioner is, with what the word is worth."""
    lines = confidence.list_confidence(metrics)
    if not lines:
        return "It was never measured when it is right, so it says nothing of how sure it is."
    mark = metrics["calibration"].get("right_from_cider_d")
    right = "" if mark is None else _RIGHT.format(mark=mark, subject=confidence.subject_of(metrics))
    return f"{lines}{right}"


def _describe_training(metrics: dict, is_tuned: bool) -> str:
    """Returns how a decoder was trained."""
    text = "by likelihood"
    if "taught_by" in metrics:
        text += ", together with its encoder, from photos"
        teachers = " and ".join(f"`{name}`" for name in metrics["taught_by"])
        text += f", and by the words that {teachers} found likely" if teachers else ""
    elif is_tuned:
        text += ", at first alone, then with the last stages of its encoder"
    if not _went_on(metrics.get("refinement"), "round"):
        return text
    return f"{text} and then by the CIDEr-D of its own captions"


def _went_on(history: list[dict] | None, count: str) -> bool:
    """Says whether a stage brought anything; the first row of its history is of the captioner as it came."""
    return max(history, key=lambda row: row["val_cider_d"])[count] > 0 if history else False


def _describe_effort(metrics: dict) -> str:
    """Returns a line on how long the training took, and on what; nothing where nobody wrote it down."""
    if "trained_on" not in metrics:
        return ""
    return f"\n  The training took {sum(metrics['minutes'].values()):.0f} minutes on {metrics['trained_on']}."


def _describe_encoder(encoder: Encoder, is_tuned: bool) -> str:
    frozen = "trained with the decoder" if is_tuned else "frozen"
    text = f"Encoder: `{encoder.name}`, {frozen}, regions from its layer `{encoder.regions_layer}`."
    text += " Features are means over the photo and its mirror image." if encoder.mirrored else ""
    text += f" It sees photos of {encoder.image_size}x{encoder.image_size} pixels."
    if not encoder.ships and not encoder.changed_layers:
        return text
    file, held = (compact.WEIGHTS_FILE, "all") if encoder.ships else (parts.KERNELS_FILE, "what was changed")
    origin = specs.ENCODERS[encoder.name].origin
    text += f"\n  `{file}` holds {held} of it." + (f" It is {origin}." if origin else "")
    if learnt_by := encoder.facts.get("captioner"):
        text += f" It goes back to the captioner `{learnt_by}`."
    return text


def _describe_detector(captioner: Captioner) -> str:
    if captioner.detector is None:
        return ""
    count, file = len(captioner.detector.word_ids), parts.DETECTOR_FILE
    return f"\n  `{file}` says how likely people are to use each of {count:,} words of a photo; the search heeds it."


_CARD = """# Captioner `{name}`

Describes a {one} in one English sentence.

- {encoder}
- Decoder: an LSTM with additive attention, {parameters:.1f} million parameters, {words} words.
  Search: {beams} beams.{detector}
- Training: on the train split of {data}, {training}.
  Freely written validation captions decided by their CIDEr-D which weights were kept.{effort}

| score on {split} ({photos} {subject}) | times 100 |
|---|---|
{rows}

All that was measured is in `metrics.json`.

## How sure it is
{sureness}

## Limits
{limits}

## Terms
{terms}
"""

_RIGHT = """

A caption counts as right from a CIDEr-D of {mark:.0f} on, measured against the captions that the {subject} come
with: from there on experts call a caption right more often than not."""

_LIMITS = {
    "photos": """\
- It knows what its training photos show. Flickr8k is mostly dogs, children, sport and outdoor scenes; of anything else
  it guesses, and the guess reads as fluently as the truth.
- It describes people by stereotype: it guesses gender and age from clothes, hair and activity.
- Counts, colours and small things are often wrong. It reads no text and knows no names.
- Do not use it where a wrong description can do harm. For alt text, read what it says before it is published.""",
    "drawings": """\
- It knows nothing but the drawings of this project: one to three coloured things such as stars, boats and trees, and
  where they are. Shown a photo, it names such things all the same.
- Its scores were measured on drawings and say nothing about photos.""",
}

_TERMS = {
    "photos": """\
Flickr8k (Hodosh, Young and Hockenmaier, JAIR 47, 2013) is for non-commercial research and education; a captioner
trained on it is best held to the same.""",
    "drawings": "The drawings and their captions are made by this project, under its licence.",
}

_ENCODER_TERMS = """
What its encoder knows it learnt from Flickr8k (Hodosh, Young and Hockenmaier, JAIR 47, 2013), which is for
non-commercial research and education."""
