"""Goes on with a file of captions: which photos are in it, and what is no row and must go.

Every row in a file is whole, but for the last one where a process was killed or a disk was full while it was written.
"""

import codecs
import collections
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from captioner import files
from captioner.output import ResumableLayout

# Bytes. A path on disk has at most 4,096: what is longer is no torn row, and must not be dropped as one.
_LONGEST_ROW = 1 << 16


def resume_file(path: Path, layout: ResumableLayout) -> collections.Counter[str]:
    """Leaves in a file the rows of photos that have captions, and drops failures and a torn last row.

    Args:
        path: A file of captions. It may be missing.
        layout: How its rows are written, one of `RESUMABLE`.

    Returns:
        How often each photo is in the file, for `leave_out`.

    Raises:
        ValueError: If the file has another layout. It is then left as it is.
    """
    rows, torn = _split_rows(path, layout)
    start = layout.start.encode()
    if len(torn) > _LONGEST_ROW or not (rows or start.startswith(torn) or torn.startswith(start)):
        raise _refusal(path, layout, torn.decode(errors="replace"))
    try:
        rows = [row for row in rows if row.removeprefix(codecs.BOM_UTF8).strip()]
        texts = [row.decode("utf-8-sig") for row in rows]
        found = list(layout.read_rows(texts))
    # Also no UTF-8.
    except (ValueError, csv.Error) as error:
        raise _refusal(path, layout, str(error)) from None
    header, rows = rows[: len(rows) - len(found)], rows[len(rows) - len(found) :]
    kept = b"".join(header + [row for row, (_, has_captions) in zip(rows, found, strict=True) if has_captions])
    if path.is_file() and path.stat().st_size != len(kept):
        with files.replace_file(path.resolve()) as new:
            new.write_bytes(kept)
    return collections.Counter(as_written(name) for name, has_captions in found if has_captions)


def leave_out(paths: Sequence[Path], finished: collections.Counter[str]) -> list[Path]:
    """Returns the paths that are not in a file yet; one that is there once and given twice is left out once."""
    left, missing = collections.Counter(finished), []
    for path in paths:
        name = as_written(str(path))
        if left[name]:
            left[name] -= 1
        else:
            missing.append(path)
    return missing


def _split_rows(path: Path, layout: ResumableLayout) -> tuple[list[bytes], bytes]:
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


def _refusal(path: Path, layout: ResumableLayout, received: str) -> ValueError:
    return ValueError(
        f"{path} cannot be resumed: give the options of the run that wrote it, or name another file. "
        f"Expected: rows of {', '.join(layout.columns)}. Received: {received[:80]!r}"
    )


def as_written(name: str) -> str:
    """Returns a name that is no Unicode as `open_text` writes it."""
    return name.encode("utf-8", "backslashreplace").decode()
