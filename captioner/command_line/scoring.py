"""The command `score`: captions of any system, in the forms that people have them, against the captions by people."""

import argparse
import contextlib
import csv
import io
import json
import re
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from captioner import output
from captioner.command_line import steps
from captioner.data.captions import read_text

_ID_KEYS = ("image_id", "photo", "image", "image_name", "filename", "file_name", "id")
_CAPTION_KEYS = ("caption", "text", "comment")
_EXPECTED = (
    "expected image id -> caption or [caption] as JSON, COCO's results, a report of evaluate, or JSON, JSON lines or "
    "CSV with the keys 'image_id' or 'photo' and 'caption'"
)
# COCO's results name a photo by the number of twelve digits that its file name ends with.
_COCO_NAME = re.compile(r"(?:COCO_\w+_)?(?=\d{12}$)0*(\d+)")


def run_score(options: argparse.Namespace) -> int:
    """Scores captions from any source."""
    from captioner.scoring import metrics

    steps.check_output(options.output)
    dataset = steps.read_split(options.data, options.split)
    references = dataset.references_of(options.split)
    captions, num_unreadable = read_captions(options.captions, references)
    captioned = {image_id: texts for image_id, texts in references.items() if image_id in captions}
    if len(references) - len(captioned) == num_unreadable:
        # Photos that the system could not read, and said so, are left out as evaluate leaves them out.
        references = captioned
    if num_unreadable:
        steps.say(f"Left out, since they could not be read when they were captioned: {num_unreadable:,} of the photos.")
    scores = metrics.score_captions(captions, references, train_captions=steps.train_captions(dataset))
    scores |= metrics.score_meteor(captions, references)
    steps.write_report({"data": dataset.name, "split": options.split, **scores, "captions": captions}, options.output)
    return 0


def read_captions(path: Path, image_ids: Collection[str]) -> tuple[dict[str, Any], int]:
    """Reads captions in any form that is used for them.

    Args:
        path: A file of JSON, JSON lines or CSV, in UTF-8 or UTF-16.
        image_ids: The photos to score on. The file may name them without folder, suffix or, as COCO does, by number.

    Returns:
        Image id -> caption, and how many photos the system could not read by its own account.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has another form, or several captions for a photo.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: {_EXPECTED}.")
    content = _parse(read_text(path), path)
    num_unreadable = 0
    if isinstance(content, dict) and isinstance(content.get("captions"), dict | list):
        num_unreadable, content = content.get("unreadable_photos", 0), content["captions"]
        if type(num_unreadable) is not int:
            raise ValueError(f"{path}: unreadable_photos is to be a whole number. Received: {num_unreadable!r:.80}")
    if isinstance(content, list):
        rows = [row for row in content if not (isinstance(row, dict) and row.get("error"))]
        num_unreadable, content = num_unreadable + len(content) - len(rows), rows
    # Whether each is a text is judged where they are scored.
    captions: dict[str, Any] = {}
    index = _index_names(image_ids)
    for name, caption in _pairs(content, path):
        name = unicodedata.normalize("NFC", str(name))
        image_id = index.get(name) or index.get(PureWindowsPath(name).name) or name
        if image_id in captions:
            raise ValueError(f"{path} has several captions for {image_id!r}: one is scored, so leave the best.")
        captions[image_id] = caption
    if not captions:
        raise ValueError(f"{path} holds no caption: {_EXPECTED}.")
    return captions, num_unreadable


def _index_names(image_ids: Collection[str]) -> dict[str, str]:
    """Returns what captions may be filed under: image ids, their names without folder or suffix, COCO's numbers."""
    found: dict[str, set[str]] = {}
    exact = {unicodedata.normalize("NFC", image_id): image_id for image_id in image_ids}
    for name, image_id in exact.items():
        path = PurePosixPath(name)
        number = _COCO_NAME.fullmatch(path.stem)
        for form in (path.name, path.stem, *(number.groups() if number else ())):
            found.setdefault(form, set()).add(image_id)
    # What fits two photos names none of them.
    return {form: fitting.pop() for form, fitting in found.items() if len(fitting) == 1} | exact


def _parse(text: str, path: Path) -> object:
    """Returns what JSON says, or a list of objects of JSON lines or CSV."""
    for parts in ([text], [line for line in text.split("\n") if line.strip()]):
        with contextlib.suppress(ValueError, RecursionError):
            found = [json.loads(part, object_pairs_hook=_keep_pairs) for part in parts]
            return found[0] if parts == [text] else found
    # JSON that is damaged is no table, whatever signs it has.
    return [text[:80]] if text.lstrip().startswith(("{", "[")) else _parse_table(text, path)


def _keep_pairs(pairs: list[tuple[str, object]]) -> object:
    """Returns a JSON object, or its pairs where a name stands there twice, lest one of them is lost."""
    return found if len(found := dict(pairs)) == len(pairs) else pairs


def _parse_table(text: str, path: Path) -> list:
    """Returns the rows of CSV by its columns.

    Raises:
        ValueError: If a row has another number of cells, or a quote is not closed; the message names file and line.
    """
    header, _, _ = text.partition("\n")
    delimiter = max(",\t;|", key=header.count)
    file = io.StringIO(text, newline="")
    rows = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        if not set(_ID_KEYS) & set(names):
            return [header]
        found = [dict(zip(names, map(output.read_cell, cells), strict=True)) for cells in rows if cells]
    except (csv.Error, ValueError):
        raise ValueError(
            f"{path}, line {rows.line_num}: expected as many columns as in line 1, divided by {delimiter!r}, a caption "
            "that holds it in quotes. Mend or remove that line."
        ) from None
    if len(set(names)) < len(names):
        raise ValueError(f"{path}, line 1: expected each column once. Received: {header[:80]!r}")
    return found


def _pairs(content: object, path: Path) -> Iterator[tuple[object, object]]:
    """Yields what each caption is filed under, and the caption."""
    rows = content.items() if isinstance(content, dict) else content if isinstance(content, list) else [content]
    for row in rows:
        if isinstance(row, dict):
            # What `caption` wrote has the words of its captions beside the sentences.
            caption_keys = ("words",) if row.keys() >= {"photo", "caption", "words"} else _CAPTION_KEYS
            row = tuple(next((row[key] for key in keys if key in row), None) for keys in (_ID_KEYS, caption_keys))
        if not isinstance(row, tuple) or None in row:
            raise ValueError(f"{path}: {_EXPECTED}. Received: {json.dumps(row)[:80]}")
        name, caption = row
        if isinstance(caption, list) and len(caption) == 1:
            # In the lists of pycocoevalcap captions may be wrapped once more.
            caption = caption[0].get("caption") if isinstance(caption[0], dict) else caption[0]
        if isinstance(caption, list):
            raise ValueError(f"{path} has {len(caption)} captions for {name!r}: one is scored, so leave the best.")
        yield name, caption
