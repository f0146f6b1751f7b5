"""What the page says: captions, how sure they are, scores and privacy as text and HTML.

No Streamlit here, and no TensorFlow, so that the page is on the screen before it is loaded.
"""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.artifacts import catalogue, confidence
from captioner.data.claim_words import read_claim_words
from captioner.data.vocabulary import FUNCTION_WORDS
from captioner.output import as_sentence
from captioner.page.uploads import CaptionedPhoto

if TYPE_CHECKING:
    from captioner.inference import Caption

# How full three dots are says the same as the word, at a glance.
_CONFIDENCE_DOTS = {"sure": "●●●", "fairly sure": "●●○", "guessing": "●○○"}
# Words that say how a thing is or how many there are, of those that captions begin with; colours come on top.
_QUALITIES = frozenset(
    (
        *("two", "three", "four", "five", "several", "many", "little", "small", "tiny", "big", "large", "young", "old"),
        *("older", "dark", "light", "blond", "blonde"),
    )
)


def alt_attribute(caption: str) -> str:
    """Returns the caption as an HTML attribute, safe to paste into an `<img>` tag."""
    return f'alt="{html.escape(caption, quote=True)}"'


def write_probability(log_prob: float) -> str:
    """Returns a log-probability as a percentage with two digits that count, for example `"1.9%"`."""
    percent = 100 * math.exp(min(log_prob, 0.0))
    return "under 0.001%" if percent < 0.001 else f"{_two_digits(percent)}%"


def _two_digits(number: float) -> str:
    return f"{number:.{max(0, 1 - math.floor(math.log10(number)))}f}"


def escape_markdown(text: str) -> str:
    """Returns text, such as a file name, that Markdown shows as it stands: no links, pictures or emphasis."""
    return re.sub(r"([\\`*_\[\]<>$:~#!|])", r"\\\1", text)


def name_heading(name: str) -> str:
    """Returns the name of a photo as the HTML heading of its card."""
    return f'<h2 class="photo-name">{html.escape(name)}</h2>'


def caption_card(photo: CaptionedPhoto, worth: Mapping[str, str]) -> str:
    """Returns the photo's name, its caption and how sure the captioner is of it as HTML.

    Args:
        photo: The photo, with a caption.
        worth: What each word for how sure the captioner is is worth.
    """
    if photo.own:
        first = html.escape(as_sentence(photo.captions[0].text))
        note = f'<p class="photo-note">Your wording. The captioner’s: “{first}”</p>'
    else:
        note = confidence_note(photo.best.confidence, worth)
    return f'{name_heading(photo.name)}<p class="photo-caption" role="status">{html.escape(photo.sentence)}</p>{note}'


def example_note(truth: str, *, is_guess: bool) -> str:
    """Returns what is said of a drawing of this project, as HTML.

    Args:
        truth: What was drawn.
        is_guess: Whether the captioner knows photos alone.
    """
    guess = " This captioner learnt from photos, so of a drawing it guesses." if is_guess else ""
    return (
        '<p class="photo-note">A drawing made by this project, not a photo. '
        f"What was drawn: “{html.escape(truth)}”{guess}</p>"
    )


def confidence_note(word: str, worth: Mapping[str, str]) -> str:
    """Returns how sure a captioner is as HTML, "●●○ Fairly sure", and what that is worth; nothing where it is unknown.

    Args:
        word: One of `captioner.config.LABELS`, or empty.
        worth: Word -> what it is worth, a sentence.
    """
    if not word:
        return ""
    dots = f'<span aria-hidden="true">{_CONFIDENCE_DOTS.get(word, "")}</span>'
    sentence = f" <small>{html.escape(worth[word])}</small>" if word in worth else ""
    return f'<p class="photo-confidence">{dots} {html.escape(word.capitalize())}{sentence}</p>'


def explain_words(worth: Mapping[str, str]) -> str:
    """Returns as HTML what each word for how sure a captioner is is worth, for many photos at once."""
    return "".join(confidence_note(word, worth) for word in worth)


def problem_rows(photos: Sequence[CaptionedPhoto]) -> str:
    """Returns a row for each photo that has no caption, with the reason, as HTML; nothing if all have one."""
    rows = "".join(f"<li>{html.escape(photo.problem)}</li>" for photo in photos if photo.problem)
    return f'<div role="alert"><ul class="problems">{rows}</ul></div>' if rows else ""


def waiting_card(name: str) -> str:
    """Returns the card of a photo whose caption is on its way as HTML."""
    return f'<div class="waiting"><p class="photo-name">{html.escape(name)}</p><p>Looking ...</p></div>'


def label_words(words: Sequence[str]) -> list[str]:
    """Returns the words as labels that differ: Streamlit tells buttons apart by what they say, captions say "a" twice.

    Each repetition gets one more zero-width space, which is neither seen nor heard.
    """
    return [word + "\u200b" * words[:number].count(word) for number, word in enumerate(words)]


def first_thing(words: Sequence[str]) -> int:
    """Returns the number of the first word that names a thing, as far as short lists can tell; else 0."""
    skipped = FUNCTION_WORDS | _QUALITIES | read_claim_words()["colors"].keys()
    return next((number for number, word in enumerate(words) if word not in skipped), 0)


