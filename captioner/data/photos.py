"""Any photo file or upload to the RGB pixels that an encoder takes. No TensorFlow here.

A photo is turned the way its EXIF tag says, its transparency is laid on white, and the whole of it is
squashed to a square: Flickr8k's captions are of whole photos, and a centre crop would cut what they speak of.

All of it runs in the caller's process. For photos of strangers see `captioner.data.decoders`.
"""

import contextlib
import errno
import functools
import io
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pi_heif
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from captioner.data import colours, photo_budget
from captioner.data.photo_budget import PhotoError

# What people upload, by Pillow's names; HEIC is what iPhones make. Nothing else is tried: PostScript, for one, would be
# run as a program. The first frame of an animation counts.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF")
FORMATS_IN_WORDS = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
# A reduced photo keeps at least so many pixels along its longer side, enough for a preview on a dense screen, and along
# its shorter side, twice what the largest encoder takes.
REDUCED_SIDES = (960, 448)
# A photo with more pixels is reduced before anything else is done to it, so that no second copy of it is made.
_LARGE_PIXELS = 50_000_000
# A JPEG may lack so much of its height: files lose their last bytes on the way, and viewers show the rest.
_MAX_MISSING_SHARE = 0.1
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# Pillow's own limit of pixels, while ours is in its place for so many photos that are being read.
_LIMIT_LOCK = threading.Lock()
_LIMIT: dict[str, Any] = {"readers": 0, "own": None}


# Raise this whenever the pixels that reach a network change: features made before must not be mixed with new ones.
PREPROCESSING_VERSION = 2


# A part of a photo in shares of its sides: top, left, bottom, right, 0 to 1; left beyond right mirrors it.
Box = tuple[float, float, float, float]


# What a photo may be given as: a file, the bytes of one, a Pillow image, or an array uint8 `(H, W, 3)` RGB, `(H, W, 4)`
# RGBA or `(H, W)` grey.
Photo = str | os.PathLike[str] | bytes | Image.Image | np.ndarray


def open_photo(source: Photo, name: str | None = None, *, reduced: bool = False) -> Image.Image:
    """Opens a photo upright and in sRGB.

    Args:
        source: The photo.
        name: What to call the photo in messages, by default the file's name.
        reduced: Whether a JPEG file may be decoded at a half, a quarter or an eighth of its size, which takes half the
            time for 12 megapixels; see `REDUCED_SIDES`. Other formats are reduced above 50 megapixels.

    Returns:
        An RGB picture in memory, independent of the file.

    Raises:
        PhotoError: If it is missing, empty, no picture, cut short or too large, or an array of another shape or dtype.
    """
    name = printable(name or name_photo(source))
    try:
        if isinstance(source, Image.Image | np.ndarray):
            picture = source if isinstance(source, Image.Image) else _wrap_array(source, name)
            picture.load()
            return _turn_upright(picture, large=False)
        with _open_source(source, name) as file, _without_pillow_limit():
            return _decode(file, name, reduced)
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise PhotoError(f"{name} is not a picture that can be read: try {FORMATS_IN_WORDS}.") from None
    except (MemoryError, Image.DecompressionBombError):
        raise photo_budget.too_large(name) from None
    # Decoders raise whatever they like on damaged files: none of it may end a run of thousands.
    except Exception as error:
        raise PhotoError(f"{name} is damaged or cut short ({printable(str(error))[:200]}).") from None


def load_photo(source: Photo, image_size: int, name: str | None = None, *, box: Box | None = None) -> np.ndarray:
    """Reads a photo as an encoder takes it.

    Args:
        source: The photo.
        image_size: Side `S` of the square in pixels.
        name: What to call the photo in messages, by default the file's name.
        box: The part of it to read, see `draw_boxes`; by default the whole.

    Returns:
        RGB pixels, uint8 `(S, S, 3)`.

    Raises:
        PhotoError: As `open_photo`.
    """
    return square_photo(open_photo(source, name, reduced=True), image_size, box)


def name_photo(source: Photo, unnamed: str = "The photo") -> str:
    """Returns what to call a photo in messages: the name of its file, or `unnamed`."""
    return Path(source).name if isinstance(source, str | os.PathLike) else unnamed


