"""Captions as text: how they are cleaned, and which of them cannot be cut into words.

A caption is cleaned to lower-case words with single blanks between them. Every word counts, "a" too, since
published scores count it; start and end markers never appear in text, so they can never be scored.
No TensorFlow here.
"""

import codecs
import collections
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

# Raise this whenever `clean_caption` cleans captions in words otherwise: captioners name the version they learnt from.
CLEANING_VERSION = 1

_NOT_A_WORD = re.compile(r"[^\w]|_")
# What changes how letters are joined or drawn, but not which letters they are: soft hyphen, word joiner, and the
# selectors of variants that follow an emoji or a Chinese letter.
_INVISIBLE = re.compile("[\u00ad\u2060\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Between two letters of one word in Persian, Hindi or Malayalam.
_JOINERS = "\u200c\u200d"
# What becomes of the Turkish capital with a dot, whose small letter is an "i", which has its dot already.
_DOTTED = re.compile("i\u0307+")
# What is left of marks and joiners that no letter stands before, or after.
_LOOSE = re.compile(rf"(?<!\S)[^\w\s]+|[{_JOINERS}]+(?!\S)")
# Scripts that put no blanks between words, by the first word of their letters' Unicode names, and how many letters a
# word of them has at most, on average: more are sentences that nobody has cut into words.
_UNCUT_SCRIPTS = {
    **{"CJK": ("Chinese or Japanese", 3), "HIRAGANA": ("Japanese", 3), "KATAKANA": ("Japanese", 3)},
    **{"THAI": ("Thai", 10), "LAO": ("Lao", 10), "KHMER": ("Khmer", 10), "MYANMAR": ("Burmese", 10)},
}


def clean_caption(text: str) -> str:
    """Returns `text` in lower case, with punctuation turned to blanks and single blanks between words.

    Words of every script that puts blanks between them stay whole: vowel signs and accents belong to their letter.
    Cleaning twice changes nothing. Digits and one-letter words are kept.

    Example:
        >>> clean_caption("A man, in a T-shirt .")
        'a man in a t shirt'
    """
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).lower()
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _DOTTED.sub("i", text))
        return " ".join(_LOOSE.sub("", _NOT_A_WORD.sub(_keep_mark, text)).split())
    return " ".join(_NOT_A_WORD.sub(" ", text).split())


def refuse_uncut(texts: Iterable[str], source: object) -> None:
    """Checks that captions are cut into words.

    Args:
        texts: Cleaned captions.
        source: Where they come from, for the message.

    Raises:
        ValueError: If most of their letters are of a script without blanks between words, and so many letters follow
            each other that they are whole sentences.
    """
    counts = collections.Counter(" ".join(texts))
    num_words = 1 + counts.pop(" ", 0)
    num_letters = dict.fromkeys(_UNCUT_SCRIPTS, 0)
    for letter, count in counts.items():
        script = re.split(r"[ -]", unicodedata.name(letter, ""), maxsplit=1)[0]
        if script in num_letters:
            num_letters[script] += count
    commonest = max(num_letters, key=lambda name: num_letters[name])
    language, most = _UNCUT_SCRIPTS[commonest]
    if 2 * sum(num_letters.values()) > counts.total() > most * num_words:
        raise ValueError(
            f"The captions in {source} are {language} without blanks between words, and words are what is learnt and "
            f"scored. Put blanks between them with a program that cuts {language} into words, and try again. "
            f"Received: {counts.total() / num_words:.0f} letters between two blanks."
        )


def read_text(path: str | Path) -> str:
    """Returns the text of a UTF-8 file, or of a UTF-16 file that says so, with `\\n` at every line's end.

    Raises:
        ValueError: If it is neither; the message says which byte.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(2)
    wide = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return path.read_text(encoding="utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is not UTF-8 text (byte {error.start}). Save it as UTF-8 and try again."
        ) from None


def _keep_mark(match: re.Match) -> str:
    """Keeps vowel signs, accents and joiners, which are no letters to Python, and turns all else to a blank."""
    sign = match[0]
    return sign if sign in _JOINERS or unicodedata.category(sign) in ("Mn", "Mc") else " "
