"""Twenty visitors of the page at once, five photos each, and one visitor alone with one photo."""

import concurrent.futures
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks import page_server, page_visitor
from benchmarks.speed import measuring
from captioner import config

_MEGAPIXELS = 12


def measure(*, small: bool = False) -> measuring.Report:
    """Measures how long visitors wait for all of their photos."""
    visitors, photos, rounds = (2, 1, 1) if small else (20, 5, 3)
    with (
        tempfile.TemporaryDirectory() as folder,
        page_server.run_page(config.SHIPPED_DIR / "compact") as (url, _),
    ):
        given = page_server.make_photos(
            Path(folder), photos, measuring.find_source(), megapixels=_MEGAPIXELS, seed=measuring.SEED
        )
        contents = [path.read_bytes() for path in given]
        _visit(url, contents[:1], "first", threading.Barrier(1))
        alone, together = [], []
        for number in range(rounds):
            alone += [_visit(url, contents[:1], f"alone-{number}-{n}", threading.Barrier(1)) for n in range(3)]
            barrier = threading.Barrier(visitors)
            with concurrent.futures.ThreadPoolExecutor(visitors) as pool:
                jobs = [
                    pool.submit(_visit, url, contents, f"{number}-{visitor}", barrier) for visitor in range(visitors)
                ]
                together += [job.result() for job in jobs]
    rows = [
        ["1 visitor with 1 photo, alone", *_summarize(alone)],
        [f"{visitors} visitors with {photos} photos each, at once", *_summarize(together)],
    ]
    return measuring.Report(
        "visitors",
        "Visitors of the page",
        ["`compact`, until the last caption stands", "median, s", "p95, s"],
        rows,
        [
            f"Photos of {_MEGAPIXELS} megapixels, {np.mean([len(c) for c in contents]) / 1e6:.1f} MB. Visitors speak "
            "the server's protocol, so that no browser shares its cores; each photo is new to the server.",
        ],
        {"visitors": visitors, "photos": photos, "rounds": rounds},
    )


def _visit(url: str, contents: list[bytes], name: str, barrier: threading.Barrier) -> float:
    """Opens the page, waits for the others, gives all photos and returns the seconds until all are captioned."""
    # Bytes behind the end of a JPEG change the file and not the picture.
    photos = {f"{name}-{n}.jpg": content + name.encode() for n, content in enumerate(contents)}
    visitor = page_visitor.Visitor(url)
    try:
        barrier.wait()
        started = time.perf_counter()
        visitor.show(photos)
        visitor.wait(lambda: photos.keys() <= visitor.captions.keys())
        return time.perf_counter() - started
    finally:
        visitor.leave()


def _summarize(seconds: list[float]) -> list[float]:
    return [float(np.median(seconds)), float(np.percentile(seconds, 95))]
