"""What a visitor does, done by Chromium on the real page."""

import csv
import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from captioner import photos

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
    for name, _ in names_and_bytes:
        page.locator("h2.photo-name", has_text=name).wait_for()
    page.locator("p.summary").wait_for()


def read_cards(page) -> dict[str, str]:
    """Name -> caption of the photos that have one."""
    return dict(
        page.evaluate(
            """() => [...document.querySelectorAll("p.photo-caption")].map(
                (caption) => [caption.parentElement.querySelector("h2").textContent, caption.textContent])"""
        )
    )


def expect_cards(page, expected: dict[str, str], seconds: float = 30) -> None:
    """Holds that the cards of the page come to say this and nothing else."""
    end = time.monotonic() + seconds
    while read_cards(page) != expected and time.monotonic() < end:
        page.wait_for_timeout(50)
    assert read_cards(page) == expected


def caption(server, content: bytes, **search) -> str:
    """What the package says of a photo without the page."""
    pixels = photos.load_photo(content, server.captioner.encoder.image_size)
    return server.captioner.caption_photos(pixels[None], **({"num_beams": 3} | search))[0][0].text


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
    assert "broken.png is damaged or cut short" in page.get_by_test_id("stAlert").inner_text()
    assert page.locator("p.summary").inner_text() == "4 of 5 photos captioned; 1 could not be read."
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
    assert {row["photo"]: row["caption"] for row in rows} == expected
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    assert {row["photo"]: row["caption"] for row in json.loads(download.value.path().read_text())} == expected


def test_a_replaced_photo_takes_its_caption_with_it(open_page, server):
    page = open_page()
    first, second = make_photo(1), make_photo(2)
    drop(page, ("first.png", first))
    page.get_by_role("button", name="Remove first.png").click()
    page.get_by_text("Nothing to look at yet").wait_for()
    expect_cards(page, {})
    drop(page, ("second.png", second))
    expect_cards(page, {"second.png": caption(server, second)})


def test_settings_are_in_the_address_and_change_the_caption(open_page, server):
    page = open_page()
    content = make_photo(3)
    drop(page, ("photo.png", content))
    page.get_by_role("slider", name="Beams").press("ArrowRight")
    page.wait_for_url("**/?beams=4")
    expect_cards(page, {"photo.png": caption(server, content, num_beams=4)})
    again = open_page("/?beams=6&others=1")
    assert again.get_by_role("slider", name="Beams").input_value() == "6"


def test_the_overlay_follows_the_chosen_word(open_page):
    page = open_page()
    drop(page, ("photo.png", make_photo(4)))
    page.get_by_text("Where it looked").click()
    words = page.get_by_role("radiogroup", name="Choose a word").get_by_role("radio")
    words.first.wait_for()
    overlay = page.get_by_test_id("stImage").nth(1).locator("img")
    before = overlay.get_attribute("src")
    words.nth(1).click()
    page.wait_for_function("src => document.querySelectorAll('[data-testid=stImage] img')[1].src != src", arg=before)
    chosen = words.nth(1).inner_text().strip("\u200b")
    assert f"“{chosen}” had a probability" in page.get_by_test_id("stImageCaption").first.inner_text()


def test_a_photo_from_the_camera_is_captioned(open_page):
    page = open_page()
    page.get_by_test_id("stCheckbox").get_by_text("Use the camera").click()
    page.wait_for_function("document.querySelector('video')?.videoWidth > 0")
    page.get_by_test_id("stCameraInputButton").click()
    page.locator("p.photo-caption").wait_for()
    assert page.locator("p.summary").inner_text() == "1 photo captioned."


def test_everything_can_be_done_with_the_keyboard(open_page):
    page = open_page()
    page.get_by_test_id("stFileUploaderDropzone").get_by_test_id("stBaseButton-secondary").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([{"name": "keys.png", "mimeType": "image/png", "buffer": make_photo(6)}])
    page.locator("p.summary").wait_for()
    for _ in range(40):
        page.keyboard.press("Tab")
        if "Where it looked" in page.evaluate("document.activeElement.innerText || ''"):
            break
    page.keyboard.press("Enter")
    page.get_by_text("Choose a word").wait_for()


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_sticks_out_at_the_side(open_page, width):
    page = open_page(width=width, height=740)
    drop(page, ("a_name_without_any_place_to_break_" * 3 + ".png", make_photo(7)))
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_dark_theme_is_dark(open_page):
    page = open_page(color_scheme="dark")
    colour = page.get_by_test_id("stApp").evaluate("element => getComputedStyle(element).backgroundColor")
    assert colour == "rgb(16, 22, 21)"


def test_a_large_photo_never_touches_the_disk(open_page, server):
    # The server cannot write more than 100 bytes to a file (see conftest.py), where large uploads would go.
    content = make_photo(8, side=1200, format="BMP")
    assert len(content) > 4_000_000
    page = open_page()
    drop(page, ("large.bmp", content))
    expect_cards(page, {"large.bmp": caption(server, content)})


def settle(page) -> None:
    """Waits until nothing is being computed or faded in."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_function("document.getAnimations().every((animation) => animation.playState != 'running')")
    page.wait_for_timeout(500)


@pytest.mark.parametrize("state", ["start", "result", "error"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, state, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = open_page(color_scheme=scheme)
    if state == "result":
        drop(page, ("photo.png", make_photo(9)))
        page.get_by_text("Where it looked").click()
        page.get_by_text("Choose a word").wait_for()
    elif state == "error":
        drop(page, ("broken.png", b"nothing"))
    settle(page)
    found = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"]])
        for violation in axe.Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert found == []
