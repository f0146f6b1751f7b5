"""Lets many people use the page at once and checks that each gets their own captions and nobody else's.

    python -m benchmarks.page_load artifacts/compact [--source $FLICKR8K_DIR/Images]

Each person is a browser session of its own, dropping some photos at the same moment as all the others; the latencies
include what so many browsers cost on the same cores. Writes `artifacts/results/page_load.json`.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from benchmarks import page_server

_CARDS = """captions => captions.map((one) => [one.parentElement.querySelector("h2").textContent, one.textContent])"""


async def open_session(browser: Browser, url: str) -> Page:
    """Opens the page in a session of its own and waits until the captioner is awake."""
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(300_000)
    await page.goto(url)
    await page.get_by_text("Nothing to look at yet").wait_for()
    await page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    return page


async def drop_photos(page: Page, paths: list[Path]) -> tuple[float, dict[str, str]]:
    """Drops photos and returns the milliseconds until all are captioned, and name -> caption as they stand there."""
    start = time.perf_counter()
    await page.locator("input[type=file]").first.set_input_files(paths)
    await page.locator("p.summary", has_text=f"{len(paths)} photos captioned.").wait_for()
    milliseconds = 1000 * (time.perf_counter() - start)
    return milliseconds, dict(await page.locator("p.photo-caption").evaluate_all(_CARDS))


async def visit(url: str, shares: list[list[Path]]) -> list[tuple[float, dict[str, str]]]:
    """Opens a session for each share of the photos, then drops all shares at once."""
    async with async_playwright() as driver, await driver.chromium.launch(**page_server.CHROMIUM) as browser:
        pages = [await open_session(browser, url) for _ in shares]
        return await asyncio.gather(*map(drop_photos, pages, shares))


def caption_alone(captioner: Path, folder: Path) -> dict[str, str]:
    """Returns name -> caption of the photos in a folder as the command line gives them."""
    command = [sys.executable, "-m", "captioner", "caption", folder, "--captioner", captioner.resolve()]
    done = subprocess.run(
        [*command, "--format", "json"], cwd=page_server.PROJECT_DIR, stdout=subprocess.PIPE, check=True
    )
    return {Path(row["photo"]).name: row["caption"] for row in json.loads(done.stdout)}


def peak_megabytes(pid: int) -> int:
    """Returns the most memory that a process ever held, as Linux counts it."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) // 1000


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captioner", type=Path, help="folder of a captioner")
    parser.add_argument("--sessions", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--photos", type=int, default=5, metavar="N", help="photos of each session (default: 5)")
    parser.add_argument("--megapixels", type=float, default=12, metavar="M", help="default: 12")
    parser.add_argument("--source", type=Path, metavar="DIR", help="photos to enlarge (default: random patches)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        count = options.sessions * options.photos
        paths = page_server.make_photos(Path(folder), count, options.source, megapixels=options.megapixels)
        shares = [paths[start : start + options.photos] for start in range(0, count, options.photos)]
        with page_server.run_page(options.captioner) as (url, server):
            visits = asyncio.run(visit(url, shares))
            memory = peak_megabytes(server.pid)
        expected = caption_alone(options.captioner, Path(folder))
    wrong = [
        (name, caption)
        for share, (_, cards) in zip(shares, visits, strict=True)
        for name, caption in ({path.name: None for path in share} | cards).items()
        if name not in {path.name for path in share} or caption != expected[name]
    ]
    result = {"captioner": options.captioner.resolve().name}
    result |= page_server.summarize([milliseconds for milliseconds, _ in visits])
    result |= {"sessions": options.sessions, "photos": options.photos, "megapixels": options.megapixels}
    result |= {"wrong_captions": len(wrong), "different_captions": len(set(expected.values())), "peak_mb": memory}
    page_server.write_result("page_load", result)
    if wrong:
        raise SystemExit(f"Not everybody got their own captions: {wrong[:5]}")


if __name__ == "__main__":
    main()
