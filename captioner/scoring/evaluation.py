"""A captioner over a split: captions, scores, perplexity and the controls that expose false progress."""

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from captioner import __version__, config
from captioner.data.datasets import CaptionDataset
from captioner.decoder.batches import CaptionBatches
from captioner.decoder.losses import word_cross_entropy
from captioner.decoder.network import CaptionDecoder
from captioner.encoders.features import FeatureStore
from captioner.inference import Captioner
from captioner.scoring import claims, metrics

# The scores that make sense for controls too.
HEADLINE = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider_d", "rouge_l")


def evaluate_captioner(
    captioner: Captioner,
    dataset: CaptionDataset,
    features: FeatureStore,
    split: str,
    *,
    search: config.DecodingConfig | None = None,
    progress: bool = True,
) -> dict:
    """Captions a split freely and scores the captions.

    Args:
        captioner: The captioner.
        dataset: The data set, read with this split; with the train split too, copies from it are counted.
        features: Features of the split's photos. Photos that could not be read are left out and counted.
        split: The split.
        search: How to search, by default the captioner's `settings`.
        progress: Whether to show a progress bar.

    Returns:
        A report for `json.dump`: what was measured on what (`split`, `num_photos`, `num_beams`, versions, ...), the
        scores of `captioner.scoring.metrics.score_captions`, `claims` of `captioner.scoring.claims.measure_claims`,
        `perplexity`, and `captions` (image id -> caption).
    """
    image_ids = readable_photos(dataset, features, split)
    search = search or captioner.settings
    captions = write_captions(captioner, features, image_ids, search, progress=progress)
    references = {image_id: dataset.references[image_id] for image_id in image_ids}
    train = {text for _, text in dataset.captions("train")} if "train" in dataset.splits else ()
    return {
        "captioner": captioner.name,
        "data": dataset.name,
        "split": split,
        "num_beams": search.num_beams,
        "length_penalty": search.length_penalty,
        "no_repeat": search.no_repeat,
        "unreadable_photos": len(dataset.image_ids(split)) - len(image_ids),
        **metrics.score_captions(captions, references, train_captions=train),
        "claims": claims.measure_claims(captions, references),
        "perplexity": measure_perplexity(captioner, references, features),
        **describe_machine(),
        "captions": captions,
    }


def readable_photos(dataset: CaptionDataset, features: FeatureStore, split: str) -> list[str]:
    """Returns the image ids of a split, without photos that could not be read."""
    return [image_id for image_id in dataset.image_ids(split) if image_id not in features.failed]


def write_captions(
    captioner: Captioner,
    features: FeatureStore,
    image_ids: Sequence[str],
    search: config.DecodingConfig | None = None,
    *,
    progress: bool = False,
) -> dict[str, str]:
    """Returns image id -> best caption, written freely."""
    found = captioner.caption_store(features, image_ids, search)
    bar = tqdm.tqdm(found, total=len(image_ids), unit="photo", desc="captions", disable=not progress)
    return {image_id: captions[0].text for image_id, captions in bar}


def validation_scorer(
    captioner: Captioner, features: FeatureStore, references: Mapping[str, Sequence[str]]
) -> Callable[[CaptionDecoder], dict[str, float]]:
    """Returns what `train_decoder` calls after each epoch.

    Args:
        captioner: Holds the decoder that is being trained.
        features: Features of the validation photos.
        references: Their captions.
    """

    def score(_decoder: CaptionDecoder) -> dict[str, float]:
        captions = write_captions(captioner, features, list(references))
        scores = metrics.score_captions(captions, references)
        return {name: scores[name] for name in ("cider_d", "bleu_4", "rouge_l", "distinct_captions")}

    return score


def choose_length_penalty(captioner: Captioner, dataset: CaptionDataset, features: FeatureStore) -> list[dict]:
    """Gives a captioner the length penalty whose validation captions score the highest CIDEr-D.

    Which one does depends on how it was trained: likelihood makes the best captions seem too short, and self-critical
    training makes up for that by itself.

    Args:
        captioner: The captioner. Its `settings` are changed.
        dataset: The data set, read with `validation`.
        features: Features of its photos.

    Returns:
        A row for each that was tried: `length_penalty`, `cider_d`, `bleu_4` and `mean_length`.
    """
    image_ids = readable_photos(dataset, features, "validation")
    references = {image_id: dataset.references[image_id] for image_id in image_ids}
    rows = []
    for penalty in config.LENGTH_PENALTIES:
        search = dataclasses.replace(captioner.settings, length_penalty=penalty)
        scores = metrics.score_captions(write_captions(captioner, features, image_ids, search), references)
        rows.append({"length_penalty": penalty} | {key: scores[key] for key in ("cider_d", "bleu_4", "mean_length")})
    best = max(rows, key=lambda row: row["cider_d"])["length_penalty"]
    captioner.settings = dataclasses.replace(captioner.settings, length_penalty=best)
    return rows


