"""What a visitor does, done by Chromium on the real page."""

import contextlib
import csv
import io
import json
import re
import time

import numpy as np
import pytest
from PIL import Image

from captioner import config
from captioner.data import photos

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect
pytestmark = pytest.mark.slow


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
    expect(page.locator("h2.photo-name")).to_have_text([name for name, _ in names_and_bytes])
    expect(page.locator("p.summary")).to_be_visible()


def expect_cards(page, expected: dict[str, str]) -> None:
    """Holds that the cards of the page come to say this, name -> caption, and nothing else."""
    expect(page.locator("p.photo-caption")).to_have_text(list(expected.values()))
    cards = page.locator("p.photo-caption").evaluate_all(
        "captions => captions.map((one) => [one.parentElement.querySelector('h2').textContent, one.textContent])"
    )
    assert dict(cards) == expected


def caption(server, content: bytes, **search) -> str:
    """What the package says of a photo without the page."""
    pixels = photos.load_photo(content, server.captioner.encoder.image_size)
    return server.captioner.caption_photos(pixels[None], config.DecodingConfig(**{"num_beams": 3} | search))[0][0].text


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
        if text in page.evaluate("document.activeElement.innerText || ''"):
            return
    raise AssertionError(f"{text!r} cannot be reached with the keyboard.")


def test_the_first_visit_invites(open_page):
    page = open_page()
    expect(page.get_by_role("heading", name="Image Caption Generator")).to_be_visible()
    expect(page.get_by_text("Nothing to look at yet")).to_be_visible()
    expect(page.get_by_role("slider", name="Beams")).to_be_visible()
    expect(page.get_by_text("CIDEr-D 0.1, BLEU-4 0.0 on 1,000 test photos.")).to_be_visible()
    page.get_by_text("About", exact=True).click()
    expect(page.get_by_text("They are not written to disk")).to_be_visible()


def test_one_photo_gets_the_caption_that_the_package_gives(open_page, server):
    page = open_page()
    content = make_photo(1)
    drop(page, ("one.png", content))
    expect_cards(page, {"one.png": caption(server, content)})


def test_one_of_five_photos_is_broken_and_the_download_holds_the_others(open_page, server):
    page = open_page()
    good = {f"{number}.png": make_photo(number) for number in range(4)}
    drop(page, *good.items(), ("broken.png", make_photo(5)[:400]))
    expected = {name: caption(server, content) for name, content in good.items()}
    assert len(set(expected.values())) > 1
    expect_cards(page, expected)
    expect(page.get_by_test_id("stAlert")).to_contain_text("broken.png is damaged or cut short")
    expect(page.locator("p.summary")).to_have_text("4 of 5 photos captioned; 1 could not be read.")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
    assert {row["photo"]: row["caption"] for row in rows if not row["error"]} == expected
    assert [row["photo"] for row in rows if row["error"]] == ["broken.png"]
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    rows = json.loads(download.value.path().read_text())
    assert {row["photo"]: row["caption"] for row in rows if not row["error"]} == expected


def test_a_replaced_photo_takes_its_caption_with_it(open_page, server):
    page = open_page()
    first, second = make_photo(1), make_photo(2)
    drop(page, ("first.png", first))
    page.get_by_role("button", name="Remove first.png").click()
    expect(page.get_by_text("Nothing to look at yet")).to_be_visible()
    expect_cards(page, {})
    drop(page, ("second.png", second))
    expect_cards(page, {"second.png": caption(server, second)})


def test_settings_are_in_the_address_and_change_the_caption(open_page, server):
    page = open_page()
    content = make_photo(3)
    drop(page, ("photo.png", content))
    page.get_by_role("slider", name="Beams").press("ArrowRight")
    expect(page).to_have_url(re.compile(r"/\?beams=4$"))
    expect_cards(page, {"photo.png": caption(server, content, num_beams=4)})
    again = open_page("/?beams=6&others=1")
    expect(again.get_by_role("slider", name="Beams")).to_have_value("6")


def test_the_overlay_follows_the_chosen_word(open_page):
    page = open_page()
    drop(page, ("photo.png", make_photo(4)))
    page.get_by_text("Where it looked").click()
    words = page.get_by_role("radiogroup", name="Choose a word").get_by_role("radio")
    overlay = page.get_by_test_id("stImage").nth(1).locator("img")
    before = overlay.get_attribute("src")
    explanation = page.get_by_test_id("stImageCaption").first
    for number in (0, 1):
        words.nth(number).click()
        chosen = words.nth(number).inner_text().strip("\u200b")
        expect(explanation).to_contain_text(f"“{chosen}” had a probability")
    expect(overlay).not_to_have_attribute("src", before)


