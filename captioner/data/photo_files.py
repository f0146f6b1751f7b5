"""Which files of a folder are photos, told by their first bytes, and which are passed over, and why."""

import collections
import dataclasses
import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

# A file so named is taken for a photo whatever it holds, so that a damaged one is reported, not passed over.
PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"),
)
# Folders of thumbnails and resource forks, beside those that begin with a dot.
_HIDDEN = ("__MACOSX", "@eaDir")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FTYP_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
_SIDECAR = re.compile(r"\.(txt|xmp)(~\d+)?$", re.IGNORECASE)
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)


@dataclasses.dataclass
class PhotoFiles:
    """The files that were asked for.

    Attributes:
        photos: Photo files, those of a folder sorted by path.
        passed_over: What is no photo or hidden, each with the reason.
        unreadable: What could be photos but cannot be reached, each with the reason.
    """

    photos: list[Path] = dataclasses.field(default_factory=list)
    passed_over: dict[Path, str] = dataclasses.field(default_factory=dict)
    unreadable: dict[Path, str] = dataclasses.field(default_factory=dict)

    def summary(self) -> str:
        """Returns a sentence that counts what was passed over, or nothing if nothing was."""
        kinds = collections.defaultdict(list)
        for path, reason in self.passed_over.items():
            kinds[reason].append(path)
        parts = [f"{len(paths):,} {reason} ({_name_some(paths)})" for reason, paths in kinds.items()]
        return f"Passed over: {'; '.join(parts)}." if parts else ""


def list_photos(paths: Sequence[str | Path], *, output: Path | None = None) -> PhotoFiles:
    """Finds the photo files among `paths` and in the folders among them, folders behind links included.

    A file that is named outright is kept whatever it is, so that a mistake is reported, not passed over.

    Args:
        paths: Files and folders.
        output: A file that is about to be written. It does not count as passed over, nor do files `<output>~1` and so
            on that were set aside for it.

    Raises:
        FileNotFoundError: If a path does not exist or a folder holds no photo.
        OSError: If a path is a link that leads back to itself, or a folder may not be read.
        ValueError: If the output is one of the photos.
    """
    found = PhotoFiles()
    for path in map(Path, paths):
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            raise type(error)(_explain(error, f"{path}")) from None
        if not is_folder:
            found.photos.append(path)
            continue
        inside = PhotoFiles()
        _search_folder(path, inside, set())
        if path in inside.unreadable:
            raise PermissionError(f"The folder {path} {inside.unreadable[path]}.")
        if not inside.photos and not inside.unreadable:
            expected = f"No photos in the folder {path}: expected files {', '.join(PHOTO_SUFFIXES)}."
            raise FileNotFoundError(f"{expected} {inside.summary()}".rstrip())
        found.photos += inside.photos
        found.passed_over |= inside.passed_over
        found.unreadable |= inside.unreadable
    if output is not None:
        _refuse_photo(output, found.photos)
        place, name = os.path.split(os.path.abspath(output))
        # With the lock that `captioner.files.hold` puts beside it.
        ours = re.compile(rf"(\.lock-)?{re.escape(name)}(~\d+)?")
        for path in list(found.passed_over):
            if ours.fullmatch(path.name) and os.path.abspath(path.parent) == place:
                del found.passed_over[path]
    return found


def _refuse_photo(output: Path, photos: Sequence[Path]) -> None:
    place = output.resolve()
    # By name first: to follow links takes long for many.
    if any(photo.name in (output.name, place.name) and photo.resolve() == place for photo in photos):
        raise ValueError(f"{output} is one of the photos. Name another file for the captions.")


def _search_folder(folder: Path, found: PhotoFiles, seen: set[tuple[int, int]]) -> None:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        found.passed_over[folder] = "read already"
        return
    seen.add((status.st_dev, status.st_ino))
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        found.unreadable[folder] = _reason(error)
        return
    for path in (folder / name for name in names):
        try:
            _take(path, found, seen)
        except OSError as error:
            found.unreadable[path] = _reason(error)


def _take(path: Path, found: PhotoFiles, seen: set[tuple[int, int]]) -> None:
    if path.name.startswith(".") or path.name in _HIDDEN:
        found.passed_over[path] = "hidden"
    elif stat.S_ISDIR(mode := path.stat().st_mode):
        _search_folder(path, found, seen)
    elif stat.S_ISREG(mode) and _is_photo(path):
        found.photos.append(path)
    else:
        found.passed_over[path] = "beside their photos" if _is_sidecar(path) else "no photo"


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES or _looks_like_photo(path)


def _is_sidecar(path: Path) -> bool:
    """Says whether this is `photo.jpg.xmp` beside `photo.jpg`, or one that was set aside as `photo.jpg.xmp~1`."""
    name, is_one = _SIDECAR.subn("", path.name)
    return bool(is_one) and path.with_name(name).is_file() and _is_photo(path.with_name(name))


def _looks_like_photo(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(18)
    if head[4:8] == b"ftyp":
        return head[8:12] in _FTYP_BRANDS
    if head[:2] == b"BM":
        return int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if isinstance(error, FileNotFoundError):
        return "is a link to nothing"
    if isinstance(error, PermissionError):
        return "may not be read: you have no right to it"
    return f"cannot be read ({error.strerror})"


def _explain(error: OSError, path: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"There is no file or folder {path}."
    return f"{path} {_reason(error)}."


def _name_some(paths: list[Path]) -> str:
    names = ", ".join(path.name for path in paths[:3])
    return f"{names}, ..." if len(paths) > 3 else names
