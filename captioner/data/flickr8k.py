"""Flickr8k from its public mirror: fetched with resume, unpacked beside its place, checked, renamed into it.

The official site is gone; the mirror holds the official zip files. They are 1.1 GB, and twice that while they
are being unpacked. Flickr8k is for non-commercial research and education. No TensorFlow here.

Reference: M. Hodosh, P. Young, J. Hockenmaier, "Framing Image Description as a Ranking Task: Data, Models and
Evaluation Metrics", JAIR 47, 2013. https://doi.org/10.1613/jair.3994
"""

import dataclasses
import errno
import os
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import tqdm

from captioner import config, files
from captioner.data import datasets
from captioner.fetch import DownloadError, fetch_file

BASE_URL = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
ZIP_FILES = ("Flickr8k_text.zip", "Flickr8k_Dataset.zip")


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
        BlockingIOError: If another process is downloading it.
        DownloadError: If a file cannot be had, is damaged, does not fit on the disk or holds other counts.
    """
    folder = Path(folder or config.DATA_DIR / "flickr8k")
    expected = expected or Counts()
    if not _is_there(folder, expected):
        with files.hold(folder, "downloading Flickr8k"):
            # Another process may just have finished.
            if not _is_there(folder, expected):
                _make_folder(folder, base_url, progress, expected)
    return folder


def _make_folder(folder: Path, base_url: str, progress: bool, expected: Counts) -> None:
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


def check_counts(folder: str | Path, expected: Counts | None = None) -> None:
    """Checks that a data set is complete: its splits, their captions, and a file for every photo.

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


def _is_there(folder: Path, expected: Counts) -> bool:
    """Says whether the folder holds the data set.

    Raises:
        DownloadError: If it holds something else.
    """
    if not (folder.exists() and any(folder.iterdir())):
        return False
    try:
        check_counts(folder, expected)
        return True
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
        fetch_file(f"{base_url}/{name}", workshop / name, progress=progress)
    for name in ZIP_FILES:
        _unpack(workshop / name, unpacked, progress)
    return unpacked


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
