"""Goes on with a file of captions: which photos are in it, and what is no row and must go.

Every row in a file is whole, but for the last one where a process was killed or a disk was full while it was written.
"""

import codecs
import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioner import files
from captioner.output import KeptRow, ResumableLayout

# Bytes. A path on disk has at most 4,096: what is longer is no torn row, and must not be dropped as one.
_LONGEST_ROW = 1 << 16


def read_finished(path: Path, layout: ResumableLayout) -> dict[str, list[KeptRow]]:
    """Reads which photos have captions in a file.

    Args:
        path: A file of captions. It may be missing.
        layout: How its rows are written, one of `RESUMABLE`.

    Returns:
        Photo -> its rows, for `leave_out`.

    Raises:
        ValueError: If the file has another layout.
    """
    finished: dict[str, list[KeptRow]] = {}
    for row in _read_file(path, layout)[1]:
        finished.setdefault(as_written(row.photo), []).append(row)
    return finished


def drop_unfinished(path: Path, layout: ResumableLayout) -> None:
    """Leaves in a file the rows of photos that have captions, and drops failures and a torn last row.

    Args:
        path, layout: As for `read_finished`.

    Raises:
        ValueError: If the file has another layout. It is then left as it is.
    """
    kept, _ = _read_file(path, layout)
    if path.is_file() and path.stat().st_size != len(kept):
        with files.replace_file(path.resolve()) as new:
            new.write_bytes(kept)


def _read_file(path: Path, layout: ResumableLayout) -> tuple[bytes, list[KeptRow]]:
    """Returns the header and the rows of photos that have captions, as bytes and as rows."""
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
    have_captions = [not row.problem for row in found]
    kept = b"".join([*header, *itertools.compress(rows, have_captions)])
    return kept, list(itertools.compress(found, have_captions))


def leave_out(
    paths: Sequence[Path], finished: Mapping[str, Sequence[KeptRow]]
) -> tuple[list[Path], list[tuple[Path, KeptRow]]]:
    """Tells the paths that are not in a file yet from those that are; one that is there once counts once.

    Args:
        paths: All that is wanted.
        finished: From `read_finished`.

    Returns:
        The paths that are missing, and the others with their rows in the file.
    """
    left = {name: iter(rows) for name, rows in finished.items()}
    missing, done = [], []
    for path in paths:
        row = next(left.get(as_written(str(path)), iter(())), None)
        if row is None:
            missing.append(path)
        else:
            done.append((path, row))
    return missing, done


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
