"""Captions as text: how they are cleaned and how caption files are read.

A caption is cleaned to lower-case words with single blanks between them. Every word counts, "a" too, since
published scores count it; start and end markers never appear in text, so they can never be scored.
No TensorFlow here.
"""

import csv
import io
import re
import unicodedata
from pathlib import Path

# Raise this whenever `clean_caption` changes its answer: saved captioners name the version they learnt from.
CLEANING_VERSION = 1

_NOT_A_WORD = re.compile(r"[^\w]|_")
_TOKEN_LINE = re.compile(r"(?P<image_id>[^\t]+?)#(?P<number>\d+)\t(?P<caption>.*)")


def clean_caption(text: str) -> str:
    """Returns `text` in lower case, with punctuation turned to blanks and single blanks between words.

    Cleaning twice changes nothing. Digits and one-letter words are kept.

    Example:
        >>> clean_caption("A man, in a T-shirt .")
        'a man in a t shirt'
    """
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join(_NOT_A_WORD.sub(" ", text).split())


def read_token_file(path: str | Path) -> dict[str, list[str]]:
    """Reads the official caption file, one `<file>#<n><TAB><caption>` a line.

    Args:
        path: The file, UTF-8.

    Returns:
        Raw captions of each image id, in the file's order.

    Raises:
        ValueError: If a line has another form; the message names file and line.
    """
    captions: dict[str, list[str]] = {}
    # Not `splitlines`, which also splits at characters that people paste into captions, such as U+2028.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        match = _TOKEN_LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{Path(path).name}, line {number}: expected '<file>#<n><TAB><caption>'. "
                f"Mend or remove that line. Received: {line[:80]!r}"
            )
        captions.setdefault(match["image_id"], []).append(match["caption"])
    return captions


def read_kaggle_captions(path: str | Path) -> dict[str, list[str]]:
    """Reads the Kaggle copy's `captions.txt`, a CSV file with the columns `image` and `caption`.

    Args:
        path: The file, UTF-8.

    Returns:
        Raw captions of each image id, in the file's order.

    Raises:
        ValueError: If the header or a row has another form; the message names file and line.
    """
    name = Path(path).name
    rows = csv.reader(io.StringIO(read_text(path), newline=""))
    header = next(rows, None)
    if header != ["image", "caption"]:
        raise ValueError(f"{name}, line 1: expected the header 'image,caption'. Received: {header!r}")
    captions: dict[str, list[str]] = {}
    line = rows.line_num
    for row in rows:
        first_line, line = line + 1, rows.line_num
        if not row:
            continue
        # A quote that is never closed would swallow the rows after it into one caption.
        if len(row) != 2 or not row[0].strip() or line > first_line:
            raise ValueError(
                f"{name}, line {first_line}: expected '<file>,<caption>', a caption with commas in quotes. "
                f"Mend or remove that line. Received: {','.join(row)[:80]!r}"
            )
        captions.setdefault(row[0], []).append(row[1])
    return captions


def read_text(path: str | Path) -> str:
    """Returns the text of a UTF-8 file, without a byte order mark and with `\\n` at every line's end.

    Raises:
        ValueError: If it is not UTF-8; the message says which byte.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{Path(path).name} is not UTF-8 text (byte {error.start}). Save it as UTF-8 and try again."
        ) from None
