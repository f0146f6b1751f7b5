"""The parts of the page that run in the browser, and its look; their sources are in `look/`."""

from pathlib import Path

import streamlit as st

LOOK = Path(__file__).parent / "look"


def _read(*names: str) -> str:
    return "\n".join((LOOK / name).read_text(encoding="utf-8") for name in names)


caption_actions = st.components.v2.component(
    "caption_actions",
    html=_read("actions.html"),
    css=_read("actions.css"),
    js=_read("clipboard.js", "actions.js"),
)
copy_all = st.components.v2.component(
    "copy_all", html=_read("copy_all.html"), css=_read("actions.css"), js=_read("clipboard.js", "copy_all.js")
)
captions_to_lose = st.components.v2.component("captions_to_lose", js=_read("clipboard.js", "to_lose.js"))
page_events = st.components.v2.component("page_events", js=_read("clipboard.js", "events.js"))
