"""The photos of a visitor: captioned batch by batch, sorted, filtered, and taken along."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from captioner import config
from captioner.page import components, downloads, intake, markup, uploads
from captioner.page.card import Card, show_card
from captioner.page.uploads import CaptionedPhoto

if TYPE_CHECKING:
    from captioner.inference import Captioner

ALL = "All"
_ORDERS = {"As added": None, "Surest first": -1, "Least sure first": 1}


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a visitor wants captioned, and how.

    Attributes:
        files: Key of the results -> upload, camera picture or drawing.
        captioner: What captions them.
        search: How captions are searched.
        others: How many other captions downloads hold.
        worth: What each word for how sure the captioner is is worth.
        is_guess: Whether these are drawings and the captioner knows photos alone.
    """

    files: Mapping[tuple, Any]
    captioner: "Captioner"
    search: config.DecodingConfig
    others: int
    worth: Mapping[str, str]
    is_guess: bool


def show_results(asked: Asked, tools) -> None:
    """Captions the photos that are new and shows all.

    Args:
        asked: What is wanted.
        tools: The container for how far it is, and then for what can be done with all captions.
    """
    # Only what is on the page is remembered.
    known = st.session_state.get("results", {})
    results = st.session_state["results"] = {key: known[key] for key in asked.files if key in known}
    own = _keep_own(known, asked)
    waiting = [key for key in asked.files if key not in results]
    # One place for both: no count of captions, and no download, stands above captions that are on their way.
    status = tools.empty()
    shown = list(asked.files)
    if waiting:
        _show_progress(status, results, asked)
    else:
        with status.container():
            shown = _show_tools(results, asked)
    slots = _open_slots(shown, results, asked)
    for start in range(0, len(waiting), uploads.BATCH_SIZE):
        batch = waiting[start : start + uploads.BATCH_SIZE]
        named = [(asked.files[key].name, asked.files[key].getvalue()) for key in batch]
        found = uploads.caption_uploads(asked.captioner, named, asked.search)
        # All of them before one is shown: a visitor's next message ends this run wherever it shows something.
        for key, photo in zip(batch, found, strict=True):
            results[key] = dataclasses.replace(photo, edited=own.get(key[0], "") if photo.captions else "")
        for key in batch:
            _fill_slot(slots[key], key, results, asked)
        _show_progress(status, results, asked)
    if waiting:
        with status.container():
            shown = _show_tools(results, asked)
        if shown != list(asked.files):
            st.rerun()


def _keep_own(known: Mapping[tuple, CaptionedPhoto], asked: Asked) -> dict[str, str]:
    """Returns what the visitor wrote or chose, file id -> caption: no other search or captioner takes it away."""
    own = st.session_state.get("own", {}) | {file_id: photo.own for (file_id, *_), photo in known.items()}
    st.session_state["own"] = {file_id: own[file_id] for file_id, *_ in asked.files if own.get(file_id)}
    return st.session_state["own"]


def _show_progress(status, results: dict, asked: Asked) -> None:
    status.progress(len(results) / len(asked.files), f"Captioned {len(results)} of {len(asked.files)} photos")


def _open_slots(shown: list[tuple], results: dict, asked: Asked) -> dict:
    """Returns the place of each card, filled where its caption is known."""
    # A placeholder empties what stood in its place before: no photo is ever seen beside another one's caption.
    with st.container(key="grid" if len(asked.files) > 1 else "alone"):
        slots = {key: st.empty() for key in shown}
    for key, slot in slots.items():
        if key in results:
            _fill_slot(slot, key, results, asked)
        else:
            slot.html(markup.waiting_card(asked.files[key].name))
    return slots


def _fill_slot(slot, key: tuple, results: dict, asked: Asked) -> None:
    if results[key].problem:
        slot.empty()
        return
    is_alone = len(asked.files) == 1
    worth = asked.worth if is_alone else {}
    card = Card(asked.files[key], key, results[key], asked.captioner, asked.search, worth, is_alone, asked.is_guess)
    with slot.container():
        show_card(card)


def _show_tools(results: dict[tuple, CaptionedPhoto], asked: Asked) -> list[tuple]:
    """Says how many photos were captioned, offers what can be done with all, and returns which to show, in order."""
    done = [results[key] for key in asked.files]
    with st.container(horizontal=True, vertical_alignment="center", key="tools"):
        st.html(f'<p class="summary" role="status">{markup.summarize(done)}</p>', width="content")
        if any(photo.captions for photo in done):
            if len(done) > 1:
                components.copy_all(data={"text": downloads.list_captions(done)}, key="copy all", width="content")
            _offer_files(done, asked.others)
        label = "Clear all" if len(done) > 1 else "Clear"
        st.button(label, key="clear", on_click=intake.clear_all, args=(list(asked.files.values()),))
    if rows := markup.problem_rows(done):
        st.html(rows)
    # The captions of drawings are no loss.
    captions = {key[0]: photo.sentence for key, photo in results.items() if photo.captions}
    components.captions_to_lose(data={} if intake.are_examples(list(asked.files.values())) else captions, key="to lose")
    if len(done) < 2 or not any(photo.captions and photo.captions[0].confidence for photo in done):
        return list(asked.files)
    return _narrow(results, asked)


def _offer_files(done: list[CaptionedPhoto], others: int) -> None:
    for kind in downloads.KINDS:
        # Made once it is asked for, since it takes a while, of what stands on the page now.
        write = functools.partial(downloads.write_file, done, kind, others)
        label, name = f":material/download: {kind.upper()}", f"captions.{kind}"
        st.download_button(label, write, name, key=kind, on_click="ignore")


def _narrow(results: dict[tuple, CaptionedPhoto], asked: Asked) -> list[tuple]:
    """Lets the visitor filter and sort by how sure the captioner was, and returns which photos to show, in order."""
    sureness = {key: photo.captions[0].confidence for key, photo in results.items() if photo.captions}
    counts = {word: list(sureness.values()).count(word) for word in config.LABELS}
    labels = {ALL: f"All {len(sureness)}"} | {word: f"{word.capitalize()} {count}" for word, count in counts.items()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        word = st.segmented_control(
            "How sure",
            labels,
            format_func=labels.__getitem__,
            default=ALL,
            required=True,
            key="show",
            persist_state="page",
        )
        order = st.selectbox("Order", _ORDERS, key="order", width=180, persist_state="page")
    if asked.worth:
        st.expander("What these words are worth", type="compact").html(markup.explain_words(asked.worth))
    shown = [key for key in asked.files if word == ALL or sureness.get(key) == word]
    if not shown:
        st.caption("No caption has this confidence.")
    if direction := _ORDERS[order]:
        shown.sort(key=lambda key: direction * results[key].captions[0].log_prob_per_word if key in sureness else 0.0)
    return shown
