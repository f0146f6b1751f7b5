"""Takes the picture of the page that README shows: a drawing, dropped on the real page, and what the captioner says.

    python -m benchmarks.page_picture [artifacts/NAME]

Writes `docs/page.png`. The drawing is made here, since the photos of a data set are not ours to show; it is one that
the shipped captioner describes well, as it does not every picture: README says how often. Chromium is looked for as
`chromium`, or where `CHROMIUM` says.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import sync_playwright

from benchmarks import page_server
from captioner import config

PICTURE = config.PROJECT_DIR / "docs" / "page.png"
_SIZE = (960, 720)
_HORIZON, _SHORE = 430, 600
_DARK, _LIGHT = (15, 12, 18), (255, 240, 190)
# Rows from the top of sky, sea and sand, and the colour there.
_COLOURS = (
    *((0, (40, 50, 110)), (236, (220, 110, 80)), (429, (255, 200, 110))),
    *((430, (250, 170, 100)), (481, (120, 80, 100)), (599, (30, 30, 60))),
    *((600, (60, 45, 50)), (719, (25, 20, 25))),
)


def draw_beach() -> Image.Image:
    """Returns a drawing of a person on a beach before the setting sun."""
    rows, colours = zip(*_COLOURS, strict=True)
    columns = [np.interp(np.arange(_SIZE[1]), rows, channel) for channel in zip(*colours, strict=True)]
    empty = Image.fromarray(np.stack(columns, -1)[:, None].repeat(_SIZE[0], 1).astype(np.uint8))
    glow = Image.new("L", _SIZE)
    ImageDraw.Draw(glow).ellipse((450, 270, 770, 590), fill=150)
    picture = Image.composite(Image.new("RGB", _SIZE, _LIGHT), empty, glow.filter(ImageFilter.GaussianBlur(60)))
    ImageDraw.Draw(picture).ellipse((575, 390, 645, 460), fill=_LIGHT)
    # The sun is half below the horizon.
    picture.paste(empty.crop((0, _HORIZON, _SIZE[0], _SHORE)), (0, _HORIZON))
    pen, random = ImageDraw.Draw(picture), np.random.default_rng(0)
    for row in random.integers(_HORIZON + 4, _SHORE - 10, 220):
        middle, half = 610 + random.normal(0, 20 + (row - _HORIZON) / 2), random.integers(10, 50)
        pen.line((middle - half, row, middle + half, row), fill=(255, 215, 150), width=2)
    pen.ellipse((307, 400, 353, 446), fill=_DARK)
    pen.rounded_rectangle((300, 446, 360, 546), 25, fill=_DARK)
    for line, width in (
        *(((317, 535, 292, 650), 27), ((343, 535, 363, 650), 27)),
        *(((305, 460, 275, 535), 17), ((355, 460, 380, 535), 17)),
    ):
        pen.line(line, fill=_DARK, width=width)
    return picture.filter(ImageFilter.GaussianBlur(0.8))


def take_picture(captioner: Path) -> tuple[Image.Image, str]:
    """Returns the page as it stands in a browser once the drawing has its caption, and the caption."""
    file = io.BytesIO()
    draw_beach().save(file, "PNG")
    with page_server.run_page(captioner) as (url, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(**page_server.CHROMIUM)
        page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
        page.goto(url)
        upload = {"name": "beach.png", "mimeType": "image/png", "buffer": file.getvalue()}
        page.locator("input[type=file]").first.set_input_files([upload], timeout=120_000)
        caption = page.locator(".photo-caption")
        caption.wait_for(timeout=300_000)
        # The page moves until all of it is there.
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(2000)
        shot = page.screenshot(animations="disabled")
        text = caption.inner_text()
        browser.close()
    return Image.open(io.BytesIO(shot)).convert("RGB"), text


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = config.SHIPPED_DIR / "efficientnet_lite2"
    parser.add_argument("captioner", type=Path, nargs="?", default=default, help="its folder (default: what ships)")
    picture, caption = take_picture(parser.parse_args().captioner)
    picture.save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: {PICTURE.stat().st_size / 1000:.0f} kB, {caption}")


if __name__ == "__main__":
    main()
