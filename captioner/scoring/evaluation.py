"""A captioner over a split: captions, scores, perplexity and the controls that expose false progress."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from captioner import config
from captioner.decoder.batches import CaptionBatches
from captioner.decoder.losses import word_cross_entropy
from captioner.decoder.network import CaptionDecoder
from captioner.encoders.features import FeatureStore
from captioner.encoders.splits import EncodedSplit
from captioner.inference import Captioner
from captioner.scoring import claims, metrics
from captioner.scoring.machine import describe_machine

# The scores that make sense for controls too.
HEADLINE = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider_d", "rouge_l")
# What the recipe tries on validation, captioner by captioner, beside the rules `say_once`, `careful` and `rarity`.
LENGTH_PENALTIES = (0.75, 1.0, 1.25, 1.5)
DETECTOR_WEIGHTS = (0.0, 0.3, 0.6, 0.9, 1.2)
# What `careful` may cost together with a detector, in points of CIDEr-D: far fewer claims are false with it.
_CAREFUL_COST = 2.0
# What captions that are borne out more often may cost on top.
_BORNE_OUT_COST = 1.5
# How far rare words may be favoured, and what that may cost: nothing that can be told from chance.
RARITIES = (0.1, 0.2, 0.3, 0.4)
_RARITY_COST = 0.5
_RULES = ("length_penalty", "say_once", "careful", "detector_weight", "rarity")


def evaluate_captioner(
    captioner: Captioner,
    split: EncodedSplit,
    *,
    train_captions: Collection[str] = (),
    search: config.DecodingConfig | None = None,
    progress: bool = True,
) -> dict:
    """Captions a split freely and scores the captions.

    Args:
        captioner: The captioner.
        split: The split. Photos that could not be read are left out and counted.
        train_captions: The captions of the train split, to count copies of them; without any, none are counted.
        search: How to search, by default the captioner's `settings`.
        progress: Whether to show a progress bar.

    Returns:
        A report for `json.dump`: what was measured on what (`split`, `num_photos`, `num_beams`, versions, ...), the
        scores of `captioner.scoring.metrics.score_captions`, `meteor` or why it is missing, `claims` of
        `captioner.scoring.claims.measure_claims`, `perplexity`, and `captions` (image id -> caption).
    """
    search = search or captioner.settings
    captions = write_captions(captioner, split, search, progress=progress)
    return {
        "captioner": captioner.name,
        "data": split.data,
        "split": split.name,
        "num_beams": search.num_beams,
        "length_penalty": search.length_penalty,
        "no_repeat": search.no_repeat,
        "say_once": search.say_once,
        "careful": search.careful,
        "rarity": search.rarity,
        "detector_weight": search.detector_weight,
        "unreadable_photos": len(split.unreadable),
        **metrics.score_captions(captions, split.references, train_captions=train_captions),
        **metrics.score_meteor(captions, split.references),
        "claims": claims.measure_claims(captions, split.references),
        "perplexity": measure_perplexity(captioner, split),
        **describe_machine(),
        "captions": captions,
    }


def write_captions(
    captioner: Captioner,
    split: EncodedSplit,
    search: config.DecodingConfig | None = None,
    *,
    progress: bool = False,
) -> dict[str, str]:
    """Returns image id -> best caption, written freely."""
    found = captioner.caption_store(split.features, list(split.references), search)
    bar = tqdm.tqdm(found, total=len(split.references), unit="photo", desc="captions", disable=not progress)
    return {image_id: captions[0].text for image_id, captions in bar}


def validation_scorer(captioner: Captioner, split: EncodedSplit) -> Callable[[CaptionDecoder], dict[str, float]]:
    """Returns what is called after each epoch: it captions the split with the decoder that `captioner` holds.

    Raises:
        ValueError: If the captioner is frozen, so that searches would take old weights for some of the new.
    """
    if captioner.frozen:
        raise ValueError(
            f"{captioner.name} is frozen, as captioners are that were loaded, and cannot be trained. Make another with "
            "its decoder, vocabulary and encoder: Captioner(one.decoder, one.vocabulary, one.encoder)."
        )

    def score(_decoder: CaptionDecoder) -> dict[str, float]:
        scores = metrics.score_captions(write_captions(captioner, split), split.references)
        return {name: scores[name] for name in ("cider_d", "bleu_4", "rouge_l", "distinct_captions")}

    return score


def choose_search(captioner: Captioner, split: EncodedSplit, *, may_doubt: bool = True) -> list[dict]:
    """Gives a captioner the search that suits it: length penalty, rules, and weight of its word detector.

    Which penalty does depends on how it was trained: likelihood makes the best captions seem too short, and
    self-critical training makes up for that by itself. So one search after the other is tried on validation:

    1. The penalty, and then whether things are said once, by the highest CIDEr-D.
    2. The careful rule, with all penalties and, where there is a detector, all weights of it, if the best of these
       costs at most `_CAREFUL_COST`. Of those that cost at most `_BORNE_OUT_COST` more, the one whose captions are most
       often borne out is taken.
    3. The largest of `RARITIES` that costs at most `_RARITY_COST` more.

    Args:
        captioner: The captioner. Its `settings` are changed.
        split: The validation split.
        may_doubt: Whether the rules after `say_once` are tried.

    Returns:
        A row for each that was tried: `length_penalty`, `say_once`, `careful`, `detector_weight`, `rarity`, `cider_d`,
        `bleu_4`, `mean_length`, `words_used` and `borne_out` (percent).
    """

    def try_out(**chosen: Any) -> dict:
        captions = write_captions(captioner, split, dataclasses.replace(captioner.settings, **chosen))
        scores = metrics.score_captions(captions, split.references)
        found = {key: scores[key] for key in ("cider_d", "bleu_4", "mean_length", "words_used")}
        return chosen | found | {"borne_out": claims.measure_borne_out(captions, split.references)}

    none = {"say_once": False, "careful": False, "detector_weight": 0.0, "rarity": 0.0}
    rows = [try_out(length_penalty=penalty, **none) for penalty in LENGTH_PENALTIES]
    rows.append(try_out(**_rules_of(_best(rows)) | {"say_once": True}))
    chosen = _best(rows)
    if may_doubt:
        tried = [
            try_out(**_rules_of(chosen) | {"careful": True, "detector_weight": weight, "length_penalty": penalty})
            for weight in (DETECTOR_WEIGHTS if captioner.detector else DETECTOR_WEIGHTS[:1])
            for penalty in LENGTH_PENALTIES
        ]
        rows += tried
        most = _best(tried)["cider_d"]
        if most >= chosen["cider_d"] - _CAREFUL_COST:
            cheap = [row for row in tried if row["cider_d"] >= most - _BORNE_OUT_COST]
            chosen = max(cheap, key=lambda row: row["borne_out"])
        tried = [try_out(**_rules_of(chosen) | {"rarity": rarity}) for rarity in RARITIES]
        rows += tried
        cheap = [row for row in tried if row["cider_d"] >= chosen["cider_d"] - _RARITY_COST]
        chosen = max(cheap, key=lambda row: row["rarity"], default=chosen)
    captioner.settings = dataclasses.replace(captioner.settings, **_rules_of(chosen))
    return rows


def _best(rows: Sequence[dict]) -> dict:
    return max(rows, key=lambda row: row["cider_d"])


def _rules_of(row: Mapping) -> dict[str, Any]:
    return {key: row[key] for key in _RULES}


def measure_perplexity(captioner: Captioner, split: EncodedSplit) -> float:
    """Returns the perplexity of the references: `exp` of the mean `-log p` of each word and end marker.

    Words out of the vocabulary count as `<unk>`, so only captioners of one vocabulary compare.
    """
    log_probs, counts = measure_log_probs(captioner, split.captions, split.features)
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


def score_controls(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    train_captions: Collection[str],
    *,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Returns the scores of captions that a captioner must beat, and of people.

    Args:
        captions: Image id -> caption, from `write_captions`.
        references: Image id -> what people wrote about these photos.
        train_captions: The captions of the train split.
        seed: For the shuffle.

    Returns:
        `most_common` (the commonest train caption for every photo), `shuffled` (the captioner's own captions, each
        given to another photo; only if there are two photos) and `human` (each reference against the others, of the
        photos that have two; only if there are any), each with the headline scores; `human` also with `claims`, of the
        first captions.
    """
    common = metrics.most_common_caption(train_captions)
    controls = {"most_common": metrics.score_captions(dict.fromkeys(captions, common), references)}
    if len(captions) > 1:
        controls["shuffled"] = metrics.score_captions(metrics.shuffle_captions(captions, seed), references)
    if several := {image_id: texts for image_id, texts in references.items() if len(texts) > 1}:
        controls["human"] = metrics.human_agreement(several)
    rows = {name: {key: scores[key] for key in HEADLINE if key in scores} for name, scores in controls.items()}
    if several:
        rows["human"]["claims"] = claims.measure_people(several)
    return rows