def measure_perplexity(captioner: Captioner, references: Mapping[str, Sequence[str]], features: FeatureStore) -> float:
    """Returns the perplexity of the references: `exp` of the mean `-log p` of each word and end marker.

    Words out of the vocabulary count as `<unk>`, so only captioners of one vocabulary compare.
    """
    pairs = [(image_id, text) for image_id, texts in references.items() for text in texts]
    log_probs, counts = measure_log_probs(captioner, pairs, features)
    return float(np.exp(-log_probs.sum() / counts.sum()))


def measure_log_probs(
    captioner: Captioner, pairs: Sequence[tuple[str, str]], features: FeatureStore
) -> tuple[np.ndarray, np.ndarray]:
    """Reads captions to the decoder and returns how likely it finds them.

    Args:
        captioner: The captioner.
        pairs: Image id and cleaned caption. Words out of the vocabulary count as `<unk>`.
        features: Features of those photos.

    Returns:
        Of each caption the log-probability, its end marker included, and the number of words and end marker, both
        float64 `(N,)`.
    """
    lengths = [len(text.split()) for _, text in pairs]
    # Batches hold captions by length; those that stand in that order already keep it.
    order = np.argsort(lengths, kind="stable")
    # Training cuts long captions; here every word counts, and every end marker.
    ordered = CaptionBatches(
        [pairs[i] for i in order], features, captioner.vocabulary, max_length=max(lengths, default=0) + 1
    )

    found = []
    for inputs, target_ids in ordered.validation_dataset():
        words = word_cross_entropy(target_ids, captioner.read_captions(inputs))  # losses and counts, (B, T) each
        found.append(np.stack([np.sum(part, axis=1, dtype=float) for part in words]))
    measured = np.empty((2, len(pairs)))
    measured[:, order] = np.concatenate(found, axis=1)
    return -measured[0], measured[1]


def score_controls(report: dict, dataset: CaptionDataset, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Returns the scores of captions that a captioner must beat, and of people.

    Args:
        report: From `evaluate_captioner`.
        dataset: The data set, with this split and the train split.
        seed: For the shuffle.

    Returns:
        `shuffled` (the captioner's own captions, each given to another photo), `most_common` (the commonest train
        caption for every photo) and `human` (each reference against the others), each with the headline scores;
        `human` also with `claims`, of the first captions.
    """
    captions = report["captions"]
    references = {image_id: dataset.references[image_id] for image_id in captions}
    common = metrics.most_common_caption([text for _, text in dataset.captions("train")])
    controls = {
        "shuffled": metrics.score_captions(metrics.shuffle_captions(captions, seed), references),
        "most_common": metrics.score_captions(dict.fromkeys(captions, common), references),
        "human": metrics.human_agreement(references),
    }
    rows = {name: {key: scores[key] for key in HEADLINE if key in scores} for name, scores in controls.items()}
    rows["human"]["claims"] = claims.measure_people(references)
    return rows


def describe_machine() -> dict:
    """Returns with what a report was made: versions, git commit, date, cores and device."""
    packages = ("tensorflow", "keras", "numpy", "nltk", "pycocoevalcap")
    return {
        "versions": {"captioner": __version__, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "git_commit": _git_commit(),
        "date": datetime.date.today().isoformat(),
        "device": f"{len(tf.config.list_physical_devices('GPU'))} GPUs, {os.cpu_count()} CPU cores",
    }


def _git_commit() -> str | None:
    """Returns the commit of this checkout, or `None` where it is no checkout."""
    if config.IS_INSTALLED:
        return None  # Around it may lie a checkout of another project.
    try:
        result = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607  Which git it is, is the user's choice.
            cwd=config.PROJECT_DIR,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
