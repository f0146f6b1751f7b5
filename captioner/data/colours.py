"""A decoded picture of any mode, depth and colour profile as plain sRGB of 8 bits."""

import io

import numpy as np
from PIL import Image, ImageCms

# The white of greys deeper than 8 bits, by the brightest of them. Where it is below the range that the file could hold,
# the values are taken for shares of 1, for 8, or for 10 to 14 bits; in between, white moves without a step, so that two
# pictures that differ by one value look the same.
_BRIGHTEST = (1, 4, 16, 255, 16383, 24575)
_WHITE = (1, 4, 255, 255, 16383, 65535)
# Levels of 255 by which a profile may move a colour and still be taken for sRGB, whose profiles differ in rounding.
_SAME_COLOUR = 3
# Modes of pixels by the kind of colours that a profile describes.
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_TRANSPARENT_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


def to_srgb(picture: Image.Image, info: dict) -> Image.Image:
    """Returns a loaded picture in RGB: deep greys scaled, transparency laid on white, colours as its profile says.

    Args:
        picture: Any mode.
        info: What its file said of it: `icc_profile` and `transparency` count.
    """
    if _is_deep(picture):
        return _scale_to_8_bits(picture).convert("RGB")
    if picture.mode in _TRANSPARENT_MODES or "transparency" in info:
        rgba = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    elif picture.mode in ("1", "P"):
        picture = picture.convert("RGB")
    if profile := info.get("icc_profile"):
        picture = _apply_profile(picture, profile)
    return picture.convert("RGB")


def reduce_picture(picture: Image.Image, factor: int) -> Image.Image:
    """Returns a loaded picture with sides `factor` times shorter, in a mode that `to_srgb` takes."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray(np.asarray(picture)[::factor, ::factor].astype(np.uint16))
    if picture.mode in ("P", "PA", "1"):
        transparent = picture.mode == "PA" or "transparency" in picture.info
        picture = picture.convert("RGBA" if transparent else "RGB")
    return picture.reduce(factor)


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode.startswith("I;16") or picture.mode in ("I", "F")


def _scale_to_8_bits(picture: Image.Image) -> Image.Image:
    """Maps integers of more than 8 bits and floats to 0..255; Pillow alone would clip them."""
    pixels = np.nan_to_num(np.asarray(picture).astype(np.float32), posinf=0, neginf=0)
    brightest = float(pixels.max(initial=0))
    white = max(brightest, float(np.interp(brightest, _BRIGHTEST, _WHITE)))
    return Image.fromarray(np.rint(np.clip(pixels * (255 / white), 0, 255)).astype(np.uint8))


def _apply_profile(picture: Image.Image, content: bytes) -> Image.Image:
    """Returns a picture in sRGB, or as it was where its profile is damaged, of another kind, or sRGB anyway."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        mode = _PROFILE_MODES[profile.profile.xcolor_space.strip()]
        if (mode == "CMYK") != (picture.mode == "CMYK"):
            return picture
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        probe = _PROBE.convert(mode)
        moved = np.asarray(ImageCms.applyTransform(probe, transform), np.int16) - np.asarray(probe.convert("RGB"))
        if np.abs(moved).max() <= _SAME_COLOUR:
            return picture
        return ImageCms.applyTransform(picture.convert(mode), transform) or picture
    except (ImageCms.PyCMSError, KeyError, OSError, ValueError, TypeError):
        return picture


# Colours of every kind, six levels of red, green and blue each, in one row.
_PROBE = Image.fromarray(np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * 3), -1).reshape(1, -1, 3))
