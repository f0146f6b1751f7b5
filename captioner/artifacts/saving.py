"""A saved captioner: a folder with everything that captions need but the weights of an encoder that is had elsewhere.

`artifacts/<name>/` holds `decoder.keras`, `vocabulary.json`, `config.json` (which encoder with which weights, how to
search, how captions were cleaned), `metrics.json` (what was measured), `README.md` (the model card) and `manifest.json`
(digests of all of these); where words are detected, `word_detector.h5`; where the encoder learnt, `fine_tuned.h5`, and
where it ships with the project, all of its weights. It is written beside its place and renamed, so nobody ever loads
half of one. Nothing in it is pickled.
"""

import dataclasses
import json
from pathlib import Path

from captioner import config, files, float16
from captioner.artifacts import card, catalogue, manifest, parts
from captioner.data import captions
from captioner.data.vocabulary import Vocabulary
from captioner.decoder.weights import load_decoder, save_decoder
from captioner.decoder.word_detector import WordDetector
from captioner.encoders import compact, kernels
from captioner.encoders.encoder import Encoder, load_encoder
from captioner.inference import Captioner


def save_captioner(captioner: Captioner, folder: str | Path, metrics: dict, *, replace: bool = False) -> Path:
    """Saves a captioner.

    Args:
        captioner: The captioner, with its encoder.
        folder: Where to, `artifacts/<name>`.
        metrics: What was measured; see `captioner.scoring.evaluation.evaluate_captioner`.
        replace: Whether to take the place of what is there, which is kept as `<name>~1`, `<name>~2` and so on.

    Returns:
        The folder.

    Raises:
        FileExistsError: If something is there and `replace` does not say so.
        BlockingIOError: If another process is saving there.
        ValueError: If weights are no numbers.
    """
    folder = Path(folder)
    float16.check_finite(captioner.decoder, "The decoder")
    float16.check_finite(captioner.encoder.model, "The encoder")
    if captioner.detector:
        captioner.detector.check_finite()
    files.heal_folder(folder)
    with files.hold(folder, "saving a captioner"):
        catalogue.check_place(folder, replace=replace)
        with files.replace_folder(folder, keep=True) as new:
            _write_files(captioner, new, folder.name, metrics)
    return folder


def _write_files(captioner: Captioner, new: Path, name: str, metrics: dict) -> None:
    save_decoder(captioner.decoder, new / parts.DECODER_FILE)
    if captioner.detector:
        captioner.detector.save(new / parts.DETECTOR_FILE)
    encoder = captioner.encoder
    if encoder.ships:
        compact.save_weights(encoder.network, new, encoder.facts)
    elif encoder.changed_layers:
        kernels.save_kernels(encoder.model, encoder.changed_layers, new / parts.KERNELS_FILE)
    captioner.vocabulary.save(new / parts.VOCABULARY_FILE)
    _write_json(new / catalogue.CONFIG_FILE, _describe(captioner))
    _write_json(new / catalogue.METRICS_FILE, metrics)
    (new / catalogue.CARD_FILE).write_text(card.write_card(captioner, name, metrics), encoding="utf-8")
    manifest.write_manifest(new)


def load_captioner(folder: str | Path, *, encoder: Encoder | None = None) -> Captioner:
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
    manifest.check_manifest(folder, (parts.VOCABULARY_FILE, parts.DECODER_FILE), whole=True)
    vocabulary = Vocabulary.load(folder / parts.VOCABULARY_FILE)
    decoder = load_decoder(folder / parts.DECODER_FILE)
    if len(vocabulary) != decoder.sizes["vocabulary_size"]:
        raise ValueError(
            f"{parts.VOCABULARY_FILE} and {parts.DECODER_FILE} in {folder} do not belong together. "
            f"Run {config.MAKER} again. Received: {len(vocabulary)} words for {decoder.sizes['vocabulary_size']}."
        )
    wanted = settings["encoder"]
    parts.check_version(folder, wanted)
    if encoder is None:
        own = folder / compact.WEIGHTS_FILE
        weights = own if own.is_file() else "imagenet"
        encoder = load_encoder(
            wanted["name"], regions_layer=wanted["regions_layer"], weights=weights, mirrored=wanted["mirrored"]
        )
        if (folder / parts.KERNELS_FILE).is_file():
            encoder.adopt_changes(kernels.load_kernels(encoder.model, folder / parts.KERNELS_FILE))
    _check_encoder(encoder, wanted, folder)
    float16.check_finite(encoder.model, f"The encoder of {folder}")
    detector = None
    if (folder / parts.DETECTOR_FILE).is_file():
        num_features = encoder.pooled_size + encoder.region_size
        detector = WordDetector.load(folder / parts.DETECTOR_FILE, len(vocabulary), num_features)
    search = catalogue.read_search(settings)
    if search.detector_weight and detector is None:
        raise FileNotFoundError(f"The captioner at {folder} lacks {parts.DETECTOR_FILE}. {files.MAKE_CAPTIONER_ANEW}")
    return Captioner(
        decoder,
        vocabulary,
        encoder,
        name=folder.name,
        settings=search,
        detector=detector,
        calibration=catalogue.read_calibration(settings),
        frozen=True,
    )


def _check_encoder(encoder: Encoder, wanted: dict, folder: Path) -> None:
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


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
