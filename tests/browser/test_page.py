"""What a visitor does, done by Chromium on the real page."""

import csv
import io
import itertools
import json
import re

import pytest
from visiting import (
    caption,
    drop,
    expect,
    expect_cards,
    make_photo,
    open_chooser,
    press_tab_until,
    settle,
    wait_until,
)

from captioner import output

pytestmark = pytest.mark.slow


def test_the_first_visit_invites(open_page):
    page = open_page()
    expect(page.get_by_role("heading", name="Image Caption Generator")).to_be_visible()
    expect(page.get_by_text("Nothing to look at yet")).to_be_visible()
    expect(page.get_by_text("drop them anywhere on this page, paste one")).to_be_visible()
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
    expect(page.locator("ul.problems li")).to_have_text(re.compile("^broken.png is damaged or cut short"))
    expect(page.locator("p.summary")).to_have_text("4 of 5 photos captioned; 1 could not be read.")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
    assert {row["photo"]: row["caption"] for row in rows if not row["error"]} == expected
    assert all(output.as_sentence(row["words"]) == row["caption"] for row in rows)
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
    page.get_by_role("button", name="For experts").click()
    page.get_by_role("slider", name="Beams").press("ArrowRight")
    expect(page).to_have_url(re.compile(r"/\?beams=4$"))
    page.get_by_text("no photos: share it").wait_for()
    page.keyboard.press("Escape")
    expect_cards(page, {"photo.png": caption(server, content, num_beams=4)})
    again = open_page("/?beams=6&others=1")
    again.get_by_role("button", name="For experts").click()
    expect(again.get_by_role("slider", name="Beams")).to_have_value("6")


def test_people_choose_shorter_and_longer_captions_see_no_beams_and_go_back_and_forward(open_page, server):
    page = open_page()
    content = make_photo(3)
    drop(page, ("photo.png", content))
    expect(page.get_by_role("slider")).to_have_count(0)
    for length, penalty in (("Shorter", 0.0), ("Longer", 3.0)):
        page.get_by_role("radio", name=length).click()
        expect(page).to_have_url(re.compile(rf"/\?length={penalty:.0f}$"))
        expect_cards(page, {"photo.png": caption(server, content, num_beams=8, length_penalty=penalty)})
    page.go_back()
    expect(page.get_by_role("radio", name="Shorter")).to_be_checked()
    expect_cards(page, {"photo.png": caption(server, content, num_beams=8, length_penalty=0.0)})
    page.go_forward()
    expect(page.get_by_role("radio", name="Longer")).to_be_checked()
    expect_cards(page, {"photo.png": caption(server, content, num_beams=8, length_penalty=3.0)})
    page.get_by_role("radio", name="As usual").click()
    expect(page).to_have_url(re.compile(r"/$"))
    expect_cards(page, {"photo.png": caption(server, content)})


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_settings_have_a_name_at_every_width_and_no_label_prints_over_another(open_page, width):
    page = open_page(width=width, height=1000)
    page.get_by_role("button", name="For experts").click()
    expect(page.get_by_role("slider")).to_have_count(3)
    settle(page)
    boxes = page.locator("[data-testid=stPopoverBody] :is([data-testid=stSlider], [data-testid=stCaptionContainer])")
    places = boxes.evaluate_all(
        "ones => ones.map((one) => [one.getBoundingClientRect().top, one.getBoundingClientRect().bottom])"
    )
    assert len(places) == 8
    assert all(upper[1] <= lower[0] for upper, lower in itertools.pairwise(places))


def test_captioners_say_what_they_were_trained_and_measured_on(open_page):
    page = open_page()
    page.get_by_role("button", name="For experts").click()
    expect(page.get_by_text("tiny: CIDEr-D 0.1, BLEU-4 0.0 on 1,000 test photos of nothing.")).to_be_visible()
    line = page.get_by_text("sketches: Trained on drawings: it knows no photos. CIDEr-D 300.0 on 70 test drawings")
    expect(line).to_be_visible()
    page.get_by_test_id("stSelectbox").get_by_role("combobox").click()
    expect(page.get_by_role("option")).to_have_text(["tiny", "waker", "worn", "sketches (drawings)"])


def test_the_overlay_follows_the_chosen_word(open_page):
    page = open_page()
    drop(page, ("photo.png", make_photo(4)))
    page.get_by_text("Where it looked").click()
    words = page.get_by_role("radiogroup", name="Choose a word").get_by_role("radio")
    overlay = page.get_by_test_id("stImage").nth(1).locator("img")
    explanation = page.get_by_test_id("stImageCaption").first
    sources = []
    for number in (0, 1):
        words.nth(number).click()
        chosen = words.nth(number).inner_text().strip("\u200b")
        expect(words.nth(number)).to_be_checked()
        settle(page)
        expect(explanation).to_contain_text(f"“{chosen}” had a probability")
        sources.append(overlay.get_attribute("src"))
    assert sources[0] != sources[1]


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
    page.get_by_role("button", name="Listen").click()
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
