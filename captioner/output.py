"""Captions as text, CSV, JSON and JSON lines: the page and the command write the same bytes.

A row is the name of a photo with its captions, best first, or with the reason why it has none. Captions are written as
sentences; the words that the captioner wrote, which scores are made of, stand in a column of their own.
"""

import codecs
import contextlib
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO, cast

from captioner import files

if TYPE_CHECKING:
    from captioner.inference import Caption

# Without it Excel takes CSV for another encoding than UTF-8.
BYTE_ORDER_MARK = "\ufeff"
# What moves the cursor of a terminal, changes its colours or turns the order of letters around, and what is no letter.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# A spreadsheet takes a cell that begins so for a formula, which may start programs or send what is in other cells.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")


class Row(NamedTuple):
    """A photo and its captions, best first, or the problem that says why it has none.

    Attributes:
        name: The photo.
        captions: Its captions.
        problem: Why it has none.
        edited: What a person wrote in place of the first caption; its words and how sure the captioner is of them stay.
    """

    name: str
    captions: "Sequence[Caption]" = ()
    problem: str = ""
    edited: str = ""

    @property
    def sentences(self) -> list[str]:
        """The captions as they are written, the edited one first."""
        sentences = [as_sentence(caption.text) for caption in self.captions]
        return [self.edited or sentences[0], *sentences[1:]] if sentences else []


class KeptRow(NamedTuple):
    """A row that was read from a file.

    Attributes:
        photo: Name of the photo.
        caption: Its caption, which people may have edited.
        words: The captioner's own words.
        problem: Why there is no caption.
    """

    photo: str
    caption: str
    words: str
    problem: str


def as_sentence(caption: str) -> str:
    """Returns the one form in which people see a caption: with a capital letter and a full stop.

    Example:
        >>> as_sentence("a dog runs")
        'A dog runs.'
    """
    return f"{caption[0].upper()}{caption[1:]}." if caption else ""


class Layout:
    """How rows are written. Make one with `choose_layout`.

    Attributes:
        alternatives: How many further captions a row holds at most.
        head, between, tail: What stands before, between and after all rows.
        is_one_value: Whether the file can be read only when it is complete.
        is_utf8: Whether it is UTF-8 wherever it goes.
    """

    head = between = tail = ""
    is_one_value = is_utf8 = False

    def __init__(self, alternatives: int = 0, *, ascii_only: bool = False):
        self.alternatives, self._ascii_only = alternatives, ascii_only

    def format_row(self, row: Row) -> str:
        """Returns a row, its line end included."""
        raise NotImplementedError


class ResumableLayout(Layout):
    """A layout whose rows can be read again, so that a run can go on after them.

    Attributes:
        columns: What a row holds.
        start: What a file of it begins with.
    """

    columns: list[str]
    start: str

    @staticmethod
    def is_whole(row: bytes) -> bool:
        """Whether a row ends where these lines do."""
        return row.endswith(b"\n")

    def read_rows(self, rows: Iterable[str]) -> Iterator[KeptRow]:
        """Yields each row below the header.

        Raises:
            ValueError: If a row is of another layout.
        """
        raise NotImplementedError


class TextLayout(Layout):
    """A line for each photo with its caption and how sure it is, further captions below. Failures are not in it."""

    def format_row(self, row):
        lines = []
        for number, sentence in enumerate(row.sentences[: self.alternatives + 1]):
            sure = f" ({row.captions[0].confidence})" if row.captions[0].confidence else ""
            lines.append(escape_steering(f"  or: {sentence}" if number else f"{row.name}: {sentence}{sure}"))
        return "".join(f"{line}\n" for line in lines)


