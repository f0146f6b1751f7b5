"""Scores of captions: BLEU-1..4, CIDEr-D, ROUGE-L and METEOR, and counts that expose false progress.

It knows captions and references only: no model, no TensorFlow; Java for METEOR alone. All texts are cleaned by
`captioner.data.captions.clean_caption` first, so both sides are counted in the same words. Scores are those of
coco-caption times 100: 0 to 100, but CIDEr-D to 1000.

References:
    K. Papineni et al., "BLEU", ACL 2002. https://aclanthology.org/P02-1040/
    R. Vedantam, C. L. Zitnick, D. Parikh, "CIDEr", CVPR 2015. https://arxiv.org/abs/1411.5726
    C.-Y. Lin, "ROUGE", 2004. https://aclanthology.org/W04-1013/
    X. Chen et al., "Microsoft COCO Captions: Data Collection and Evaluation Server", 2015 (the scorers).
    https://arxiv.org/abs/1504.00325
"""

import collections
import random
import re
import statistics
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction

from nltk.translate import bleu_score

# By submodule: the package's own entry point, `pycocoevalcap.eval`, asks for Java and pycocotools.
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from captioner.data.captions import clean_caption
from captioner.scoring import meteor

BLEU_WEIGHTS = tuple((1 / n,) * n for n in (1, 2, 3, 4))
# What `clean_caption` makes of `<unk>`. No reference has that word, so it counts as a wrong one.
_UNKNOWN_WORD = clean_caption("<unk>")
# Markers of this project and of popular notebooks. Found before cleaning, which turns `<end>` to a word.
_MARKER = re.compile(r"<[^<>\s]+>|\[(?:start|end)\]|\b(?:startseq|endseq)\b", re.IGNORECASE)
# `_keep_zeros` makes a BLEU without matches about 1e-77; a BLEU with matches is far above this.
_NO_MATCH = 1e-50


def score_captions(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    train_captions: Collection[str] = (),
) -> dict:
    """Scores the captions of a whole split, one a photo.

    CIDEr-D is the headline. It weighs words by how rare they are in the references given here, so scores of
    different sets of photos don't compare, and for a single photo it is 0 whatever the caption says.

    Args:
        captions: Image id -> caption. An empty caption is allowed and scores 0.
        references: Image id -> captions by people, for the same photos.
        train_captions: Captions of the train split, to count copies; none, and copies aren't counted.

    Returns:
        `num_photos`, `num_references`; `bleu_1` to `bleu_4` (corpus BLEU, closest reference length, no
        smoothing), `cider_d` and `rouge_l`, all times 100; then what exposes false progress:
        `distinct_captions`, `words_used` (different ones), `mean_length` in words, `copied_from_train`
        (percent of captions that stand verbatim in `train_captions`, or `None`) and `unknown_words` (how
        often `<unk>` was written: it should be 0).

    Raises:
        ValueError: If there is nothing to score, captions and references are of different photos, a text is
            no string or holds a marker such as `<end>` or `endseq`, or a reference has no word.

    Example:
        >>> scores = score_captions({"1.jpg": "a dog runs"}, {"1.jpg": ["A dog runs .", "A dog is out ."]})
        >>> scores["bleu_1"], scores["mean_length"], scores["copied_from_train"]
        (100.0, 3.0, None)
    """
    captions, references = _clean_pairs(captions, references)
    train = set(_clean_texts(train_captions, "train_captions")) - {""}
    words = [word for caption in captions.values() for word in caption.split()]
    copies = sum(caption in train for caption in captions.values())
    return {
        "num_photos": len(captions),
        "num_references": sum(map(len, references.values())),
        **_score_bleu(captions, references),
        "cider_d": statistics.fmean(_score_cider(captions, references).values()),
        "rouge_l": _score_rouge(captions, references),
        "distinct_captions": len(set(captions.values())),
        "words_used": len(set(words) - {_UNKNOWN_WORD}),
        "mean_length": len(words) / len(captions),
        "copied_from_train": 100.0 * copies / len(captions) if train else None,
        "unknown_words": words.count(_UNKNOWN_WORD),
    }


