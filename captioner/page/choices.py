"""What a visitor can choose from: captioners, their searches, and kinds of files. No Streamlit here, no TensorFlow."""

from pathlib import Path

from captioner import config
from captioner.artifacts import catalogue
from captioner.data import photo_files

FILE_KINDS = tuple(suffix.removeprefix(".") for suffix in photo_files.PHOTO_SUFFIXES)


def list_captioners() -> list[Path]:
    """Returns the folders of all captioners, the one to prefer first."""
    return catalogue.list_captioners()


def default_search(folder: Path) -> config.DecodingConfig:
    """Returns how a captioner searches unless the visitor says otherwise.

    Raises:
        FileNotFoundError, ValueError: If its configuration cannot be read.
    """
    return catalogue.read_search(catalogue.read_config(folder))


def version_of(folder: Path) -> str:
    """Returns what tells a saved captioner from others and from one that takes its place."""
    return catalogue.version_of(folder)
