"""Damages small photos of every format in every way and checks that each is pixels or one sentence, and nothing else.

    python -m benchmarks.fuzz_photos [--count 200000] [--seed 0]

They go through the processes that decode photos for page and command. Photo number n of a seed is always the same one.
Writes `artifacts/results/fuzz_photos.json`; exits with 1 if anything but pixels or a `PhotoError` came back.
"""

import argparse
import collections
import io
import resource
import time
from collections.abc import Iterator

import numpy as np
import tqdm
from PIL import Image, ImageCms, PngImagePlugin

from benchmarks import page_server
from captioner import config
from captioner.data import decoders, photos

_SIDE = 32
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
# Failures that are kept whole; the number of all is kept anyway.
_MAX_KEPT = 20


def make_samples() -> dict[str, list[bytes]]:
    """Returns sound photos of some ten formats, with and without what goes wrong in them: profiles, tags and frames."""
    ramp = Image.linear_gradient("L").resize((48, 32))
    colour = Image.merge("RGB", [ramp, ramp.transpose(Image.Transpose.ROTATE_180), ramp.point(lambda x: x // 2)])
    clear, palette = colour.copy(), colour.quantize(16)
    clear.putalpha(ramp)
    deep = Image.fromarray(np.asarray(ramp).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a drawing"
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "node " * 40, zip=True)
    frames = {"save_all": True, "append_images": [colour.rotate(90)], "duration": 40}
    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Without the time at which it was made, lest photos of one seed differ from run to run.
    profile = {"icc_profile": content[:24] + bytes(12) + content[36:]}
    samples = {
        "JPEG": [(colour, {}), (colour, {"progressive": True, "exif": exif}), (colour.convert("CMYK"), profile)],
        "PNG": [
            (colour, {"pnginfo": text, "exif": exif}),
            (clear, profile),
            (palette, {"transparency": 3}),
            (deep, {}),
        ],
        "WEBP": [(colour, {"exif": exif}), (clear, {"lossless": True} | profile), (colour, frames)],
        "GIF": [(palette, {"transparency": 3}), (colour, frames)],
        "BMP": [(colour, {}), (palette, {})],
        "TIFF": [
            *(
                (colour, {"compression": kind})
                for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
            ),
            (Image.fromarray(np.asarray(ramp, np.float32) / 255), {}),
            (deep, {"exif": exif} | profile),
        ],
        # With several threads its bytes differ from run to run.
        "AVIF": [(one, {"max_threads": 1} | save) for one, save in ((colour, {"exif": exif}), (clear, profile))],
    }
    found = {kind: [_encode(picture, kind, options) for picture, options in given] for kind, given in samples.items()}
    folder = config.PROJECT_DIR / "tests" / "data"
    return found | {"HEIC": [(folder / name).read_bytes() for name in ("drawn.heic", "striped.heic")]}


def mutate(sample: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Returns a damaged copy of a photo: bytes and numbers replaced, parts lost, doubled, or taken from another."""
    content = bytearray(sample)
    for _ in range(int(random.integers(1, 5))):
        # Half of the damage goes to the first bytes, which say how the others are read.
        end = len(content) if random.random() < 0.5 else min(len(content), 200)
        place, length = int(random.integers(max(1, end))), int(random.integers(1, 64))
        match int(random.integers(10)):
            case 0 | 1 | 2 | 3 | 4:
                content[place : place + 1] = random.integers(256, size=1, dtype=np.uint8).tobytes()
            case 5:
                size, order = int(random.choice((1, 2, 4))), "big" if random.random() < 0.5 else "little"
                number = int(random.choice(_NUMBERS)) & (256**size - 1)
                content[place : place + size] = number.to_bytes(size, order)
            case 6:
                del content[place : place + length]
            case 7:
                content[place:place] = content[place : place + length]
            case 8:
                content[place : place + length] = other[place : place + length]
            case 9 if random.random() < 0.3:
                del content[place:]
    return bytes(content)


def draw_photos(count: int, seed: int) -> Iterator[tuple[int, str, bytes]]:
    """Yields number, format and content of damaged photos."""
    samples = make_samples()
    for number in range(count):
        random = np.random.default_rng((seed, number))
        kind = list(samples)[number % len(samples)]
        first, other = random.integers(len(samples[kind]), size=2)
        yield number, kind, mutate(samples[kind][first], samples[kind][other], random)


def judge(pool: decoders.DecoderPool, content: bytes) -> tuple[str, str]:
    """Reads a photo and returns what became of it, in a word, and the reason."""
    try:
        pixels = pool.load_photo(content, _SIDE)
    except photos.PhotoError as error:
        reason = str(error)
        if reason.count("\n") or not reason.endswith("."):
            return "failed", f"no sentence: {reason!r}"
        kinds = {"breaks the program": "ended its process", "seconds to read": "too long", "MB of memory": "too large"}
        return next((word for part, word in kinds.items() if part in reason), "refused"), reason
    except Exception as error:  # What must not happen is counted, and the others are tried too.
        return "failed", repr(error)
    right = pixels.shape == (_SIDE, _SIDE, 3) and pixels.dtype == np.uint8
    return ("read", "") if right else ("failed", f"pixels {pixels.dtype} {pixels.shape}")


def run(count: int, seed: int) -> dict:
    """Tries many photos and returns what became of them, by format."""
    pool, found, failures = decoders.DecoderPool(1), collections.defaultdict(collections.Counter), []
    start, slowest = time.perf_counter(), 0.0
    for number, kind, content in tqdm.tqdm(draw_photos(count, seed), total=count, unit=" photos", mininterval=10):
        before = time.perf_counter()
        outcome, reason = judge(pool, content)
        slowest = max(slowest, time.perf_counter() - before)
        found[kind][outcome] += 1
        failures += [{"number": number, "format": kind, "reason": reason}] if outcome == "failed" else []
    pool.close()
    return {
        **{"photos": count, "seed": seed, "failures": len(failures), "first_failures": failures[:_MAX_KEPT]},
        "by_format": {kind: dict(sorted(counts.items())) for kind, counts in found.items()},
        "slowest_s": round(slowest, 2),
        "largest_process_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000,
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000, metavar="N", help="default: 200,000")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    options = parser.parse_args()
    result = run(options.count, options.seed)
    page_server.write_result("fuzz_photos", result)
    if result["failures"]:
        raise SystemExit(f"{result['failures']} photos gave neither pixels nor a sentence.")


def _encode(picture: Image.Image, kind: str, options: dict) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


if __name__ == "__main__":
    main()
