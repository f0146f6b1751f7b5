"""From photos to a saved captioner in one call: the steps of `model.ipynb`, for the command line."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import keras

from captioner import config, float16
from captioner.artifacts import catalogue, saving
from captioner.data import datasets
from captioner.data.vocabulary import Vocabulary
from captioner.decoder import batches
from captioner.decoder.network import CaptionDecoder
from captioner.encoders import crops, features, weights
from captioner.encoders.encoder import Encoder, load_encoder
from captioner.inference import Captioner
from captioner.scoring import calibration, evaluation
from captioner.training import fine_tuning, self_critical, teacher_forcing


def train_captioner(
    data: str | Path | None = None,
    encoder_name: str = "auto",
    *,
    name: str | None = None,
    encoder_weights: str | Path = "imagenet",
    mirrored: bool = config.MIRRORED,
    decoder_choices: Mapping | None = None,
    training_choices: Mapping | None = None,
    fine_tuning_settings: config.FineTuningConfig | None = None,
) -> Path:
    """Trains a captioner and saves it with its validation scores. The test split is not read.

    Args:
        data: Folder of the data set, as for `captioner.data.datasets.find_dataset`.
        encoder_name: An encoder, or `"auto"`.
        name: Name in `artifacts/`, by default that of `name_captioner`.
        encoder_weights, mirrored: As for `captioner.encoders.encoder.load_encoder`.
        decoder_choices: Shape of the decoder, as for `captioner.config.suggest_decoder`.
        training_choices: How to train, as for `captioner.config.suggest_training`.
        fine_tuning_settings: How the encoder's last stages learn on with the decoder.

    Returns:
        The folder of the captioner. The run's checkpoints stay in `data/runs/<name>`.
    """
    dataset = datasets.read_dataset(data, ("train", "validation"))
    for note in dataset.notes:
        print(note)
    num_captions = len(dataset.captions("train"))
    settings = config.suggest_training(num_captions, **training_choices or {})
    encoder_name, why = weights.choose_encoder(encoder_name)
    print(why)
    name = name or name_captioner(encoder_name, dataset)
    catalogue.check_place(config.ARTIFACTS_DIR / name)
    encoder = load_encoder(encoder_name, weights=encoder_weights, mirrored=mirrored)
    stores = {split: features.extract_features(encoder, dataset.photo_paths(split)) for split in dataset.splits}
    cropped = crops.extract_crops(encoder, dataset, settings)
    keras.utils.set_random_seed(settings.seed)
    vocabulary = Vocabulary.from_captions(text for _, text in dataset.captions("train"))
    decoder_settings = config.suggest_decoder(num_captions, **decoder_choices or {})
    captioner = build_captioner(encoder, vocabulary, name=name, settings=decoder_settings)
    run_dir = config.RUNS_DIR / captioner.name
    history = fit_captioner(captioner, dataset, stores, run_dir, settings=settings, crops=cropped)
    tuning = fine_tuning_settings or config.FineTuningConfig(seed=settings.seed)
    tuned = fine_tuning.fine_tune_captioner(captioner, dataset, run_dir / "fine_tuning", settings=tuning)
    if captioner.encoder.changed_layers:
        stores = {split: features.extract_features(encoder, dataset.photo_paths(split)) for split in dataset.splits}
        cropped = crops.extract_crops(encoder, dataset, settings)
    refinement = config.SelfCriticalConfig(seed=settings.seed)
    refined = refine_captioner(captioner, dataset, stores, run_dir, settings=refinement, crops=cropped)
    searched = evaluation.choose_length_penalty(captioner, dataset, stores["validation"])
    report = evaluation.evaluate_captioner(captioner, dataset, stores["validation"], "validation")
    report |= {"seed": settings.seed, "best_epoch": teacher_forcing.best_epoch(history)["epoch"], "refinement": refined}
    report |= {"fine_tuning": tuned, "length_penalties": searched}
    report["calibration"] = calibration.calibrate_captioner(captioner, dataset, stores["validation"])
    print(calibration.describe_report(report["calibration"]))
    return saving.save_captioner(captioner, config.ARTIFACTS_DIR / captioner.name, report)


def name_captioner(encoder_name: str, dataset: datasets.CaptionDataset) -> str:
    """Returns the encoder's name, and behind it that of the data set where it is not Flickr8k."""
    return encoder_name if dataset.name == "flickr8k" else f"{encoder_name}-{dataset.name}"


