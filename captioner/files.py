"""Files and folders that are there whole or not at all, and locks that say who holds them. No TensorFlow here.

What is written gets its name when it is complete, so a process killed at any instant leaves the old or the new. A
folder takes two renames: between them it is missing, and `heal_folder` brings back the old one.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from captioner import config

MAKE_CAPTIONER_ANEW = f"Run {config.MAKER} again to make it anew."


def damaged(path: Path, remedy: str = MAKE_CAPTIONER_ANEW) -> str:
    """Returns the sentence for a file that cannot be used, by default one of a captioner."""
    return f"{path} is damaged. {remedy}"


@contextlib.contextmanager
def reading(path: str | Path, remedy: str = MAKE_CAPTIONER_ANEW) -> Iterator[None]:
    """Tells in one sentence of a file that cannot be read.

    What Keras, h5py, zipfile, numpy and csv make of a damaged file is any error, and another with each Python.

    Args:
        path: The file that the block reads.
        remedy: A sentence that says what to do.

    Raises:
        ValueError: For any error in the block, which is its cause.
    """
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{damaged(Path(path), remedy)} Received: {reason[:120]}") from error


def read_json(path: str | Path, remedy: str = MAKE_CAPTIONER_ANEW) -> dict:
    """Reads a JSON object as everybody would: no name twice, no number that is none or beyond float64.

    Args:
        path: The file, UTF-8.
        remedy: A sentence that says what to do if it is damaged.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    path = Path(path)
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"),
            object_pairs_hook=_collect_pairs,
            parse_constant=_parse_number,
            parse_float=_parse_number,
            parse_int=_parse_whole_number,
        )
        # Half a letter, which nothing can write.
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(damaged(path, remedy))
    return content


def is_plain_name(name: str) -> bool:
    """Says whether a name stands for something within a folder on every system, and not for a way out of it."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:") and name.isprintable()


def digest_file(path: str | Path) -> str:
    """Returns the SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replace_file(path: str | Path, *, token: str = "") -> Iterator[Path]:
    """Gives a path to write to; when the block ends without an error, that file takes the place of `path`.

    Its name ends as that of `path` does, since Keras reads the format from it.

    Args:
        path: The file, which may be missing.
        token: What tells the path to write to from that of others who may write the same file at this moment.
    """
    path = Path(path)
    new = _beside(path.with_name(f"{token}{path.name}"), "new")
    try:
        yield new
        _flush(new)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replace_folder(folder: str | Path, *, keep: bool = False) -> Iterator[Path]:
    """Gives an empty folder to fill; when the block ends without an error, it takes the place of `folder`.

    Args:
        folder: The folder, which may be missing.
        keep: Whether what was there stays, as `free_name` says; else it is removed.
    """
    folder = Path(folder)
    new = _beside(folder, "new")
    _settle(folder, keep)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        for file in new.rglob("*"):
            if file.is_file():
                _flush(file)
        if folder.exists():
            os.replace(folder, _beside(folder, "old"))
        os.replace(new, folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    _settle(folder, keep)


def heal_folder(folder: str | Path) -> None:
    """Brings back a folder whose replacement was killed between its two renames.

    Raises:
        BlockingIOError: If it is being replaced at this moment; see `hold`.
    """
    folder = Path(folder)
    if not folder.exists() and _beside(folder, "old").exists():
        with hold(folder, "mending it"):
            _settle(folder, keep=True)


def heal_folders(parent: str | Path) -> None:
    """Does so for all folders in `parent` that can be mended."""
    for old in Path(parent).glob(f"{_PREFIXES['old']}*"):
        # Held by another process or on a disk that cannot be written: the others are there all the same.
        with contextlib.suppress(OSError):
            heal_folder(old.with_name(old.name.removeprefix(_PREFIXES["old"])))


def free_name(path: str | Path) -> Path:
    """Returns the first of `<name>~1`, `<name>~2` and so on that is not there."""
    path, number = Path(path), 1
    while (free := path.with_name(f"{path.name}~{number}")).exists():
        number += 1
    return free


@contextlib.contextmanager
def hold(path: str | Path, work: str) -> Iterator[None]:
    """Keeps other processes that ask as well from working on a file or folder; it ends with the process, too.

    Args:
        path: What is worked on. It may be missing.
        work: What is done, for those who must wait: "saving a captioner".

    Raises:
        BlockingIOError: If another holds it; the message says who, where and since when.
    """
    path = Path(path)
    lock = _beside(path, "lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with _open_lock(lock, path) as file:
        file.truncate(0)
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {socket.gethostname()} has been {work} since {now}")
        file.flush()
        try:
            yield
        finally:
            # Windows removes no open file; it is then left, and free.
            with contextlib.suppress(PermissionError):
                lock.unlink(missing_ok=True)


def _open_lock(lock: Path, path: Path):
    """Returns the open lock file, locked."""
    while True:
        file = open(lock, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 - it stays open
        if not _try_lock(file.fileno()):
            with file:
                file.seek(0)
                holder = file.read(1000) or "another process has just begun"
            raise BlockingIOError(f"{path} is in use: {holder}. Wait until that has ended, or stop it.")
        # Whoever held it may have removed the file meanwhile: then this locks nobody else out.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        file.close()


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            # Far behind the text, which others must be able to read.
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network disks know no locks at all: there people have to take care themselves.
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


def _collect_pairs(pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name stands there twice")
    return content


def _parse_number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number


def _parse_whole_number(text: str) -> int:
    _parse_number(text)
    return int(text)


_PREFIXES = {state: f".{state}-" for state in ("new", "old", "lock")}


def _beside(path: Path, state: str) -> Path:
    return path.with_name(f"{_PREFIXES[state]}{path.name}")


def _settle(folder: Path, keep: bool) -> None:
    """Ends a replacement: without a new folder the old one comes back, else it is kept or removed."""
    old = _beside(folder, "old")
    if not old.exists():
        return
    if not folder.exists():
        os.replace(old, folder)
    elif keep:
        os.replace(old, free_name(folder))
    else:
        shutil.rmtree(old)


def _flush(file: Path) -> None:
    """After a power cut, too, a name must not stand for bytes that never reached the disk."""
    with open(file, "r+b") as opened:
        os.fsync(opened.fileno())
