"""What tests of the page do in the browser, and what they compare it with."""

import contextlib
import io
import re
import time

import numpy as np
import pytest
from PIL import Image

from captioner import config, output
from captioner.data import photos

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect
# The page as a whole, which can be scrolled with the keyboard, holds all texts.
_HAS_FOCUS = """text => {
  const focused = document.activeElement;
  return !focused.matches("body, main") && focused.innerText.includes(text);
}"""


def make_photo(seed: int, side: int = 320, **save) -> bytes:
    """A picture of coloured patches, which the tiny captioner tells from others."""
    patches = np.random.default_rng(seed).integers(0, 255, (5, 5, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(patches).resize((side, side), Image.Resampling.NEAREST).save(file, **({"format": "PNG"} | save))
    return file.getvalue()


def drop(page, *names_and_bytes) -> None:
    """Uploads files and waits until all are done."""
    files = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in names_and_bytes]
    page.locator("input[type=file]").first.set_input_files(files)
    expect(page.locator("p.summary")).to_have_text(re.compile(rf"^(\d+ of )?{len(files)} photos? captioned"))
    settle(page)


def expect_cards(page, expected: dict[str, str]) -> None:
    """Checks that the cards of the page come to say this, name -> caption, and nothing else."""
    expect(page.locator("p.photo-caption")).to_have_text(list(expected.values()))
    cards = page.locator("p.photo-caption").evaluate_all(
        "captions => captions.map((one) => [one.parentElement.querySelector('h2').textContent, one.textContent])"
    )
    assert dict(cards) == expected


def caption(server, content: bytes, **search) -> str:
    """What the package says of a photo without the page."""
    pixels = photos.load_photo(content, server.captioner.encoder.image_size)
    found = server.captioner.caption_photos(pixels[None], config.DecodingConfig(**{"num_beams": 3} | search))[0]
    return output.as_sentence(found[0].text)


def wait_until(page, expression):
    """Waits for something to be true; Playwright's own way evaluates text in the page, which our headers forbid."""
    end = time.monotonic() + 120
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def settle(page) -> None:
    """Waits until nothing is being computed or faded in."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    wait_until(page, "document.getAnimations().every((animation) => animation.playState != 'running')")


def open_chooser(page):
    """Opens the file chooser with the keyboard; a press that came while the page was redrawn is made once more."""
    button = page.get_by_test_id("stFileUploaderDropzone").get_by_test_id("stBaseButton-secondary")
    for _ in range(5):
        button.focus()
        with contextlib.suppress(sync_api.TimeoutError):
            with page.expect_file_chooser(timeout=5_000) as chooser:
                page.keyboard.press("Enter")
            return chooser.value
    raise AssertionError("Enter on the button opens no file chooser.")


def press_tab_until(page, text: str) -> None:
    """Moves the focus on until it lies on what says this."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(_HAS_FOCUS, text):
            return
    raise AssertionError(f"{text!r} cannot be reached with the keyboard.")
