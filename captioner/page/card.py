"""The card of one photo: its caption, what can be done with it, other wordings, and where the captioner looked."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from captioner import config, output
from captioner.page import components, examples, markup, uploads
from captioner.page.uploads import CaptionedPhoto

if TYPE_CHECKING:
    from captioner.inference import Captioner

# Beams for other wordings, at first and when more are asked for.
_WORDING_BEAMS, _MORE_BEAMS = 8, 16


@dataclasses.dataclass(frozen=True)
class Card:
    """What the card of a photo is made of.

    Attributes:
        file: The upload, camera picture or drawing.
        key: Of `results`.
        shown: What had become of the photo when the card was shown.
        captioner, search: What captions it, and how.
        worth: What each word for how sure the captioner is is worth; empty where that is said elsewhere.
        is_alone: Whether there is room for the caption beside the photo.
        is_guess: Whether the captioner knows photos alone and this is a drawing.
    """

    file: Any
    key: tuple
    shown: CaptionedPhoto
    captioner: "Captioner"
    search: config.DecodingConfig
    worth: Mapping[str, str]
    is_alone: bool
    is_guess: bool

    @property
    def photo(self) -> CaptionedPhoto:
        """What became of the photo, as the session has it: a run that was cut may have left other results there."""
        return st.session_state.get("results", {}).get(self.key, self.shown)

    def change(self, **changes) -> None:
        """Changes what became of the photo, for example `chosen`."""
        changed, results = dataclasses.replace(self.photo, **changes), st.session_state.get("results", {})
        if self.key in results:
            results[self.key] = changed
        else:
            # It is captioned anew: what the visitor wrote or chose stays with the photo.
            st.session_state.setdefault("own", {})[self.key[0]] = changed.own

    def find_wordings(self, beams: int) -> None:
        """Adds the captions that a wider search finds behind those that are known, or remembers why it found none."""
        search = dataclasses.replace(self.search, num_beams=beams)
        content = [(self.photo.name, self.file.getvalue())]
        [found] = uploads.caption_uploads(self.captioner, content, search)
        if found.problem:
            st.session_state[f"no wordings {self.file.file_id}"] = found.problem
        known = {caption.text for caption in self.photo.captions}
        self.change(captions=[*self.photo.captions, *(one for one in found.captions if one.text not in known)])


def show_card(card: Card) -> None:
    """Shows the card of a photo that has a caption."""
    with st.container(border=True):
        left, right = st.columns([2, 3], gap="medium") if card.is_alone else (st.container(), st.container())
        left.image(card.photo.preview, width="stretch", alt=f"The photo {card.photo.name}")
        with right:
            st.html(markup.caption_card(card.photo, card.worth))
            if isinstance(card.file, examples.Example):
                st.html(markup.example_note(card.file.truth, is_guess=card.is_guess))
            _show_actions(card)
            _show_wordings(card)
            _show_attention(card)


def _show_actions(card: Card) -> None:
    photo, key = card.photo, f"actions {card.file.file_id}"

    def keep_edit() -> None:
        text = " ".join(st.session_state[key].edited.split())
        card.change(edited="" if text == output.as_sentence(card.photo.best.text) else text)

    components.caption_actions(
        data={
            "id": card.file.file_id,
            "name": photo.name,
            "caption": photo.sentence,
            "attribute": markup.alt_attribute(photo.sentence),
            "own": bool(photo.own),
        },
        key=key,
        on_edited_change=keep_edit,
        on_taken_back_change=lambda: card.change(chosen=0, edited=""),
    )


@st.fragment
def _show_wordings(card: Card) -> None:
    """Shows the photo's other captions, each as a button that takes it; they are searched once it is open."""
    file_id = card.file.file_id
    panel = st.expander("Other wordings", key=f"wordings {file_id}", on_change="rerun", type="compact")
    if not panel.open:
        return
    with panel, st.container(key=f"offered {file_id}", gap="xxsmall"):
        if len(card.photo.captions) < _WORDING_BEAMS:
            with st.spinner("Looking for other words ..."):
                card.find_wordings(_WORDING_BEAMS)
        if problem := st.session_state.pop(f"no wordings {file_id}", ""):
            st.error(markup.escape_markdown(problem))
        photo = card.photo
        st.caption(markup.WORDINGS_NOTE)
        for number in markup.rank_others(photo):
            label = markup.label_wording(photo.captions[number], photo.captions[0])
            if st.button(label, key=f"wording {file_id} {number}", type="tertiary"):
                card.change(chosen=number, edited="")
                st.rerun()
        if len(photo.captions) < _MORE_BEAMS:
            st.button("More wordings", key=f"more {file_id}", on_click=card.find_wordings, args=(_MORE_BEAMS,))


@st.fragment
def _show_attention(card: Card) -> None:
    """Shows where the captioner looked, word by word; drawn only while it is open."""
    file_id, best = card.file.file_id, card.photo.best
    panel = st.expander("Where it looked", key=f"why {file_id}", on_change="rerun", type="compact")
    if not panel.open:
        return
    with panel:
        if not (best.has_regions and best.words):
            st.caption("This captioner looks at the photo as a whole: there are no places to show.")
            return
        maps, picture, words = best.attention_maps(), uploads.decode_preview(card.photo), best.words
        labels, first = markup.label_words(words), markup.first_thing(words)
        word = st.pills(
            "Choose a word",
            range(len(words)),
            format_func=labels.__getitem__,
            default=first,
            required=True,
            key=f"word {file_id} {best.text}",
        )
        alt = [f"Where it looked before {word!r}" for word in words]
        explanation = markup.explain_word(best, word, float(maps[word].sum()))
        st.image(best.overlay(picture, word), explanation, width="stretch", alt=alt[word])
        st.caption(markup.ATTENTION_NOTE)
        picture.thumbnail((180, 180))
        st.image([best.overlay(picture, number) for number in range(len(words))], list(words), width=90, alt=alt)
