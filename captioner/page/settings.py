"""What a visitor sets: the length of captions, and for experts the search and the captioner."""

import contextlib
import dataclasses
from pathlib import Path

import streamlit as st

from captioner import config
from captioner.page import choices, markup


@dataclasses.dataclass(frozen=True)
class Settings:
    """What captions are made with.

    Attributes:
        folder: The captioner.
        search: How captions are searched.
        others: How many other captions downloads hold.
    """

    folder: Path
    search: config.DecodingConfig
    others: int


def choose_settings(folders: list[Path]) -> Settings:
    """Lets the visitor choose; the sliders are bound to the address of the page.

    Raises:
        OSError, ValueError: If the captioner cannot be used.
    """
    left = st.container(width="content")
    with st.popover("For experts", icon=":material/tune:"):
        folder = _choose_captioner(folders)
        usual = choices.default_search(folder)
        settings = _choose_search(folder, usual)
        st.caption("The address of this page holds these settings and no photos: share it to share them.")
    penalties = choices.length_penalties(usual)
    # The slider alone holds it, so that the two cannot disagree.
    now = settings.search.length_penalty
    st.session_state["wording"] = next((length for length, one in penalties.items() if one == now), None)
    left.segmented_control("Captions", choices.LENGTHS, key="wording", on_change=_set_length, args=(penalties,))
    return settings


def _set_length(penalties: dict[str, float]) -> None:
    st.session_state["length"] = penalties[st.session_state["wording"] or choices.USUAL]


def _adopt_search(by_name: dict[str, Path]) -> None:
    """Moves the sliders to the search of the captioner that was chosen: they would keep that of the one before."""
    # What is wrong with a captioner is said where it is loaded.
    with contextlib.suppress(OSError, ValueError):
        usual = choices.default_search(by_name[st.session_state["captioner"]])
        st.session_state["beams"], st.session_state["length"] = usual.num_beams, usual.length_penalty


def _choose_captioner(folders: list[Path]) -> Path:
    by_name = {folder.name: folder for folder in folders}
    labels = {name: f"{name} (drawings)" if choices.knows_drawings(by_name[name]) else name for name in by_name}
    name = st.selectbox(
        "Captioner",
        list(by_name),
        format_func=labels.__getitem__,
        key="captioner",
        bind="query-params",
        on_change=_adopt_search,
        args=(by_name,),
    )
    st.caption(markup.compare_captioners(by_name[name], folders))
    return by_name[name]


def _choose_search(folder: Path, usual: config.DecodingConfig) -> Settings:
    beams = st.slider("Beams", 1, config.MAX_BEAMS, usual.num_beams, key="beams", bind="query-params")
    st.caption("Unfinished captions pursued at once. More take longer and are rarely better beyond five.")
    most = config.MAX_LENGTH_PENALTY
    length = st.slider("Length preference", 0.0, most, usual.length_penalty, 0.05, key="length", bind="query-params")
    st.caption("Towards 0 short captions win, towards 3 long ones. At 0 and 3 the search uses at least eight beams.")
    others = st.slider("Other captions", 0, config.MAX_BEAMS - 1, 2, key="others", bind="query-params")
    st.caption(
        "Runners-up that the CSV and JSON downloads hold for each photo. More of them than beams widen the search."
    )
    return Settings(folder, choices.build_search(usual, beams, length, others), others)
