"""Files of captions: written row by row as text, JSON, JSON lines or CSV, and read again so that a run can go on.

A row is the name of a photo and its captions, best first. Every row in a file is whole, but for the last one where a
process was killed or a disk was full while it was written; `read_finished` leaves such a torn row out.
"""

import collections
import contextlib
import csv
import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from captioner.inference import Caption

# Bytes. A path on disk has at most 4,096: what is longer is no torn row, and must not be dropped as one.
_LONGEST_ROW = 1 << 16
_BYTE_ORDER_MARK = "\ufeff"


class Layout:
    """How rows are written. Make one with `choose_layout`.

    Attributes:
        alternatives: How many further captions a row holds at most.
        head, between, tail: What stands before, between and after all rows.
        is_one_value: Whether the file can be read only when it is complete.
    """

    head = between = tail = ""
    is_one_value = False

    def __init__(self, alternatives: int = 0):
        self.alternatives = alternatives

    def format_row(self, name: str, captions: "Sequence[Caption]") -> str:
        """Returns a row, its line end included."""
        raise NotImplementedError


class TextLayout(Layout):
    """A line for each photo with its caption, all captions in one column, further ones below."""

    def __init__(self, alternatives: int = 0, *, photos: Iterable[str] = ()):
        super().__init__(alternatives)
        self._width = max((_count_columns(escape_unprintable(name)) for name in photos), default=0)

    def format_row(self, name, captions):
        best, *others = captions[: self.alternatives + 1]
        name = escape_unprintable(name)
        name += " " * (self._width - _count_columns(name))
        return f"{name}  {best.text}\n" + "".join(f"{'':{self._width}}  or: {other.text}\n" for other in others)


class JsonLinesLayout(Layout):
    """A JSON object on a line for each photo."""

    start = '{"photo": '

    def format_row(self, name, captions):
        return json.dumps(self._content(name, captions), ensure_ascii=False) + "\n"

    @property
    def columns(self) -> list[str]:
        """What a row holds."""
        return ["photo", "caption", "log_prob"] + ["alternatives"] * bool(self.alternatives)

    @staticmethod
    def is_whole(row: bytes) -> bool:
        """Whether a row ends where these lines do."""
        return row.endswith(b"\n")

    def read_names(self, rows: Iterable[str]) -> Iterator[str]:
        """Yields the photos of rows. Raises `ValueError` where they are of another layout."""
        for row in rows:
            try:
                content = json.loads(row)
            except ValueError:
                content = None
            if not isinstance(content, dict) or list(content) != self.columns or not isinstance(content["photo"], str):
                raise ValueError(row)
            yield content["photo"]

    def _content(self, name, captions) -> dict:
        best, *others = captions[: self.alternatives + 1]
        content = {"photo": name, "caption": best.text, "log_prob": best.log_prob}
        return content | ({"alternatives": [other.text for other in others]} if self.alternatives else {})


class JsonLayout(JsonLinesLayout):
    """A JSON array with an object for each photo."""

    head, between, tail = "[", ",", "\n]\n"
    is_one_value = True

    def format_row(self, name, captions):
        return "\n  " + json.dumps(self._content(name, captions), indent=2, ensure_ascii=False).replace("\n", "\n  ")


class CsvLayout(Layout):
    """A header and a row of cells for each photo, as a spreadsheet opens them."""

    def __init__(self, alternatives: int = 0, *, bom: bool = False):
        super().__init__(alternatives)
        self.columns = ["photo", "caption", *(f"alternative_{number + 1}" for number in range(alternatives))]
        self.head = self.start = _BYTE_ORDER_MARK * bom + _join_cells(self.columns)

    def format_row(self, name, captions):
        texts = [caption.text for caption in captions[: self.alternatives + 1]]
        return _join_cells([name, *texts, *[""] * (self.alternatives + 1 - len(texts))])

    @staticmethod
    def is_whole(row: bytes) -> bool:
        """Whether a row ends where these lines do, and not within the quoted name of a photo."""
        return row.endswith(b"\n") and row.count(b'"') % 2 == 0

    def read_names(self, rows: Iterable[str]) -> Iterator[str]:
        """Yields the photos of rows behind the header. Raises `ValueError` where they are of another layout."""
        for number, row in enumerate(rows):
            [cells] = csv.reader([row])
            if len(cells) != len(self.columns) or (number == 0 and cells != self.columns):
                raise ValueError(row)
            if number > 0:
                yield cells[0]


LAYOUTS = {"text": TextLayout, "json": JsonLayout, "jsonl": JsonLinesLayout, "csv": CsvLayout}
RESUMABLE = ("jsonl", "csv")


def choose_layout(name: str, alternatives: int = 0, *, photos: Iterable[str] = (), bom: bool = False) -> Layout:
    """Returns a layout.

    Args:
        name: One of `LAYOUTS`.
        alternatives: How many further captions a row holds at most.
        photos: The names of all photos, so that text can be written in columns before they are all captioned.
        bom: Whether CSV begins with a byte order mark, without which Excel takes it for another encoding than UTF-8.
    """
    options = {"text": {"photos": photos}, "csv": {"bom": bom}}
    return LAYOUTS[name](alternatives, **options.get(name, {}))


