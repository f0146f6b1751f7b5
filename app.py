"""The page: photos in, captions out. Start it with `streamlit run app.py`."""

import dataclasses
import os
from pathlib import Path

import streamlit as st
from starlette.formparsers import MultiPartParser
from starlette.middleware import Middleware
from streamlit import runtime

from captioner.page import choices, guard, markup, uploads

# TensorFlow reads this when it is imported, which happens after the page is on the screen.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The server would put uploads of more than a megabyte into temporary files: photos are to stay in memory.
MultiPartParser.spool_max_size = 1 << 40

LOOK = Path(__file__).parent / ".streamlit"


def choose_captioner(folders: list[Path]) -> tuple:
    """Lets the visitor choose a captioner and returns its folder and its default search."""
    by_name = {folder.name: folder for folder in folders}
    folder = by_name[st.selectbox("Captioner", list(by_name), key="captioner", bind="query-params")]
    st.caption(markup.compare_captioners(folder, folders))
    return folder, choices.default_search(folder)


def choose_search(defaults) -> tuple:
    """Lets the visitor choose how captions are searched, and how many others are shown."""
    beams = st.slider("Beams", 1, 10, min(defaults.num_beams, 10), key="beams", bind="query-params")
    st.caption("Unfinished captions pursued at once. More take longer and are rarely better beyond five.")
    length = float(defaults.length_penalty)
    length = st.slider("Length preference", 0.0, 3.0, min(length, 3.0), 0.1, key="length", bind="query-params")
    st.caption("Towards 0 short captions win, towards 3 long ones.")
    others = st.slider("Other captions", 0, 5, 2, key="others", bind="query-params")
    st.caption("Runners-up to show for each photo. More of them than beams widen the search.")
    return dataclasses.replace(defaults, num_beams=max(beams, others + 1), length_penalty=length), others


def show_results(files: list, captioner, version: str, search, others: int) -> None:
    """Captions the photos that are new, batch by batch, and shows a card for each and the downloads."""
    top, progress = st.container(), st.empty()
    # A placeholder empties what stood in its place before: no photo is ever seen beside another one's caption.
    slots = {(file.file_id, version, search): (file, st.empty()) for file in files}
    # Only what is on the page is remembered.
    known = st.session_state.get("results", {})
    results = st.session_state["results"] = {key: known[key] for key in slots if key in known}
    for key, (file, slot) in slots.items():
        if key in results:
            show_card(slot, key[0], results[key], others)
        else:
            slot.html(markup.waiting_card(file.name))
    waiting = [key for key in slots if key not in results]
    for start in range(0, len(waiting), uploads.BATCH_SIZE):
        progress.progress(len(results) / len(slots), f"Captioned {len(results)} of {len(slots)} photos")
        batch = waiting[start : start + uploads.BATCH_SIZE]
        named = [(slots[key][0].name, slots[key][0].getvalue()) for key in batch]
        for key, photo in zip(batch, uploads.caption_uploads(captioner, named, search), strict=True):
            results[key] = photo
            show_card(slots[key][1], key[0], photo, others)
    progress.empty()
    with top:
        show_downloads([results[key] for key in slots], others)


def show_card(slot, file_id: str, photo: uploads.CaptionedPhoto, others: int) -> None:
    """Fills the card of one photo."""
    with slot.container(border=True):
        if photo.problem:
            st.html(markup.name_heading(photo.name))
            st.error(markup.escape_markdown(photo.problem), icon=":material/broken_image:")
            return
        left, right = st.columns([2, 3], gap="medium")
        left.image(photo.preview, width="stretch", alt=f"The photo {photo.name}")
        with right:
            best, runners_up = photo.captions[0], photo.captions[1 : others + 1]
            st.html(markup.caption_card(photo))
            texts = {"caption": best.text, "attribute": markup.alt_attribute(best.text)}
            caption_actions(data=texts, key=f"actions {file_id}")
            show_attention(file_id, photo)
            label = "Other captions" if runners_up else "How probable it is"
            st.expander(label, type="compact").html(markup.alternatives_list(best, runners_up))


