"""What the benchmarks of the page share: a server of its own, photos, a browser, and the file for the result."""

import contextlib
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from captioner import config
from captioner.artifacts import results

PROJECT_DIR = config.PROJECT_DIR
CHROMIUM = {
    "executable_path": os.environ.get("CHROMIUM") or shutil.which("chromium"),
    "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
}
_PACKAGES = ("tensorflow", "keras", "streamlit", "pillow", "pi_heif")


@contextlib.contextmanager
def run_page(captioner: Path, log: Path | None = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """Serves the page with a captioner on this machine alone.

    Args:
        captioner: Its folder.
        log: Where to keep what the server prints, by default nowhere.

    Yields:
        The address, with that captioner chosen, and the server's process, as soon as the server answers.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    options = [f"--server.port={port}", "--server.address=localhost", "--server.headless=true"]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", *options],
        cwd=PROJECT_DIR,
        env=os.environ | {"CAPTIONER_ARTIFACTS": str(captioner.resolve().parent)},
        stdout=log.open("wb") if log else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait_for(f"http://localhost:{port}/_stcore/health", process)
        yield f"http://localhost:{port}/?captioner={captioner.resolve().name}", process
    finally:
        process.terminate()
        process.wait(30)


def make_photos(folder: Path, count: int, source: Path | None, *, megapixels: float, seed: int = 0) -> list[Path]:
    """Writes JPEGs of one size, 4 to 3, with the grain of a camera, which is what makes a file large and slow to read.

    Args:
        folder: Where to.
        count: How many.
        source: A folder of photos to enlarge or shrink; without one, patches of random colours.
        megapixels: Size of each.
        seed: Decides patches, grain and which photos of the folder are taken.
    """
    random = np.random.default_rng(seed)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    size = (round(height * 4 / 3), height)
    grain = random.normal(0, 5, (height, size[0], 1)).astype(np.int16)
    given = sorted(source.glob("*.jpg")) if source else []
    taken = random.choice(len(given), count, replace=False) if source else range(count)
    paths = []
    for number, index in enumerate(taken):
        picture = (
            Image.open(given[index]).convert("RGB")
            if source
            else Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
        )
        pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC), np.int16) + grain
        paths.append(folder / f"photo-{number}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def summarize(milliseconds: Sequence[float]) -> dict[str, float]:
    """Returns median and 95th percentile of some durations."""
    return {
        "median_ms": round(float(np.median(milliseconds))),
        "p95_ms": round(float(np.percentile(milliseconds, 95))),
    }


def write_result(name: str, result: dict) -> None:
    """Prints a result with what it was measured on and writes it to `artifacts/results/<name>.json`."""
    versions = {package: importlib.metadata.version(package) for package in _PACKAGES}
    machine = {"cores": os.cpu_count(), "load_average": os.getloadavg()[0], "versions": versions}
    text = json.dumps(result | machine | {"date": time.strftime("%Y-%m-%d")}, indent=2)
    results.RESULTS_DIR.mkdir(parents=True, exist_ok=True)
    (results.RESULTS_DIR / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def _wait_for(url: str, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.05)
    raise RuntimeError("The page did not start: try `streamlit run app.py`.")
