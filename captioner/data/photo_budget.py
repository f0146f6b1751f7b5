"""What one photo may cost, judged by its header: a file of a few bytes can ask for gigabytes, or for minutes."""

import re
from typing import BinaryIO

from PIL import ImageFile

# Memory that one photo may take while it is read: a file of a few bytes can ask for gigabytes. Enough for 190
# megapixels without compression, and for the largest phone cameras' JPEG of 200.
MAX_MEGABYTES = 900
# Bytes for each pixel that a decoder holds beside Pillow's own picture: planes of colour, and canvases of animations.
_DECODER_BYTES = {"HEIF": 8, "AVIF": 8, "WEBP": 12}
# A progressive JPEG has about ten scans. Each costs as much as decoding the photo once.
_MAX_SCANS = 100
# A marker of a JPEG with a segment behind it, but for the end, which is the last.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd8\xff])")
_JPEG_SCAN, _JPEG_END = b"\xda", b"\xd9"


class PhotoError(ValueError):
    """A photo that cannot be used. The message is one sentence for the person who gave it."""


def too_large(name: str) -> PhotoError:
    """Returns the error about a photo that takes too much memory."""
    return PhotoError(f"{name} is too large: to read it takes more than {MAX_MEGABYTES} MB of memory. Make it smaller.")


def check_webp(file: BinaryIO, name: str) -> None:
    """Refuses a large WebP before it is opened, which already takes memory for two canvases.

    Raises:
        PhotoError: If it is too large.
    """
    head = file.read(30)
    file.seek(0)
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return
    if head[12:16] == b"VP8X":
        width, height = (int.from_bytes(head[place : place + 3], "little") + 1 for place in (24, 27))
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(head[place : place + 2], "little") & 0x3FFF for place in (26, 28))
    if width * height * (4 + _DECODER_BYTES["WEBP"]) > MAX_MEGABYTES * 1_000_000:
        raise too_large(name)


def check_memory(picture: ImageFile.ImageFile, name: str, whole_size: tuple[int, int], large: bool) -> None:
    """Refuses from sides, mode and copies what would take too much memory, before any of it is taken."""
    width, height = picture.size
    stored = 1 if picture.mode in ("1", "L", "P") else 2 if picture.mode.startswith("I;16") else 4
    # A picture is converted, laid on white or turned, each time into a copy, unless it is reduced first.
    if large:
        copies = 4 if picture.mode in ("1", "P", "PA", "I", "F") or stored == 2 else 0
    else:
        copies = 4 if picture.mode in ("L", "RGB") else 12
    needed = width * height * (stored + copies + _DECODER_BYTES.get(picture.format or "", 0))
    needed += 24 * height  # Pillow keeps an address for each row of each copy.
    if picture.info.get("progressive"):
        needed += 6 * whole_size[0] * whole_size[1]  # All coefficients, three of 16 bits for each pixel.
    if needed > MAX_MEGABYTES * 1_000_000:
        raise too_large(name)


def check_scans(picture: ImageFile.ImageFile, name: str) -> None:
    """Refuses a JPEG that would be decoded a thousand times over."""
    if picture.info.get("progressive") and (file := picture.fp):
        place = file.tell()
        file.seek(0)
        scans = _count_scans(file.read())
        file.seek(place)
        if scans > _MAX_SCANS:
            raise PhotoError(f"{name} is a JPEG of {scans:,} scans, more than {_MAX_SCANS}: save it anew.")


def _count_scans(content: bytes) -> int:
    """Counts scans as a decoder meets them: nothing within other segments, nor behind the end, as a phone's video."""
    place = scans = 0
    while (marker := _JPEG_MARKER.search(content, place)) and marker[1] != _JPEG_END:
        scans += marker[1] == _JPEG_SCAN
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2])
    return scans
