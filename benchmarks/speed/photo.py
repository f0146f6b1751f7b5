"""One photo, warm: from the bytes of a file to its caption, encoder by encoder, beside the bare forward pass."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.speed import counting, measuring
from captioner import config, inference
from captioner.artifacts import saving
from captioner.data import photos
from captioner.decoder.network import CaptionDecoder
from captioner.encoders.encoder import load_encoder

_SHIPPED, _RANDOM = ("compact", "efficientnet_lite2"), ("mobilenet_v2", "vgg16")
_WORDS = 11


def measure(*, small: bool = False) -> measuring.Report:
    """Measures the milliseconds that one photo takes."""
    count = 2 if small else 40
    captioners = {name: saving.load_captioner(config.SHIPPED_DIR / name) for name in _SHIPPED}
    vocabulary = captioners["compact"].vocabulary
    for name in () if small else _RANDOM:
        captioners[f"{name}, random weights"] = build_random(load_encoder(name, weights=None), vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        contents = [path.read_bytes() for path in measuring.find_photos(count, Path(folder))]
    return compare(captioners, contents)


def build_random(encoder, vocabulary) -> inference.Captioner:
    """Makes a captioner of random weights that writes as many words as captions have."""
    decoder = CaptionDecoder(len(vocabulary), encoder.pooled_size, encoder.num_regions, encoder.region_size)
    decoder.classifier.bias.assign(-100.0 * np.eye(len(vocabulary))[vocabulary.end_id])
    settings = config.DecodingConfig(max_length=_WORDS + 1)
    return inference.Captioner(decoder, vocabulary, encoder, settings=settings, frozen=True)


def compare(captioners: dict[str, inference.Captioner], contents: list[bytes]) -> measuring.Report:
    """Captions each photo with each captioner, in turns."""
    parts: dict[str, list[list[float]]] = {name: [] for name in captioners}
    for number, content in enumerate([*contents[:3], *contents]):
        for name, captioner in captioners.items():
            measured = _time_parts(captioner, content)
            if number >= 3:  # Before that, functions are compiled.
                parts[name].append(measured)
    rows = []
    for name, measured in parts.items():
        whole, read, forward, rest = np.array(measured).T * 1000
        p50, p95 = np.percentile(whole, 50), np.percentile(whole, 95)
        rows.append([name, p50, p95, *map(np.median, (read, forward, rest)), p50 / np.median(forward)])
    rows = [[float(value) if isinstance(value, np.floating) else value for value in row] for row in rows]
    bandwidth = measuring.measure_bandwidth(rounds=3)
    megabytes = 4 * counting.count_search_weights(next(iter(captioners.values())).decoder) / 1e6
    return measuring.Report(
        "photo",
        "One photo, warm",
        [
            *("captioner", "p50, ms", "p95, ms", "reading the file", "bare forward pass", "the search"),
            "p50 over the forward pass",
        ],
        rows,
        [
            "3 beams, or what the captioner was saved with. The forward pass is that of the network alone; "
            "`efficientnet_lite2` looks at the photo and at its mirror image, so its pass is over both.",
            f"Each step of the search reads {megabytes:.0f} MB of weights for three beams. Memory is copied at "
            f"{bandwidth:.1f} GB/s, so that alone takes {megabytes / bandwidth:.2f} ms.",
            f"Random weights have the speed of trained ones; their captions are given {_WORDS + 1} steps.",
        ],
        {"photos": len(contents)},
    )


def _time_parts(captioner: inference.Captioner, content: bytes) -> list[float]:
    """Returns the seconds of the whole, and of reading, forward pass and search alone."""
    times = [time.perf_counter()]
    captioner.caption(content)
    times.append(time.perf_counter())
    pixels = photos.load_photo(content, captioner.encoder.image_size)[None]
    times.append(time.perf_counter())
    views = captioner.encoder.encode(pixels)
    times.append(time.perf_counter())
    captioner.caption_features(*views)
    times.append(time.perf_counter())
    return np.diff(times).tolist()
