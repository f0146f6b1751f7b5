"""From photos to a trained captioner: the steps that `model.ipynb` shows one by one and `train` runs in a row.

    plan = plan_training(config.RecipeConfig())  # which data, which encoder, which name
    materials = encode_photos(plan)              # features of the photos and of crops of them
    captioner = build_captioner(plan, build_vocabulary(materials))
    history = fit_captioner(captioner, materials)
    tuning, materials = tune_captioner(captioner, materials)
    refinement = refine_captioner(captioner, materials)
    detect_words(captioner, materials)
    report = measure_captioner(captioner, materials)

Nothing here saves a captioner or prints more than bars of progress: that is for who calls it.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

import keras

from captioner import config, files, float16
from captioner.data import datasets, sources
from captioner.data.drawings import dataset as drawings
from captioner.data.vocabulary import Vocabulary
from captioner.decoder import batches
from captioner.decoder.network import CaptionDecoder
from captioner.encoders import crops, weights
from captioner.encoders.encoder import Encoder, load_encoder
from captioner.encoders.features import FeatureStore
from captioner.encoders.splits import EncodedSplit, encode_split
from captioner.inference import Captioner
from captioner.scoring import calibration, evaluation, machine
from captioner.training import fine_tuning, run_files, self_critical, teacher_forcing, word_detection


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is made of what.

    Attributes:
        settings: All that was decided.
        dataset: The data set, read with the splits that are needed.
        encoder: The encoder.
        notes: Sentences on the choice of both and on what the data lack, for the caller to show.
    """

    settings: config.RecipeConfig
    dataset: datasets.CaptionDataset
    encoder: Encoder
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Encoder, data, number of photos and seed; what is Flickr8k, all photos or seed 0 is not said."""
        settings, parts = self.settings, [self.encoder.name]
        parts += [self.dataset.name] if self.dataset.name != "flickr8k" else []
        parts += [f"{settings.photos}photos"] if settings.photos else []
        parts += [f"seed{settings.seed}"] if settings.seed else []
        return "-".join(parts)

    @property
    def decoder(self) -> config.DecoderConfig:
        """Shape of the decoder."""
        return self.settings.suggest_decoder(len(self.dataset.captions("train")))

    @property
    def training(self) -> config.TrainingConfig:
        """How it is trained."""
        return self.settings.suggest_training(len(self.dataset.captions("train")))


@dataclasses.dataclass(frozen=True)
class Materials:
    """All that a captioner is trained and measured on.

    Attributes:
        plan: What they were made for.
        splits: `train` and `validation`, and `test` if the data set was read with it.
        crops: Features of crops of the train photos, if there are any.
        description: What decides the weights that `fit_captioner` ends with, by content.
        minutes: What encoding took.
    """

    plan: Plan
    splits: Mapping[str, EncodedSplit]
    crops: FeatureStore | None
    description: dict
    minutes: float = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each split of which photos could not be read, for the caller to show."""
        return tuple(filter(None, (split.explain_unreadable() for split in self.splits.values())))

    @property
    def unreadable(self) -> dict[str, dict[str, str]]:
        """Split -> image id -> why a photo could not be read, of splits that have such photos."""
        return {name: dict(split.unreadable) for name, split in self.splits.items() if split.unreadable}

    @property
    def run_dir(self) -> Path:
        """Where the run is kept, so that it can be stopped and gone on with; other captions or photos have another."""
        return config.RUNS_DIR / f"{self.plan.name}-{run_files.digest(self.description)}"

    @property
    def identity(self) -> str:
        """Tells what is trained on what: another caption, photo or setting makes it another one."""
        settings = self.plan.settings
        stages = settings.suggest_fine_tuning(), settings.suggest_self_critical()
        return run_files.digest([self.description, *(dataclasses.asdict(stage) for stage in stages)])


@dataclasses.dataclass(frozen=True)
class Trained:
    """A captioner and all that is known of it, for `captioner.artifacts.saving.save_captioner`."""

    captioner: Captioner
    report: dict


def plan_training(settings: config.RecipeConfig, *, with_test: bool = False) -> Plan:
    """Finds data and encoder; nothing is encoded or trained yet.

    Args:
        settings: What to make.
        with_test: Whether the test split is read too, to be measured once in the end.

    Raises:
        FileNotFoundError: If the data set or the encoder's weights cannot be had.
        ValueError: If a file of theirs is mangled.
    """
    splits = config.SPLITS if with_test else ("train", "validation")
    dataset, why_data = sources.obtain_dataset(settings.data, splits=splits, num_photos=settings.photos)
    name, why_encoder = weights.choose_encoder(settings.encoder)
    # The mean over both sides of a drawing would not know what its captions say: what is left and what right.
    mirrored = config.is_mirrored(name, settings.mirrored) and not drawings.is_drawn(dataset.folder)
    encoder = load_encoder(name, weights=settings.encoder_weights or "imagenet", mirrored=mirrored)
    return Plan(settings, dataset, encoder, (why_data, why_encoder))


