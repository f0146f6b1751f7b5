"""A decoder as compiled functions: what a search calls for each photo and each word.

Legend: `B` photos, `K` beams, `T` caption length, `V` vocabulary, `U` LSTM units, `P` pooled size, `R` regions, `D`
region depth, `A` attention size, `M` memory size, `S` memory tokens.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from captioner.decoder.network import CaptionDecoder
from captioner.decoder.word_detector import WordDetector


class DecoderStep:
    """A decoder as `captioner.decoder.beam_search.BeamSearch` wants it: a compiled start, and a step to be compiled.

    Args:
        decoder: A trained decoder. It is not changed.
        detector: Of words in the same features, if there is one.
    """

    def __init__(self, decoder: CaptionDecoder, detector: WordDetector | None = None):
        self._decoder, self._detector = decoder, detector
        # By number of beams, which what is compiled for them has to know, and whether words are detected.
        self._starts: dict[tuple[int, bool], Callable] = {}
        self._read = tf.function(self._traced_read, reduce_retracing=True, autograph=False)

    def start(self, pooled, regions, num_beams: int, detector_weight: float = 0.0):
        """Reads the photos.

        Args:
            pooled: `(B, P)` float.
            regions: `(B, R, D)` float.
            num_beams: `K`.
            detector_weight: As `DecodingConfig.detector_weight`.

        Returns:
            The LSTM's hidden and cell state, `(B, K, U)` each, memory `(B, S, M)` and keys `(B, S, A)`; with a weight
            for the detector also what it adds to the logits, `(B, V)`.

        Raises:
            ValueError: If there is a weight and no detector.
        """
        if detector_weight and self._detector is None:
            raise ValueError(
                "This captioner has no word detector. Search with detector_weight=0. "
                f"Received: detector_weight={detector_weight!r}"
            )
        kind = num_beams, detector_weight > 0
        if kind not in self._starts:
            traced = functools.partial(self._traced_start, num_beams, self._detector if detector_weight else None)
            self._starts[kind] = tf.function(traced, reduce_retracing=True, autograph=False)
        views = tf.cast(pooled, "float32"), tf.cast(regions, "float32")
        return self._starts[kind](*views, tf.constant(detector_weight, tf.float32))

    def step(self, token_ids, parents, state):
        """Extends hypotheses by one word, see `captioner.decoder.beam_search.StepFunction`."""
        hidden, cell, memory, keys, *detected = state
        states = [
            tf.reshape(tf.gather(array, parents, batch_dims=1), (-1, array.shape[-1])) for array in (hidden, cell)
        ]
        logits, attention_scores, states = self._decoder.step(tf.reshape(token_ids, [-1]), states, memory, keys)
        for added in detected:
            logits += tf.repeat(added, token_ids.shape[1], axis=0)
        log_probs, attention_scores, *states = (
            tf.reshape(rows, (*tf.unstack(tf.shape(token_ids)), rows.shape[-1]))
            for rows in (tf.nn.log_softmax(logits), attention_scores, *states)
        )
        return log_probs, attention_scores, (*states, memory, keys, *detected)

    def read(self, inputs):
        """Returns the logits `(B, T, V)` of the words of given captions, with `inputs` as for the decoder's call."""
        return self._read(inputs)

    def _traced_read(self, inputs):
        return self._decoder(inputs, training=False)

    def _traced_start(self, num_beams: int, detector: WordDetector | None, pooled, regions, detector_weight):
        (hidden, cell), memory, keys = self._decoder.start(pooled, regions)
        states = (tf.repeat(array[:, None], num_beams, axis=1) for array in (hidden, cell))
        detected = [detector_weight * detector.log_probs(pooled, regions)] if detector else []
        return *states, memory, keys, *detected