def score_per_photo(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Returns image id -> CIDEr-D times 100, to find the best and the worst captions of a split.

    Give it the whole split: how rare a word is comes from all references given. The mean of the scores is
    then `cider_d` of `score_captions`.

    Args:
        captions, references: As for `score_captions`.

    Raises:
        ValueError: As `score_captions`.
    """
    return _score_cider(*_clean_pairs(captions, references))


def score_meteor(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float | str | None]:
    """Returns METEOR 1.5 times 100 as coco-caption has it, or why it was not measured.

    It starts Java, which takes seconds. nltk's METEOR is another one and about twice as high.

    Args:
        captions, references: As for `score_captions`.

    Returns:
        `meteor` and `meteor_missing`, of which one is `None`: where Java is missing, fails or hangs, the latter is a
        sentence that says so.

    Raises:
        ValueError: As `score_captions`.
    """
    captions, references = _clean_pairs(captions, references)
    try:
        return {"meteor": 100.0 * meteor.run_meteor(captions, references), "meteor_missing": None}
    except OSError as error:
        return {"meteor": None, "meteor_missing": f"METEOR was not measured: {error}"}


def human_agreement(references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Returns the scores that people reach, each caption scored against the photo's other captions.

    People are given four references where a captioner is given five. BLEU rises with the number of
    references, by about 2 BLEU-4 from four to five, so people are that much better than their row says.

    Args:
        references: Image id -> at least two captions by people.

    Returns:
        `bleu_1` to `rouge_l`, `distinct_captions`, `words_used` and `mean_length` as `score_captions` has
        them, averaged over the choices of whose caption is scored.

    Raises:
        ValueError: If a photo has fewer than two captions, and as `score_captions`.
    """
    for image_id, texts in references.items():
        if not isinstance(texts, str) and len(texts) < 2:
            raise ValueError(
                f"{image_id!r} has too few captions to compare people with each other: expected at least 2. "
                f"Leave the photo out. Received: {list(texts)!r}"
            )
    references = _clean_references(references)
    # Leave-one-out: round k scores the k-th caption of every photo against the photo's others; idf comes from
    # those others alone. A caption is left out by its place, so an equal one by somebody else stays. A photo
    # with fewer captions than others starts again at its first.
    rounds = []
    for k in range(max(map(len, references.values()))):
        places = {image_id: k % len(texts) for image_id, texts in references.items()}
        chosen = {image_id: references[image_id][place] for image_id, place in places.items()}
        rest = {image_id: references[image_id][:p] + references[image_id][p + 1 :] for image_id, p in places.items()}
        rounds.append(score_captions(chosen, rest))
    left_out = ("num_photos", "num_references", "copied_from_train", "unknown_words")
    return {name: statistics.fmean(r[name] for r in rounds) for name in rounds[0] if name not in left_out}


def shuffle_captions(captions: Mapping[str, str], seed: int) -> dict[str, str]:
    """Returns the same captions, each given to another photo: what they still score needs no look at a photo.

    Args:
        captions: Image id -> caption, for at least two photos.
        seed: Equal seeds give equal shuffles, whatever order the photos come in.

    Raises:
        ValueError: If there are fewer than two photos.
    """
    if len(captions) < 2:
        raise ValueError(f"Captions of at least 2 photos are needed to swap them. Received: {len(captions)} photos.")
    cycle = sorted(captions)
    random.Random(seed).shuffle(cycle)
    # Everybody takes the caption of the next in one random ring, so nobody keeps their own.
    giver = dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))
    return {image_id: captions[giver[image_id]] for image_id in captions}


def most_common_caption(train_captions: Iterable[str]) -> str:
    """Returns the commonest cleaned caption, the first by alphabet of equals: a baseline that sees no photo.

    Raises:
        ValueError: If there is no caption.
    """
    counts = collections.Counter(_clean_texts(train_captions, "train_captions"))
    del counts[""]
    if not counts:
        raise ValueError("No train captions to choose from: expected at least one with a word. Received: none.")
    return min(counts, key=lambda caption: (-counts[caption], caption))