class JsonLinesLayout(ResumableLayout):
    """A JSON object on a line for each photo, with the same keys for all."""

    start = '{"photo": '
    indent: int | None = None

    def __init__(self, alternatives: int = 0, **options):
        super().__init__(alternatives, **options)
        others = ["alternatives"] if alternatives else []
        self.columns = ["photo", "caption", "words", "confidence", "log_prob", *others, "error"]

    def make_record(self, row: Row) -> dict:
        """Returns a row by its columns."""
        best = row.captions[0] if row.captions else None
        others = {"alternatives": row.sentences[1 : self.alternatives + 1]}
        return {
            "photo": row.name,
            "caption": row.sentences[0] if best else None,
            "words": best and best.text,
            "confidence": best and (best.confidence or None),
            "log_prob": best and best.log_prob,
            **(others if self.alternatives else {}),
            "error": row.problem or None,
        }

    def format_row(self, row):
        return dump_json(self.make_record(row), indent=self.indent, ascii_only=self._ascii_only) + "\n"

    def read_rows(self, rows):
        for row in rows:
            try:
                content = json.loads(row)
            except (ValueError, RecursionError):
                content = None
            if not isinstance(content, dict) or list(content) != self.columns or not isinstance(content["photo"], str):
                raise ValueError(row)
            yield KeptRow(content["photo"], *(str(content[key] or "") for key in ("caption", "words", "error")))


class JsonLayout(JsonLinesLayout):
    """A JSON array with an object for each photo."""

    head, between, tail = "[", ",", "\n]\n"
    is_one_value = True
    indent = 2

    def format_row(self, row):
        return "\n  " + super().format_row(row).rstrip("\n").replace("\n", "\n  ")


class CsvLayout(ResumableLayout):
    """A header and a row of cells for each photo, as a spreadsheet opens them."""

    is_utf8 = True

    def __init__(self, alternatives: int = 0, **options):
        super().__init__(alternatives, **options)
        others = (f"alternative_{number + 1}" for number in range(alternatives))
        self.columns = ["photo", "caption", "words", "confidence", *others, "error"]
        self.head = self.start = BYTE_ORDER_MARK + _join_cells(self.columns)

    def format_row(self, row):
        sentences = row.sentences[: self.alternatives + 1]
        sentences += [""] * (self.alternatives + 1 - len(sentences))
        words, confidence = (row.captions[0].text, row.captions[0].confidence) if row.captions else ("", "")
        cells = [row.name, sentences[0], words, confidence, *sentences[1:], row.problem]
        return _join_cells(["'" * bool(_FORMULA.match(cell)) + cell for cell in cells])

    @staticmethod
    def is_whole(row: bytes) -> bool:
        """Whether a row ends there, and not within the quoted name of a photo."""
        return row.endswith(b"\n") and row.count(b'"') % 2 == 0

    def read_rows(self, rows):
        for number, row in enumerate(rows):
            [cells] = csv.reader([row])
            if len(cells) != len(self.columns) or (number == 0 and cells != self.columns):
                raise ValueError(row)
            if number > 0:
                photo, caption, words, problem = map(read_cell, (*cells[:3], cells[-1]))
                yield KeptRow(photo, caption, words, problem)


