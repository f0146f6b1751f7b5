"""Data sets of captions as people have them: which files make one, found by looking, and one reader for each layout.

| layout | captions | splits |
|---|---|---|
| official | `Flickr8k.token.txt`, also Flickr30k's `results_20130124.token`: `<file>#<n><TAB><caption>` | own files |
| Karpathy's | `dataset_flickr8k.json`, also those of Flickr30k and COCO | in the same file |
| table | Kaggle's `captions.txt`, Flickr30k's `results.csv`: columns of a photo and a caption | own files, or none |

Reference: A. Karpathy, L. Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image Descriptions", CVPR 2015.
https://arxiv.org/abs/1412.2306
"""

import contextlib
import csv
import dataclasses
import functools
import io
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from captioner.data.captions import read_text

# Folders within the data folder that are looked into, since zip files unpack to folders of folders.
_MAX_DEPTH = 3
# Resource forks, and what each disk has for its repair, closed to all.
_NO_DATA = ("__MACOSX", "lost+found")
_KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "validation", "test": "test"}
_TOKEN_LINE = re.compile(r"(?P<image_id>[^\t]+?)#(?P<number>\d+)\t(?P<caption>.*)")
_IMAGE_COLUMNS = ("image", "image_name", "image_id", "filename", "file_name")
_CAPTION_COLUMNS = ("caption", "comment", "text", "sentence")
# What numbers rows or captions, and says nothing else.
_NUMBER_COLUMNS = ("", "unnamed: 0", "index", "id", "comment_number", "caption_number", "number")
# What would lead out of the folder of photos, on any system, or steer a terminal.
_NO_IMAGE_ID = re.compile(r"^([A-Za-z]:)?[\\/]|(^|[\\/])\.\.([\\/]|$)|[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Flickr30k's table has a line that lacks the sign between its number and its caption.
_NUMBERED = re.compile(r"(\d+)\s+(\S.*)")


@dataclasses.dataclass(frozen=True)
class RawCaptions:
    """What a file of captions says.

    Attributes:
        captions: Raw captions of each image id, in the file's order.
        splits: Image ids of each split, where the file says so itself.
    """

    captions: Mapping[str, list[str]]
    splits: Mapping[str, list[str]] | None = None

    def of(self, image_id: str) -> list[str]:
        """Returns the captions of a photo, whose name a list of photos may spell otherwise; see `same_name`."""
        return self.captions.get(self.spell(image_id), [])

    def spell(self, image_id: str) -> str:
        """Returns how the file spells the name of a photo, or that name where it has no captions of it."""
        return image_id if image_id in self.captions else self._spellings.get(same_name(image_id), image_id)

    @functools.cached_property
    def _spellings(self) -> dict[str, str]:
        return {same_name(image_id): image_id for image_id in self.captions}


def list_folders(folder: Path) -> dict[Path, list[str]]:
    """Returns the names of the files in a folder and in the folders in it, the folder itself first, none hidden.

    Raises:
        PermissionError: If one of them may not be read, since captions or photos may be there.
    """
    found = {}
    for place, folders, files in os.walk(folder, onerror=_refuse_closed, followlinks=True):
        path = Path(place)
        is_deepest = len(path.relative_to(folder).parts) >= _MAX_DEPTH
        folders[:] = [] if is_deepest else sorted(name for name in folders if name[0] != "." and name not in _NO_DATA)
        found[path] = sorted(name for name in files if name[0] != ".")
    return dict(sorted(found.items(), key=lambda item: len(item[0].parts)))


def _refuse_closed(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise PermissionError(f"The folder {error.filename} may not be read: you have no right to it.") from None


def find_captions(
    folders: Mapping[Path, list[str]],
) -> tuple[Path, Callable[[Path], RawCaptions], list[Path]] | None:
    """Returns the file of captions among files, its reader, and others that hold captions, or `None` without any.

    Args:
        folders: From `list_folders`.

    Raises:
        ValueError: If several files of one layout lie side by side.
    """
    found: list[tuple[Path, Callable[[Path], RawCaptions]]] = []
    for pattern, reader in _LAYOUTS:
        for place, names in folders.items():
            fitting = [name for name in names if pattern.fullmatch(name.lower())]
            if len(fitting) > 1 and not found:
                raise ValueError(f"{place} holds captions of several data sets: {', '.join(fitting)}. Leave one there.")
            found += [(place / name, reader) for name in fitting]
    if not found:
        return None
    [(path, read), *others] = found
    return path, read, [other for other, _ in others]


def explain_nearest(folders: Mapping[Path, list[str]], split_files: Mapping[str, str]) -> str:
    """Returns a sentence on the layout that came nearest where no file of captions was found; empty if none did."""
    for place, names in folders.items():
        for name in names:
            if name in split_files.values():
                return f"{name} is there, so the official layout came nearest, but its Flickr8k.token.txt is missing. "
            if name.lower().endswith((".txt", ".csv", ".tsv", ".json")) and (place / name).is_file():
                line = _read_start(place / name)
                if line.startswith('{"images"'):
                    return f"{name} came nearest: if it is Karpathy's, name it dataset_flickr8k.json. "
                if _TOKEN_LINE.fullmatch(line):
                    return f"{name}, line 1, came nearest: if it holds all captions, name it Flickr8k.token.txt. "
                if _choose_columns(line):
                    return f"{name}, line 1, came nearest: if it holds all captions, name it captions.csv. "
    return ""


def _read_start(path: Path) -> str:
    """Returns the first line of a file, or a part of it, and nothing of a file that may not be read."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.readline(1000).decode(errors="replace").removeprefix("\ufeff").strip()
    return ""


def read_token_file(path: Path) -> RawCaptions:
    """Reads the official caption file, one `<file>#<n><TAB><caption>` a line.

    Raises:
        ValueError: If a line has another form; the message names file and line.
    """
    captions: dict[str, list[str]] = {}
    for number, line in _lines(path):
        match = _TOKEN_LINE.fullmatch(line)
        if match is None:
            raise _refusal(path, number, "'<file>#<n><TAB><caption>', as in the official layout", line)
        captions.setdefault(check_image_id(match["image_id"], path, number), []).append(match["caption"])
    return RawCaptions(captions)


def read_table(path: Path) -> RawCaptions:
    """Reads a table of a photo and a caption a row, its columns divided by commas, semicolons, tabs or `|`.

    Kaggle's `captions.txt` (`image,caption`) and Flickr30k's `results.csv` (`image_name| comment_number| comment`) are
    such tables. Columns that only count rows are passed over. A file of this name in the official form is read, too.

    Raises:
        ValueError: If the header or a row has another form; the message names file and line.
    """
    text = read_text(path)
    header, _, _ = text.lstrip("\n").partition("\n")
    if _TOKEN_LINE.fullmatch(header):
        return read_token_file(path)
    chosen = _choose_columns(header)
    if chosen is None:
        raise ValueError(
            f"{path.name}, line 1: expected the header 'image,caption', as in Kaggle's layout. "
            f"Received: {header[:80]!r}"
        )
    delimiter, num_columns, image, caption = chosen
    captions: dict[str, list[str]] = {}
    for number, row, is_whole in _rows(text, delimiter):
        row = _mend_numbered(row, num_columns) if delimiter == "|" else row
        if len(row) != num_columns or not row[image].strip() or not is_whole:
            expected = f"{num_columns} columns divided by {delimiter!r}, a caption that holds it in quotes"
            raise _refusal(path, number, expected, text.split("\n")[number - 1])
        captions.setdefault(check_image_id(row[image].strip(), path, number), []).append(row[caption])
    return RawCaptions(captions)


def read_karpathy_file(path: Path) -> RawCaptions:
    """Reads Karpathy's JSON, which holds captions and splits: `dataset_flickr8k.json`, `dataset_coco.json` and so on.

    COCO's split `restval`, validation photos that published systems are trained on, counts as train.

    Raises:
        ValueError: If it has another form; the message names the photo.
    """
    text = read_text(path)
    try:
        images = json.loads(text)["images"]
    except (ValueError, RecursionError, KeyError, TypeError):
        images = None
    if not isinstance(images, list):
        raise ValueError(f"{path.name}: expected a JSON object with a list of 'images', as in Karpathy's layout.")
    captions: dict[str, list[str]] = {}
    splits: dict[str, list[str]] = {split: [] for split in _KARPATHY_SPLITS.values()}
    for number, image in enumerate(images, 1):
        try:
            image_id = check_image_id(image["filename"], path, number, "photo")
            split, texts = _KARPATHY_SPLITS[image["split"]], [sentence["raw"] for sentence in image["sentences"]]
        except (KeyError, TypeError):
            expected = f"'filename', 'sentences' with 'raw', and 'split', one of {', '.join(_KARPATHY_SPLITS)}"
            raise _refusal(path, number, expected, json.dumps(image), "photo") from None
        if image_id in captions or not all(isinstance(text, str) for text in texts):
            raise _refusal(path, number, "each photo once, and its captions as text", json.dumps(image), "photo")
        captions[image_id] = texts
        splits[split].append(image_id)
    return RawCaptions(captions, splits)


def read_split_file(path: Path) -> tuple[str, ...]:
    """Reads a list of image ids, one a line."""
    return tuple(check_image_id(line.strip(), path, number) for number, line in _lines(path))


def check_image_id(image_id: str, path: Path, number: int, unit: str = "line") -> str:
    """Returns an image id that names a file within the folder of photos.

    Raises:
        ValueError: If it leads out of that folder or holds control characters.
    """
    if _NO_IMAGE_ID.search(image_id):
        raise _refusal(path, number, "the name of a file within the folder of photos", image_id, unit)
    return image_id


def same_name(name: str) -> str:
    """Returns what two spellings of one file name have in common: accents of their own or joined, and case."""
    return unicodedata.normalize("NFC", name).casefold()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the number and text of lines that are not empty."""
    # Not `splitlines`, which also splits at characters that people paste into captions, such as U+2028.
    return ((number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip())


def _choose_columns(header: str) -> tuple[str, int, int, int] | None:
    """Returns what divides the columns, how many they are, and which of them hold photo and caption."""
    for delimiter in ",\t|;":
        names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
        image, caption = (
            [number for number, name in enumerate(names) if name in known]
            for known in (_IMAGE_COLUMNS, _CAPTION_COLUMNS)
        )
        others = [name for name in names if name not in _IMAGE_COLUMNS + _CAPTION_COLUMNS + _NUMBER_COLUMNS]
        if len(image) == len(caption) == 1 and not others:
            return delimiter, len(names), image[0], caption[0]
    return None


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str], bool]]:
    """Yields the first line of each row behind the header, its cells, and whether it ends on that line."""
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL,
        skipinitialspace=True,
    )
    is_header, line = True, 0
    while True:
        first_line = line + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:  # A quote that is never closed, and more behind it than a cell may hold.
            yield first_line, [], False
            return
        line = rows.line_num
        if row and not is_header:
            # A quote that is never closed would swallow the rows after it into one caption.
            yield first_line, row, line == first_line
        is_header = is_header and not row


def _mend_numbered(row: list[str], num_columns: int) -> list[str]:
    match = _NUMBERED.fullmatch(row[-1].strip())
    return [*row[:-1], *match.groups()] if match and len(row) == num_columns - 1 else row


def _refusal(path: Path, number: int, expected: str, received: str, unit: str = "line") -> ValueError:
    return ValueError(
        f"{path.name}, {unit} {number}: expected {expected}. Mend or remove that {unit}. Received: {received[:80]!r}"
    )


# Which files hold captions, by their names in small letters: those with splits of their own first.
_LAYOUTS = (
    (re.compile(r"(?!.*lemma).*\.token(\.txt)?"), read_token_file),
    # Others so named describe what Kaggle and Hugging Face have.
    (re.compile(r"dataset(?!.*(metadata|info|dict)).*\.json"), read_karpathy_file),
    (re.compile(r"captions\.(txt|csv|tsv)|results\.csv"), read_table),
)
