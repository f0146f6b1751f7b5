"""How pictures reach the page: files, the camera, and drawings for visitors who have none at hand."""

from typing import Any

import streamlit as st
from streamlit import runtime

from captioner.page import choices, examples, markup

# What stands in the place of the photos, for "Clear all" to take away: a widget of a new key is empty.
_GENERATION, _EXAMPLE = "generation", "example"


def receive_photos() -> list:
    """Lets the visitor choose files or take a picture; returns them, or the drawing that was chosen instead."""
    number = st.session_state.setdefault(_GENERATION, 0)
    suffix = f" {number}" if number else ""
    files = st.file_uploader(
        "Drop photos anywhere on this page, paste one, or choose files",
        choices.FILE_KINDS,
        accept_multiple_files=True,
        key=f"photos{suffix}",
    )
    if st.toggle("Use the camera", key=f"use_camera{suffix}"):
        shot = st.camera_input("Take a photo", key=f"camera{suffix}")
        files = [*files, shot] if shot else files
    if files:
        st.session_state.pop(_EXAMPLE, None)
    elif chosen := st.session_state.get(_EXAMPLE):
        return [chosen]
    return files


def are_examples(files: list) -> bool:
    """Returns whether the photos are drawings of this project."""
    return any(isinstance(file, examples.Example) for file in files)


def offer_examples() -> None:
    """Shows the drawings, each with a button that has it captioned."""
    st.html(markup.EXAMPLES)
    with st.container(key="examples"):
        for number, example in enumerate(examples.draw_examples(), 1):
            with st.container():
                st.image(example.content, width="stretch", alt=f"Example {number}")
                st.button(f"Drawing {number}", key=example.file_id, on_click=_choose_example, args=(example,))


def clear_all(files: list) -> None:
    """Takes all photos away, from the memory of the server, too."""
    # Streamlit's own types name neither.
    context: Any = runtime.scriptrunner.get_script_run_ctx()
    uploads: Any = runtime.get_instance().uploaded_file_mgr
    for file in files:
        uploads.remove_file(context.session_id, file.file_id)
    # A drawing that is chosen again is the same file.
    for key in (_EXAMPLE, "own"):
        st.session_state.pop(key, None)
    st.session_state[_GENERATION] += 1


def _choose_example(example: examples.Example) -> None:
    st.session_state[_EXAMPLE] = example
