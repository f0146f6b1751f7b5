"""Photos that were made to do harm, a few kilobytes each, and what becomes of them.

    python -m benchmarks.hostile_photos

Writes `artifacts/results/hostile_photos.json`.
"""

import io
import resource
import struct
import time
import zlib

from PIL import Image

from benchmarks import page_server
from captioner import config
from captioner.data import decoders, photos


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


def main() -> None:
    """Gives each hostile photo to the processes that decode, and keeps what they say, in what time and memory."""
    found = {}
    for name, content in (make_hostile_photos() | {"slow.jpg": make_slow_photo()}).items():
        pool, start = decoders.DecoderPool(1), time.perf_counter()
        try:
            pool.load_photo(content, 224, name)
            said = "read"
        except photos.PhotoError as error:
            said = str(error)
        # Its process was started for it, which takes part of the time.
        seconds = time.perf_counter() - start
        pool.close()
        found[name] = {"bytes": len(content), "seconds": round(seconds, 2), "said": said}
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000
    page_server.write_result("hostile_photos", {"photos": found, "largest_process_mb": largest})


if __name__ == "__main__":
    main()