def build_captioner(
    encoder: Encoder, vocabulary: Vocabulary, *, name: str, settings: config.DecoderConfig | None = None
) -> Captioner:
    """Returns a captioner with a fresh decoder of the size that encoder and vocabulary ask for."""
    decoder = CaptionDecoder(len(vocabulary), encoder.pooled_size, encoder.num_regions, encoder.region_size, settings)
    return Captioner(decoder, vocabulary, encoder, name=name)


def fit_captioner(
    captioner: Captioner,
    dataset: datasets.CaptionDataset,
    stores: dict[str, features.FeatureStore],
    run_dir: str | Path,
    *,
    settings: config.TrainingConfig,
    crops: features.FeatureStore | None = None,
    verbose: int = 1,
) -> list[dict[str, float]]:
    """Trains a captioner's decoder on the train split, or goes on with the run in `run_dir`.

    Args:
        captioner: From `build_captioner`. It ends with the weights of the best epoch.
        dataset: The data set, read with `train` and `validation`.
        stores: Features of those splits.
        run_dir: Folder of the run.
        settings: How to train.
        crops: From `extract_crops`.
        verbose: As for `fit`.

    Returns:
        The history, see `captioner.training.teacher_forcing.train_decoder`.
    """
    pairs = {
        split: [(i, text) for i, text in dataset.captions(split) if i not in stores[split].failed]
        for split in ("train", "validation")
    }
    train, validation = (
        batches.CaptionBatches(
            pairs[split],
            stores[split],
            captioner.vocabulary,
            batch_size=settings.batch_size,
            max_length=settings.max_length,
            seed=settings.seed,
            crops=crops if split == "train" else None,
            crop_share=settings.crop_share,
        )
        for split in pairs
    )
    references = {i: dataset.references[i] for i in dict(pairs["validation"])}
    history = teacher_forcing.train_decoder(
        captioner.decoder,
        train,
        validation,
        evaluation.validation_scorer(captioner, stores["validation"], references),
        run_dir,
        settings=settings,
        description=captioner.decoder.get_config()["decoder_config"]
        | captioner.decoder.sizes
        | {"data": dataset.name, "captions": len(pairs["train"]), "encoder": captioner.encoder.fingerprint}
        | {"mirrored": captioner.encoder.mirrored, "decoding": dataclasses.asdict(captioner.settings)},
        verbose=verbose,
    )
    # Now, so that what is measured from here on is what is saved.
    float16.round_kernels(captioner.decoder)
    return history


def refine_captioner(
    captioner: Captioner,
    dataset: datasets.CaptionDataset,
    stores: dict[str, features.FeatureStore],
    run_dir: str | Path,
    *,
    settings: config.SelfCriticalConfig | None = None,
    crops: features.FeatureStore | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Trains a captioner's decoder on by the scores of its own captions; see `captioner.training.self_critical`.

    Args:
        captioner: After `fit_captioner`. It ends with the weights of the best round.
        dataset, stores, run_dir, crops: As for `fit_captioner`.
        settings: How to train.
        progress: Whether to show progress bars.

    Returns:
        The history, see `captioner.training.self_critical.refine_decoder`.
    """
    references = {
        split: {i: texts for i, texts in dataset.references_of(split).items() if i not in stores[split].failed}
        for split in ("train", "validation")
    }
    history = self_critical.refine_decoder(
        captioner.decoder,
        batches.PhotoViews(list(references["train"]), stores["train"], crops),
        references["train"],
        captioner.vocabulary,
        evaluation.validation_scorer(captioner, stores["validation"], references["validation"]),
        run_dir,
        settings=settings,
        description={"decoding": dataclasses.asdict(captioner.settings)},
        progress=progress,
    )
    float16.round_kernels(captioner.decoder)
    return history
