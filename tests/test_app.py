"""The page without a browser: uploads, captions, failures and settings. One seam is patched, the loaded captioner."""

import dataclasses
import importlib.util
import io
import json
import re
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from starlette.formparsers import MultiPartParser
from streamlit.testing.v1 import AppTest

from captioner import config
from captioner.artifacts import catalogue, manifest, saving
from captioner.data.captions import CLEANING_VERSION
from captioner.inference import Caption
from captioner.page import card, downloads, guard, uploads

APP = Path(__file__).resolve().parent.parent / "app.py"
# How likely each further caption of the fake is, next to the first: e times less with each.
RATIOS = [(1, "0.37 times as likely"), (2, "0.14 times as likely"), (3, "0.050 times as likely")]
RATIOS += [(4, "0.018 times as likely"), *((rank, "less than 1 % as likely") for rank in (5, 6, 7))]
COLOURS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}


def write_config(folder: Path) -> None:
    content = {
        "format": 1,
        "cleaning_version": CLEANING_VERSION,
        "encoder": {"name": "toy", "regions_layer": "top", "fingerprint": "0", "mirrored": False},
        "decoding": dataclasses.asdict(config.DecodingConfig(num_beams=3, length_penalty=0.7)),
        "calibration": None,
    }
    (folder / "config.json").write_text(json.dumps(content))
    rows = [{"label": "sure", "count": 10, "right": 0.8}, {"label": "guessing", "count": 10, "right": 0.31}]
    metrics = {"cider_d": 52.14, "split": "test", "num_photos": 1000, "data": "flickr8k", "calibration": {"test": rows}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    manifest.write_manifest(folder)


def make_photo(colour: str, side: int = 24) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


class ColourCaptioner:
    """Names the colour of each photo, so that a caption on the wrong card shows."""

    encoder = types.SimpleNamespace(image_size=8)
    settings = config.DecodingConfig(num_beams=3, length_penalty=0.7)

    def __init__(self):
        self.calls, self.has_regions, self.confidence = [], True, ""
        self.sureness: dict[str, tuple[str, float]] = {}

    def caption_photos(self, photos, search=settings):
        if photos.any():  # A black photo is the page warming the captioner up.
            self.calls.append({"photos": len(photos), "search": search})
        names = [list(COLOURS)[int(photo.mean((0, 1)).argmax())] for photo in photos]
        return [[self.caption(name, rank) for rank in range(search.num_beams)] for name in names]

    def caption(self, name: str, rank: int) -> Caption:
        confidence, log_prob_of_first = self.sureness.get(name, (self.confidence, np.log(0.5)))
        words = ("something", name) if rank == 0 else ("guess", str(rank), name)
        scores = np.full((len(words), 5), 0.2)  # four regions and the whole photo
        log_prob = log_prob_of_first - rank
        word_log_probs, text = np.full(len(words), np.log(0.7)), " ".join(words)
        return Caption(text, words, log_prob, log_prob, word_log_probs, scores, self.has_regions, confidence=confidence)


@pytest.fixture
def captioner(tmp_path, monkeypatch) -> ColourCaptioner:
    """A captioner that the page finds in its folder and loads."""
    monkeypatch.setattr(uploads, "_AWAKE", {})
    folder = tmp_path / "colours"
    folder.mkdir()
    write_config(folder)
    (folder / "README.md").write_text("# Captioner\n\nKnows colours.\n\n## Limits\nThree colours.\n")
    fake = ColourCaptioner()
    monkeypatch.setattr(catalogue, "list_captioners", lambda: [folder])
    monkeypatch.setattr(saving, "load_captioner", lambda folder: fake)
    return fake


def open_page(**query) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=60)
    for name, value in query.items():
        page.query_params[name] = value
    return page.run()


def upload(page: AppTest, *names_and_bytes) -> AppTest:
    files = [(name, content, "image/png") for name, content in names_and_bytes]
    return page.file_uploader(key="photos").set_value(files).run()


def read_page(page) -> str:
    return " ".join(element.value for element in page.html)


def cards(page: AppTest) -> dict[str, str]:
    """Photo name -> caption of the cards on the page."""
    bodies = [element.value for element in page.html if 'class="photo-caption"' in element.value]
    return dict(re.search(r'photo-name">(.*?)<.*?photo-caption".*?>(.*?)<', body).groups() for body in bodies)


def components(page: AppTest) -> list[dict]:
    """What the parts of the page that run in the browser are given."""
    return [json.loads(component.proto.json or "{}") for component in page.get("bidi_component")]