class CaptionWriter:
    """Writes batches of rows. Make one with `open_writer`."""

    def __init__(self, file: TextIO, layout: Layout):
        self._file, self._layout = file, layout
        self._between = ""

    def write(self, rows: Iterable[tuple[str, "Sequence[Caption]"]]) -> None:
        """Writes rows and hands them to the operating system, so that they outlive this process."""
        for name, captions in rows:
            self._file.write(self._between + self._layout.format_row(name, captions))
            self._between = self._layout.between
        self._file.flush()


@contextlib.contextmanager
def open_writer(path: Path | None, layout: Layout, *, kept_bytes: int = 0) -> Iterator[CaptionWriter]:
    """Opens a file for captions, or the screen.

    A file that is one value is written beside its place, `<name>.part`, and gets its name when it is complete. It is
    complete, too, when the person stops the run: then it holds what was done.

    Args:
        path: The file; `None` for the screen.
        layout: How rows are written.
        kept_bytes: How much of the file that is there to keep and go on after; see `read_finished`.
    """
    target = path
    if layout.is_one_value and path is not None and (path.is_file() or not path.exists()):
        target = path.resolve().with_name(f"{path.name}.part")
    if kept_bytes:
        os.truncate(target, kept_bytes)
    stopped = None
    with open_text(target, "a" if kept_bytes else "w") as file:
        if not kept_bytes:
            file.write(layout.head)
        try:
            yield CaptionWriter(file, layout)
        except KeyboardInterrupt as error:
            stopped = error
        file.write(layout.tail)
    if target != path:
        os.replace(target, path.resolve())
    if stopped:
        raise stopped


def open_text(path: Path | None, mode: str = "w") -> contextlib.AbstractContextManager[TextIO]:
    """Opens a file as UTF-8, or the screen for `None`. A name that is no Unicode gets backslashes and stops nothing."""
    if path is None:
        sys.stdout.reconfigure(errors="backslashreplace")
        return contextlib.nullcontext(sys.stdout)
    return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="")


def read_finished(path: Path, layout: Layout) -> tuple[collections.Counter[str], int]:
    """Reads which photos a file has captions of already.

    Args:
        path: A file of captions. It may be missing.
        layout: How its rows are written, one of `RESUMABLE`.

    Returns:
        How often each photo is in the file, for `leave_out`, and the bytes of the file without a torn last row.

    Raises:
        ValueError: If the file has another layout.
    """
    rows, torn = _split_rows(path, layout)
    start = layout.start.encode()
    if len(torn) > _LONGEST_ROW or not (rows or start.startswith(torn) or torn.startswith(start)):
        raise _refusal(path, layout, torn.decode(errors="replace"))
    try:
        texts = [row.decode().removeprefix(_BYTE_ORDER_MARK) for row in rows]
        names = [_as_written(name) for name in layout.read_names(text for text in texts if text.strip())]
    # Also no UTF-8.
    except (ValueError, csv.Error) as error:
        raise _refusal(path, layout, str(error)) from None
    return collections.Counter(names), sum(map(len, rows))


def leave_out(paths: Sequence[Path], finished: collections.Counter[str]) -> list[Path]:
    """Returns the paths that are not in a file yet; one that is there once and given twice is left out once."""
    left, missing = collections.Counter(finished), []
    for path in paths:
        name = _as_written(str(path))
        if left[name]:
            left[name] -= 1
        else:
            missing.append(path)
    return missing


def escape_unprintable(text: str) -> str:
    """Returns text, such as a file name, on one line and without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _split_rows(path: Path, layout: Layout) -> tuple[list[bytes], bytes]:
    """Returns the whole rows of a file, and what follows them."""
    rows, torn = [], b""
    with path.open("rb") if path.is_file() else io.BytesIO() as file:
        for line in file:
            torn += line
            if layout.is_whole(torn):
                rows.append(torn)
                torn = b""
            elif len(torn) > _LONGEST_ROW:
                break
    return rows, torn


def _refusal(path: Path, layout: Layout, received: str) -> ValueError:
    return ValueError(
        f"{path} cannot be resumed: give the options of the run that wrote it, or name another file. "
        f"Expected: rows of {', '.join(layout.columns)}. Received: {received[:80]!r}"
    )


def _as_written(name: str) -> str:
    """Returns a name that is no Unicode as `open_text` writes it."""
    return name.encode("utf-8", "backslashreplace").decode()


def _join_cells(cells: Sequence[str]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file).writerow(cells)
    return file.getvalue()


def _count_columns(text: str) -> int:
    """Returns how wide a terminal shows text: Chinese letters take two columns, combining accents none."""
    wide, combining = unicodedata.east_asian_width, unicodedata.combining
    return sum(0 if combining(letter) else 1 + (wide(letter) in "WF") for letter in text)
