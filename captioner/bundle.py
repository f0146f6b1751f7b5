"""A saved captioner: a folder with everything that captions need but the weights of a downloaded encoder.

`artifacts/<name>/` holds `decoder.keras`, `vocabulary.json`, `config.json` (which encoder with which weights, how to
search, how captions were cleaned), `metrics.json` (what was measured) and `README.md` (the model card). It is written
beside its place and renamed, so nobody ever loads half of one. Nothing in it is pickled.
"""

import dataclasses
import json
import os
import shutil
import zipfile
import zlib
from pathlib import Path

import keras

from captioner import captions, catalogue, compact, config, encoders, self_critical, storage
from captioner.calibration import Calibration
from captioner.decoder import CaptionDecoder
from captioner.inference import Captioner
from captioner.vocabulary import Vocabulary

DECODER_FILE, VOCABULARY_FILE = "decoder.keras", "vocabulary.json"


def save_captioner(captioner: Captioner, folder: str | Path, metrics: dict) -> Path:
    """Saves a captioner, replacing one that is there.

    Args:
        captioner: The captioner, with its encoder.
        folder: Where to, `artifacts/<name>`.
        metrics: What was measured; see `captioner.evaluation.evaluate_captioner`.

    Returns:
        The folder.
    """
    folder = Path(folder)
    new, old = (folder.with_name(f".{folder.name}.{state}") for state in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    _without_optimizer(captioner.decoder).save(new / DECODER_FILE)
    storage.halve_archive(new / DECODER_FILE)
    if captioner.encoder.is_ours and captioner.encoder.weights_file:
        shutil.copyfile(captioner.encoder.weights_file, new / compact.WEIGHTS_FILE)
        description = captioner.encoder.weights_file.with_name(catalogue.ENCODER_FILE)
        if description.is_file():
            shutil.copyfile(description, new / catalogue.ENCODER_FILE)
    captioner.vocabulary.save(new / VOCABULARY_FILE)
    _write_json(new / catalogue.CONFIG_FILE, _describe(captioner))
    _write_json(new / catalogue.METRICS_FILE, metrics)
    (new / catalogue.CARD_FILE).write_text(_model_card(captioner, folder.name, metrics), encoding="utf-8")
    if folder.exists():
        # Only now: a process killed between the two renames leaves the old captioner here alone.
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def load_captioner(folder: str | Path, *, encoder: encoders.Encoder | None = None) -> Captioner:
    """Loads a captioner and its encoder.

    Args:
        folder: Where it was saved.
        encoder: The encoder, if it is loaded already.

    Raises:
        FileNotFoundError: If there is none, a file of it is missing, or the encoder's weights cannot be had.
        ValueError: If a file is damaged, or the encoder has other weights than the captioner was trained on.
    """
    folder = Path(folder)
    settings = catalogue.read_config(folder)
    for name in (VOCABULARY_FILE, DECODER_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"The captioner at {folder} lacks {name}. Run model.ipynb again to make it anew.")
    vocabulary = Vocabulary.load(folder / VOCABULARY_FILE)
    try:
        decoder = keras.saving.load_model(folder / DECODER_FILE, compile=False)
        if not isinstance(decoder, CaptionDecoder):
            raise TypeError(f"a {type(decoder).__name__} in place of a CaptionDecoder")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(catalogue.damaged(folder / DECODER_FILE) + f" Received: {reason[:120]}") from None
    if len(vocabulary) != decoder.sizes["vocabulary_size"]:
        raise ValueError(
            f"{VOCABULARY_FILE} and {DECODER_FILE} in {folder} do not belong together. Run model.ipynb again. "
            f"Received: {len(vocabulary)} words for {decoder.sizes['vocabulary_size']}."
        )
    wanted = settings["encoder"]
    if encoder is None:
        own = folder / compact.WEIGHTS_FILE
        weights = own if own.is_file() else "imagenet"
        encoder = encoders.load_encoder(
            wanted["name"], regions_layer=wanted["regions_layer"], weights=weights, mirrored=wanted["mirrored"]
        )
    _check_encoder(encoder, wanted, folder)
    # Captioners saved before there was that rule were scored without it.
    decoding = config.DecodingConfig(**{"no_repeat": 0} | settings["decoding"])
    calibration = settings.get("calibration")
    return Captioner(
        decoder,
        vocabulary,
        encoder,
        name=folder.name,
        settings=decoding,
        calibration=None if calibration is None else Calibration(**calibration),
    )


def _without_optimizer(decoder: CaptionDecoder) -> CaptionDecoder:
    """Returns a copy that was never compiled: the optimizer's state would triple the file."""
    copy = CaptionDecoder.from_config(decoder.get_config())
    copy.set_weights(decoder.get_weights())
    return copy


def _check_encoder(encoder: encoders.Encoder, wanted: dict, folder: Path) -> None:
    for key in catalogue.ENCODER_KEYS:
        if getattr(encoder, key) != wanted[key]:
            raise ValueError(
                f"The captioner at {folder} was trained on features of another encoder, so its captions would be "
                f"nonsense: {key} {wanted[key]!r} is expected. Received: {key}={getattr(encoder, key)!r}"
            )


def _describe(captioner: Captioner) -> dict:
    return {
        "format": catalogue.FORMAT,
        "cleaning_version": captions.CLEANING_VERSION,
        "encoder": {key: getattr(captioner.encoder, key) for key in catalogue.ENCODER_KEYS},
        "decoder": captioner.decoder.sizes | dataclasses.asdict(captioner.decoder.settings),
        "decoding": dataclasses.asdict(captioner.settings),
        "calibration": dataclasses.asdict(captioner.calibration) if captioner.calibration else None,
    }


def _model_card(captioner: Captioner, name: str, metrics: dict) -> str:
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
    return _CARD.format(
        name=name,
        encoder=_describe_encoder(captioner.encoder),
        data=metrics.get("data", "its data set"),
        training=_describe_training(metrics.get("refinement") or []),
        words=len(captioner.vocabulary),
        parameters=captioner.decoder.count_params() / 1e6,
        beams=captioner.settings.num_beams,
        split=metrics.get("split", "?"),
        photos=metrics.get("num_photos", "?"),
        rows=rows,
    )


def _describe_training(refinement: list[dict]) -> str:
    """Returns how a decoder was trained: `refinement` has a row for each round, of which 0 is before the first."""
    if not refinement or not self_critical.best_round(refinement)["round"]:
        return "by likelihood"
    return "by likelihood and then by the CIDEr-D of its own captions"


def _describe_encoder(encoder: encoders.Encoder) -> str:
    text = f"Encoder: `{encoder.name}`, frozen, regions from its layer `{encoder.regions_layer}`."
    text += " Features are means over the photo and its mirror image." if encoder.mirrored else ""
    description = encoder.weights_file and encoder.weights_file.with_name(catalogue.ENCODER_FILE)
    if not encoder.is_ours or not description or not description.is_file():
        return text
    facts = json.loads(description.read_text(encoding="utf-8"))
    teacher = f"taught by `{facts['teacher']}`" if facts["teacher"] else "taught by captions alone"
    # What it was taught on was not written down from the beginning.
    pictures = (
        f"{facts['train_photos']:,} train pictures of {' and '.join(facts['data'])}" if "data" in facts else "photos"
    )
    return (
        f"{text}\n"
        f"  It is this project's own: {facts['parameters'] / 1e6:.1f} million parameters, {teacher} on "
        f"{facts['views']:,} views of\n  {pictures}; what that gave is in `{catalogue.ENCODER_FILE}`."
    )


_CARD = """# Captioner `{name}`

Describes a photo in one English sentence.

- {encoder}
- Decoder: an LSTM with additive attention, {parameters:.1f} million parameters, {words} words. Search: {beams} beams.
- Training: on the train split of {data}, {training}.
  Freely written validation captions decided by their CIDEr-D which weights were kept.

| score on {split} ({photos} photos) | percent |
|---|---|
{rows}

All that was measured is in `metrics.json`.

## Limits
- It knows what its training photos show. Flickr8k is mostly dogs, children, sport and outdoor scenes; of anything else
  it guesses, and the guess reads as fluently as the truth.
- It describes people by stereotype: it guesses gender and age from clothes, hair and activity.
- Counts, colours and small things are often wrong. It reads no text and knows no names.
- Do not use it where a wrong description can do harm. For alt text, read what it says before it is published.

## Terms
Flickr8k (Hodosh, Young and Hockenmaier, JAIR 47, 2013) is for non-commercial research and education; a captioner
trained on it is best held to the same.
"""


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
