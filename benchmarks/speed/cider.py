"""Seconds of training until captions of the validation photos reach CIDEr-D 45, on cached features."""

import itertools
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.speed import measuring
from captioner import config
from captioner.decoder.batches import CaptionBatches
from captioner.encoders.splits import EncodedSplit
from captioner.inference import Captioner
from captioner.scoring import evaluation
from captioner.training import recipe, teacher_forcing

_TARGET = 45.0


def measure(*, small: bool = False) -> measuring.Report:
    """Trains a fresh decoder as `train` does, but on whole photos alone, until it is good enough."""
    # Crops, of which `train` has four for each photo, would take an hour to encode.
    chosen: dict = {"encoder": "mobilenet_v2", "training": {"num_crops": 0}, "seed": measuring.SEED}
    if small:
        chosen |= {"data": "drawn", "encoder": "compact", "photos": 40, "training": {"num_crops": 0, "epochs": 1}}
    plan = recipe.plan_training(config.RecipeConfig(**chosen))
    materials = recipe.encode_photos(plan)
    captioner = recipe.build_captioner(plan, recipe.build_vocabulary(materials))
    with tempfile.TemporaryDirectory() as folder:
        history = train_until(captioner, materials.splits, plan.training, Path(folder, "run"), _TARGET)
    return build_report(plan.encoder.name, len(materials.splits["train"].captions), history)


def train_until(
    captioner: Captioner,
    splits: Mapping[str, EncodedSplit],
    settings: config.TrainingConfig,
    run_dir: Path,
    target: float,
) -> list[dict]:
    """Trains the captioner's fresh decoder until validation CIDEr-D is `target`; returns the history of the epochs.

    A row is that of `teacher_forcing.train_decoder`, with the seconds that scoring took as `val_scoring`.
    """
    train, validation = (
        CaptionBatches(
            splits[name].captions,
            splits[name].features,
            captioner.vocabulary,
            batch_size=settings.batch_size,
            max_length=settings.max_length,
            seed=settings.seed,
        )
        for name in ("train", "validation")
    )
    score = evaluation.validation_scorer(captioner, splits["validation"])

    def score_and_stop(decoder):
        started = time.perf_counter()
        scores = score(decoder)
        decoder.stop_training = scores["cider_d"] >= target
        return scores | {"scoring": time.perf_counter() - started}

    decoder = captioner.decoder
    return teacher_forcing.train_decoder(
        decoder, train, validation, score_and_stop, run_dir, settings=settings, verbose=0
    )


def build_report(encoder: str, num_captions: int, history: list[dict]) -> measuring.Report:
    """Tables the epochs of a training until the target or its end."""
    seconds = list(itertools.accumulate(row["seconds"] for row in history))
    scoring = itertools.accumulate(row["val_scoring"] for row in history)
    reached = history[-1]["val_cider_d"] >= _TARGET
    return measuring.Report(
        "cider",
        f"Seconds to validation CIDEr-D {_TARGET:.0f}",
        [f"epochs on features of `{encoder}`", "s", "of these, s for captions and scores", "validation CIDEr-D"],
        [
            [str(row["epoch"]), passed, scored, row["val_cider_d"]]
            for row, passed, scored in zip(history, seconds, scoring, strict=True)
        ],
        [
            f"Reached after {seconds[-1]:,.0f} s." if reached else "Not reached.",
            f"{num_captions:,} captions, with the settings of `train` but on whole photos alone; features were "
            "extracted before. After each epoch all validation photos are captioned with 3 beams and scored.",
        ],
        {"captions": num_captions},
    )