@st.fragment
def show_attention(file_id: str, photo: uploads.CaptionedPhoto) -> None:
    """Shows where the captioner looked, word by word; drawn only while it is open."""
    best = photo.captions[0]
    panel = st.expander("Where it looked", key=f"why {file_id}", on_change="rerun", type="compact")
    if not panel.open:
        return
    with panel:
        if not (best.has_regions and best.words):
            st.caption("This captioner looks at the photo as a whole: there are no places to show.")
            return
        maps, picture, words = best.attention_maps(), uploads.decode_preview(photo), best.words
        labels, key = markup.label_words(words), f"word {file_id} {best.text}"
        word = st.pills(
            "Choose a word", range(len(words)), format_func=labels.__getitem__, default=0, required=True, key=key
        )
        alt = [f"Bright where it looked before {word!r}" for word in words]
        overlay = best.overlay(picture, word)
        explanation = markup.explain_word(best, word, float(maps[word].sum()))
        st.image(overlay, explanation, width="stretch", alt=alt[word])
        picture.thumbnail((180, 180))
        st.image([best.overlay(picture, number) for number in range(len(words))], list(words), width=90, alt=alt)


def show_downloads(done: list[uploads.CaptionedPhoto], others: int) -> None:
    """Says how many photos were captioned and offers all captions as files."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(f'<p class="summary" role="status">{markup.summarize(done)}</p>')
        if any(photo.captions for photo in done):
            for kind in ("csv", "json"):
                data, label = markup.write_captions(done, kind, others), f":material/download: {kind.upper()}"
                st.download_button(label, data, f"captions.{kind}", key=kind, on_click="ignore")


def receive_photos() -> list:
    """Lets the visitor choose files or take a picture."""
    files = st.file_uploader("Drop photos here", choices.FILE_KINDS, accept_multiple_files=True, key="photos")
    if st.toggle("Use the camera", key="use_camera"):
        shot = st.camera_input("Take a photo", key="camera")
        files = [*files, shot] if shot else files
    return files


def show_page() -> None:
    """Shows the page to one visitor, from top to bottom; every change of a setting runs it anew."""
    st.title("Image Caption Generator", anchor=False)
    st.markdown("Give it photos, and it says in a sentence what it sees.")
    files = receive_photos()
    if not (folders := choices.list_captioners()):
        st.info("There is no captioner yet: run model.ipynb to the end to create one, then reload this page.")
        st.stop()
    try:
        with st.sidebar:
            st.header("Settings", anchor=False)
            folder, defaults = choose_captioner(folders)
            search, others = choose_search(defaults)
            st.caption("The address of this page holds these settings: share it, and others see what you see.")
        version, page = choices.version_of(folder), st.container()
        with st.expander("About"):
            st.markdown(markup.about(folder))
        with page:
            if not files:
                st.session_state.pop("results", None)
                st.html(markup.INVITATION)
            with st.spinner("Waking the captioner ..."):
                captioner = uploads.share_captioner(folder, version)
    except (OSError, ValueError) as error:
        st.error(markup.escape_markdown(str(error)))
        st.stop()
    if files:
        with page:
            show_results(files, captioner, version, search, others)


def count_uploads() -> dict[str, list[int]]:
    """Returns visitor -> bytes of each upload that the server keeps in memory."""
    kept = runtime.get_instance().uploaded_file_mgr.file_storage
    return {visitor: [len(file.data) for file in list(files.values())] for visitor, files in list(kept.items())}


if __name__ == "__main__":
    # Streamlit's own icons for the browser's tab would come from another host.
    st.set_page_config("Image Caption Generator", page_icon=LOOK / "icon.svg", layout="wide")
    st.html(LOOK / "style.css")
    parts = {kind: (LOOK / f"actions.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
    caption_actions = st.components.v2.component("caption_actions", **parts)
    show_page()
else:
    # `streamlit run` imports this file once for its server, which then runs it for every visit.
    app = st.App(__file__, middleware=[Middleware(guard.Guard, count_uploads)])