def encode_photos(plan: Plan, *, progress: bool = True) -> Materials:
    """Encodes the photos of all splits and crops of the train photos, or finds what was encoded before."""
    started = time.monotonic()
    splits = {
        split: encode_split(plan.encoder, plan.dataset, split, progress=progress) for split in plan.dataset.splits
    }
    cropped = crops.extract_crops(plan.encoder, plan.dataset, plan.training, progress=progress)
    return Materials(plan, splits, cropped, _describe(plan, splits, cropped), (time.monotonic() - started) / 60)


def encode_measured(plan: Plan, description: dict, *, with_train: bool = False, progress: bool = True) -> Materials:
    """Encodes the photos that a captioner is measured on.

    Args:
        plan: What the captioner was made for.
        description: What is known of its training.
        with_train: Whether to encode those that it was trained on, too, for `detect_words`; drawings need none.
        progress: Whether to show progress bars.
    """
    with_train = with_train and not drawings.is_drawn(plan.dataset.folder)
    names = [split for split in plan.dataset.splits if split != "train" or with_train]
    splits = {split: encode_split(plan.encoder, plan.dataset, split, progress=progress) for split in names}
    return Materials(plan, splits, None, description)


def build_vocabulary(materials: Materials) -> Vocabulary:
    """Returns the words of the train captions that occur often enough."""
    texts = (text for _, text in materials.splits["train"].captions)
    return Vocabulary.from_captions(texts, materials.plan.settings.min_count)


def build_captioner(plan: Plan, vocabulary: Vocabulary, *, name: str | None = None) -> Captioner:
    """Returns a captioner with a fresh decoder, whose weights the seed decides; by default it has the plan's name."""
    keras.utils.set_random_seed(plan.settings.seed)
    encoder = plan.encoder
    decoder = CaptionDecoder(
        len(vocabulary), encoder.pooled_size, encoder.num_regions, encoder.region_size, plan.decoder
    )
    return Captioner(decoder, vocabulary, encoder, name=name or plan.name, settings=plan.settings.decoding)


def fit_captioner(captioner: Captioner, materials: Materials, *, verbose: int = 1) -> list[dict[str, float]]:
    """Trains a captioner's decoder on the train split, or goes on with the run that was begun.

    Args:
        captioner: From `build_captioner`. It ends with the weights of the best epoch.
        materials: From `encode_photos`.
        verbose: As for `fit`.

    Returns:
        The history, see `captioner.training.teacher_forcing.train_decoder`.
    """
    settings = materials.plan.training
    train, validation = (
        batches.CaptionBatches(
            materials.splits[name].captions,
            materials.splits[name].features,
            captioner.vocabulary,
            batch_size=settings.batch_size,
            max_length=settings.max_length,
            seed=settings.seed,
            crops=materials.crops if name == "train" else None,
            crop_share=settings.crop_share,
        )
        for name in ("train", "validation")
    )
    history = teacher_forcing.train_decoder(
        captioner.decoder,
        train,
        validation,
        evaluation.validation_scorer(captioner, materials.splits["validation"]),
        materials.run_dir,
        settings=settings,
        description=materials.description,
        verbose=verbose,
    )
    # Now, so that what is measured from here on is what is saved.
    float16.round_kernels(captioner.decoder)
    return history


def tune_captioner(
    captioner: Captioner, materials: Materials, *, progress: bool = True
) -> tuple[list[dict], Materials]:
    """Trains the last stages of the encoder on, together with the decoder; see `captioner.training.fine_tuning`.

    Args:
        captioner: After `fit_captioner`. It ends with the best weights of both.
        materials: From `encode_photos`.
        progress: Whether to show progress bars.

    Returns:
        The history, see `captioner.training.fine_tuning.fine_tune_captioner`; and the materials, in which all photos
        are encoded anew if the encoder has changed.
    """
    plan = materials.plan
    history = fine_tuning.fine_tune_captioner(
        captioner,
        plan.dataset,
        materials.run_dir / "fine_tuning",
        settings=plan.settings.suggest_fine_tuning(),
        progress=progress,
    )
    if not plan.encoder.changed_layers:
        return history, materials
    anew = encode_photos(plan, progress=progress)
    # It is the same run that goes on.
    return history, dataclasses.replace(
        anew, description=materials.description, minutes=materials.minutes + anew.minutes
    )


def refine_captioner(captioner: Captioner, materials: Materials, *, progress: bool = True) -> list[dict]:
    """Trains a captioner's decoder on by the scores of its own captions; see `captioner.training.self_critical`.

    Args:
        captioner: After `tune_captioner`. It ends with the weights of the best round.
        materials: From `tune_captioner`.
        progress: Whether to show progress bars.

    Returns:
        The history, see `captioner.training.self_critical.refine_decoder`.
    """
    train = materials.splits["train"]
    history = self_critical.refine_decoder(
        captioner.decoder,
        batches.PhotoViews(list(train.references), train.features, materials.crops, materials.plan.training.crop_share),
        train.references,
        captioner.vocabulary,
        evaluation.validation_scorer(captioner, materials.splits["validation"]),
        materials.run_dir,
        settings=materials.plan.settings.suggest_self_critical(),
        progress=progress,
    )
    float16.round_kernels(captioner.decoder)
    return history