def test_a_caption_can_be_copied_and_heard(open_page, server):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("() => { window.said = []; speechSynthesis.speak = (utterance) => said.push(utterance.text); }")
    content = make_photo(1)
    drop(page, ("one.png", content))
    expected = caption(server, content)
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_text("Caption copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == expected
    page.get_by_role("button", name="Copy as alt").click()
    expect(page.get_by_text("Attribute copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f'alt="{expected}"'
    page.get_by_role("button", name="Read aloud").click()
    assert page.evaluate("said") == [expected]


def test_without_a_safe_connection_a_caption_can_still_be_copied(open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    drop(page, ("one.png", make_photo(1)))
    # As browsers have it where the page comes over plain http from another machine.
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    page.get_by_role("button", name="Copy as alt").click()
    expect(page.get_by_text("Attribute copied.")).to_be_visible()
    page.evaluate("() => delete navigator.clipboard")
    assert page.evaluate("navigator.clipboard.readText()").startswith('alt="')


def test_a_photo_from_the_camera_is_captioned(open_page):
    page = open_page()
    page.get_by_test_id("stCheckbox").get_by_text("Use the camera").click()
    wait_until(page, "document.querySelector('video')?.videoWidth > 0")
    page.get_by_test_id("stCameraInputButton").click()
    expect(page.locator("p.photo-caption")).to_be_visible()
    expect(page.locator("p.summary")).to_have_text("1 photo captioned.")


def test_everything_can_be_done_with_the_keyboard(open_page):
    page = open_page()
    # While the page is still being drawn, an element that takes another's place takes the focus with it.
    settle(page)
    open_chooser(page).set_files([{"name": "keys.png", "mimeType": "image/png", "buffer": make_photo(6)}])
    expect(page.locator("p.summary")).to_be_visible()
    settle(page)
    press_tab_until(page, "Where it looked")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Choose a word")).to_be_visible()
    settle(page)
    words = page.get_by_role("radiogroup", name="Choose a word").get_by_role("radio")
    press_tab_until(page, words.first.inner_text())
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(words.nth(1)).to_be_checked()


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_sticks_out_at_the_side(open_page, width):
    page = open_page(width=width, height=740)
    drop(page, ("a_name_without_any_place_to_break_" * 3 + ".png", make_photo(7)))
    page.get_by_text("Where it looked").click()
    expect(page.get_by_text("Choose a word")).to_be_visible()
    settle(page)
    wide = page.evaluate(
        """width => [...document.querySelectorAll("[data-testid=stMain] *")]
            .filter((one) => one.getBoundingClientRect().right > width + 1 && getComputedStyle(one).position != "fixed")
            .map((one) => one.outerHTML.slice(0, 120))""",
        width,
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_dark_theme_is_dark(open_page):
    page = open_page(color_scheme="dark")
    expect(page.get_by_test_id("stApp")).to_have_css("background-color", "rgb(16, 22, 21)")


def test_a_large_photo_never_touches_the_disk(open_page, server):
    # The server cannot write more than 100 bytes to a file (see conftest.py), where large uploads would go.
    content = make_photo(8, side=1200, format="BMP")
    assert len(content) > 4_000_000
    page = open_page()
    drop(page, ("large.bmp", content))
    expect_cards(page, {"large.bmp": caption(server, content)})


@pytest.mark.parametrize("state", ["start", "result", "error"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, state, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = open_page(color_scheme=scheme)
    if state == "result":
        drop(page, ("photo.png", make_photo(9)))
        page.get_by_text("Where it looked").click()
        expect(page.get_by_text("Choose a word")).to_be_visible()
        page.get_by_text("Other captions").last.click()
    elif state == "error":
        drop(page, ("broken.png", b"nothing"))
    for _ in range(5):  # What is still fading in has too little contrast for a moment, and only for that.
        settle(page)
        found = [
            (violation["id"], [node["html"][:200] for node in violation["nodes"]])
            for violation in axe.Axe().run(page).response["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        if not found:
            break
        page.wait_for_timeout(1000)
    assert found == []
