"""What the page says: captions, probabilities, scores and downloads as text and HTML.

No Streamlit here, which only `app.py` knows, and no TensorFlow, so that the page is on the screen before it is loaded.
"""

import html
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioner import output
from captioner.artifacts import catalogue
from captioner.page.uploads import CaptionedPhoto

if TYPE_CHECKING:
    from captioner.inference import Caption

# How full three dots are says the same as the word, at a glance.
_CONFIDENCE_DOTS = {"sure": "●●●", "fairly sure": "●●○", "guessing": "●○○"}


def alt_attribute(caption: str) -> str:
    """Returns the caption as an HTML attribute, safe to paste into an `<img>` tag."""
    return f'alt="{html.escape(caption, quote=True)}"'


def write_probability(log_prob: float) -> str:
    """Returns a log-probability as a percentage with two digits that count, for example `"1.9%"`."""
    percent = 100 * math.exp(min(log_prob, 0.0))
    if percent < 0.001:
        return "under 0.001%"
    digits = max(0, 1 - math.floor(math.log10(percent)))
    return f"{percent:.{digits}f}%"


def escape_markdown(text: str) -> str:
    """Returns text, such as a file name, that Markdown shows as it stands: no links, pictures or emphasis."""
    return re.sub(r"([\\`*_\[\]<>$:~#!|])", r"\\\1", text)


def name_heading(name: str) -> str:
    """Returns the name of a photo as the HTML heading of its card."""
    return f'<h2 class="photo-name">{html.escape(name)}</h2>'


def caption_card(photo: CaptionedPhoto) -> str:
    """Returns the photo's name, its best caption and how sure the captioner is of it as HTML."""
    best = photo.captions[0]
    return (
        f"{name_heading(photo.name)}"
        f'<p class="photo-caption" role="status">{html.escape(best.text)}</p>'
        f"{confidence_note(best.confidence)}"
    )


def confidence_note(confidence: str) -> str:
    """Returns how sure a captioner is as HTML, for example "●●○ Fairly sure"; nothing where it cannot tell."""
    if not confidence:
        return ""
    dots = f'<span aria-hidden="true">{_CONFIDENCE_DOTS.get(confidence, "")}</span>'
    return f'<p class="photo-confidence">{dots} {html.escape(confidence.capitalize())}</p>'


def waiting_card(name: str) -> str:
    """Returns the card of a photo whose caption is on its way as HTML."""
    return f'<div class="waiting"><p class="photo-name">{html.escape(name)}</p><p>Looking ...</p></div>'


def label_words(words: Sequence[str]) -> list[str]:
    """Returns the words as labels that differ: Streamlit tells buttons apart by what they say, captions say "a" twice.

    Each repetition gets one more zero-width space, which is neither seen nor heard.
    """
    return [word + "\u200b" * words[:number].count(word) for number, word in enumerate(words)]


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


def alternatives_list(best: "Caption", others: "Sequence[Caption]") -> str:
    """Returns as HTML how probable the caption is in exactly its words, and other captions, likeliest first."""
    items = (
        f"<li>{html.escape(caption.text)} <small>{write_probability(caption.log_prob)}</small></li>"
        for caption in others
    )
    note = f'<p class="photo-note">Probability of exactly the words above: {write_probability(best.log_prob)}</p>'
    return note + (f'<ol class="alternatives">{"".join(items)}</ol>' if others else "")


def summarize(done: Sequence[CaptionedPhoto]) -> str:
    """Returns one sentence on how many photos were captioned."""
    failed = sum(bool(photo.problem) for photo in done)
    if not failed:
        return "1 photo captioned." if len(done) == 1 else f"{len(done)} photos captioned."
    return f"{len(done) - failed} of {len(done)} photos captioned; {failed} could not be read."


def write_captions(done: Iterable[CaptionedPhoto], form: str, alternatives: int) -> bytes:
    """Returns the file that `python -m captioner caption --format FORM` writes."""
    rows = (output.Row(photo.name, photo.captions, photo.problem) for photo in done)
    return output.write_bytes(rows, output.choose_layout(form, alternatives))


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
    """Returns one line on a saved captioner: scores, encoder and size.

    Raises:
        OSError, ValueError: If its configuration or metrics cannot be read.
    """
    settings, metrics = catalogue.read_config(folder), catalogue.read_metrics(folder)
    scores = [
        f"{label} {metrics[key]:.1f}"
        for key, label in (("cider_d", "CIDEr-D"), ("bleu_4", "BLEU-4"))
        if isinstance(metrics.get(key), int | float)
    ]
    photo_count = metrics.get("num_photos")
    on = f" on {photo_count:,} {metrics.get('split', '')} photos" if isinstance(photo_count, int) else ""
    megabytes = sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / 1e6
    size = f"Encoder {settings['encoder']['name']}, {megabytes:.0f} MB on disk."
    return f"{', '.join(scores)}{on}. {size}" if scores else f"Not scored. {size}"


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
<p><strong>Nothing to look at yet.</strong> One photo or a hundred: drop them above, choose them, or use the camera.</p>
<p>For each you get a caption, other ways to put it, and where in the photo the captioner looked for every word.
Photos of dogs, children, sport and the outdoors suit it best.</p>
</div>"""

_PRIVACY = """## Privacy
Photos stay in the memory of this server while the page is open. They are not written to disk, not sent anywhere else
and not used for training."""
