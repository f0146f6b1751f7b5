"""The page: photos in, captions out. Start it with `streamlit run app.py`."""

import os
from pathlib import Path

import streamlit as st
from starlette.formparsers import MultiPartParser
from starlette.middleware import Middleware
from streamlit import runtime

from captioner.page import choices, components, guard, intake, markup, results, settings, uploads

# TensorFlow reads this when it is imported, which happens after the page is on the screen.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The server would put uploads of more than a megabyte into temporary files: photos are to stay in memory.
MultiPartParser.spool_max_size = 1 << 40


def show_page() -> None:
    """Shows the page to one visitor, from top to bottom; every change of a setting runs it anew."""
    st.title("Image Caption Generator", anchor=False)
    st.markdown("Give it photos, and it says in a sentence what it sees.")
    files = intake.receive_photos()
    if not (folders := choices.list_captioners()):
        st.info(f"There is no captioner yet: run {choices.MAKER} to the end to create one, then reload this page.")
        st.stop()
    # The first thing to see is the photo; of several photos, what can be done with all of them. A placeholder takes
    # away at once what stood there before: no count of photos stands beside another one.
    above = st.container() if len(files) > 1 else st.empty()
    page = st.container()
    below = st.empty() if len(files) > 1 else st.container()
    tools = above if len(files) > 1 else below
    try:
        with tools, st.container(horizontal=True, vertical_alignment="bottom"):
            chosen = settings.choose_settings(folders)
        with st.expander("About"):
            st.markdown(markup.about(chosen.folder))
        with page:
            if not files:
                st.session_state.pop("results", None)
                st.html(markup.INVITATION)
                intake.offer_examples()
            asked = ask(files, chosen, folders)
    except (OSError, ValueError) as error:
        st.error(markup.escape_markdown(str(error)))
        st.stop()
    if files:
        with page:
            results.show_results(asked, tools)


def ask(files: list, chosen: settings.Settings, folders: list[Path]) -> results.Asked:
    """Wakes the captioner that is wanted and returns what it is to caption; drawings get the one that knows them."""
    folder, search, is_example = chosen.folder, chosen.search, intake.are_examples(files)
    knower = next((one for one in folders if choices.knows_drawings(one)), folder) if is_example else folder
    if knower != folder:
        folder, search = knower, choices.default_search(knower)
    is_guess, version = is_example and not choices.knows_drawings(folder), choices.version_of(folder)
    with st.spinner("Waking the captioner ..."):
        captioner = uploads.share_captioner(folder, version)
    return results.Asked(
        files={(file.file_id, version, search): file for file in files},
        captioner=captioner,
        search=search,
        others=chosen.others,
        # Of drawings a captioner of photos was never measured.
        worth={} if is_guess else choices.explain_confidence(folder),
        is_guess=is_guess,
    )


def count_uploads() -> dict[str, list[int]]:
    """Returns visitor -> bytes of each upload that the server keeps in memory."""
    kept = runtime.get_instance().uploaded_file_mgr.file_storage
    return {visitor: [len(file.data) for file in list(files.values())] for visitor, files in list(kept.items())}


if __name__ == "__main__":
    # Streamlit's own icons for the browser's tab would come from another host.
    st.set_page_config("Image Caption Generator", page_icon=components.LOOK / "icon.svg", layout="wide")
    st.html(components.LOOK / "style.css")
    body = st.container()
    # Below the rest, and sent before it: photos may be pasted while the captioner wakes.
    components.page_events(key="events")
    with body:
        show_page()
else:
    # `streamlit run` imports this file once for its server, which then runs it for every visit.
    app = st.App(__file__, middleware=[Middleware(guard.Guard, count_uploads)])
