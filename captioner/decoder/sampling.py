"""Captions without a search, word by word: drawn at random, or always the likeliest word. On any backend of Keras.

Legend: `B` photos, `K` captions of each, `T` words, `V` vocabulary, `P` pooled size, `R` regions, `D` region depth.
"""

import keras
import numpy as np
from keras import ops

from captioner.data.vocabulary import Vocabulary
from captioner.decoder.network import CaptionDecoder


class CaptionSampler(keras.Model):
    """Writes captions of photos with a decoder as it is. Call `predict_on_batch`.

    Its inputs are `pooled` `(B, P)`, `regions` `(B, R, D)` and `chances` `(B, K, T)`, numbers in [0, 1) by which each
    word is drawn; or -1 for the likeliest. It returns `(B, K, T)` int32, the end marker included, padded behind it.

    Args:
        decoder: The decoder.
        vocabulary: Its words.
    """

    def __init__(self, decoder: CaptionDecoder, vocabulary: Vocabulary):
        super().__init__()
        self.decoder = decoder
        # Added to logits: what is no word of a caption is never written.
        self._forbidden = np.zeros(len(vocabulary), np.float32)
        self._forbidden[[vocabulary.pad_id, vocabulary.start_id, vocabulary.unknown_id]] = -1e9
        self.compile(jit_compile=keras.backend.backend() != "tensorflow")

    def build(self, input_shape):
        """Does nothing: the decoder comes built."""

    def call(self, inputs):
        chances = inputs["chances"]
        num_photos, num_captions = ops.shape(chances)[:2]
        states, memory, keys = self.decoder.start(inputs["pooled"], inputs["regions"])
        states = [ops.repeat(state, num_captions, axis=0) for state in states]
        first = ops.full((num_photos * num_captions,), Vocabulary.start_id, "int32")

        def write(carry, chance):
            _, last, finished, *states = carry
            logits, _, states = self.decoder.step(last, states, memory, keys)
            drawn = _draw(logits + self._forbidden, chance)
            word = ops.where(finished, Vocabulary.pad_id, drawn)
            finished = ops.logical_or(finished, drawn == Vocabulary.end_id)
            carry = [word, ops.where(finished, Vocabulary.end_id, drawn), finished, *states]
            return carry, carry

        # `ops.scan` wants what a step returns to look like what it carries on.
        steps = ops.transpose(ops.reshape(chances, (-1, chances.shape[-1])))  # (T, B * K)
        _, [words, *_] = ops.scan(write, [first, first, first < 0, *states], steps)
        return ops.reshape(ops.transpose(words), ops.shape(chances))


def _draw(logits, chance):
    """Returns a word for each row, int32: where its chance lies among the probabilities, `(N, V)`, put end to end."""
    reached = ops.cumsum(ops.softmax(logits), axis=-1)
    # Not the sum of all, which rounding may leave below 1.
    # At 0 it would be the first word of all, likely or not.
    positive = ops.expand_dims(ops.maximum(chance, 1e-9), -1)
    drawn = ops.sum(ops.cast(reached < positive * reached[:, -1:], "int32"), axis=-1)
    return ops.where(chance < 0, ops.cast(ops.argmax(logits, axis=-1), "int32"), drawn)
