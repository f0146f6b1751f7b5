"""What the drawn data set shows: scenes of one or two groups of coloured things, planned from a seed.

A group is one to three equal things ("two red stars"), a scene at most three things in all. Every pair of a
colour and a noun is a combination. Some combinations are held out: they are on photos of one split only,
validation or test, so a captioner can name them only by joining a colour and a noun that it learnt apart.
No TensorFlow here.
"""

import dataclasses
import itertools
import random
from collections.abc import Iterator, Sequence

from captioner import config

COLOURS = ("red", "yellow", "green", "blue", "black")
# Many nouns and few colours, else a captioner learns which colours a noun never has: with eight nouns, six
# colours and twelve pairs held out, a probe on `mobilenet_v2` told half of the lone unseen things' colours;
# with these three quarters or more.
NOUNS = (
    *("star", "heart", "house", "boat", "flower"),
    *("circle", "square", "triangle", "tree", "fish"),
    *("car", "moon"),
)
SIZES = ("small", "medium", "big")
# Background -> colours that would hardly be seen on it.
BACKGROUNDS = {
    "white": (),
    "grey": (),
    "pink": (),
    "sky": ("blue",),
    "grass": ("green",),
    "night": ("black", "blue"),
}
# Where a lone group is; "row" is a group of several from left to right across the middle.
POSITIONS = ("middle", "left", "right", "top", "bottom", "row")
# Where the first of two groups is, seen from the second.
RELATIONS = ("left", "right", "above", "below")
OPPOSITES = {"left": "right", "right": "left", "above": "below", "below": "above"}
SIDES = ("left", "right")
# Shares of the splits, as 360, 70 and 70 of 500 photos.
_SHARES = {"train": 0.72, "validation": 0.14, "test": 0.14}
# Counts of the groups of a scene, with weights: lone things teach the names, pairs teach the relations. Which colour is
# whose, some hundred pictures teach slowly: with pairs as half of the scenes, half of the pairs swapped colours.
_COUNTS = {(1,): 12, (2,): 4, (3,): 4, (1, 1): 3, (1, 2): 1, (2, 1): 1}

Combination = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Group:
    """One to three equal things.

    Attributes:
        count: How many.
        colour: One of `COLOURS`.
        noun: One of `NOUNS`.
        size: One of `SIZES`; medium is never spoken of.
    """

    count: int
    colour: str
    noun: str
    size: str

    @property
    def combination(self) -> Combination:
        """The colour and the noun."""
        return self.colour, self.noun


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a picture shows: the truth that its captions are written from.

    Attributes:
        image_id: File name of its picture.
        split: The split it is on.
        background: One of `BACKGROUNDS`.
        place: One of `POSITIONS` for one group, of `RELATIONS` for two.
        groups: One or two groups, which differ in colour and in noun.
    """

    image_id: str
    split: str
    background: str
    place: str
    groups: tuple[Group, ...]

    @property
    def combinations(self) -> frozenset[Combination]:
        """The combinations in the picture."""
        return frozenset(group.combination for group in self.groups)

    @property
    def sides(self) -> dict[Combination, str]:
        """Combination -> "left" or "right", where that is how the picture is laid out; else empty."""
        places = (self.place, OPPOSITES.get(self.place))
        return {g.combination: side for g, side in zip(self.groups, places, strict=False) if side in SIDES}


def held_out_combinations(split: str) -> tuple[Combination, ...]:
    """Returns the combinations that are drawn on `split` only; none for train.

    Each colour gives up one noun to either split and each noun at most one colour, so that train shows every
    colour and every noun in company of many others.
    """
    if split not in config.SPLITS:
        raise ValueError(f"split must be one of {config.SPLITS}. Received: split={split!r}")
    if split == "train":
        return ()
    first = 0 if split == "validation" else len(COLOURS)
    return tuple(zip(COLOURS, NOUNS[first : first + len(COLOURS)], strict=True))


def shared_combinations() -> tuple[Combination, ...]:
    """Returns the combinations that may be drawn on any split: all but those held out."""
    held_out = {pair for split in config.SPLITS for pair in held_out_combinations(split)}
    return tuple(pair for pair in itertools.product(COLOURS, NOUNS) if pair not in held_out)


def plan_scenes(num_photos: int = 500, seed: int = 0) -> list[Scene]:
    """Plans the scenes of all splits.

    Args:
        num_photos: How many, at least 10.
        seed: The same seed gives the same scenes.

    Returns:
        Scenes in order of their image ids, train first. Combinations take turns, so that each is drawn about
        equally often; each scene of validation and test shows at least one held-out combination.

    Raises:
        ValueError: If there are too few photos to have three splits.
    """
    if num_photos < 10:
        raise ValueError(f"num_photos must be at least 10, for three splits. Received: num_photos={num_photos!r}")
    rng = random.Random(f"scenes {seed}")
    sizes = {split: round(num_photos * share) for split, share in _SHARES.items()}
    sizes["train"] = num_photos - sizes["validation"] - sizes["test"]
    names = (f"scene_{number:04}.jpg" for number in itertools.count(1))
    return [scene for split in config.SPLITS for scene in _plan_split(split, sizes[split], names, rng)]


def _plan_split(split: str, num_scenes: int, names: Iterator[str], rng: random.Random) -> Iterator[Scene]:
    firsts = _take_turns(held_out_combinations(split) or shared_combinations(), rng)
    others = _take_turns(shared_combinations() + held_out_combinations(split), rng)
    for _ in range(num_scenes):
        yield _plan_scene(split, next(names), firsts, others, rng)


def _plan_scene(
    split: str,
    image_id: str,
    firsts: Iterator[Combination],
    others: Iterator[Combination],
    rng: random.Random,
) -> Scene:
    counts = rng.choices(list(_COUNTS), list(_COUNTS.values()))[0]
    pairs = [next(firsts)]
    if len(counts) == 2:
        pairs.append(next(pair for pair in others if not set(pair) & set(pairs[0])))
        rng.shuffle(pairs)
    groups = tuple(Group(n, *pair, _choose_size(n, rng)) for n, pair in zip(counts, pairs, strict=True))
    backgrounds = [name for name, unseen in BACKGROUNDS.items() if not any(g.colour in unseen for g in groups)]
    if len(groups) == 2:
        place = rng.choice(RELATIONS)
    elif counts == (1,):
        place = rng.choice(POSITIONS[:-1])
    else:
        place = rng.choice(("left", "right", "top", "bottom", "row", "row"))
    return Scene(image_id, split, rng.choice(backgrounds), place, groups)


def _choose_size(count: int, rng: random.Random) -> str:
    """Several things leave no room for big ones."""
    return rng.choice(SIZES if count == 1 else SIZES[:2])


def _take_turns(pairs: Sequence[Combination], rng: random.Random) -> Iterator[Combination]:
    """Yields all pairs in a random order, then all of them in another, without end."""
    while True:
        yield from rng.sample(pairs, len(pairs))
