"""Photos from anywhere and many of them: pasted, dropped, filtered, sorted, taken along and not lost."""

import base64
import io
import zipfile

import pytest
from visiting import caption, drop, expect, expect_cards, make_photo, settle

pytestmark = pytest.mark.slow

# Dispatches what a browser does when a file is pasted or dropped.
_GIVE = """([kind, name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.querySelector("h1").dispatchEvent(event);
  return event.defaultPrevented;
}"""


def give(page, kind: str, name: str, content: bytes) -> bool:
    return page.evaluate(_GIVE, [kind, name, base64.b64encode(content).decode()])


def wait_for_ears(page) -> None:
    """Waits until the page's script listens, which the browser fetches beside the rest."""
    for _ in range(100):
        if give(page, "dragover", "ears.png", b""):
            return
        page.wait_for_timeout(100)
    raise AssertionError("Nothing listens to what is dropped on the page.")


def names(page) -> list[str]:
    return page.locator("h2.photo-name").all_inner_texts()


def test_photos_are_pasted_and_dropped_anywhere_on_the_page(open_page, server):
    page = open_page()
    contents = {"pasted.png": make_photo(1), "dropped.png": make_photo(2)}
    wait_for_ears(page)
    assert give(page, "paste", "pasted.png", contents["pasted.png"])
    expect(page.locator("p.summary")).to_have_text("1 photo captioned.")
    assert give(page, "dragover", "dropped.png", b"")
    expect(page.locator("html[data-dropping]")).to_have_count(1)
    assert give(page, "drop", "dropped.png", contents["dropped.png"])
    expect(page.locator("html[data-dropping]")).to_have_count(0)
    expect(page.locator("p.summary")).to_have_text("2 photos captioned.")
    expect_cards(page, {name: caption(server, content) for name, content in contents.items()})


def test_text_is_pasted_as_ever(open_page):
    page = open_page()
    drop(page, ("one.png", make_photo(1)))
    page.get_by_role("button", name="Edit").click()
    prevented = page.evaluate(
        """() => {
          const transfer = new DataTransfer();
          transfer.setData("text/plain", "words");
          const event = new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true });
          return !document.body.dispatchEvent(event);
        }"""
    )
    assert not prevented


def test_many_photos_stand_in_a_grid_and_are_filtered_and_sorted(open_page):
    page = open_page()
    files = [(f"{number}.png", make_photo(number)) for number in range(6)]
    drop(page, *files)
    tops = page.locator("h2.photo-name").evaluate_all("ones => ones.map((one) => one.getBoundingClientRect().left)")
    assert len(set(tops)) == 3, "three columns"
    expect(page.get_by_role("radio", name="All 6")).to_be_checked()
    words = dict(zip(names(page), page.locator(".st-key-grid p.photo-confidence").all_inner_texts(), strict=True))
    guessed = [name for name, text in words.items() if "Guessing" in text]
    page.get_by_role("radio", name=f"Guessing {len(guessed)}").click()
    expect(page.locator("h2.photo-name")).to_have_text(guessed)
    page.get_by_role("radio", name="All 6").click()
    page.get_by_role("combobox", name="Order").click()
    page.get_by_role("option", name="Least sure first").click()
    settle(page)
    first = names(page)
    assert sorted(first) == sorted(words) and set(first[: len(guessed)]) == set(guessed)


def test_all_captions_are_copied_zipped_and_cleared_at_once(open_page, server):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    contents = {f"{number}.png": make_photo(number) for number in range(3)}
    drop(page, *contents.items(), ("broken.png", make_photo(5)[:400]))
    expected = {name: caption(server, content) for name, content in contents.items()}
    page.get_by_role("button", name="Copy all").click()
    expect(page.get_by_text("Copied.", exact=True)).to_be_visible()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines == [f"{name}: {text}" for name, text in expected.items()]
    with page.expect_download() as download:
        page.get_by_role("button", name="ZIP").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        texts = {name: archive.read(name).decode().strip() for name in archive.namelist()}
    assert texts.pop("not captioned.txt").startswith("broken.png: broken.png is damaged or cut short")
    assert texts == {f"{name}.txt": text for name, text in expected.items()}
    page.get_by_role("button", name="Clear all").click()
    expect(page.get_by_text("Nothing to look at yet")).to_be_visible()
    expect(page.get_by_role("button", name="Remove")).to_have_count(0)
    drop(page, ("again.png", contents["0.png"]))
    expect_cards(page, {"again.png": expected["0.png"]})


