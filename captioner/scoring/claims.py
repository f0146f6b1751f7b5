"""What captions claim that no reference says: colours, numbers, actions, who is male or female, things said twice.

Scores of whole captions hide what they get wrong. Here claims are counted by the word lists of
`captioner.data.claim_words`: a claim is supported if one of the photo's references makes it too, in whichever of its
words. People do not mention all that there is, so their own rate, each photo's first caption against its other ones,
is the yardstick. Cleaned captions only; no model, no TensorFlow.
"""

import collections
from collections.abc import Collection, Mapping, Sequence, Set

from captioner.data.claim_words import read_claim_words
from captioner.data.vocabulary import FUNCTION_WORDS

# What each kind of claim counts, in percent, for people to read.
LABELS = {
    "colors": "colours no reference names",
    "numbers": "numbers no reference gives",
    "actions": "actions no reference names",
    "women_called_male": "women or girls called male",
    "men_called_female": "men or boys called female",
    "named_twice": "one thing named twice",
}
# How many over-used words are listed.
_NUM_OVERUSED = 10


def measure_claims(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict:
    """Counts what captions claim and no reference says.

    Args:
        captions: Image id -> cleaned caption.
        references: Image id -> cleaned captions by people, for the same photos.

    Returns:
        `colors`, `numbers` and `actions`: how many `claims` there are, and how many `percent` of them nobody makes.
        `women_called_male` and `men_called_female`: the `claims` of gender about photos whose references name one
        gender alone, and how many `percent` name the other alone. `named_twice`: `percent` of the captions that name
        a thing twice; people and animals may come twice. `overused`: the words whose share of the captions exceeds
        most their share of the references, each with both shares in percent. `borne_out`: `percent` of the captions in
        which each content word is a word of a reference, or another for the same thing.
    """
    pairs = [(caption.split(), [text.split() for text in references[i]]) for i, caption in captions.items()]
    lists = read_claim_words()
    twice = [bool(_find_repeated(words, lists["things"])) for words, _ in pairs]
    return {
        **{kind: _measure_support(pairs, lists[kind]) for kind in ("colors", "numbers", "actions")},
        "women_called_male": _measure_gender(pairs, lists["female"], lists["male"]),
        "men_called_female": _measure_gender(pairs, lists["male"], lists["female"]),
        "named_twice": {"percent": _percent(sum(twice), len(twice))},
        "overused": _find_overused(pairs, lists["common"]),
        "borne_out": {"percent": measure_borne_out(captions, references)},
    }


def measure_borne_out(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> float | None:
    """Returns `borne_out` of `measure_claims` alone, in percent; `None` of no captions."""
    things = read_claim_words()["things"]
    borne_out = 0
    for image_id, caption in captions.items():
        said = {things.get(word, word) for text in references[image_id] for word in text.split()}
        borne_out += said.issuperset(things.get(word, word) for word in caption.split() if word not in FUNCTION_WORDS)
    return _percent(borne_out, len(captions))


def measure_people(references: Mapping[str, Sequence[str]]) -> dict:
    """Returns `measure_claims` of people: the first caption of each photo against its other captions."""
    first = {image_id: texts[0] for image_id, texts in references.items() if len(texts) > 1}
    return measure_claims(first, {image_id: references[image_id][1:] for image_id in first})


def _measure_support(pairs, claim_of: Mapping[str, str]) -> dict:
    claims = unsupported = 0
    for words, texts in pairs:
        made = _find_claims(words, claim_of)
        supported = set().union(*(_find_claims(text, claim_of) for text in texts))
        claims += len(made)
        unsupported += len(made - supported)
    return {"claims": claims, "percent": _percent(unsupported, claims)}


def _find_claims(words: Sequence[str], claim_of: Mapping[str, str]) -> set[str]:
    return {claim_of[word] for word in words if word in claim_of}


def _measure_gender(pairs, right: Set[str], wrong: Set[str]) -> dict:
    """Counts claims of gender where all references that name one name the `right` one, and those that are `wrong`."""
    claims = mistaken = 0
    for words, texts in pairs:
        said = {word for text in texts for word in text}
        names_right, names_wrong = not right.isdisjoint(words), not wrong.isdisjoint(words)
        if right.isdisjoint(said) or not wrong.isdisjoint(said) or not (names_right or names_wrong):
            continue
        claims += 1
        mistaken += names_wrong and not names_right
    return {"claims": claims, "percent": _percent(mistaken, claims)}


def _find_repeated(words: Sequence[str], thing_of: Mapping[str, str]) -> set[str]:
    counts = collections.Counter(thing_of[word] for word in words if word in thing_of)
    return {thing for thing, count in counts.items() if count > 1}


def _find_overused(pairs, common: Collection[str]) -> list[dict]:
    captions = [words for words, _ in pairs]
    references = [text for _, texts in pairs for text in texts]
    ours, theirs = _count_captions(captions), _count_captions(references)
    shares = {
        word: (100.0 * ours[word] / len(captions), 100.0 * theirs[word] / len(references))
        for word in ours
        if word not in common
    }
    ranked = sorted(shares, key=lambda word: (shares[word][1] - shares[word][0], word))
    return [
        {"word": word, "captions": shares[word][0], "references": shares[word][1]} for word in ranked[:_NUM_OVERUSED]
    ]


def _count_captions(texts: Sequence[Sequence[str]]) -> collections.Counter:
    """Returns in how many texts each word stands."""
    return collections.Counter(word for words in texts for word in set(words))


def _percent(part: int, whole: int) -> float | None:
    """Returns a share in percent, `None` of nothing."""
    return 100.0 * part / whole if whole else None
