"""Every state of the page: what axe says of it in light and dark, and whether anything sticks out at the side."""

import re

import pytest
from visiting import drop, expect, make_photo, settle, wait_until

pytestmark = pytest.mark.slow

_LONG_NAME = "a_name_without_any_place_to_break_" * 3 + ".png"
_STICKING_OUT = """width => [...document.querySelectorAll("[data-testid=stMain] *")]
  .filter((one) => one.getBoundingClientRect().right > width + 1 && getComputedStyle(one).position != "fixed")
  .map((one) => one.outerHTML.slice(0, 120))"""


def show_nothing(_page) -> None:
    pass


def show_about(page) -> None:
    page.get_by_text("About", exact=True).click()
    expect(page.get_by_text("They are not written to disk")).to_be_visible()


def show_experts(page) -> None:
    page.get_by_role("button", name="For experts").click()
    expect(page.get_by_role("slider")).to_have_count(3)


def show_camera(page) -> None:
    page.get_by_test_id("stCheckbox").get_by_text("Use the camera").click()
    wait_until(page, "document.querySelector('video')?.videoWidth > 0")


def show_refused_file(page) -> None:
    file = {"name": "report.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"}
    page.locator("input[type=file]").first.set_input_files([file])
    # Also where there is no mouse to hold over it.
    expect(page.get_by_text("application/pdf files are not allowed")).to_be_visible()
    box = page.get_by_text("application/pdf files are not allowed").bounding_box()
    assert box["width"] > 100 and box["height"] > 10


def show_broken_photo(page) -> None:
    page.locator("input[type=file]").first.set_input_files(
        [{"name": _LONG_NAME, "mimeType": "image/png", "buffer": b"nothing"}]
    )
    expect(page.locator("p.summary")).to_have_text("The photo could not be read.")


def show_one(page) -> None:
    drop(page, (_LONG_NAME, make_photo(9)))


def open_panels(page) -> None:
    drop(page, (_LONG_NAME, make_photo(9)))
    page.get_by_text("Where it looked").click()
    expect(page.get_by_text("Choose a word")).to_be_visible()
    page.get_by_text("Other wordings").click()
    expect(page.get_by_role("button", name="More wordings")).to_be_visible()


def show_editor(page) -> None:
    show_one(page)
    page.get_by_role("button", name="Edit").click()


def show_own_words(page) -> None:
    show_editor(page)
    page.get_by_role("textbox", name="Caption of").fill("My own words " * 20)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Reset")).to_be_visible()


def show_many(page) -> None:
    drop(page, ("broken.png", b"nothing"), *((f"{number}.png", make_photo(number)) for number in range(4)))
    page.get_by_text("What these words are worth").click()
    page.get_by_text("Where it looked").first.click()
    expect(page.get_by_text("Choose a word")).to_be_visible()


def show_none_of_many(page) -> None:
    drop(page, ("one.png", make_photo(1)), ("two.png", make_photo(2)))
    page.get_by_role("radio", name=re.compile("^Sure 0")).click()
    expect(page.get_by_text("No caption has this confidence")).to_be_visible()


def show_drawing(page) -> None:
    page.get_by_role("button", name="Drawing 1").click()
    expect(page.locator("p.photo-caption")).to_be_visible()


STATES = {
    function.__name__.removeprefix("show_"): function
    for function in (
        *(show_nothing, show_about, show_experts, show_camera, show_refused_file, show_broken_photo, show_one),
        *(open_panels, show_editor, show_own_words, show_many, show_none_of_many, show_drawing),
    )
}


def judge(page) -> list:
    """Returns what axe finds serious; where something fades in, which has too little contrast, it looks again."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    for _ in range(5):
        found = [
            (violation["id"], [node["html"][:200] for node in violation["nodes"]])
            for violation in axe.Axe().run(page).response["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        if not found:
            break
        page.wait_for_timeout(1000)
        settle(page)
    return found


def find_sticking_out(page, width: int) -> list[str]:
    """Returns what is wider than the window, once all has found its size."""
    for _ in range(30):
        if not (found := page.evaluate(_STICKING_OUT, width)):
            break
        page.wait_for_timeout(100)
    return found


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_is_clean_and_within_the_window(open_page, state, scheme):
    page = open_page(color_scheme=scheme)
    STATES[state](page)
    # Colours do not depend on the width, nor does the width on colours.
    for width in (1440, 768, 360) if scheme == "light" else (1440,):
        page.set_viewport_size({"width": width, "height": 900})
        settle(page)
        assert judge(page) == [], width
        assert find_sticking_out(page, width) == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_captioner_that_cannot_be_used_says_why_and_another_one_can_be_chosen(open_page):
    page = open_page()
    page.goto(f"{page.url}?captioner=worn")
    expect(page.get_by_role("alert").filter(has_text="lacks decoder.keras")).to_be_visible()
    settle(page)
    assert judge(page) == []
    show_experts(page)
    page.get_by_test_id("stSelectbox").get_by_role("combobox").click()
    page.get_by_role("option", name="tiny").click()
    expect(page.get_by_text("Nothing to look at yet")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_page_whose_captioner_wakes_says_so_and_is_clean(open_page):
    page = open_page()
    # Not awake yet: no other test chooses it.
    page.goto(f"{page.url}?captioner=waker")
    expect(page.get_by_text("Waking the captioner")).to_be_visible()
    assert judge(page) == []
    expect(page.get_by_text("Waking the captioner")).to_have_count(0)
