"""What a visitor can choose from: captioners, their searches, and kinds of files. No Streamlit here, no TensorFlow."""

import dataclasses
from pathlib import Path

from captioner import config
from captioner.artifacts import catalogue, confidence
from captioner.data import photo_files

# What makes a captioner where there is none.
MAKER = config.MAKER
FILE_KINDS = tuple(suffix.removeprefix(".") for suffix in photo_files.PHOTO_SUFFIXES)
SHORTER, USUAL, LONGER = LENGTHS = ("Shorter", "As usual", "Longer")
# What ranks hypotheses by their length needs hypotheses of several lengths: 8 beams, with the least and the largest
# length penalty, gave captions of 24 photos 7.9 and 10.7 words where they usually have 9.8.
_LENGTH_BEAMS = 8


def list_captioners() -> list[Path]:
    """Returns the folders of all captioners, the one to prefer first."""
    return catalogue.list_captioners()


def default_search(folder: Path) -> config.DecodingConfig:
    """Returns how a captioner searches unless the visitor says otherwise, within what the page offers.

    Raises:
        FileNotFoundError, ValueError: If its configuration cannot be read.
    """
    search = catalogue.read_search(catalogue.read_config(folder))
    return dataclasses.replace(
        search,
        num_beams=min(search.num_beams, config.MAX_BEAMS),
        length_penalty=float(min(search.length_penalty, config.MAX_LENGTH_PENALTY)),
    )


def length_penalties(usual: config.DecodingConfig) -> dict[str, float]:
    """Returns the length penalty of each of `LENGTHS`."""
    return {SHORTER: 0.0, USUAL: usual.length_penalty, LONGER: config.MAX_LENGTH_PENALTY}


def build_search(
    usual: config.DecodingConfig, num_beams: int, length_penalty: float, others: int
) -> config.DecodingConfig:
    """Returns the search that a visitor asks for, with the beams that it needs.

    Args:
        usual: How the captioner searches unless it is told otherwise.
        num_beams: Beams that are asked for.
        length_penalty: Length penalty that is asked for.
        others: How many other captions are wanted.
    """
    by_length = length_penalty != usual.length_penalty and length_penalty in (0.0, config.MAX_LENGTH_PENALTY)
    beams = max(num_beams, others + 1, _LENGTH_BEAMS if by_length else 1)
    return dataclasses.replace(usual, num_beams=beams, length_penalty=length_penalty)


def version_of(folder: Path) -> str:
    """Returns what tells a saved captioner from others and from one that takes its place."""
    return catalogue.version_of(folder)


def knows_drawings(folder: Path) -> bool:
    """Returns whether a captioner was trained on drawings, and so knows no photos."""
    return catalogue.is_of_drawings(folder)


def explain_confidence(folder: Path) -> dict[str, str]:
    """Returns what each word for how sure a captioner is is worth, the surest first; none if it says none.

    Raises:
        OSError, ValueError: If its metrics cannot be read.
    """
    return confidence.explain_confidence(catalogue.read_metrics(folder))