def resize_photo(photo: Image.Image, image_size: int) -> np.ndarray:
    """Squashes an RGB picture to a square, uint8 `(S, S, 3)`; a picture of that size passes unchanged."""
    if photo.size != (image_size, image_size):
        # reducing_gap shrinks a large photo by whole factors first: the same to the eye, but faster.
        photo = photo.resize((image_size, image_size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(photo)


def square_photo(photo: Image.Image, image_size: int, box: Box | None = None) -> np.ndarray:
    """Squashes a part of an RGB picture to a square, uint8 `(S, S, 3)`, by default the whole."""
    return resize_photo(photo, image_size) if box is None else _crop_photo(photo, image_size, box)


def encode_preview(photo: Image.Image, side: int) -> bytes:
    """Returns a JPEG of an RGB picture, at most `side` pixels long and high, in its own proportions."""
    scale = min(1.0, side / max(photo.size))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    small = photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return file.getvalue()


def _crop_photo(photo: Image.Image, image_size: int, box: Box) -> np.ndarray:
    top, left, bottom, right = box
    width, height = photo.size
    place = (min(left, right) * width, top * height, max(left, right) * width, bottom * height)
    size = (image_size, image_size)
    pixels = np.asarray(photo.resize(size, Image.Resampling.BILINEAR, box=place, reducing_gap=3.0))
    return pixels[:, ::-1] if left > right else pixels


def _wrap_array(pixels: np.ndarray, name: str) -> Image.Image:
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not pixels.size or not is_picture:
        raise PhotoError(
            f"{name} must be uint8 of shape (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey. "
            f"Received: dtype={pixels.dtype}, shape={pixels.shape}"
        )
    return Image.fromarray(pixels)


def _open_source(source: object, name: str) -> BinaryIO:
    """Opens a file, or bytes as if they were one, and says why where that is impossible."""
    if not isinstance(source, str | os.PathLike | bytes):
        raise PhotoError(f"{name} must be a path, bytes, a Pillow image or an array. Received: {type(source).__name__}")
    try:
        if isinstance(source, bytes):
            size, file = len(source), cast(BinaryIO, io.BytesIO(source))
        else:
            status = os.stat(source)
            if not stat.S_ISREG(status.st_mode):
                raise PhotoError(f"{name} is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no ordinary file'}.")
            size, file = status.st_size, open(source, "rb")  # noqa: SIM115 (the caller closes it)
    except FileNotFoundError:
        raise PhotoError(f"{name} does not exist.") from None
    except PermissionError:
        raise PhotoError(f"{name} may not be read: you have no right to it.") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PhotoError(f"{name} is a link that leads back to itself.") from None
        raise PhotoError(f"{name} cannot be read ({error.strerror}).") from None
    if not size:
        file.close()
        raise PhotoError(f"{name} is empty.")
    return file


def printable(text: str) -> str:
    """Returns a text without characters that would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
    """Puts our limit of pixels in the place of Pillow's, which all threads share, and the old one back.

    Pillow refuses twice its limit, before a decoder takes memory; `photo_budget` judges what passes here.
    """
    with _LIMIT_LOCK:
        if not _LIMIT["readers"]:
            _LIMIT["own"], Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, photo_budget.MAX_MEGABYTES * 1_000_000
        _LIMIT["readers"] += 1
    try:
        yield
    finally:
        with _LIMIT_LOCK:
            _LIMIT["readers"] -= 1
            if not _LIMIT["readers"]:
                Image.MAX_IMAGE_PIXELS = _LIMIT["own"]


@functools.cache
def _register_heif() -> None:
    """Teaches Pillow HEIC; once is enough, and not at import, which has no side effects."""
    pi_heif.register_heif_opener()


def _decode(file: BinaryIO, name: str, reduced: bool) -> Image.Image:
    _register_heif()
    photo_budget.check_webp(file, name)
    try:
        with Image.open(file, formats=FORMATS) as picture:
            return _finish(picture, name, reduced)
    except (PhotoError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception as error:
        # Sound pixels are not given up for a text that nobody reads, nor for a lost end.
        if (mended := _mend(file)) is None:
            raise
        with contextlib.suppress(Exception), Image.open(io.BytesIO(mended), formats=FORMATS) as picture:
            return _finish(picture, name, reduced, mended=True)
        raise error


def _finish(picture: ImageFile.ImageFile, name: str, reduced: bool, *, mended: bool = False) -> Image.Image:
    """Turns an opened file into an upright RGB picture."""
    whole_size = picture.size
    if reduced:
        longer, shorter = REDUCED_SIDES
        width, height = (max(shorter, longer * side // max(picture.size)) for side in picture.size)
        picture.draft("RGB", (width, height))
    large = reduced and picture.width * picture.height > _LARGE_PIXELS
    photo_budget.check_scans(picture, name)
    photo_budget.check_memory(picture, name, whole_size, large)
    if picture.format == "TIFF":
        _keep_orientation_alone(picture)
    picture.load()
    if mended and picture.format in ("JPEG", "MPO"):
        _check_rows(picture)
    return _turn_upright(picture, large)


def _turn_upright(picture: Image.Image, large: bool) -> Image.Image:
    """Returns a loaded picture upright and in RGB; a large one is made smaller first."""
    info, orientation = picture.info, _read_orientation(picture)
    if large:
        picture = colours.reduce_picture(picture, max(1, min(picture.size) // REDUCED_SIDES[1]))
    if orientation in _TRANSPOSED:
        picture = picture.transpose(_TRANSPOSED[orientation])
    upright = colours.to_srgb(picture, info)
    upright.info = {}  # It lies as it should and is in sRGB: nobody may turn it or change its colours once more.
    return upright


def _read_orientation(picture: Image.Image) -> int:
    """Returns how EXIF says that a loaded picture lies; what cannot be read says nothing."""
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Whatever a mistyped tag leads to.
        return 1


def _keep_orientation_alone(picture: ImageFile.ImageFile) -> None:
    """Forgets the other tags of an opened TIFF, which Pillow reads while it loads the pixels, and fails at some."""
    orientation = _read_orientation(picture)
    picture.info.pop("xmp", None)
    tags = picture.getexif()
    for tag in list(tags):
        del tags[tag]
    tags[ExifTags.Base.Orientation] = orientation


def _mend(file: BinaryIO) -> bytes | None:
    """Returns a damaged JPEG with an end, a PNG with its pixels alone, and nothing for other files."""
    file.seek(0)
    start = file.read(len(_PNG_START))
    if start == _PNG_START:
        return start + b"".join(_read_needed_chunks(file))
    return start + file.read() + _JPEG_END if start.startswith(_JPEG_START) else None


def _read_needed_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yields a PNG's chunks that make its pixels: those that say so by a capital letter, and transparency."""
    while len(head := file.read(8)) == 8:
        body = file.read(int.from_bytes(head[:4], "big") + 4)
        if head[4:5].isupper() or head[4:] == b"tRNS":
            yield head + body


def _check_rows(picture: Image.Image) -> None:
    """Refuses a loaded JPEG that lacks much of its height, which its decoder fills with even grey."""
    pixels = np.asarray(picture)
    grey = np.abs(pixels.reshape(len(pixels), -1).astype(np.int16) - 128).max(1) <= 1
    missing = len(grey) if grey.all() else int(grey[::-1].argmin())
    if missing > _MAX_MISSING_SHARE * len(grey):
        raise ValueError(f"{missing} of {len(grey)} rows are missing")


def draw_boxes(rng: np.random.Generator, shape: tuple[int, ...], *, min_side: float, max_side: float) -> np.ndarray:
    """Draws boxes at random, half of them mirrored.

    Args:
        rng: Source of randomness.
        shape: How many boxes, for example `(N, K)`: `K` for each of `N` photos.
        min_side: Least share of a side that a box keeps.
        max_side: Largest such share; sides of unlike length may exceed it by a tenth, up to the whole.

    Returns:
        float32 `(*shape, 4)`.
    """
    sides = rng.uniform(min_side, max_side, (*shape, 1)) * rng.uniform(0.9, 1.1, (*shape, 2))
    sides = np.clip(sides, min_side, 1.0)
    corners = rng.uniform(0, 1, (*shape, 2)) * (1 - sides)
    boxes = np.concatenate([corners, corners + sides], axis=-1)
    mirrored = rng.random(shape) < 0.5
    boxes[mirrored] = boxes[mirrored][:, [0, 3, 2, 1]]
    return boxes.astype(np.float32)
