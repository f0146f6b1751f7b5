"""Any photo file or upload to the RGB pixels that an encoder takes. No TensorFlow here.

A photo is turned the way its EXIF tag says, its transparency is laid on white, and the whole of it is
squashed to a square: Flickr8k's captions are of whole photos, and a centre crop would cut what they speak of.
"""

import functools
import io
import os
import threading
from pathlib import Path

import numpy as np
import pi_heif
from PIL import Image, ImageOps, UnidentifiedImageError

# What Pillow opens and people upload; HEIC is what iPhones make. The first frame of an animation counts.
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif")
# A reduced photo keeps at least so many pixels along its longer side, enough for a preview on a dense screen, and along
# its shorter side, twice what the largest encoder takes.
REDUCED_SIDES = (960, 448)
# Above this a file of a few kilobytes can unpack to gigabytes; the largest phone cameras make 200 megapixels.
MAX_MEGAPIXELS = 250
# Pillow refuses above 179 megapixels, by a limit that all threads share; ours is judged instead.
_PILLOW_LIMIT_LOCK = threading.Lock()


# Raise this whenever the pixels that reach a network change: features made before must not be mixed with new ones.
PREPROCESSING_VERSION = 2


# A part of a photo in shares of its sides: top, left, bottom, right, 0 to 1; left beyond right mirrors it.
Box = tuple[float, float, float, float]


# What a photo may be given as: a file, the bytes of one, a Pillow image, or an array uint8 `(H, W, 3)` RGB, `(H, W, 4)`
# RGBA or `(H, W)` grey.
Photo = str | os.PathLike[str] | bytes | Image.Image | np.ndarray


class PhotoError(ValueError):
    """A photo that cannot be used. The message is one sentence for the person who gave it."""


def open_photo(source: Photo, name: str | None = None, *, reduced: bool = False) -> Image.Image:
    """Opens a photo upright and in RGB.

    Args:
        source: The photo.
        name: What to call the photo in messages, by default the file's name.
        reduced: Whether a JPEG file may be decoded at a half, a quarter or an eighth of its size, which takes half the
            time for 12 megapixels; see `REDUCED_SIDES`. Smaller photos and other formats keep their size.

    Returns:
        An RGB picture in memory, which owes nothing to the file any more.

    Raises:
        PhotoError: If it is missing, empty, no picture, cut short or too large, or an array of another shape or dtype.
    """
    name = name or name_photo(source)
    try:
        if isinstance(source, Image.Image | np.ndarray):
            return _decode(source if isinstance(source, Image.Image) else _wrap_array(source, name), name, False)
        with _read_header(_find_file(source, name)) as picture:
            return _decode(picture, name, reduced)
    except PhotoError:
        raise
    except FileNotFoundError:
        raise PhotoError(f"{name} does not exist.") from None
    except UnidentifiedImageError:
        raise PhotoError(
            f"{name} is not a picture that can be read: try JPEG, PNG, WebP, GIF, BMP, TIFF or HEIC."
        ) from None
    except Image.DecompressionBombError:
        raise PhotoError(f"{name} has more than {MAX_MEGAPIXELS} megapixels: make it smaller.") from None
    # Pillow's decoders raise these, and a few more of their own, on damaged files.
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError, MemoryError, RuntimeError) as error:
        raise PhotoError(f"{name} is damaged or cut short ({error}).") from None


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
    photo = open_photo(source, name, reduced=True)
    return resize_photo(photo, image_size) if box is None else _crop_photo(photo, image_size, box)


def resize_photo(photo: Image.Image, image_size: int) -> np.ndarray:
    """Squashes an RGB picture to a square, uint8 `(S, S, 3)`; a picture of that size passes unchanged."""
    if photo.size != (image_size, image_size):
        # reducing_gap shrinks a large photo by whole factors first: the same to the eye, but faster.
        photo = photo.resize((image_size, image_size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(photo)


def _crop_photo(photo: Image.Image, image_size: int, box: Box) -> np.ndarray:
    top, left, bottom, right = box
    width, height = photo.size
    place = (min(left, right) * width, top * height, max(left, right) * width, bottom * height)
    size = (image_size, image_size)
    pixels = np.asarray(photo.resize(size, Image.Resampling.BILINEAR, box=place, reducing_gap=3.0))
    return pixels[:, ::-1] if left > right else pixels


def list_photos(paths: list[str | Path]) -> list[Path]:
    """Returns the photo files among `paths` and in the folders among them, those of a folder sorted by name.

    A file that is named outright is kept whatever its suffix, so that a mistake is reported, not passed over.

    Raises:
        FileNotFoundError: If a path does not exist or a folder holds no photo.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"There is no file or folder {path}.")
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
        if not inside:
            raise FileNotFoundError(f"No photos in the folder {path}: expected files {', '.join(PHOTO_SUFFIXES)}.")
        files += inside
    return files


def name_photo(source: Photo, unnamed: str = "The photo") -> str:
    """Returns what to call a photo in messages: the name of its file, or `unnamed`."""
    return Path(source).name if isinstance(source, str | os.PathLike) else unnamed


def _find_file(source: object, name: str) -> Path | io.BytesIO:
    if isinstance(source, bytes):
        file, size = io.BytesIO(source), len(source)
    elif isinstance(source, str | os.PathLike):
        file = Path(source)
        size = file.stat().st_size if file.is_file() else None
    else:
        raise PhotoError(f"{name} must be a path, bytes, a Pillow image or an array. Received: {type(source).__name__}")
    if size == 0:
        raise PhotoError(f"{name} is empty.")
    return file


def _wrap_array(pixels: np.ndarray, name: str) -> Image.Image:
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not pixels.size or not is_picture:
        raise PhotoError(
            f"{name} must be uint8 of shape (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey. "
            f"Received: dtype={pixels.dtype}, shape={pixels.shape}"
        )
    return Image.fromarray(pixels)


def _read_header(source: Path | io.BytesIO) -> Image.Image:
    """Opens a picture whatever its size is, which is known but not yet in memory."""
    _register_heif()
    with _PILLOW_LIMIT_LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@functools.cache
def _register_heif() -> None:
    """Teaches Pillow HEIC; once is enough, and not at import, which has no side effects."""
    pi_heif.register_heif_opener()


def _decode(picture: Image.Image, name: str, reduced: bool) -> Image.Image:
    width, height = picture.size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise PhotoError(
            f"{name} has {width * height / 1e6:.0f} megapixels, more than {MAX_MEGAPIXELS}: make it smaller."
        )
    if reduced:
        longer, shorter = REDUCED_SIDES
        picture.draft("RGB", tuple(max(shorter, longer * side // max(width, height)) for side in (width, height)))
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
        upright = _scale_to_8_bits(upright)
    elif upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return upright.convert("RGB")


def _scale_to_8_bits(picture: Image.Image) -> Image.Image:
    """Maps 16-bit and float greys to 0..255; Pillow alone would clip them to white."""
    pixels = np.asarray(picture, dtype=np.float64)
    full = 65535.0 if pixels.max(initial=0) > 255 else 255.0
    return Image.fromarray(np.clip(pixels * (255.0 / full), 0, 255).astype(np.uint8))


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
