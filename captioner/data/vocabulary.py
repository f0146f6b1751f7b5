"""Words and their ids: the list that a captioner can read and write.

Ids 0 to 3 are special (`pad`, `unknown`, `start`, `end`) and written in angle brackets, which cleaned
captions cannot contain, so no caption can be mistaken for a marker. No TensorFlow here.
"""

import collections
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from captioner import config, files
from captioner.data.claim_words import read_claim_words

SPECIAL_WORDS = ("<pad>", "<unk>", "<start>", "<end>")
# Words that say nothing of what is to be seen. What remains is nouns, colours, verbs and places.
FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "being", "by", "for", "from", "has", "have", "her", "his", "in"),
        *("into", "is", "it", "its", "of", "off", "on", "one", "or", "other", "out", "over", "some", "that", "the"),
        *("their", "them", "there", "they", "this", "through", "to", "up", "while", "who", "with"),
    )
)
_FORMAT = 1


class Vocabulary:
    """A list of words in which the index is the id.

    Args:
        words: All words, the four `SPECIAL_WORDS` first, each once.

    Raises:
        ValueError: If the special words are not in front or a word occurs twice.
    """

    pad_id, unknown_id, start_id, end_id = range(4)

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        if self.words[: len(SPECIAL_WORDS)] != SPECIAL_WORDS:
            raise ValueError(f"A vocabulary must begin with {SPECIAL_WORDS}. Received: words={list(self.words[:5])!r}")
        self._ids = {word: token_id for token_id, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            twice = [word for word, count in collections.Counter(self.words).items() if count > 1]
            raise ValueError(f"A vocabulary must hold each word once. Received twice: {twice[:5]!r}")

    @classmethod
    def from_captions(cls, captions: Iterable[str], min_count: int = config.MIN_WORD_COUNT) -> "Vocabulary":
        """Builds the vocabulary of cleaned captions; give it captions of the train split only.

        Args:
            captions: Cleaned captions.
            min_count: Words seen less often are left out and read as `<unk>`.

        Returns:
            Words by falling count, equal counts by alphabet, so that the same captions give the same ids.
        """
        counts = collections.Counter(word for caption in captions for word in caption.split())
        kept = sorted((word for word in counts if counts[word] >= min_count), key=lambda w: (-counts[w], w))
        if not kept:
            raise ValueError(
                f"No word occurs {min_count} times in the captions. "
                f"Give more captions or a smaller min_count. Received: {len(counts)} words."
            )
        return cls(SPECIAL_WORDS + tuple(kept))

    @property
    def said_once(self) -> dict[int, tuple[int, ...]]:
        """Ids of words that say what is to be seen, all but special ones and `FUNCTION_WORDS`, and of those alike.

        Alike are words for one thing (`captioner.data.claim_words`), for example `bike` and `bicycle`; a word itself is
        always among them.
        """
        things = read_claim_words()["things"]
        alike: dict[str, list[int]] = {}
        for i, word in enumerate(self.words):
            alike.setdefault(things.get(word, f"<{word}>"), []).append(i)
        first = len(SPECIAL_WORDS)
        content = [(i, word) for i, word in enumerate(self.words[first:], first) if word not in FUNCTION_WORDS]
        return {i: tuple(alike[things.get(word, f"<{word}>")]) for i, word in content}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, caption: str) -> list[int]:
        """Returns the ids of a cleaned caption's words, unknown ones as `unknown_id`, without markers."""
        return [self._ids.get(word, self.unknown_id) for word in caption.split()]

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary as JSON."""
        text = json.dumps({"format": _FORMAT, "words": self.words}, ensure_ascii=False, indent=0)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is not a vocabulary.
        """
        content = files.read_json(path)
        words = content.get("words")
        if content.get("format") != _FORMAT or not isinstance(words, list) or not all(map(_is_word, words)):
            raise ValueError(f"{path} is not a vocabulary that this version can read. Train the captioner again.")
        return cls(words)


def _is_word(word: object) -> bool:
    """Says whether this is text without blanks and without what steers a terminal."""
    return isinstance(word, str) and word.split() == [word] and not any(map(_is_control, word))


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs")
