"""A decoder as compiled functions: what a search calls for each photo and each word.

A step computes what `CaptionDecoder.step` does, and multiplies less. The LSTM and the deep output multiply word and
context by their kernels. The context is a mean of the memory's tokens, so each token is multiplied once for a photo and
the mean is taken of the products; each word is multiplied once for a decoder that no longer learns. A step for one
photo takes the time to read the weights it needs, which are about half as many then.

Legend: `B` photos, `K` beams, `N = B * K`, `T` caption length, `V` vocabulary, `U` LSTM units, `E` embedding size, `P`
pooled size, `R` regions, `D` region depth, `A` attention size, `M` memory size, `S` memory tokens, `F` what is
multiplied by the kernels of the LSTM, `4U`, and of the deep output, `U`.
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
        frozen: Whether the decoder's weights stay as they are now.
    """

    def __init__(self, decoder: CaptionDecoder, detector: WordDetector | None = None, *, frozen: bool = False):
        self._decoder, self._detector = decoder, detector
        self._words = self._read_words(decoder.embedding.embeddings) if frozen else None  # (V, F)
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
            The LSTM's hidden and cell state, `(B, K, U)` each, the memory's tokens times the kernels `(B, S, F)`, or
            `(B, S, U)` where the LSTM reads no context, and their keys `(B, S, A)`; with a weight for the detector also
            what it adds to the logits, `(B, V)`.

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
        decoder, num_beams = self._decoder, token_ids.shape[1]
        units, is_inside = decoder.settings.units, decoder.settings.attention == "inside"
        hidden, cell, tokens, keys, *detected = state
        hidden, cell = (_flatten(tf.gather(array, parents, batch_dims=1)) for array in (hidden, cell))
        ids = tf.reshape(token_ids, [-1])
        word = self._read_words(decoder.embedding(ids)) if self._words is None else tf.gather(self._words, ids)
        for_lstm, for_output = word[:, : 4 * units], word[:, 4 * units :]
        if is_inside:
            context, attention_scores = self._attend(hidden, tokens, keys, num_beams)
            for_lstm += context[:, : 4 * units]
        gates = tf.split(for_lstm + tf.matmul(hidden, decoder.cell.recurrent_kernel), 4, axis=1)
        taken, kept, shown = (tf.sigmoid(gates[place]) for place in (0, 1, 3))
        cell = kept * cell + taken * tf.tanh(gates[2])
        hidden = shown * tf.tanh(cell)
        if not is_inside:
            context, attention_scores = self._attend(hidden, tokens, keys, num_beams)
        of_hidden = tf.matmul(hidden, decoder.deep_output.kernel[:units])
        logits = decoder.classifier(tf.tanh(for_output + of_hidden + context[:, -units:]))
        for added in detected:
            logits += tf.repeat(added, num_beams, axis=0)
        log_probs, hidden, cell = (
            tf.reshape(rows, (*tf.unstack(tf.shape(token_ids)), rows.shape[-1]))
            for rows in (tf.nn.log_softmax(logits), hidden, cell)
        )
        return log_probs, attention_scores, (hidden, cell, tokens, keys, *detected)

    def _read_words(self, embedded):
        """Returns words, `(..., E)`, times the kernels, with their biases, `(..., F)`."""
        decoder, settings = self._decoder, self._decoder.settings
        for_lstm = tf.matmul(embedded, decoder.cell.kernel[: settings.embedding_size]) + decoder.cell.bias
        for_output = tf.matmul(embedded, decoder.deep_output.kernel[settings.units + settings.memory_size :])
        return tf.concat([for_lstm, for_output + decoder.deep_output.bias], axis=-1)

    def _read_tokens(self, memory):
        """Returns the memory, `(B, S, M)`, times the kernels, `(B, S, F)`, or `(B, S, U)` if the LSTM reads none."""
        decoder, settings = self._decoder, self._decoder.settings
        kernels = [decoder.deep_output.kernel[settings.units : settings.units + settings.memory_size]]
        if settings.attention == "inside":
            kernels.insert(0, decoder.cell.kernel[settings.embedding_size :])
        return tf.concat([tf.tensordot(memory, kernel, 1) for kernel in kernels], axis=-1)

    def _attend(self, hidden, tokens, keys, num_beams: int):
        """Returns the gated context `(N, F)` or `(N, U)`, times the kernels, and attention scores `(B, K, S)`."""
        # What a photo shows is there once, however many beams look at it.
        query = tf.reshape(hidden, (-1, num_beams, hidden.shape[-1]))
        context, attention_scores = self._decoder.attention(query, tokens, keys)
        return self._decoder.context_gate(hidden) * _flatten(context), attention_scores

    def read(self, inputs):
        """Returns the logits `(B, T, V)` of the words of given captions, with `inputs` as for the decoder's call."""
        return self._read(inputs)

    def _traced_read(self, inputs):
        return self._decoder(inputs, training=False)

    def _traced_start(self, num_beams: int, detector: WordDetector | None, pooled, regions, detector_weight):
        (hidden, cell), memory, keys = self._decoder.start(pooled, regions)
        states = (tf.repeat(array[:, None], num_beams, axis=1) for array in (hidden, cell))
        detected = [detector_weight * detector.log_probs(pooled, regions)] if detector else []
        return *states, self._read_tokens(memory), keys, *detected


def _flatten(array: tf.Tensor) -> tf.Tensor:
    """Puts the beams of all photos, `(B, K, ...)`, below each other, `(N, ...)`."""
    return tf.reshape(array, (-1, array.shape[-1]))
