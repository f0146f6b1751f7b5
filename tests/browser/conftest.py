"""The real page in a real browser: Streamlit's server with a small captioner of random weights, and Chromium."""

import dataclasses
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

# Milliseconds for whatever the page does: two cores may be busy with other things.
PATIENCE = 120_000
# Bytes that the server may write to one file.
LARGEST_FILE = 100
PROJECT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
WORDS = (
    "a",
    "the",
    "dog",
    "man",
    "girl",
    "boy",
    "in",
    "on",
    "with",
    "runs",
    "jumps",
    "plays",
    "grass",
    "water",
    "snow",
)


@dataclasses.dataclass(frozen=True)
class Server:
    """A running page."""

    url: str
    log: list[str]
    captioner: object


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """The page with its captioner, from a process that cannot write photos to files."""
    from captioner.artifacts import saving

    folder = tmp_path_factory.mktemp("page")
    make_captioner(folder)
    port = free_port()
    environment = os.environ | {
        "CAPTIONER_ARTIFACTS": str(folder / "artifacts"),
        "CAPTIONER_WEIGHTS": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}", "--server.headless=true"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Whatever tries to write a photo to disk fails, and its test with it. Python's tempfile tries its folder with
        # four bytes.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE)),
    )
    log: list[str] = []
    threading.Thread(target=lambda: log.extend(process.stdout), daemon=True).start()
    try:
        wait_for(f"http://localhost:{port}/_stcore/health", process, log)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CAPTIONER_WEIGHTS", str(folder))
            captioner = saving.load_captioner(folder / "artifacts" / "tiny")
        yield Server(f"http://localhost:{port}", log, captioner)
    finally:
        process.terminate()
        process.wait(30)


def make_captioner(folder: Path) -> None:
    """Saves a captioner that says something else of every photo, and the random weights of its encoder."""
    import keras
    import numpy as np

    from captioner import config
    from captioner.artifacts import saving
    from captioner.data.vocabulary import SPECIAL_WORDS, Vocabulary
    from captioner.decoder.network import CaptionDecoder
    from captioner.encoders import specs
    from captioner.encoders.encoder import load_encoder
    from captioner.inference import Captioner

    keras.utils.set_random_seed(3)
    weights = folder / "mobilenet_v2_imagenet.weights.h5"
    network = specs.ENCODERS["mobilenet_v2"].build()
    for variable in network.weights:
        if "kernel" in variable.path:
            variable.assign(3 * variable)  # Else the signal fades over 53 layers and every photo looks the same.
    network.save_weights(weights)
    encoder = load_encoder("mobilenet_v2", weights=weights)
    settings = config.DecoderConfig(units=32, embedding_size=16, attention_size=16, memory_size=32)
    vocabulary = Vocabulary((*SPECIAL_WORDS, *WORDS))
    sizes = len(vocabulary), encoder.pooled_size, encoder.num_regions, encoder.region_size
    captioner = Captioner(CaptionDecoder(*sizes, settings), vocabulary, encoder, name="tiny")
    for variable in captioner.decoder.weights:
        if len(variable.shape) == 2:
            variable.assign(4 * variable)
    # Half of what it sees it calls fairly sure, of the other half it says that it guesses.
    noise = np.random.default_rng(0).integers(0, 255, (8, 224, 224, 3)).astype(np.uint8)
    usual = np.median([found[0].log_prob_per_word for found in captioner.caption_photos(noise)])
    captioner.calibration = config.Calibration(None, float(usual))
    rows = [{"label": "fairly sure", "count": 10, "right": 0.6}, {"label": "guessing", "count": 10, "right": 0.3}]
    metrics = {"split": "test", "num_photos": 1000, "cider_d": 0.1, "bleu_4": 0.0, "calibration": {"test": rows}}
    saving.save_captioner(captioner, folder / "artifacts" / "tiny", {"data": "nothing", **metrics})
    # Two that sort behind it: one that nobody wakes before its test does, and one that lost a file.
    for name in ("waker", "worn"):
        saving.save_captioner(captioner, folder / "artifacts" / name, {"data": "nothing"})
    (folder / "artifacts" / "worn" / "decoder.keras").unlink()
    drawn = {"data": "drawings", "split": "test", "num_photos": 70, "cider_d": 300.0}
    saving.save_captioner(captioner, folder / "artifacts" / "sketches", drawn)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, log: list[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"The page did not start: {''.join(log)}")


@pytest.fixture(scope="session")
def browser():
    """Chromium with a fake camera."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    if not CHROMIUM:
        pytest.skip("There is no Chromium: apt-get install chromium, or name one in CHROMIUM.")
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, server):
    """Returns a function that opens the page in a fresh browser and waits until its captioner is awake."""
    contexts, foreign, errors = [], [], []

    def open_(query: str = "", *, width: int = 1440, height: int = 900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: None if is_ours(request.url, server.url) else foreign.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        # What our own headers forbid, the browser says here.
        page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
        page.goto(server.url + query)
        page.get_by_text("Nothing to look at yet").wait_for()
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        return page

    yield open_
    for context in contexts:
        context.close()
    assert foreign == [], "The page asked another host."
    assert errors == []
    assert not [line for line in server.log if "Traceback" in line], "".join(server.log)


def is_ours(url: str, ours: str) -> bool:
    return url.startswith((ours, ours.replace("http", "ws"), "data:", "blob:"))
