"""What the page shows: photos captioned, and captions, probabilities, scores and downloads as text.

No Streamlit here, which only `app.py` knows, and no TensorFlow, so that the page is on the screen before it is loaded.
"""

import csv
import dataclasses
import html
import io
import json
import math
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from captioner import photos

if TYPE_CHECKING:
    from captioner.inference import Caption, Captioner

# Twice the width that the page gives a photo, for screens with dense pixels.
PREVIEW_SIDE = 960
# All visitors share the cores: in turn the first is served sooner, and the memory for one batch is enough.
_TURN = threading.Lock()


@dataclasses.dataclass(frozen=True)
class CaptionedPhoto:
    """One photo of a visitor and what became of it.

    Attributes:
        name: Its file name.
        captions: Best first; empty where it could not be captioned.
        preview: A small JPEG of it.
        problem: One sentence that says why it has no caption.
    """

    name: str
    captions: "Sequence[Caption]" = ()
    preview: bytes = b""
    problem: str = ""


def caption_uploads(captioner: "Captioner", uploads: Sequence[tuple[str, bytes]], **search) -> list[CaptionedPhoto]:
    """Captions a batch of uploads; one that cannot be read gets its reason and holds up no other.

    Args:
        captioner: The captioner.
        uploads: Name and content of each file.
        **search: As for `Captioner.caption_features`.
    """
    done, pixels = [], []
    with _TURN:
        for name, content in uploads:
            try:
                preview = encode_preview(photos.open_photo(content, name))
                pixels.append(photos.load_photo(content, captioner.encoder.image_size, name))
                done.append(CaptionedPhoto(name, preview=preview))
            except photos.PhotoError as error:
                done.append(CaptionedPhoto(name, problem=str(error)))
        found = iter(captioner.caption_photos(np.stack(pixels), **search) if pixels else ())
    return [photo if photo.problem else dataclasses.replace(photo, captions=next(found)) for photo in done]


def encode_preview(photo: Image.Image) -> bytes:
    """Returns a JPEG of the photo that is small enough to send to a phone, in its own proportions."""
    small = photo.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return file.getvalue()


def decode_preview(photo: CaptionedPhoto) -> Image.Image:
    """Returns the photo's preview as an RGB picture."""
    return Image.open(io.BytesIO(photo.preview)).convert("RGB")


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
    """Returns the photo's name and best caption as HTML."""
    best = photo.captions[0]
    return (
        f"{name_heading(photo.name)}"
        f'<p class="photo-caption" role="status">{html.escape(best.text)}</p>'
        f'<p class="photo-note">Probability of exactly these words: {write_probability(best.log_prob)}</p>'
    )


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


def alternatives_list(captions: "Sequence[Caption]") -> str:
    """Returns captions, best first, as an HTML list with their probabilities."""
    items = (
        f"<li>{html.escape(caption.text)} <small>{write_probability(caption.log_prob)}</small></li>"
        for caption in captions
    )
    return f'<ol class="alternatives">{"".join(items)}</ol>'


def summarize(done: Sequence[CaptionedPhoto]) -> str:
    """Returns one sentence on how many photos were captioned."""
    failed = sum(bool(photo.problem) for photo in done)
    if not failed:
        return "1 photo captioned." if len(done) == 1 else f"{len(done)} photos captioned."
    return f"{len(done) - failed} of {len(done)} photos captioned; {failed} could not be read."


def write_csv(done: Iterable[CaptionedPhoto], alternatives: int) -> bytes:
    """Returns captions as CSV with the columns of `python -m captioner caption --format csv`.

    UTF-8 with a byte order mark, without which Excel garbles file names with accents.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["photo", "caption", *(f"alternative_{number + 1}" for number in range(alternatives))])
    for photo in done:
        if photo.captions:
            texts = [caption.text for caption in photo.captions[: alternatives + 1]]
            writer.writerow([photo.name, *texts, *[""] * (alternatives + 1 - len(texts))])
    return file.getvalue().encode("utf-8-sig")


def write_json(done: Iterable[CaptionedPhoto], alternatives: int) -> bytes:
    """Returns captions as JSON with the keys of `python -m captioner caption --format json`."""
    content = []
    for photo in done:
        if photo.captions:
            best, *others = photo.captions[: alternatives + 1]
            row = {"photo": photo.name, "caption": best.text, "log_prob": best.log_prob}
            content.append(row | ({"alternatives": [caption.text for caption in others]} if alternatives else {}))
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def version_of(folder: Path) -> str:
    """Returns what tells a saved captioner from others and from one that takes its place."""
    return f"{folder.name} {(folder / 'config.json').stat().st_mtime_ns}"


def describe_captioner(folder: Path, settings: Mapping, metrics: Mapping) -> str:
    """Returns one line on a saved captioner: scores, encoder and size.

    Args:
        folder: Where it is.
        settings: Its `config.json`.
        metrics: Its `metrics.json`.
    """
    scores = [
        f"{label} {metrics[key]:.1f}"
        for key, label in (("cider_d", "CIDEr-D"), ("bleu_4", "BLEU-4"))
        if isinstance(metrics.get(key), int | float)
    ]
    photo_count = metrics.get("num_photos")
    on = f" on {photo_count:,} {metrics.get('split', '')} photos" if isinstance(photo_count, int) else ""
    megabytes = sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / 1e6
    size = f"Decoder {megabytes:.0f} MB, encoder {settings['encoder']['name']}."
    return f"{', '.join(scores)}{on}. {size}" if scores else f"Not scored. {size}"


def about(folder: Path) -> str:
    """Returns what the page says of itself and of a captioner, as Markdown: the captioner's model card and privacy.

    Args:
        folder: The captioner's.
    """
    card = folder / "README.md"
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
