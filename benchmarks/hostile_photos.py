"""Photos that were made to do harm, a few kilobytes each."""

import io
import struct
import zlib

from PIL import Image

from captioner import config


def make_hostile_photos() -> dict[str, bytes]:
    """Returns name -> content of bombs, of a HEIC that ends its decoder, and of files that are no photos."""
    heic = bytearray((config.PROJECT_DIR / "tests" / "data" / "drawn.heic").read_bytes())
    heic[173] = 144  # libheif 1.20 dies of it.
    return {
        "narrow.png": _claim_png(1, 250_000_000),
        "wide.png": _claim_png(250_000, 1000, bits=16),
        "large.gif": _claim_gif(60_000, 60_000),
        "scans.jpg": _repeat_scans(3000),
        "one-byte.heic": bytes(heic),
        "program.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n/forever { forever } def forever\n",
        "empty.jpg": b"",
        "text.jpg": b"no photo",
    }


def make_slow_photo() -> bytes:
    """Returns a JPEG that is sound and takes seconds to decode: 20 megapixels in many scans."""
    return _repeat_scans(60, side=4500)


def _claim_png(width: int, height: int, bits: int = 8) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(99)))):
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return content


def _claim_gif(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("P", (8, 8)).save(file, "GIF")
    return file.getvalue()[:6] + struct.pack("<HH", width, height) + file.getvalue()[10:]


def _repeat_scans(scans: int, side: int = 1000) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).save(file, "JPEG", progressive=True, quality=50)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]
