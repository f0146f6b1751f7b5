"""Five captions of a drawn scene, as five people might write them, and what a caption says a picture shows.

People differ in what they mention (size, place, background), in which thing comes first and in their words
for the same thing. A colour always stands right before its noun, which `named_combinations` relies on.
No TensorFlow here.
"""

import itertools
import random
from collections.abc import Callable, Sequence

from captioner.data import captions as captions_module
from captioner.data.drawings import scenes

# The first word is the usual one. Plurals are the word with "s", but for those listed.
NOUN_WORDS = {noun: (noun,) for noun in scenes.NOUNS} | {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "boat": ("boat", "ship"),
}
_PLURALS = {"box": "boxes", "fish": "fish"}
_NUMBERS = {1: "a", 2: "two", 3: "three"}
_SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large")}
_BACKGROUND_WORDS = {
    "white": ("on a white background", "on white paper"),
    "grey": ("on a grey background", "in front of a grey wall"),
    "pink": ("on a pink background", "in front of a pink wall"),
    "sky": ("in the sky", "among the clouds"),
    "grass": ("on the grass", "in a meadow"),
    "night": ("at night", "in the dark"),
}
_POSITION_WORDS = {
    "middle": ("in the middle", "in the centre"),
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top", "near the top"),
    "bottom": ("at the bottom", "near the bottom"),
    "row": ("in a row", "side by side"),
}
_RELATION_WORDS = {
    # Which of two things is on the left, some hundred pictures do not teach: the same colours and nouns, swapped.
    "left": ("next to", "beside"),
    "right": ("next to", "beside"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
# How often a person takes the usual word, and speaks of a size that is not medium.
_USUAL_WORD = 0.75
_SAYS_SIZE = 0.6


def write_captions(scene: scenes.Scene, seed: int = 0) -> list[str]:
    """Writes five different captions of a scene, in the form of the official file: `A red circle .`

    Each names every combination of the scene, and nothing that is not there.

    Args:
        scene: What the picture shows.
        seed: The same seed and scene give the same captions.

    Returns:
        The captions, in random order.
    """
    rng = random.Random(f"captions {seed} {scene.image_id}")
    texts: list[str] = []
    for write in _WRITERS:
        text = write(scene, rng)
        while text in texts:
            text = _write_fully(scene, rng)
        texts.append(text)
    rng.shuffle(texts)
    return [f"{text[0].upper()}{text[1:]} ." for text in texts]


def named_combinations(caption: str) -> frozenset[scenes.Combination]:
    """Returns the combinations that a caption names: each colour word that stands right before a noun.

    Singular and plural count alike, and so do the words for one thing ("a red disc" is a red circle); the
    number of things, sizes, places and backgrounds do not count.

    Example:
        >>> sorted(named_combinations("two red boxes left of a blue ship"))
        [('blue', 'boat'), ('red', 'square')]
    """
    return frozenset(_list_combinations(captions_module.clean_caption(caption).split()))


def named_sides(caption: str) -> dict[scenes.Combination, str] | None:
    """Returns what a caption has on the left or right: the thing before that word, if there is one, and the next.

    Returns:
        Combination -> "left" or "right"; `None` if the caption names no side.

    Example:
        >>> named_sides("two red boxes left of a blue ship")
        {('red', 'square'): 'left', ('blue', 'boat'): 'right'}
        >>> named_sides("on the right a red box")
        {('red', 'square'): 'right'}
    """
    words = captions_module.clean_caption(caption).split()
    side = next((word for word in words if word in scenes.SIDES), None)
    if side is None:
        return None
    place = words.index(side)
    things = _list_combinations(words[:place])[-1:] + _list_combinations(words[place:])
    return dict(zip(things, (side, scenes.OPPOSITES[side]), strict=False))


def named_noun(word: str) -> str | None:
    """Returns which of `scenes.NOUNS` a word names, in any of its forms; `None` if none."""
    return next((n for n, known in NOUN_WORDS.items() if any(word in (form, _plural(form)) for form in known)), None)


def _list_combinations(words: Sequence[str]) -> list[scenes.Combination]:
    """Lists the named combinations in the order of their words."""
    pairs = ((first, named_noun(second)) for first, second in itertools.pairwise(words) if first in scenes.COLOURS)
    return [(colour, noun) for colour, noun in pairs if noun]


def _write_briefly(scene: scenes.Scene, rng: random.Random) -> str:
    """'a red circle and two blue squares'."""
    things = [_things(group, rng, sized=False) for group in scene.groups]
    rng.shuffle(things)
    return rng.choice((" and ", " with ")).join(things)


def _write_there_is(scene: scenes.Scene, rng: random.Random) -> str:
    """'there is a small red circle above two blue squares'."""
    verb = "is" if scene.groups[0].count == 1 else "are"
    return f"there {verb} {_arrangement(scene, rng)}"


def _write_background(scene: scenes.Scene, rng: random.Random) -> str:
    """'a red circle and two blue squares on a grey background'."""
    things = [_things(group, rng) for group in scene.groups]
    rng.shuffle(things)
    return f"{' and '.join(things)} {rng.choice(_BACKGROUND_WORDS[scene.background])}"


def _write_arrangement(scene: scenes.Scene, rng: random.Random) -> str:
    """'two blue squares below a red circle'; 'a red circle at the top of the picture'."""
    if len(scene.groups) == 2:
        return _arrangement(scene, rng, reverse=True)
    tail = "" if scene.place == "row" else rng.choice(("", " of the picture"))
    return _arrangement(scene, rng) + tail


def _write_fully(scene: scenes.Scene, rng: random.Random) -> str:
    """'the picture shows a small red circle above two blue squares on a grey background'."""
    reverse = len(scene.groups) == 2 and rng.random() < 0.5
    text = f"{_arrangement(scene, rng, reverse=reverse)} {rng.choice(_BACKGROUND_WORDS[scene.background])}"
    return rng.choice(("the picture shows ", "a drawing of ", "we see ", "")) + text


_WRITERS: tuple[Callable[[scenes.Scene, random.Random], str], ...] = (
    _write_briefly,
    _write_there_is,
    _write_background,
    _write_arrangement,
    _write_fully,
)


def _arrangement(scene: scenes.Scene, rng: random.Random, *, reverse: bool = False) -> str:
    """The groups and where they are: 'a red circle above two blue squares'."""
    things = [_things(group, rng) for group in scene.groups]
    if len(things) == 1:
        return f"{things[0]} {rng.choice(_POSITION_WORDS[scene.place])}"
    relation = scenes.OPPOSITES[scene.place] if reverse else scene.place
    first, second = reversed(things) if reverse else things
    return f"{first} {rng.choice(_RELATION_WORDS[relation])} {second}"


def _things(group: scenes.Group, rng: random.Random, *, sized: bool = True) -> str:
    """'two small red boxes'."""
    words = [_NUMBERS[group.count]]
    if sized and group.size in _SIZE_WORDS and rng.random() < _SAYS_SIZE:
        words.append(_choose_word(_SIZE_WORDS[group.size], rng))
    words.append(group.colour)
    # Several always go by the usual word: other plurals would be too rare to learn.
    words.append(_choose_word(NOUN_WORDS[group.noun], rng) if group.count == 1 else _plural(group.noun))
    return " ".join(words)


def _choose_word(words: tuple[str, ...], rng: random.Random) -> str:
    return words[0] if len(words) == 1 or rng.random() < _USUAL_WORD else rng.choice(words[1:])


def _plural(noun: str) -> str:
    return _PLURALS.get(noun, f"{noun}s")
