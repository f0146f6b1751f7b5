"""What an encoder that is learning makes of photos in memory, on any backend of Keras.

Legend: `B` photos, `S` side in pixels, `P` pooled size, `R` regions, `D` region depth.
"""

from collections.abc import Mapping

import keras
import numpy as np

from captioner import config
from captioner.data.vocabulary import Vocabulary
from captioner.decoder.sampling import CaptionSampler
from captioner.decoder.sight import Sight
from captioner.encoders import augmentation, specs
from captioner.encoders.grids import turn_back
from captioner.scoring import metrics
from captioner.training.tuning import EndToEndConfig

_BATCH_SIZE = 50


class Viewer(keras.Model):
    """Features of views of photos.

    Args:
        sight: Encoder and decoder, of which the encoder is used.
        mirrored: Whether features are means over a view and its mirror image.
    """

    def __init__(self, sight: Sight, *, mirrored: bool):
        super().__init__(name="viewer")
        self._mirrored = mirrored
        self.network, self._preprocess = sight.network, specs.ENCODERS[sight.encoder].preprocess
        self.compile(jit_compile=keras.backend.backend() != "tensorflow")

    def build(self, input_shape):
        """Does nothing: the encoder comes built."""

    def call(self, inputs):
        pixels = augmentation.see(inputs["photos"], inputs["boxes"], inputs["factors"], self.network.input.shape[1])
        return self.network(self._preprocess(pixels), training=False)

    def look(self, photos: np.ndarray, boxes: np.ndarray, factors: np.ndarray) -> dict[str, np.ndarray]:
        """Returns `pooled` `(B, P)` and `regions` `(B, R, D)`."""
        seen = self.predict_on_batch({"photos": photos, "boxes": boxes, "factors": factors})
        if not self._mirrored:
            return seen
        turned = self.predict_on_batch({"photos": photos, "boxes": boxes[:, [0, 3, 2, 1]], "factors": factors})
        turned["regions"] = turn_back(turned["regions"])
        return {name: (seen[name] + turned[name]) / 2 for name in seen}


class LiveViews:
    """Features of photos or of views of them, as `self_critical.Views`."""

    def __init__(self, viewer: Viewer, photos: np.ndarray, settings: EndToEndConfig):
        self._viewer, self._photos, self._settings = viewer, photos, settings

    def take(self, indices: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
        """See `self_critical.Views`."""
        boxes, factors = augmentation.draw_views(random, len(indices), **self._settings.views)
        return self._viewer.look(self._photos[indices], boxes, factors)


class GreedyScorer:
    """Captions photos greedily, with encoder and decoder as they are.

    Args:
        sight: Encoder and decoder.
        viewer: Of the same.
        vocabulary: Words of the decoder.
        photos: RGB, uint8 `(N, S, S, 3)`.
        references: Image id -> cleaned captions, in the order of `photos`.
    """

    def __init__(self, sight: Sight, viewer: Viewer, vocabulary: Vocabulary, photos: np.ndarray, references: Mapping):
        self._viewer, self._words, self._photos, self._references = viewer, vocabulary.words, photos, references
        self._sampler = CaptionSampler(sight.decoder, vocabulary)

    def score(self) -> dict[str, float]:
        """Returns the scores that a history holds."""
        texts = [
            " ".join(self._words[word] for word in caption if word > Vocabulary.end_id)
            for start in range(0, len(self._photos), _BATCH_SIZE)
            for caption in self._write(self._photos[start : start + _BATCH_SIZE])
        ]
        scores = metrics.score_captions(dict(zip(self._references, texts, strict=True)), self._references)
        return {name: scores[name] for name in ("cider_d", "bleu_4", "rouge_l", "distinct_captions")}

    def _write(self, photos: np.ndarray) -> np.ndarray:
        # Batches are filled up to one size: another would be compiled anew.
        full = np.concatenate([photos, np.zeros((_BATCH_SIZE - len(photos), *photos.shape[1:]), photos.dtype)])
        seen = self._viewer.look(full, np.tile(augmentation.WHOLE, (len(full), 1)), np.ones((len(full), 3), np.float32))
        likeliest = np.full((len(full), 1, config.DecodingConfig.max_length), -1, np.float32)
        return self._sampler.predict_on_batch(seen | {"chances": likeliest})[: len(photos), 0]