def problems(page: AppTest) -> list[str]:
    """The rows of photos that have no caption."""
    return [row for element in page.html for row in re.findall("<li>(.*?)</li>", element.value)]


def open_panel(page: AppTest, panel: str) -> AppTest:
    """Opens a panel of the one photo on the page."""
    [(file_id, *_)] = page.session_state["results"]
    page.session_state[f"{panel} {file_id}"] = True
    return page.run()


def press(page: AppTest, label: str) -> AppTest:
    [button] = [button for button in page.button if button.label == label]
    return button.click().run()


def test_the_first_visit_invites_and_captions_nothing(captioner):
    page = open_page()
    assert not page.exception and not page.error
    assert "Nothing to look at yet" in read_page(page)
    assert captioner.calls == []
    assert page.title[0].value == "Image Caption Generator"


def test_uploads_of_every_size_stay_in_memory(captioner):
    open_page()
    assert MultiPartParser.spool_max_size > 50 * 2**20  # maxUploadSize in .streamlit/config.toml


def test_without_a_captioner_one_sentence_says_what_to_do(captioner, monkeypatch):
    monkeypatch.setattr(catalogue, "list_captioners", list)
    page = open_page()
    assert [info.value for info in page.info] == [
        "There is no captioner yet: run model.ipynb to the end to create one, then reload this page."
    ]
    assert not page.exception and not page.error


def test_a_captioner_without_its_decoder_gets_one_sentence(captioner, tmp_path, monkeypatch):
    monkeypatch.undo()
    folder = tmp_path / "broken"
    folder.mkdir()
    write_config(folder)
    monkeypatch.setattr(catalogue, "list_captioners", lambda: [folder])
    page = open_page()
    assert len(page.error) == 1 and not page.exception
    assert "lacks decoder.keras. Run model.ipynb again" in page.error[0].value


def test_each_photo_gets_its_own_caption(captioner):
    page = upload(open_page(), *((f"{colour}.png", make_photo(colour)) for colour in COLOURS))
    assert not page.exception and not page.error
    assert cards(page) == {f"{colour}.png": f"Something {colour}." for colour in COLOURS}
    assert [call["photos"] for call in captioner.calls] == [3]
    assert "3 photos captioned." in read_page(page)


def test_a_broken_photo_gets_its_reason_and_stops_no_other(captioner):
    photos = [("red.png", make_photo("red")), ("bad_[x](y).png", b"no picture"), ("none.png", b"")]
    page = upload(open_page(), *photos, ("cut.png", make_photo("blue")[:-30]), ("blue.png", make_photo("blue")))
    assert not page.exception
    assert cards(page) == {"red.png": "Something red.", "blue.png": "Something blue."}
    messages = problems(page)
    assert len(messages) == 3 and not page.error
    # The name is shown as it stands.
    assert messages[0].startswith("bad_[x](y).png is not a picture that can be read")
    assert messages[1] == "none.png is empty."
    assert messages[2].startswith("cut.png is damaged or cut short")
    assert "2 of 5 photos captioned; 3 could not be read." in read_page(page)


def test_a_replaced_photo_leaves_no_old_caption(captioner):
    page = upload(open_page(), ("photo.png", make_photo("red")))
    page = upload(page, ("photo.png", make_photo("green")))
    assert cards(page) == {"photo.png": "Something green."}
    assert "Something red" not in read_page(page)