def _score_bleu(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Scores by nltk, which equal coco-caption's but for captions of fewer than n words.

    nltk counts such a caption as one wrong n-gram, coco-caption as none. Ten of them in a thousand captions
    lower BLEU-4 by less than a thousandth of itself.
    """
    scores = bleu_score.corpus_bleu(
        [[text.split() for text in references[image_id]] for image_id in captions],
        [caption.split() for caption in captions.values()],
        weights=BLEU_WEIGHTS,
        smoothing_function=_keep_zeros,
    )
    return {f"bleu_{n}": 100.0 * score if score > _NO_MATCH else 0.0 for n, score in enumerate(scores, 1)}


def _keep_zeros(precisions: Sequence[Fraction], **_) -> list[Fraction | float]:
    """No smoothing, as by nltk's default but without its warnings. Zeros themselves nltk would pass over."""
    return [precision if precision.numerator else sys.float_info.min for precision in precisions]


def _score_cider(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    # The class is named Cider but is CIDEr-D: counts are clipped and lengths that differ are punished.
    _, scores = Cider().compute_score(references, {image_id: [text] for image_id, text in captions.items()})
    return {image_id: 100.0 * float(score) for image_id, score in zip(references, scores, strict=True)}


def _score_rouge(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> float:
    mean, _ = Rouge().compute_score(references, {image_id: [text] for image_id, text in captions.items()})
    return 100.0 * float(mean)


def _clean_pairs(
    captions: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Cleans both sides, in the references' order, and holds that they are of the same photos."""
    if not captions:
        raise ValueError("No captions to score: expected one for each photo of a split. Received: captions={}")
    strangers = [image_id for image_id in captions if image_id not in references]
    if strangers:
        raise ValueError(
            f"{len(strangers)} of {len(captions)} captions are of photos without references, for example "
            f"{strangers[0]!r}. Score each split against its own references."
        )
    bare = [image_id for image_id in references if image_id not in captions]
    if bare:
        raise ValueError(
            f"{len(bare)} of {len(references)} photos have no caption, for example {bare[0]!r}. Every photo "
            "of the split must have one: give '' where there is none, or leave out its references and say so."
        )
    cleaned = {i: _clean(captions[i], f"the caption of {i!r}", allow_unknown=True) for i in references}
    return cleaned, _clean_references(references)


def _clean_references(references: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    if not references:
        raise ValueError("No references to score with: expected captions of each photo. Received: references={}")
    cleaned = {i: _clean_texts(texts, f"references[{i!r}]") for i, texts in references.items()}
    for image_id, texts in cleaned.items():
        # ROUGE-L would take an empty caption for a perfect match of an empty reference.
        if not all(texts) or not texts:
            raise ValueError(
                f"Each reference must have a word, and each photo a reference. Leave empty ones out. "
                f"Received: references[{image_id!r}]={list(references[image_id])!r}"
            )
    return cleaned


def _clean_texts(texts: Iterable[str], name: str) -> list[str]:
    if isinstance(texts, str):
        raise ValueError(f"{name} must be a list of captions, not one caption. Received: {texts[:80]!r}")
    return [_clean(text, f"a caption of {name}") for text in texts]


def _clean(text: str, where: str, *, allow_unknown: bool = False) -> str:
    """Cleans one text, or says why it can't be scored. `<unk>` may stand only where it is counted."""
    if not isinstance(text, str):
        raise ValueError(f"Expected a string for {where}. Received: {text!r}")
    marker = _MARKER.search(text.replace("<unk>", " ") if allow_unknown else text)
    if marker is not None:
        # One system's test captions, markers in captions and references: end adds 4.3 BLEU-1, both add 7.8.
        raise ValueError(
            f"Expected words only for {where}, but the marker {marker[0]!r} is in it. Take start and end "
            f"markers off: scored like words they add 4 to 8 BLEU-1. Received: {text[:80]!r}"
        )
    return clean_caption(text)
