"""Photos in, captions out: encoder, decoder, beam search and vocabulary joined.

Legend: `B` photos, `S` side of a photo in pixels, `T` words, `R` regions, `H` and `W` rows and columns of their grid.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from captioner import config
from captioner.config import Calibration
from captioner.data.photos import Photo, load_photo, name_photo
from captioner.data.vocabulary import Vocabulary
from captioner.decoder import beam_search
from captioner.decoder.careful import CarefulClaims
from captioner.decoder.network import CaptionDecoder
from captioner.decoder.rarity import measure_rarity
from captioner.decoder.steps import DecoderStep
from captioner.decoder.word_detector import WordDetector
from captioner.encoders.encoder import Encoder
from captioner.encoders.features import FeatureStore

# Photos of a list that are captioned together: enough to be fast, few enough for a small memory.
_BATCH_SIZE = 32
# How far overlays darken a photo where attention did not lie; the photo stays readable.
_DARKENING = 0.45


@dataclasses.dataclass(frozen=True)
class Caption:
    """A caption and what the decoder thought while writing it.

    Attributes:
        text: The caption, cleaned words with single blanks.
        words: Its words.
        log_prob: Natural logarithm of its probability, the end marker included.
        score: What it was ranked by.
        word_log_probs: Log-probability of each word, `(T,)`.
        attention_scores: Share of attention on each region for each word, `(T, R + 1)`; the last column is the photo
            as a whole. For a decoder that attends to slots, `(T, slots + 1)`, which have no place in the photo.
        has_regions: Whether attention ranges over places in the photo, so that it can be drawn.
        confidence: "sure", "fairly sure" or "guessing", see `captioner.scoring.calibration`; empty where the captioner
            was never calibrated.
    """

    text: str
    words: tuple[str, ...]
    log_prob: float
    score: float
    word_log_probs: np.ndarray
    attention_scores: np.ndarray
    has_regions: bool = True
    confidence: str = ""

    @property
    def log_prob_per_word(self) -> float:
        """Log-probability for each word, the end marker counted as one: what `confidence` is a word for."""
        return confidence_of(self.log_prob, len(self.words))

    def attention_maps(self) -> np.ndarray:
        """Returns the grid of attention before each word, `(T, H, W)`; each sums to the share not given to the whole.

        Raises:
            ValueError: If attention does not range over a square grid.
        """
        scores = self.attention_scores[:, :-1]  # the last column is the photo as a whole
        side = math.isqrt(scores.shape[1])
        if not self.has_regions or side * side != scores.shape[1]:
            raise ValueError(
                f"Attention over slots has no place in the photo. Received: {scores.shape[1]} scores for a word."
            )
        return scores.reshape(-1, side, side)

    def overlay(self, photo: Image.Image, word: int) -> Image.Image:
        """Returns the photo, darker where attention did not lie, with an outline around where it was half its peak.

        Args:
            photo: The photo, any size, RGB.
            word: Number of the word, from 0.

        Raises:
            ValueError: If attention does not range over a square grid.
        """
        attention_map = self.attention_maps()[word]  # (H, W)
        peak = float(attention_map.max()) or 1.0
        small = Image.fromarray((255 * attention_map / peak).astype(np.uint8))
        mask = small.resize(photo.size, Image.Resampling.BICUBIC)
        dark = Image.blend(photo, Image.new("RGB", photo.size, "black"), _DARKENING)
        overlay = Image.composite(photo, dark, mask)
        inside = mask.point(lambda value: 255 * (value >= 128))
        # White within black shows on every photo.
        white = _widen(inside, max(1, max(photo.size) // 300))
        black = _widen(white, max(1, max(photo.size) // 600))
        overlay.paste("black", mask=ImageChops.subtract(black, white))
        overlay.paste("white", mask=ImageChops.subtract(white, inside))
        return overlay


def _widen(area: Image.Image, pixels: int) -> Image.Image:
    """Returns a mask whose area reaches so many pixels further on all sides."""
    return area.filter(ImageFilter.BoxBlur(pixels)).point(lambda value: 255 * (value > 0))


class Captioner:
    """A trained captioner. It keeps nothing between calls, so one can serve many people.

    Load one with `captioner.load`.

    Args:
        decoder: The trained decoder.
        vocabulary: Its words.
        encoder: The encoder whose features it was trained on.
        name: What to call it.
        settings: Default search.
        detector: Of the words that a photo calls for, if there is one.
        calibration: When it may say that it is sure. It was chosen at the default search; on validation its words were
            worth the same with 1 to 10 beams and length penalties of 0 to 3.
        frozen: Whether the decoder's weights stay as they are now: then searches take less time, and it cannot be
            trained.
    """

    def __init__(
        self,
        decoder: CaptionDecoder,
        vocabulary: Vocabulary,
        encoder: Encoder,
        *,
        name: str = "captioner",
        settings: config.DecodingConfig | None = None,
        detector: WordDetector | None = None,
        calibration: Calibration | None = None,
        frozen: bool = False,
    ):
        self.decoder, self.vocabulary, self.encoder, self.name = decoder, vocabulary, encoder, name
        self.settings = settings or config.DecodingConfig()
        self.calibration, self.frozen = calibration, frozen
        self.adopt_detector(detector)

    def adopt_detector(self, detector: WordDetector | None) -> None:
        """Searches with another word detector from now on, which must be of the same features and words."""
        self.detector = detector
        self._step = DecoderStep(self.decoder, detector, frozen=self.frozen)
        vocabulary = self.vocabulary
        self._search = beam_search.BeamSearch(
            self._step.step,
            start_id=vocabulary.start_id,
            end_id=vocabulary.end_id,
            forbidden_ids=(vocabulary.pad_id, vocabulary.start_id, vocabulary.unknown_id),
            said_once=vocabulary.said_once,
            rarity=measure_rarity(vocabulary),
            weigh=CarefulClaims(vocabulary.words),
        )

    @property
    def has_regions(self) -> bool:
        """Whether attention ranges over places in the photo, so that it can be drawn."""
        return self.decoder.settings.attend_to == "regions"

    # A path or bytes are sequences as well; the first signature is theirs.
    @overload
    def caption(  # type: ignore[overload-overlap]
        self, photos: Photo, search: config.DecodingConfig | None = None
    ) -> list[Caption]: ...

    @overload
    def caption(self, photos: Sequence[Photo], search: config.DecodingConfig | None = None) -> list[list[Caption]]: ...

    def caption(self, photos, search=None):
        """Captions a photo, or each photo of a list.

        They are read in this process, so for files from strangers use the command or the page.

        Args:
            photos: A path, the bytes of a file, a Pillow image, or an array uint8 `(H, W, 3)` RGB, `(H, W, 4)` RGBA or
                `(H, W)` grey; or a list or tuple of them.
            search: How to search, by default the captioner's `settings`.

        Returns:
            The captions, best first, at most `search.num_beams`; for a list of photos a list of such lists.

        Raises:
            captioner.PhotoError: If a photo cannot be used; the message names it.

        Example:
            >>> captioner.load().caption("dog.jpg")[0].text
            'a dog runs through the grass'
        """
        side = self.encoder.image_size
        if not isinstance(photos, list | tuple):
            return self.caption_photos(load_photo(photos, side)[None], search)[0]
        found = []
        for start in range(0, len(photos), _BATCH_SIZE):
            batch = enumerate(photos[start : start + _BATCH_SIZE], start)
            pixels = [load_photo(photo, side, name_photo(photo, f"photos[{number}]")) for number, photo in batch]
            found += self.caption_photos(np.stack(pixels), search)
        return found

    def caption_photos(self, photos: np.ndarray, search: config.DecodingConfig | None = None) -> list[list[Caption]]:
        """Captions a batch of photos that have the encoder's size already.

        Args:
            photos: RGB, uint8 `(B, S, S, 3)`, as `captioner.data.photos.load_photo` gives them at `encoder.image_size`.
            search: How to search, by default the captioner's `settings`.

        Returns:
            For each photo its captions, best first.

        Raises:
            ValueError: If the photos have another shape or dtype.
        """
        return self.caption_features(*self.encoder.encode(photos), search)

    def caption_features(
        self,
        pooled: np.ndarray,
        regions: np.ndarray,
        search: config.DecodingConfig | None = None,
    ) -> list[list[Caption]]:
        """Captions photos whose features are known.

        Args:
            pooled: `(B, P)` float.
            regions: `(B, R, D)` float.
            search: How to search, by default the captioner's `settings`.

        Returns:
            For each photo its captions, best first, at most `search.num_beams`.
        """
        search = search or self.settings
        state = self._step.start(pooled, regions, search.num_beams, search.detector_weight)
        found = self._search.search(state, search)
        return [[self._caption(hypothesis) for hypothesis in hypotheses] for hypotheses in found]

    def caption_store(
        self,
        features: FeatureStore,
        image_ids: Sequence[str],
        search: config.DecodingConfig | None = None,
        *,
        batch_size: int = 100,
    ) -> Iterator[tuple[str, list[Caption]]]:
        """Captions photos of a feature cache.

        Args:
            features: The cache.
            image_ids: The photos.
            search: How to search, by default the captioner's `settings`.
            batch_size: Photos searched together.

        Yields:
            Image id and captions, best first, in the order of `image_ids`.
        """
        for start in range(0, len(image_ids), batch_size):
            batch = image_ids[start : start + batch_size]
            yield from zip(batch, self.caption_features(*features.rows(batch), search), strict=True)

    def read_captions(self, inputs):
        """Returns the logits `(B, T, V)` of given captions, teacher-forced; `inputs` as for `CaptionDecoder`'s call."""
        return self._step.read(inputs)

    def _caption(self, hypothesis: beam_search.Hypothesis) -> Caption:
        words = tuple(self.vocabulary.words[token_id] for token_id in hypothesis.token_ids)
        confidence = confidence_of(hypothesis.log_prob, len(words))
        return Caption(
            text=" ".join(words),
            words=words,
            log_prob=hypothesis.log_prob,
            score=hypothesis.score,
            word_log_probs=hypothesis.token_log_probs[: len(words)],
            attention_scores=hypothesis.attention_scores[: len(words)],
            has_regions=self.has_regions,
            confidence=self.calibration.describe(confidence) if self.calibration else "",
        )


def confidence_of(log_prob: float, num_words: int) -> float:
    """Returns the log-probability for each word, the end marker counted as one."""
    return log_prob / (num_words + 1)