def explain_word(caption: "Caption", number: int, share: float) -> str:
    """Returns a sentence on one word of a caption.

    Args:
        caption: The caption.
        number: Which word.
        share: How much of the attention lay on places in the photo, and not on the photo as a whole.
    """
    probability = write_probability(caption.word_log_probs[number])
    return (
        f"“{caption.words[number]}” had a probability of {probability}. Attention: {share:.0%} on places in the photo, "
        f"{1 - share:.0%} on the photo as a whole."
    )


def compare_caption(other: "Caption", first: "Caption") -> str:
    """Returns how another caption compares with the captioner's first: "longer, 0.4 times as likely"."""
    ratio = math.exp(min(other.log_prob - first.log_prob, 50.0))
    words = len(other.words) - len(first.words)
    length = "shorter, " if words < 0 else "longer, " if words else ""
    if ratio < 0.01:
        return f"{length}less than 1 % as likely"
    return f"{length}{'as likely' if 0.95 <= ratio < 1.05 else f'{_two_digits(ratio)} times as likely'}"


def label_wording(other: "Caption", first: "Caption") -> str:
    """Returns a caption and how it compares with the captioner's first, as Markdown."""
    note = "the captioner’s own" if other is first else compare_caption(other, first)
    return f"{escape_markdown(as_sentence(other.text))} :gray[({note})]"


def rank_others(photo: CaptionedPhoto) -> list[int]:
    """Returns the numbers of a photo's captions that are not shown, the likeliest first."""
    others = [number for number in range(len(photo.captions)) if photo.edited or number != photo.chosen]
    return sorted(others, key=lambda number: -photo.captions[number].log_prob)


def summarize(done: Sequence[CaptionedPhoto]) -> str:
    """Returns one sentence on how many photos were captioned."""
    failed = sum(bool(photo.problem) for photo in done)
    if failed == len(done) == 1:
        return "The photo could not be read."
    if not failed:
        return "1 photo captioned." if len(done) == 1 else f"{len(done)} photos captioned."
    return f"{len(done) - failed} of {len(done)} photos captioned; {failed} could not be read."


def compare_captioners(chosen: Path, folders: Iterable[Path]) -> str:
    """Returns a line on each saved captioner, as Markdown, the chosen one first.

    Raises:
        OSError, ValueError: If the chosen one cannot be used; of another one its line says so.
    """
    lines = [f"**{escape_markdown(chosen.name)}**: {describe_captioner(chosen)}"]
    for folder in folders:
        if folder != chosen:
            try:
                line = describe_captioner(folder)
            except (OSError, ValueError):
                line = "Cannot be used."
            lines.append(f"{escape_markdown(folder.name)}: {line}")
    return "\n\n".join(lines)


def describe_captioner(folder: Path) -> str:
    """Returns one line on a saved captioner: what it was trained on, scores with their data, encoder and size.

    Raises:
        OSError, ValueError: If its configuration or metrics cannot be read.
    """
    settings, metrics = catalogue.read_config(folder), catalogue.read_metrics(folder)
    scores = [
        f"{label} {metrics[key]:.1f}"
        for key, label in (("cider_d", "CIDEr-D"), ("bleu_4", "BLEU-4"))
        if isinstance(metrics.get(key), int | float)
    ]
    subject, count = confidence.subject_of(metrics), metrics.get("num_photos")
    counted = f"{count:,} " if isinstance(count, int) else ""
    data = metrics.get("data", "unnamed data")
    of_data = "" if data == subject else f" of {data}"
    place = f"on {counted}{metrics.get('split', 'unnamed')} {subject}{of_data}"
    scored = f"{', '.join(scores)} {escape_markdown(place)}." if scores else "Not scored."
    megabytes = sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / 1e6
    kind = "Trained on drawings: it knows no photos. " if subject == "drawings" else ""
    return f"{kind}{scored} Encoder {settings['encoder']['name']}, {megabytes:.0f} MB on disk."


def about(folder: Path) -> str:
    """Returns what the page says of itself and of a captioner, as Markdown: the captioner's model card and privacy.

    Args:
        folder: The captioner's.
    """
    card = folder / catalogue.CARD_FILE
    lines = card.read_text(encoding="utf-8").splitlines() if card.is_file() else []
    body = "\n".join(line for line in lines if not line.startswith("# "))  # The page has its own title.
    return f"{body.strip()}\n\n{_PRIVACY}"


INVITATION = """<div class="invitation">
<p><strong>Nothing to look at yet.</strong> One photo or a hundred: drop them anywhere on this page, paste one, choose
files above, or use the camera. Photos of dogs, children, sport and the outdoors suit it best.</p>
</div>"""

EXAMPLES = """<p class="offer">No photo at hand? Try a drawing that this project made:</p>"""

WORDINGS_NOTE = (
    "Choose one to put it in the caption's place. In brackets: how likely each is to the captioner next to its own "
    "first one. Short ones are likelier by their length alone."
)

ATTENTION_NOTE = (
    "The outline holds the places that weighed most when this word was chosen. It tells where the captioner looked, "
    "not why, and not whether the word is right."
)

_PRIVACY = """## Privacy
Photos stay in the memory of this server while the page is open, and for at most a minute after. They are
not written to disk, not sent anywhere else and not used for training. A page that is loaded again starts empty; while
there are captions that you have neither copied nor downloaded, the browser asks before you leave."""
