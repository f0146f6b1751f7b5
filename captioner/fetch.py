"""A file from an address: gone on with after a cut, checked, and under its name only when it is complete."""

import hashlib
import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import tqdm

from captioner import files

_CHUNK = 1 << 18
# Without a byte.
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
    """A file could not be fetched. The message says why and what to do.

    Attributes:
        reason: Why, in a few words.
    """

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason or message


def fetch_file(url: str, path: str | Path, *, md5: str | None = None, progress: bool | None = None) -> Path:
    """Downloads a file, unless it is there. What an earlier try got is kept beside it, as `<name>.part`.

    Args:
        url: Its address, `http` or `https`.
        path: Where to. The folder must exist.
        md5: What the file must hash to, in hexadecimal; by default it is not checked.
        progress: Whether to show a bar, by default where standard error is a terminal.

    Returns:
        The path.

    Raises:
        BlockingIOError: If another process is downloading it.
        DownloadError: If the file cannot be had or hashes to something else.
        OSError: If it cannot be written.
        ValueError: If the address is of another kind.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"A file is fetched from an address that begins with https:// or http://. Received: {url!r}")
    path = Path(path)
    if path.exists():
        return path
    with files.hold(path, "downloading it"):
        # Another process may have done it meanwhile.
        if path.exists():
            return path
        part = path.with_name(f"{path.name}.part")
        _fetch_part(url, part, progress)
        if md5 and (found := _hash(part)) != md5:
            part.unlink()
            reason = f"its MD5 is {found} and not {md5}"
            message = f"What {url} sent is not {path.name}: {reason}. Run this again to fetch it anew."
            raise DownloadError(message, reason)
        os.replace(part, path)
    return path


def _fetch_part(url: str, part: Path, progress: bool | None) -> None:
    """Downloads a file, with retries while they may help."""
    failures, at_first = 0, _size(part)
    while True:
        before = _size(part)
        try:
            return _fetch_rest(url, part, progress)
        except _NETWORK_ERRORS as error:
            failures = failures + 1 if _size(part) <= before else 1
            if failures >= _ATTEMPTS or not _is_passing(error, has_begun=_size(part) > at_first):
                raise _explain(error, url, part.with_suffix("")) from error
        time.sleep(_FIRST_WAIT_SECONDS * 2 ** (failures - 1))


def _fetch_rest(url: str, part: Path, progress: bool | None) -> None:
    """Asks for what is missing of a file and appends it; starts again where the server sends all of it."""
    done = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "captioner"})  # noqa: S310  `fetch_file` checks it.
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)  # noqa: S310  `fetch_file` checks it.
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
        shown = {"unit": "B", "unit_scale": True, "disable": None if progress is None else not progress}
        bar = tqdm.tqdm(desc=part.stem, total=total, initial=start, **shown)
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
    start, total = match.groups() if match else (None, None)
    return int(start) if start else None, int(total) if total and total != "*" else None


def _is_passing(error: Exception, *, has_begun: bool) -> bool:
    """Whether another try may go better: after a cut connection or a busy server, not a wrong address."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 429) or error.code >= 500
    # Without network names cannot be resolved, and waiting for seconds does not bring it.
    if isinstance(getattr(error, "reason", error), socket.gaierror):
        return False
    # Nor does it bring a server that did not answer at all: what waits for the file has something else to try.
    return has_begun or not isinstance(error, urllib.error.URLError | TimeoutError)


def _explain(error: Exception, url: str, path: Path) -> DownloadError:
    """Returns what to raise for a download that failed for good."""
    by_hand = f"Or put {path.name} into {path.parent} by hand and run this again."
    reason = str(getattr(error, "reason", error))
    if isinstance(error, urllib.error.HTTPError):
        message = f"{url} answers {error.code} {reason}: it may have moved. {by_hand}"
    elif isinstance(error, urllib.error.URLError | TimeoutError):
        message = f"{url} cannot be reached ({reason}). Check the network and run this again. {by_hand}"
    else:
        message = f"{url} broke off again and again ({reason}). Run this again: it goes on where it stopped. {by_hand}"
    return DownloadError(message, reason)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