def test_no_count_and_no_download_stands_above_captions_that_are_on_their_way(open_page):
    page = open_page()
    drop(page, ("first.png", make_photo(0)))
    page.evaluate(
        """() => {
          window.contradictions = 0;
          window.progressed = false;
          new MutationObserver(() => {
            const working = document.querySelector("[data-testid=stProgress]");
            window.progressed ||= Boolean(working);
            const done = document.querySelector("p.summary, [data-testid=stDownloadButton]");
            window.contradictions += Boolean(working && done);
          }).observe(document, { childList: true, subtree: true });
        }"""
    )
    page.locator("input[type=file]").first.set_input_files(
        [{"name": f"{number}.png", "mimeType": "image/png", "buffer": make_photo(number)} for number in range(1, 13)]
    )
    expect(page.locator("p.summary")).to_have_text("13 photos captioned.")
    assert page.evaluate("progressed") and page.evaluate("contradictions") == 0


@pytest.fixture
def asked(open_page):
    """Returns a function that opens the page after another one, and the questions that the browser then asks."""
    questions = []

    def open_(**options):
        page = open_page(**options)
        page.on("dialog", lambda dialog: (questions.append(dialog.type), dialog.dismiss()))
        return page

    return open_, questions


# Reloads, goes back to the page before, follows a link, and closes the window.
_LEAVE = {
    "reload": "location.reload()",
    "back": "history.back()",
    "link": "location.assign('/_stcore/health')",
}


@pytest.mark.parametrize("way", [*_LEAVE, "close"])
def test_whoever_leaves_is_asked_before_captions_are_forgotten(asked, way):
    open_, questions = asked
    page = open_()
    drop(page, ("one.png", make_photo(1)))
    if way == "close":
        page.close(run_before_unload=True)
    else:
        page.evaluate(f"() => void setTimeout(() => {_LEAVE[way]})")
    wait_for_question(page, questions)
    # Whoever stays has all that was there.
    expect(page.locator("p.photo-caption")).to_be_visible()
    page.get_by_role("button", name="Edit").click()
    expect(page.get_by_role("textbox", name="Caption of one.png")).to_be_focused()


def wait_for_question(page, questions: list) -> None:
    for _ in range(100):
        if questions:
            break
        page.wait_for_timeout(100)
    assert questions == ["beforeunload"]


def test_captions_that_are_filtered_away_or_on_their_way_are_asked_for_too(asked):
    open_, questions = asked
    page = open_(permissions=["clipboard-read", "clipboard-write"])
    drop(page, *((f"{number}.png", make_photo(number)) for number in range(6)))
    radio = page.get_by_role("radio", name="Guessing")
    radio.click()
    copies = page.get_by_role("button", name="Copy", exact=True)
    expect(copies).not_to_have_count(6)
    settle(page)
    for number in range(copies.count()):
        copies.nth(number).click()
        expect(page.get_by_text("Caption copied.").nth(number)).to_be_visible()
    page.evaluate("() => void setTimeout(() => location.reload())")
    wait_for_question(page, questions)
    # All taken, and then one more whose caption is not there yet.
    page.get_by_role("button", name="Copy all").click()
    expect(page.get_by_text("Copied.", exact=True)).to_be_visible()
    questions.clear()
    page.locator("input[type=file]").first.set_input_files(
        [{"name": f"{number}.png", "mimeType": "image/png", "buffer": make_photo(number)} for number in range(6, 60)]
    )
    page.locator(".waiting").first.wait_for()
    page.evaluate("() => void setTimeout(() => location.reload())")
    wait_for_question(page, questions)


def test_what_was_copied_is_no_loss_and_the_page_starts_empty_however_one_comes_back(asked, server):
    open_, questions = asked
    page = open_(permissions=["clipboard-read", "clipboard-write"])

    def caption_and_copy():
        drop(page, ("one.png", make_photo(1)))
        page.get_by_role("button", name="Copy", exact=True).click()
        expect(page.get_by_text("Caption copied.")).to_be_visible()

    invitation = page.get_by_text("Nothing to look at yet")
    caption_and_copy()
    page.reload()
    expect(invitation).to_be_visible()
    expect(page.locator("p.photo-caption")).to_have_count(0)
    caption_and_copy()
    page.goto(f"{server.url}/_stcore/health")
    page.go_back()
    expect(invitation).to_be_visible()
    caption_and_copy()
    page.go_back()
    page.go_forward()
    expect(invitation).to_be_visible()
    # Words of one's own are new.
    caption_and_copy()
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Caption of one.png").fill("Mine.")
    page.keyboard.press("Enter")
    expect_cards(page, {"one.png": "Mine."})
    assert questions == []
    page.evaluate("() => void setTimeout(() => location.reload())")
    wait_for_question(page, questions)


def test_what_was_downloaded_is_no_loss(asked):
    open_, questions = asked
    page = open_()
    drop(page, ("one.png", make_photo(1)), ("two.png", make_photo(2)))
    with page.expect_download():
        page.get_by_role("button", name="ZIP").click()
    page.reload()
    expect(page.get_by_text("Nothing to look at yet")).to_be_visible()
    assert questions == []