LAYOUTS: dict[str, type[Layout]] = {"text": TextLayout, "json": JsonLayout, "jsonl": JsonLinesLayout, "csv": CsvLayout}
# By the ending of a file's name.
ENDINGS = {".txt": "text", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
RESUMABLE = ("jsonl", "csv")


def choose_layout(name: str, alternatives: int = 0, *, for_screen: bool = False) -> Layout:
    """Returns a layout.

    Args:
        name: One of `LAYOUTS`.
        alternatives: How many further captions a row holds at most.
        for_screen: Whether rows go to standard output, which may know few letters: JSON spells the others out.
    """
    return LAYOUTS[name](alternatives, ascii_only=for_screen and knows_few_letters())


def knows_few_letters() -> bool:
    """Whether standard output has an encoding that is not Unicode, as it has on some systems."""
    return sys.stdout is not None and not codecs.lookup(sys.stdout.encoding).name.startswith("utf")


def write_bytes(rows: Iterable[Row], layout: Layout) -> bytes:
    """Returns what a file of rows holds."""
    content = layout.head + layout.between.join(map(layout.format_row, rows)) + layout.tail
    return content.encode("utf-8", "backslashreplace")


class CaptionWriter:
    """Writes batches of rows. Make one with `open_writer`."""

    def __init__(self, file: TextIO, layout: Layout):
        self._file, self._layout = file, layout
        self._between = ""

    def write(self, rows: Iterable[Row]) -> None:
        """Writes rows and hands them to the operating system, so that they outlive this process."""
        for row in rows:
            self._file.write(self._between + self._layout.format_row(row))
            self._between = self._layout.between
        self._file.flush()


@contextlib.contextmanager
def open_writer(path: Path | None, layout: Layout, *, resume: bool = False) -> Iterator[CaptionWriter]:
    """Opens a file for captions, or the screen.

    A file that is one value is written beside its place, `<name>.part`, and gets its name when it is complete. It is
    complete, too, when the person stops the run: then it holds what was done. What a killed run left there is kept.

    Args:
        path: The file; `None` for the screen.
        layout: How rows are written.
        resume: Whether to go on after the rows in the file.
    """
    target, place = path, None
    if layout.is_one_value and path is not None and (path.is_file() or not path.exists()):
        place = path.resolve()
        target = place.with_name(f"{path.name}.part")
        if target.exists():
            target.replace(files.free_name(target))
    has_rows = resume and target is not None and target.is_file() and target.stat().st_size
    stopped = None
    with open_text(target, "a" if resume else "w", is_utf8=layout.is_utf8) as file:
        if not has_rows:
            file.write(layout.head)
        try:
            yield CaptionWriter(file, layout)
        except KeyboardInterrupt as error:
            stopped = error
        file.write(layout.tail)
    if target is not None and place is not None:
        os.replace(target, place)
    if stopped:
        raise stopped


def open_text(path: Path | None, mode: str = "w", *, is_utf8: bool = False) -> contextlib.AbstractContextManager:
    """Opens a file as UTF-8, or the screen for `None`. A name that is no Unicode gets backslashes and stops nothing.

    Args:
        path: The file.
        mode: As for `open`.
        is_utf8: Whether a pipe gets UTF-8, too, whatever encoding standard output has.

    Raises:
        OSError: If the file cannot be opened, or if there is no standard output.
    """
    if path is not None:
        return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="")
    if sys.stdout is None:
        raise OSError("There is no standard output to write to. Name a file with --output.")
    screen = cast(io.TextIOWrapper, sys.stdout)
    if screen.isatty():
        return contextlib.nullcontext(_Terminal(screen))
    screen.reconfigure(errors="backslashreplace")
    if is_utf8:
        screen.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")
    return contextlib.nullcontext(screen)


def dump_json(content: object, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Returns JSON in which nothing steers a terminal: such letters are spelled out, as JSON may do with any."""
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only)
    # Line ends are JSON's own: those within a string are spelled out already.
    return _STEERING.sub(lambda match: match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1], text)


def read_cell(text: str) -> str:
    """Returns what a cell of CSV says, without the apostrophe that keeps a spreadsheet from taking it for a formula."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def escape_steering(text: str) -> str:
    """Returns text, such as a file name, on one line and without what would steer a terminal."""
    return _STEERING.sub(lambda match: ascii(match[0])[1:-1], text)


class _Terminal:
    """Standard output where a person reads it: what would steer the terminal is spelled out."""

    def __init__(self, file: io.TextIOWrapper):
        file.reconfigure(errors="backslashreplace")
        self._file, self.flush = file, file.flush

    def write(self, text: str) -> None:
        lines = text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").split("\n")
        self._file.write("\n".join(map(escape_steering, lines)))


def _join_cells(cells: Sequence[str]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file).writerow(cells)
    return file.getvalue()