def test_a_removed_photo_leaves_the_page_and_the_memory(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")), ("blue.png", make_photo("blue")))
    page.file_uploader(key="photos").set_value([("blue.png", make_photo("blue"), "image/png")])
    page.run()
    assert cards(page) == {"blue.png": "Something blue."}
    assert len(page.session_state["results"]) == 1
    page.file_uploader(key="photos").clear().run()
    assert cards(page) == {} and "Nothing to look at yet" in read_page(page)
    assert "results" not in page.session_state


def test_a_rerun_captions_nothing_again(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")))
    page.run()
    page.slider(key="others").set_value(1).run()
    assert len(captioner.calls) == 1
    assert cards(page) == {"red.png": "Something red."}


def test_settings_reach_the_search_and_caption_anew(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")))
    page.slider(key="beams").set_value(5).run()
    page.slider(key="length").set_value(1.2).run()
    assert [(call["search"].num_beams, call["search"].length_penalty) for call in captioner.calls] == [
        (3, 0.7),
        (5, 0.7),
        (5, 1.2),
    ]


def test_settings_come_from_the_address(captioner):
    page = open_page(beams="5", others="1")
    assert page.slider(key="beams").value == 5 and page.slider(key="others").value == 1


def test_nonsense_in_the_address_is_ignored(captioner):
    page = open_page(beams="many", others="99", captioner="nobody", length="nan")
    assert not page.exception and not page.error
    assert page.slider(key="beams").value == 3 and page.selectbox(key="captioner").value == "colours"


def test_more_other_captions_than_beams_widen_the_search(captioner):
    page = open_page(beams="1", others="3")
    upload(page, ("red.png", make_photo("red")))
    assert captioner.calls[0]["search"].num_beams == 4


def test_shorter_and_longer_move_the_sliders_of_the_experts_and_back(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")))
    assert page.segmented_control(key="wording").value == "As usual"
    for length, penalty in (("Shorter", 0.0), ("Longer", 3.0), ("As usual", 0.7)):
        page.segmented_control(key="wording").set_value(length).run()
        assert page.slider(key="length").value == penalty
    searches = [(call["search"].num_beams, call["search"].length_penalty) for call in captioner.calls]
    # What ranks by length alone needs captions of several lengths.
    assert searches == [(3, 0.7), (8, 0.0), (8, 3.0), (3, 0.7)]
    page.slider(key="length").set_value(1.0).run()
    assert page.segmented_control(key="wording").value is None


def test_another_wording_takes_the_place_of_the_caption_everywhere(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")))
    open_panel(page, "wordings")
    assert [call["search"].num_beams for call in captioner.calls] == [3, 8]
    labels = [button.label for button in page.button if button.label.startswith("Guess")]
    assert labels == [f"Guess {rank} red. :gray[(longer, {ratio})]" for rank, ratio in RATIOS]
    press(page, labels[1])
    assert cards(page) == {"red.png": "Guess 2 red."}
    assert "Your wording. The captioner’s: “Something red.”" in read_page(page)
    assert [data["caption"] for data in components(page) if "caption" in data] == ["Guess 2 red."]
    (photo,) = page.session_state["results"].values()
    assert photo.row.captions[0].text == "guess 2 red" and photo.row.captions[1].text == "something red"


def test_what_the_visitor_wrote_or_chose_outlives_another_search_until_it_is_taken_back(captioner):
    page = upload(open_page(), *((f"{colour}.png", make_photo(colour)) for colour in COLOURS))
    for colour, change in (
        ("red", {"edited": "My balloon."}),
        ("blue", {"edited": "My kite."}),
        ("green", {"chosen": 2}),
    ):
        change_photo(page, colour, **change)
    mine = {"red.png": "My balloon.", "green.png": "Guess 2 green.", "blue.png": "My kite."}
    # In the second search the captions stand in another order, and in the third there are fewer of them.
    for beams in (8, 1, 3):
        page.slider(key="others").set_value(0).run()
        page.slider(key="beams").set_value(beams).run()
        assert cards(page) == mine
    assert [call["search"].num_beams for call in captioner.calls] == [3, 8, 1, 3]
    # Taken back, it is not found again where the first search is asked for.
    change_photo(page, "red", edited="", chosen=0)
    page.slider(key="beams").set_value(4).run()
    page.slider(key="beams").set_value(3).run()
    assert cards(page) == mine | {"red.png": "Something red."}


def change_photo(page: AppTest, colour: str, **changes) -> None:
    results = page.session_state["results"]
    [key] = [key for key, photo in results.items() if photo.name == f"{colour}.png"]
    results[key] = dataclasses.replace(results[key], **changes)


def test_captions_that_would_be_lost_are_all_on_the_list_also_those_that_are_filtered_away(captioner):
    captioner.sureness = {"red": ("guessing", -9.0), "green": ("sure", -1.0), "blue": ("guessing", -5.0)}
    page = upload(open_page(), *((f"{colour}.png", make_photo(colour)) for colour in COLOURS), ("bad.png", b""))
    page.segmented_control(key="show").set_value("sure").run()
    assert list(cards(page)) == ["green.png"]
    assert [f"Something {colour}." for colour in COLOURS] in [list(data.values()) for data in components(page)]
    page.segmented_control(key="show").set_value("fairly sure").run()
    assert cards(page) == {} and "No caption has this confidence" in " ".join(element.value for element in page.caption)


def test_files_are_made_once_somebody_asks_for_them(captioner, monkeypatch):
    made = []
    monkeypatch.setattr(downloads, "write_file", lambda *_: made.append(1))
    page = upload(open_page(), ("red.png", make_photo("red")), ("blue.png", make_photo("blue")))
    page.run()
    assert not page.exception and len(page.get("download_button")) == 3 and not made


def test_more_wordings_are_searched_on_demand(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")))
    press(open_panel(page, "wordings"), "More wordings")
    assert captioner.calls[-1]["search"].num_beams == 16
    assert len([button for button in page.button if button.label.startswith("Guess")]) == 15
    assert "More wordings" not in [button.label for button in page.button]
    # Looked at again, they are not searched again.
    page.run()
    assert len(captioner.calls) == 3


def test_a_change_is_kept_where_a_run_that_was_cut_has_put_other_results(captioner):
    page = open_panel(upload(open_page(), ("red.png", make_photo("red"))), "wordings")
    # Such a run begins with results of its own, and ends before it comes to the cards.
    page.session_state["results"] = dict(page.session_state["results"])
    press(page, "More wordings")
    (photo,) = page.session_state["results"].values()
    assert len(photo.captions) == 16
    labels = [button.label for button in page.button if button.label.startswith("Guess")]
    [key] = page.session_state["results"]
    page.session_state["results"] = dict(page.session_state["results"])
    press(page, labels[1])
    assert cards(page) == {"red.png": "Guess 2 red."} and list(page.session_state["results"]) == [key]


def test_what_the_visitor_writes_while_the_photo_is_captioned_anew_stays_with_it(captioner, monkeypatch):
    # A run with another search has begun, and has no caption yet.
    state = {"results": {}}
    monkeypatch.setattr(card.st, "session_state", state)
    shown = uploads.CaptionedPhoto("red.png", captions=[captioner.caption("red", rank) for rank in range(3)])
    one = card.Card(None, ("file", "version", "search"), shown, captioner, captioner.settings, {}, True, False)
    one.change(edited="My balloon.")
    assert state == {"results": {}, "own": {"file": "My balloon."}}
    one.change(chosen=2, edited="")
    assert state["own"] == {"file": "Guess 2 red."}


def test_a_search_for_other_wordings_that_fails_says_why(captioner, monkeypatch):
    page = upload(open_page(), ("red.png", make_photo("red")))

    def refuse(captioner, files, search=None):
        return [uploads.CaptionedPhoto(name, problem=f"{name} took too long.") for name, _ in files]

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "caption_uploads", refuse)
        open_panel(page, "wordings")
    assert [error.value for error in page.error] == ["red.png took too long."]
    assert cards(page) == {"red.png": "Something red."}
    page.run()
    assert not page.error and len(page.session_state["results"].popitem()[1].captions) == 8


def test_another_captioner_searches_as_it_does_by_default(captioner, monkeypatch):
    (first,) = catalogue.list_captioners()
    second = first.with_name("second")
    second.mkdir()
    write_config(second)
    settings = json.loads((second / "config.json").read_text())
    settings["decoding"] |= {"num_beams": 5, "length_penalty": 1.5}
    (second / "config.json").write_text(json.dumps(settings))
    manifest.write_manifest(second)
    monkeypatch.setattr(catalogue, "list_captioners", lambda: [first, second])
    page = upload(open_page(), ("red.png", make_photo("red")))
    page.selectbox(key="captioner").set_value("second").run()
    assert [(call["search"].num_beams, call["search"].length_penalty) for call in captioner.calls] == [
        (3, 0.7),
        (5, 1.5),
    ]
    assert page.segmented_control(key="wording").value == "As usual"
    # The browser is told, which else goes on showing what it showed.
    assert page.slider(key="beams").proto.set_value and page.slider(key="length").proto.set_value


def test_a_calibrated_captioner_says_in_words_how_sure_it_is(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")))
    assert 'class="photo-confidence"' not in read_page(page)
    captioner.confidence = "sure"
    page = upload(open_page(), ("red.png", make_photo("red")))
    worth = "Of captions like this, about 8 in 10 are right on photos of the test split."
    assert f"●●●</span> Sure <small>{worth}</small></p>" in read_page(page)


def sort_by(page: AppTest, order: str) -> list[str]:
    page.selectbox(key="order").set_value(order).run()
    return list(cards(page))


def test_many_photos_are_filtered_and_sorted_by_how_sure_the_captioner_was(captioner):
    captioner.sureness = {"red": ("guessing", -9.0), "green": ("sure", -1.0), "blue": ("guessing", -5.0)}
    names = [f"{colour}.png" for colour in COLOURS]
    page = upload(open_page(), *((f"{colour}.png", make_photo(colour)) for colour in COLOURS), ("bad.png", b""))
    show = page.segmented_control(key="show")
    assert show.options == ["All 3", "Sure 1", "Fairly sure 0", "Guessing 2"]
    assert list(cards(page)) == names
    assert sort_by(page, "Surest first") == ["green.png", "blue.png", "red.png"]
    assert sort_by(page, "Least sure first") == ["red.png", "blue.png", "green.png"]
    page.segmented_control(key="show").set_value("guessing").run()
    assert list(cards(page)) == ["red.png", "blue.png"]
    # One that is added is captioned, and the choice is kept.
    page.file_uploader(key="photos").set_value(
        [("green.png", make_photo("green"), "image/png"), ("blue.png", make_photo("blue"), "image/png")]
    ).run()
    assert list(cards(page)) == ["blue.png"] and not page.exception
    assert page.segmented_control(key="show").value == "guessing"
    assert "2 photos captioned." in read_page(page)


def test_what_the_words_are_worth_is_said_once_for_many_photos(captioner):
    captioner.confidence = "sure"
    page = upload(open_page(), ("red.png", make_photo("red")), ("blue.png", make_photo("blue")))
    text = read_page(page)
    assert text.count("about 8 in 10") == 1 and text.count("about 3 in 10") == 1
    assert text.count("Sure</p>") == 2


def test_clear_all_takes_everything_away_and_the_page_goes_on(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")), ("blue.png", make_photo("blue")))
    press(page, "Clear all")
    assert not page.exception and cards(page) == {}
    assert "Nothing to look at yet" in read_page(page) and "results" not in page.session_state
    page.file_uploader(key="photos 1").set_value([("green.png", make_photo("green"), "image/png")]).run()
    assert cards(page) == {"green.png": "Something green."}


def test_a_drawing_can_be_tried_is_marked_and_makes_way_for_a_photo(captioner):
    captioner.confidence = "sure"
    page = press(open_page(), "Drawing 1")
    assert list(cards(page)) == ["drawing-1.png"] and not page.exception
    text = read_page(page)
    assert "A drawing made by this project, not a photo. What was drawn: “A big blue car in a meadow.”" in text
    assert "This captioner learnt from photos, so of a drawing it guesses." in text
    assert "of the test split" not in text, "of drawings it was never measured"
    assert {} in components(page), "a drawing is no loss"
    page = upload(page, ("red.png", make_photo("red")))
    assert list(cards(page)) == ["red.png"] and "not a photo" not in read_page(page)
    page.file_uploader(key="photos").clear().run()
    assert cards(page) == {}


def test_what_was_chosen_for_a_drawing_is_cleared_with_it(captioner):
    page = open_panel(press(open_page(), "Drawing 1"), "wordings")
    [label, *_] = [button.label for button in page.button if button.label.startswith("Guess")]
    press(page, label)
    assert "Your wording" in read_page(page)
    press(press(page, "Clear"), "Drawing 1")
    assert "drawing-1.png" in cards(page) and "Your wording" not in read_page(page)


def test_a_drawing_goes_to_the_captioner_that_knows_drawings(captioner, monkeypatch):
    (photos_folder,) = catalogue.list_captioners()
    knower = photos_folder.with_name("drawings")
    knower.mkdir()
    write_config(knower)
    (knower / "metrics.json").write_text('{"cider_d": 300.0, "split": "test", "num_photos": 70, "data": "drawings"}')
    manifest.write_manifest(knower)
    loaded = []
    monkeypatch.setattr(saving, "load_captioner", lambda folder: loaded.append(folder.name) or captioner)
    monkeypatch.setattr(catalogue, "list_captioners", lambda: [photos_folder, knower])
    page = open_page()
    assert page.selectbox(key="captioner").options == ["colours", "drawings (drawings)"]
    described = page.caption[0].value.split("\n\n")[1]
    assert described.startswith("drawings: Trained on drawings: it knows no photos. CIDEr-D 300.0 on 70 test drawings")
    press(page, "Drawing 2")
    assert loaded == ["colours", "drawings"]
    assert "it guesses" not in read_page(page) and "What was drawn" in read_page(page)


def test_attention_is_drawn_when_opened_and_follows_the_word(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")))
    assert not page.pills and len(page.get("image")) == 1
    open_panel(page, "why")
    assert not page.exception
    assert page.pills[0].options == ["something", "red"]
    page.pills[0].set_value(1).run()
    assert "“red” had a probability of 70%. Attention: 80% on places" in page.get("image")[1].proto.imgs[0].caption
    assert len(page.get("image")[2].proto.imgs) == 2
    assert "not whether the word is right" in " ".join(element.value for element in page.caption)


def test_a_captioner_without_regions_says_that_there_is_nothing_to_show(captioner):
    captioner.has_regions = False
    page = upload(open_page(), ("red.png", make_photo("red")))
    open_panel(page, "why")
    assert not page.pills and not page.exception
    assert "no places to show" in " ".join(element.value for element in page.caption)


def test_captions_can_be_copied_plain_and_as_an_attribute(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")))
    [data] = [data for data in components(page) if "caption" in data]
    assert (data["caption"], data["attribute"]) == ("Something red.", 'alt="Something red."')


def test_many_photos_go_through_in_batches(captioner):
    names = [(f"{number}.png", make_photo(list(COLOURS)[number % 3])) for number in range(19)]
    page = upload(open_page(), *names)
    assert [call["photos"] for call in captioner.calls] == [4, 4, 4, 4, 3]
    assert cards(page) == {name: f"Something {list(COLOURS)[number % 3]}." for number, (name, _) in enumerate(names)}


def test_the_camera_is_one_more_photo(captioner):
    page = upload(open_page(), ("red.png", make_photo("red")))
    assert not page.get("camera_input")  # The browser asks for permission only once it is wanted.
    page.toggle(key="use_camera").set_value(True).run()
    page.camera_input(key="camera").set_value(("shot.jpg", make_photo("blue"), "image/jpeg")).run()
    assert list(cards(page).values()) == ["Something red.", "Something blue."]
    page.toggle(key="use_camera").set_value(False).run()
    assert list(cards(page).values()) == ["Something red."]


def test_about_names_limits_and_privacy(captioner):
    page = open_page()
    (about,) = [expander for expander in page.expander if expander.label == "About"]
    text = " ".join(element.value for element in about.markdown)
    assert text.startswith("Knows colours.") and "## Limits" in text and "not written to disk" in text


def test_captioners_are_compared_and_a_damaged_one_hinders_none(captioner, monkeypatch):
    (chosen,) = catalogue.list_captioners()
    better, broken = (chosen.with_name(name) for name in ("better", "broken"))
    for folder in (better, broken):
        folder.mkdir()
        write_config(folder)
    (better / "metrics.json").write_text('{"cider_d": 60.0}')
    manifest.write_manifest(better)
    (broken / "metrics.json").write_text("cut short")
    monkeypatch.setattr(catalogue, "list_captioners", lambda: [better, chosen, broken])
    page = open_page(captioner="colours")
    assert not page.error
    lines = page.caption[0].value.split("\n\n")
    assert [line.split(" ", 2)[:2] for line in lines] == [
        ["**colours**:", "CIDEr-D"],
        ["better:", "CIDEr-D"],
        ["broken:", "Cannot"],
    ]
    assert "60.0" in lines[1]


def test_each_setting_has_its_sentence(captioner):
    described, *sentences = [caption.value for caption in open_page().caption]
    assert described.startswith("**colours**: CIDEr-D 52.1 on 1,000 test photos of flickr8k. Encoder toy, ")
    assert [sentence[:10] for sentence in sentences] == ["Unfinished", "Towards 0 ", "Runners-up", "The addres"]


def test_a_visitor_who_empties_the_caches_does_not_unload_the_captioner(captioner, monkeypatch):
    loaded = []
    monkeypatch.setattr(saving, "load_captioner", lambda folder: loaded.append(folder) or captioner)
    open_page()
    # What the server does when a browser sends `clear_cache`.
    st.cache_data.clear()
    st.cache_resource.clear()
    page = upload(open_page(), ("red.png", make_photo("red")))
    assert cards(page) == {"red.png": "Something red."} and len(loaded) == 1


def test_the_server_is_guarded_and_listens_on_this_machine_alone():
    server = tomllib.loads((APP.parent / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["server"]
    assert server["address"] == "localhost"
    spec = importlib.util.spec_from_file_location("served_app", APP)
    served = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(served)
    (middleware,) = served.app._user_middleware
    assert middleware.cls is guard.Guard
