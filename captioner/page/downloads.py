"""The files that a visitor takes along. No Streamlit here, and no TensorFlow."""

import io
import re
import zipfile
from collections.abc import Sequence

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
    """Returns a ZIP with a text file for each photo, named as a sidecar, and one on the photos without a caption."""
    problems = [f"{photo.name}: {photo.problem}" for photo in done if photo.problem]
    texts = {_PROBLEMS_FILE: "\n".join(problems)} if problems else {}
    for photo in done:
        if photo.captions:
            texts[_name_text(photo.name, texts)] = photo.sentence
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, f"{text}\n")
    return file.getvalue()


def _name_text(name: str, taken: dict[str, str]) -> str:
    """Returns `dog.jpg.txt` for `dog.jpg`, as the command names sidecars; with a number where that is taken."""
    safe = _NOT_IN_NAMES.sub("_", name).lstrip(".") or "photo"
    used = {other.lower() for other in taken}
    names = (f"{safe}{number}.txt" for number in ("", *(f" {number}" for number in range(2, 1000))))
    return next(choice for choice in names if choice.lower() not in used)
