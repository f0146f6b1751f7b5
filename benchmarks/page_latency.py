"""Measures how long a visitor waits: for the page to appear, and from dropping a large photo to reading its caption.

    python -m benchmarks.page_latency artifacts/compact [--source $FLICKR8K_DIR/Images]

Chromium and the server share this machine's cores, as on a laptop. The clock runs in the browser, from the moment it
has the file to the moment the caption stands on the page. Writes `artifacts/results/page_latency.json`.
"""

import argparse
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks import page_server

# Photos before the clock counts.
WARM_UP = 3
# Milliseconds between two photos: a person takes so long, and the server has who sends more messages wait.
_PAUSE_MS = 2000
_CLOCK = """
document.addEventListener("change", () => { window.dropped = performance.now(); }, true);
new MutationObserver(() => {
  if (window.dropped && !window.captioned && document.querySelector("p.photo-caption")) {
    window.captioned = performance.now();
  }
}).observe(document, { childList: true, subtree: true });
"""


def measure_start(page: Page, url: str) -> dict[str, int]:
    """Opens the page of a fresh server and returns when it was whole and when its captioner was awake."""
    start = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.locator("[data-testid=stFileUploaderDropzone]").wait_for()
    page.get_by_text("Nothing to look at yet").wait_for()
    visible = time.perf_counter()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    return {"first_page_ms": round(1000 * (visible - start)), "awake_ms": round(1000 * (time.perf_counter() - start))}


def measure_photo(page: Page, path: Path) -> float:
    """Drops a photo, returns the milliseconds to its caption, and takes it away again."""
    page.wait_for_timeout(_PAUSE_MS)
    page.evaluate("() => { window.dropped = window.captioned = 0; }")
    page.locator("input[type=file]").first.set_input_files(path)
    # Playwright's own way to wait would evaluate text in the page, which its headers forbid.
    while not page.evaluate("window.captioned > 0"):
        page.wait_for_timeout(20)
    milliseconds = page.evaluate("captioned - dropped")
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_role("button", name=f"Remove {path.name}").click()
    page.get_by_text("Nothing to look at yet").wait_for()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    return milliseconds


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captioner", type=Path, help="folder of a captioner")
    parser.add_argument("--photos", type=int, default=40, metavar="N", help="default: 40")
    parser.add_argument("--megapixels", type=float, default=12, metavar="M", help="default: 12")
    parser.add_argument("--source", type=Path, metavar="DIR", help="photos to enlarge (default: random patches)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as driver,
        driver.chromium.launch(**page_server.CHROMIUM) as browser,
    ):
        count = options.photos + WARM_UP
        paths = page_server.make_photos(Path(folder), count, options.source, megapixels=options.megapixels)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.add_init_script(_CLOCK)
        with page_server.run_page(options.captioner) as (url, _):
            start = measure_start(page, url)
            latencies = [measure_photo(page, path) for path in paths][WARM_UP:]
        megabytes = sum(path.stat().st_size for path in paths) / count / 1e6
    sizes = {"photos": options.photos, "megapixels": options.megapixels, "megabytes": round(megabytes, 1)}
    name = {"captioner": options.captioner.resolve().name}
    page_server.write_result("page_latency", name | page_server.summarize(latencies) | start | sizes)


if __name__ == "__main__":
    main()
