"""Flickr8k from its public mirror: fetched with resume, unpacked beside its place, checked, renamed into it.

The official site is gone; the mirror holds the official zip files. They are 1.1 GB, and twice that while they
are being unpacked. Flickr8k is for non-commercial research and education. No TensorFlow here.

Reference: M. Hodosh, P. Young, J. Hockenmaier, "Framing Image Description as a Ranking Task: Data, Models and
Evaluation Metrics", JAIR 47, 2013. https://doi.org/10.1613/jair.3994
"""

import dataclasses
import errno
import http.client
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import tqdm

from captioner import config
from captioner.data import datasets

BASE_URL = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
ZIP_FILES = ("Flickr8k_text.zip", "Flickr8k_Dataset.zip")
_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 30
# Failures in a row without a new byte before we give up, and the first wait between them, doubled each time.
_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 1.0
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")


class DownloadError(OSError):
    """Flickr8k could not be fetched. The message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many photos each split has, and how many captions they have together; by default Flickr8k's."""

    train: int = 6000
    validation: int = 1000
    test: int = 1000
    captions: int = 40_000


def download_flickr8k(
    folder: str | Path | None = None,
    *,
    base_url: str = BASE_URL,
    progress: bool = True,
    expected: Counts | None = None,
) -> Path:
    """Fetches Flickr8k, unless it is there. A download that was cut goes on where it stopped.

    Args:
        folder: Where to, by default `data/flickr8k`. It appears only when everything is in it.
        base_url: Address of the folder that has `ZIP_FILES`.
        progress: Whether to show a bar for each file.
        expected: What must be in it, by default `Counts()`.

    Returns:
        The folder, for `datasets.read_dataset`.

    Raises:
        DownloadError: If a file cannot be had, is damaged, does not fit on the disk or holds other counts.
    """
    folder = Path(folder or config.DATA_DIR / "flickr8k")
    expected = expected or Counts()
    if folder.exists() and any(folder.iterdir()):
        _check_finished(folder, expected)
        return folder
    workshop = folder.with_name(f".{folder.name}.download")
    try:
        workshop.mkdir(parents=True, exist_ok=True)
        unpacked = _fetch_and_unpack(workshop, base_url, progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"The disk of {folder.parent} is full. Flickr8k needs 2.3 GB while it is unpacked: make room "
                "and run this again, it goes on where it stopped."
            ) from None
        raise
    try:
        check_counts(unpacked, expected)
    except DownloadError:
        # What was served is at fault, so the next try must fetch it again.
        shutil.rmtree(workshop)
        raise
    if folder.exists():
        folder.rmdir()
    os.replace(unpacked, folder)
    shutil.rmtree(workshop)
    return folder


def check_counts(folder: str | Path, expected: Counts | None = None) -> None:
    """Holds that a data set is complete: its splits, their captions, and a file for every photo.

    Raises:
        DownloadError: If something is missing or too much; the message says what.
    """
    try:
        dataset = datasets.read_dataset(folder)
    except (FileNotFoundError, ValueError) as error:
        raise DownloadError(f"What was fetched is not Flickr8k: {error}") from None
    found = {split: len(ids) for split, ids in dataset.splits.items()}
    found["captions"] = sum(map(len, dataset.references.values()))
    wanted = dataclasses.asdict(expected or Counts())
    off = [f"{wanted[name]} {name}, found {found[name]}" for name in wanted if found[name] != wanted[name]]
    if off:
        raise DownloadError(f"The data set is not complete Flickr8k: expected {'; '.join(off)}. Fetch it again.")
    there = set(os.listdir(dataset.image_dir))
    missing = [image_id for image_id in dataset.references if image_id not in there]
    if missing:
        raise DownloadError(
            f"{len(missing)} of {len(dataset.references)} photos are missing in {dataset.image_dir}, for "
            f"example {missing[0]!r}. Fetch the data set again."
        )


def _check_finished(folder: Path, expected: Counts) -> None:
    try:
        check_counts(folder, expected)
    except DownloadError as error:
        raise DownloadError(
            f"{folder} exists but does not hold Flickr8k. Move it away and run this again, or name another "
            f"folder. ({error})"
        ) from None


