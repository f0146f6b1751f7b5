"""What a visitor does with one caption: word it anew, see how sure it is and where it was looked, and keep it."""

import csv
import io
import re

import pytest
from visiting import caption, drop, expect, expect_cards, make_photo, open_chooser, press_tab_until, settle

pytestmark = pytest.mark.slow


def download_csv(page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    return list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))


def test_a_caption_can_be_edited_and_is_then_copied_and_downloaded(open_page, server):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    content = make_photo(1)
    drop(page, ("one.png", content), ("two.png", make_photo(2)))
    written = caption(server, content)
    page.get_by_role("button", name="Edit").first.click()
    area = page.get_by_role("textbox", name="Caption of one.png")
    expect(area).to_be_focused()
    expect(area).to_have_value(written)
    area.fill("My  dog <b>&</b> I")
    area.press("Enter")
    expect(page.locator("p.photo-caption").first).to_have_text("My dog <b>&</b> I")
    expect(page.get_by_text("Your wording")).to_have_count(1)
    page.get_by_role("button", name="Copy", exact=True).first.click()
    expect(page.get_by_text("Caption copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "My dog <b>&</b> I"
    row, other = download_csv(page)
    assert row["caption"] == "My dog <b>&</b> I" and row["words"] == written[:-1].lower()
    assert other["caption"] == caption(server, make_photo(2))
    # Nothing at all gives the captioner's words back; Escape leaves all as it is.
    page.get_by_role("button", name="Edit").first.click()
    area.fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("p.photo-caption").first).to_have_text(written)
    page.get_by_role("button", name="Edit").first.click()
    area.fill("never mind")
    area.press("Escape")
    expect(page.get_by_role("button", name="Edit").first).to_be_focused()
    expect(page.locator("p.photo-caption").first).to_have_text(written)


def test_another_wording_is_put_in_the_captions_place_with_the_keyboard(open_page, server):
    page = open_page()
    content = make_photo(3)
    drop(page, ("photo.png", content))
    settle(page)
    press_tab_until(page, "Other wordings")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="More wordings")).to_be_visible()
    settle(page)
    wordings = page.locator("[class*=st-key-offered] [data-testid=stBaseButton-tertiary]")
    texts = wordings.all_inner_texts()
    assert len(texts) == 7 and all(re.search(r"\. \((shorter, |longer, )?.* as likely\)$", text) for text in texts)
    press_tab_until(page, texts[1])
    page.keyboard.press("Enter")
    chosen = texts[1].rpartition(" (")[0]
    expect_cards(page, {"photo.png": chosen})
    expect(page.get_by_text("Your wording")).to_be_visible()
    assert download_csv(page)[0]["caption"] == chosen
    # It can be put back.
    wordings.filter(has_text="the captioner’s own").click()
    expect_cards(page, {"photo.png": caption(server, content)})
    expect(page.get_by_text("Your wording")).to_have_count(0)
    page.get_by_role("button", name="More wordings").click()
    expect(wordings).not_to_have_count(7)


def test_a_wording_that_was_chosen_stays_when_the_search_changes_until_it_is_taken_back(open_page, server):
    page = open_page()
    content = make_photo(3)
    drop(page, ("photo.png", content))
    reset = page.get_by_role("button", name="Reset")
    expect(reset).to_have_count(0)
    page.get_by_text("Other wordings").click()
    wording = page.locator("[class*=st-key-offered] [data-testid=stBaseButton-tertiary]").nth(2)
    chosen = wording.inner_text().rpartition(" (")[0]
    wording.click()
    expect_cards(page, {"photo.png": chosen})
    for length in ("Longer", "Shorter", "As usual"):
        page.get_by_role("radio", name=length).click()
        settle(page)
        expect_cards(page, {"photo.png": chosen})
    reset.focus()
    page.keyboard.press("Enter")
    expect_cards(page, {"photo.png": caption(server, content)})
    expect(reset).to_have_count(0)
    expect(page.get_by_role("button", name="Edit")).to_be_focused()
    page.get_by_role("radio", name="Longer").click()
    expect_cards(page, {"photo.png": caption(server, content, num_beams=8, length_penalty=3.0)})


def test_a_caption_says_what_its_confidence_is_worth(open_page):
    page = open_page()
    drop(page, ("photo.png", make_photo(1)))
    worth = {"Fairly sure": "about 6 in 10 are right", "Guessing": "about 3 in 10 are right"}
    note = page.locator("p.photo-confidence")
    [word] = [word for word in worth if word in note.inner_text()]
    expect(note).to_contain_text(f"Of captions like this, {worth[word]} on photos of the test split.")
    page.get_by_text("About", exact=True).click()
    for sentence in worth.values():
        expect(page.get_by_test_id("stExpander").filter(has_text="Privacy").get_by_text(sentence)).to_be_visible()


def test_where_it_looked_opens_on_a_thing_and_works_with_the_keyboard(open_page):
    page = open_page()
    open_chooser(page).set_files([{"name": "keys.png", "mimeType": "image/png", "buffer": make_photo(6)}])
    expect(page.locator("p.summary")).to_be_visible()
    settle(page)
    press_tab_until(page, "Where it looked")
    page.keyboard.press("Enter")
    words = page.get_by_role("radiogroup", name="Choose a word").get_by_role("radio")
    expect(words.first).to_be_visible()
    settle(page)
    chosen = page.get_by_role("radio", checked=True).and_(words)
    assert chosen.inner_text().strip("\u200b") not in ("a", "the", "in", "on", "with")
    expect(page.get_by_text("not whether the word is right")).to_be_visible()
    explanation = page.get_by_test_id("stImageCaption").first
    before = explanation.inner_text()
    # Tab leads to the first word, arrows to the others.
    target = 1 if words.first.is_checked() else 0
    press_tab_until(page, words.first.inner_text())
    if target:
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(words.nth(target)).to_be_checked()
    expect(explanation).not_to_have_text(before)


def test_a_drawing_can_be_tried_and_goes_to_the_captioner_that_knows_drawings(open_page):
    page = open_page()
    expect(page.get_by_role("img", name="Example")).to_have_count(3)
    page.get_by_role("button", name="Drawing 1").click()
    expect(page.locator("p.photo-caption")).to_be_visible()
    expect(page.get_by_text("A drawing made by this project, not a photo.")).to_be_visible()
    expect(page.get_by_text("so of a drawing it guesses")).to_have_count(0)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Nothing to look at yet")).to_be_visible()