def detect_words(captioner: Captioner, materials: Materials, *, progress: bool = True) -> None:
    """Trains a captioner's word detector on the train split; drawings get none, whose words are never in doubt.

    Args:
        captioner: After `refine_captioner`. Its search can then heed the detector.
        materials: With the train split.
        progress: Whether to show a progress bar.
    """
    if drawings.is_drawn(materials.plan.dataset.folder):
        return
    train = materials.splits["train"]
    seed = materials.plan.settings.seed
    captioner.adopt_detector(
        word_detection.train_word_detector(
            train.references, train.features, captioner.vocabulary, seed=seed, progress=progress
        )
    )


def measure_captioner(captioner: Captioner, materials: Materials, *, progress: bool = True) -> dict:
    """Chooses the search, scores and calibrates a captioner on validation, and measures it on test if that was read.

    Args:
        captioner: After training. It gets its search and a calibration, and loses a word detector that is of no use.
        materials: From `tune_captioner`; of the train photos no features are needed.
        progress: Whether to show progress bars.

    Returns:
        The report of `captioner.scoring.evaluation.evaluate_captioner` on validation, with `searches`,
        `controls`, `calibration` and, of drawings, `held_out`; with the test split also `test`, the report on it.
    """
    splits, folder = materials.splits, materials.plan.dataset.folder
    searches = evaluation.choose_search(captioner, splits["validation"], may_doubt=not drawings.is_drawn(folder))
    if not captioner.settings.detector_weight:
        captioner.adopt_detector(None)
    train = [text for _, text in materials.plan.dataset.captions("train")]
    reports = {
        name: evaluation.evaluate_captioner(captioner, split, train_captions=train, progress=progress)
        for name, split in splits.items()
        if name != "train"
    }
    report = reports["validation"] | {"searches": searches}
    report["controls"] = evaluation.score_controls(
        report["captions"],
        splits["validation"].references,
        train,
        seed=materials.plan.settings.seed,
    )
    report["calibration"] = calibration.calibrate_captioner(captioner, splits["validation"])
    if drawings.is_drawn(folder):
        report["held_out"] = {
            name: drawings.score_held_out(found["captions"], folder)
            | {"sides": drawings.score_sides(found["captions"], folder)}
            for name, found in reports.items()
        }
    if "test" in reports:
        report["test"] = reports["test"]
        report["calibration"]["test"] = calibration.check_calibration(captioner, splits["test"])
    return report


def train_captioner(materials: Materials, *, name: str | None = None, progress: bool = True) -> Trained:
    """Trains and measures a captioner: all steps after `encode_photos` in a row.

    Args:
        materials: From `encode_photos`.
        name: As for `build_captioner`.
        progress: Whether to show progress bars.

    Raises:
        BlockingIOError: If another process is at the same training.
    """
    with files.hold(materials.run_dir, "training"):
        captioner = build_captioner(materials.plan, build_vocabulary(materials), name=name)
        history = fit_captioner(captioner, materials, verbose=int(progress))
        tuning, materials = tune_captioner(captioner, materials, progress=progress)
        refinement = refine_captioner(captioner, materials, progress=progress)
        detect_words(captioner, materials, progress=progress)
        report = measure_captioner(captioner, materials, progress=progress)
        return Trained(captioner, report | describe_training(materials, history, tuning, refinement))


def describe_training(materials: Materials, history: list[dict], tuning: list[dict], refinement: list[dict]) -> dict:
    """Returns what a report says of how a captioner was trained, and of which photos were left out."""
    stages = {"training": history, "fine_tuning": tuning, "refinement": refinement}
    return {
        "seed": materials.plan.settings.seed,
        "run": materials.identity,
        "trained_on": machine.name_device(),
        "train_photos": len(materials.splits["train"].references),
        "unreadable": materials.unreadable,
        "best_epoch": run_files.best_row(history)["epoch"],
        "epochs": len(history),
        "history": history,
        "fine_tuning": tuning,
        "refinement": refinement,
        "minutes": {"extraction": materials.minutes}
        | {name: sum(row["seconds"] for row in rows) / 60 for name, rows in stages.items()},
    }


def _describe(plan: Plan, splits: Mapping[str, EncodedSplit], cropped: FeatureStore | None) -> dict:
    taught = {name: splits[name] for name in ("train", "validation")}
    stores = {name: split.features for name, split in taught.items()} | ({"crops": cropped} if cropped else {})
    return {
        "data": plan.dataset.name,
        "captions": run_files.digest({name: split.captions for name, split in taught.items()}),
        "photos": {name: store.index["photos"] for name, store in stores.items()},
        "encoder": {key: getattr(plan.encoder, key) for key in ("name", "regions_layer", "fingerprint", "mirrored")},
        "min_count": plan.settings.min_count,
        "decoder": dataclasses.asdict(plan.decoder),
        "training": dataclasses.asdict(plan.training),
        "decoding": dataclasses.asdict(plan.settings.decoding),
    }
