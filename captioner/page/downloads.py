"""The files that a visitor takes along. No Streamlit here, and no TensorFlow."""

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import PurePath

from captioner import output
from captioner.page.uploads import CaptionedPhoto

KINDS = ("csv", "json", "zip")
# What file systems refuse in names, and what leads out of a folder.
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_PROBLEMS_FILE = "not captioned.txt"


def write_file(done: Sequence[CaptionedPhoto], kind: str, alternatives: int) -> bytes:
    """Returns a file of all captions.

    Args:
        done: The photos.
        kind: One of `KINDS`; CSV and JSON are the files that `python -m captioner caption` writes.
        alternatives: How many further captions of a photo CSV and JSON hold.
    """
    if kind == "zip":
        return _write_zip(done)
    return output.write_bytes((photo.row for photo in done), output.choose_layout(kind, alternatives))


def list_captions(done: Sequence[CaptionedPhoto]) -> str:
    """Returns a line for each photo that has a caption: its name and the caption."""
    return "\n".join(f"{photo.name}: {photo.sentence}" for photo in done if photo.captions)


def _write_zip(done: Sequence[CaptionedPhoto]) -> bytes:
    """Returns a ZIP with a text file for each photo, `dog.txt` for `dog.jpg`, and one of those without a caption."""
    texts: dict[str, str] = {}
    for photo in done:
        if photo.captions:
            texts[_name_text(photo.name, texts)] = photo.sentence
    problems = [f"{photo.name}: {photo.problem}" for photo in done if photo.problem]
    if problems:
        texts[_name_text(_PROBLEMS_FILE, texts)] = "\n".join(problems)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, f"{text}\n")
    return file.getvalue()


def _name_text(name: str, taken: dict[str, str]) -> str:
    """Returns the name of a photo's text file: its own, else with its ending, else with a number."""
    safe = _NOT_IN_NAMES.sub("_", name).lstrip(".") or "photo"
    choices = [f"{PurePath(safe).stem}.txt", f"{safe}.txt", *(f"{safe} {number}.txt" for number in range(2, 1000))]
    used = {other.lower() for other in taken}
    return next(choice for choice in choices if choice.lower() not in used)