def _fetch_and_unpack(workshop: Path, base_url: str, progress: bool) -> Path:
    """Returns the folder with the contents of all zip files."""
    unpacked = workshop / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    for name in ZIP_FILES:
        _fetch(f"{base_url}/{name}", workshop / name, progress)
    for name in ZIP_FILES:
        _unpack(workshop / name, unpacked, progress)
    return unpacked


def _fetch(url: str, path: Path, progress: bool) -> None:
    """Downloads a file, with retries; it has its own name only when it is complete."""
    if path.exists():
        return
    part = path.with_name(f"{path.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _fetch_rest(url, part, progress)
            os.replace(part, path)
            return
        except _NETWORK_ERRORS as error:
            failures = failures + 1 if _size(part) <= before else 1
            if failures >= _ATTEMPTS or not _is_passing(error):
                raise DownloadError(_explain(error, url, path)) from error
        time.sleep(_FIRST_WAIT_SECONDS * 2 ** (failures - 1))


def _fetch_rest(url: str, part: Path, progress: bool) -> None:
    """Asks for what is missing of a file and appends it; starts again where the server sends all of it."""
    done = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "captioner"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        # Nothing lies beyond what we have: that is either all of it, or another file.
        if error.code != 416:
            raise
        if _parse_range(error)[1] != done:
            part.unlink()
            raise ConnectionError("the file on the server has changed") from None
        return
    with answer:
        resumes = answer.status == 206 and _parse_range(answer)[0] == done
        if answer.status == 206 and not resumes:
            part.unlink(missing_ok=True)
            raise ConnectionError("the server sent another part than was asked for")
        start = done if resumes else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        bar = tqdm.tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, disable=not progress)
        with bar, part.open("ab" if resumes else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    # `read` takes a connection that was closed early for the end.
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection was cut after {_size(part)} of {total} bytes")


def _parse_range(answer) -> tuple[int | None, int | None]:
    """Returns where the part that is sent begins and how long the file is, as far as the header says."""
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    numbers = match.groups() if match else (None, None)
    return tuple(int(number) if number and number != "*" else None for number in numbers)


def _is_passing(error: Exception) -> bool:
    """Whether another try may go better: after a cut connection or a busy server, not a wrong address."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 429) or error.code >= 500
    # Without network names cannot be resolved, and waiting for seconds does not bring it.
    reason = getattr(error, "reason", error)
    return not isinstance(reason, socket.gaierror)


def _explain(error: Exception, url: str, path: Path) -> str:
    """Returns the message for a download that failed for good."""
    by_hand = f"Or put {path.name} into {path.parent} by hand and run this again."
    if isinstance(error, urllib.error.HTTPError):
        return f"{url} answers {error.code} {error.reason}: the mirror may have moved. {by_hand}"
    if isinstance(error, urllib.error.URLError):
        return f"{url} cannot be reached ({error.reason}). Check the network and run this again. {by_hand}"
    return f"{url} broke off again and again ({error}). Run this again: it goes on where it stopped. {by_hand}"


def _unpack(path: Path, folder: Path, progress: bool) -> None:
    """Unpacks a zip file, which checks the sum of every file in it; a damaged one is deleted."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if _is_wanted(member, path)]
            for member in tqdm.tqdm(members, desc=f"Unpack {path.stem}", unit="file", disable=not progress):
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        path.unlink()
        raise DownloadError(
            f"{path.name} is damaged ({error}). It was deleted: run this again to fetch it anew."
        ) from None


def _is_wanted(member: zipfile.ZipInfo, path: Path) -> bool:
    """Whether to unpack a member: files, but not hidden ones; refuses names that lead elsewhere."""
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in member.filename:
        path.unlink()
        raise DownloadError(
            f"{path.name} was refused and deleted: it would write outside its folder. Fetch it from a source "
            f"that you trust. Received: {member.filename!r}"
        )
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return not member.is_dir() and not hidden


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
