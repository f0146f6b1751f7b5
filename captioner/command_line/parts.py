"""Photos dealt into parts, each of which becomes a file of captions or features: what `--ray` has its workers do.

A part is a dict of small values. Nothing here knows Ray, nor what is made of the photos; see `jobs` for that.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from pyarrow import parquet, types

from captioner import files
from captioner.command_line import bulk
from captioner.data import photo_files

# What a Parquet file of photos has for columns: the first of these names, and the bytes of each photo's file.
_NAMES, _CONTENT = ("path", "id"), "bytes"
_ROWS_READ = 64


def deal(paths: Sequence[str], photos_per_file: int, ending: str) -> tuple[list[dict], str]:
    """Deals photos into parts.

    Args:
        paths: Photos and folders of photos; Parquet files and folders of them.
        photos_per_file: Photos in a part; a row group of Parquet is one whatever it holds.
        ending: Of the files that the parts become.

    Returns:
        The parts, and a sentence that counts what was passed over in folders.

    Raises:
        OSError: As for `photo_files.list_photos`.
        ValueError: If a Parquet file is damaged or lacks a column.
    """
    tables: list[Path] = []
    others: list[Path] = []
    beside: dict[Path, str] = {}
    for path in map(Path, paths):
        inside = sorted(path.glob("*.parquet")) if path.is_dir() else [path] * (path.suffix == ".parquet")
        tables += inside
        others += [] if inside else [path]
        if inside and path.is_dir():
            beside |= dict.fromkeys(sorted({*path.iterdir()} - {*inside}), "beside Parquet files")
    listed = photo_files.list_photos(others)
    listed.passed_over |= beside
    starts = range(0, len(listed.photos), photos_per_file)
    parts = [_describe(listed.photos[start : start + photos_per_file]) for start in starts]
    if listed.unreadable:
        parts.append(_describe(listed.unreadable, listed.unreadable.values()))
    for table in tables:
        parts += _list_row_groups(table)
    for number, part in enumerate(parts):
        part["file"] = f"part-{number:06}.{ending}"
    return parts, listed.summary()


def open_part(part: dict) -> Iterator[Path | bulk.NamedPhoto]:
    """Yields the photos of a part, those in Parquet as they are read.

    Raises:
        ValueError: If the Parquet file is damaged.
    """
    if part["parquet"]:
        yield from _read_row_group(Path(part["parquet"]), part["row_group"])
    elif part["problems"]:
        for path, problem in zip(part["paths"], part["problems"], strict=True):
            yield bulk.NamedPhoto(os.fsdecode(path), problem=problem)
    else:
        yield from (Path(os.fsdecode(path)) for path in part["paths"])


def _describe(paths: Collection[Path], problems: Iterable[str] = ()) -> dict:
    # Bytes, since a name need not be Unicode.
    names = [os.fsencode(path) for path in paths]
    return {"paths": names, "problems": list(problems), "parquet": "", "row_group": 0, "num_photos": len(names)}


def _list_row_groups(path: Path) -> list[dict]:
    """Returns a part for each row group of a Parquet file."""
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    with _reading(path), parquet.ParquetFile(path) as file:
        names, kinds = file.schema_arrow.names, file.schema_arrow.types
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    if _CONTENT not in names or not {*_NAMES} & {*names}:
        raise ValueError(
            f"{path} needs a column {_CONTENT}, the bytes of each photo's file, and {' or '.join(_NAMES)}, what to "
            f"call it. Received: {', '.join(names)}"
        )
    kind = kinds[names.index(_CONTENT)]
    # Text would be taken for the path of a file.
    if not (types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)):
        raise ValueError(f"The column {_CONTENT} of {path} must hold the bytes of each photo's file. Received: {kind}")
    empty = _describe(()) | {"parquet": os.path.abspath(path)}
    return [empty | {"row_group": group, "num_photos": size} for group, size in enumerate(sizes)]


def _read_row_group(path: Path, row_group: int) -> Iterator[bulk.NamedPhoto]:
    with _reading(path), parquet.ParquetFile(path) as file:
        name = next(name for name in _NAMES if name in file.schema_arrow.names)
        # A few at a time: a row group may hold more than memory does.
        for batch in file.iter_batches(_ROWS_READ, [row_group], [name, _CONTENT]):
            for row in batch.to_pylist():
                yield bulk.NamedPhoto(str(row[name]), row[_CONTENT] or b"")


def _reading(path: Path):
    return files.reading(path, "Make it anew, or leave it out.")
