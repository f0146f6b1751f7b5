"""The caption decoder: an LSTM that looks back at the photo before each word.

Before word `t`, additive attention scores every region `r` against the state of the LSTM,

    e(t, r) = v . tanh(W h(t-1) + U m(r)),   a(t, .) = softmax(e(t, .)),   c(t) = sum_r a(t, r) m(r),

where `m(r)` are the projected regions and one more token for the whole photo. A gate in 0..1, computed from
`h(t-1)`, scales the context `c(t)`; the LSTM reads the word and the context; the next word is predicted from the new
state, the context and the word together.

Legend: `B` batch, `T` caption length, `V` vocabulary, `U` LSTM units, `P` pooled size, `R` regions, `D` region depth,
`E` embedding size, `A` attention size, `M` memory size, `S` memory tokens: `R` regions (or slots) and 1 for `pooled`.

References:
    D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2015.
    https://arxiv.org/abs/1409.0473 (the attention)
    K. Xu et al., "Show, Attend and Tell", 2015. https://arxiv.org/abs/1502.03044 (regions, gate, deep output)
"""

import dataclasses
import functools
import math

import keras
import numpy as np
from keras import ops

from captioner import config
from captioner.decoder.attention import AdditiveAttention


@keras.saving.register_keras_serializable("captioner")
class CaptionDecoder(keras.Model):
    """Photo features and the words so far to the logits of each next word.

    Training calls the model on whole captions; drawing samples calls `start` once per photo and `step` once per word.
    Both go through the same layers, so teacher-forced and step-wise logits of the same words are equal. Searches begin
    with `start`, too, and compute their steps in another order, see `captioner.decoder.steps`.

    Args:
        vocabulary_size: `V`, special words included.
        pooled_size: `P` of the encoder.
        num_regions: `R` of the encoder.
        region_size: `D` of the encoder.
        decoder_config: A `captioner.config.DecoderConfig`, or its fields as a dict.
    """

    def __init__(self, vocabulary_size, pooled_size, num_regions, region_size, decoder_config=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(decoder_config, dict):
            decoder_config = config.DecoderConfig(**decoder_config)
        self.settings = settings = decoder_config or config.DecoderConfig()
        self.sizes = {
            "vocabulary_size": vocabulary_size,
            "pooled_size": pooled_size,
            "num_regions": num_regions,
            "region_size": region_size,
        }
        dense, dropout = keras.layers.Dense, settings.dropout
        # Without scale and centre, which the projections behind could learn as well: so no gradient has to reach the
        # features, by far the largest arrays of a training step.
        norm = functools.partial(keras.layers.LayerNormalization, center=False, scale=False)
        self.pooled_norm = norm(name="pooled_norm")
        self.global_token = dense(settings.memory_size, activation="relu", name="global_token")
        if settings.attend_to == "regions":
            self.region_norm = norm(name="region_norm")
            self.region_tokens = dense(settings.memory_size, activation="relu", name="region_tokens")
            self.num_tokens = num_regions + 1
        else:
            size = settings.num_slots * settings.memory_size
            self.region_tokens = dense(size, activation="relu", name="slot_tokens")
            self.num_tokens = settings.num_slots + 1
        self.memory_dropout = keras.layers.Dropout(dropout, name="memory_dropout")
        self.initial_hidden = dense(settings.units, activation="tanh", name="initial_hidden")
        self.initial_cell = dense(settings.units, activation="tanh", name="initial_cell")
        self.embedding = keras.layers.Embedding(vocabulary_size, settings.embedding_size, name="embedding")
        self.word_dropout = keras.layers.Dropout(dropout, name="word_dropout")
        self.attention = AdditiveAttention(settings.attention_size, name="attention")
        self.context_gate = dense(1, activation="sigmoid", name="context_gate")
        self.cell = keras.layers.LSTMCell(settings.units, name="lstm")
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout")
        self.deep_output = dense(settings.units, activation="tanh", name="deep_output")
        self.classifier_dropout = keras.layers.Dropout(dropout, name="classifier_dropout")
        self.classifier = dense(vocabulary_size, name="classifier")
        self._build_layers()

    def _build_layers(self):
        """Creates all weights now, so that a fresh decoder can be saved, loaded and counted."""
        s, sizes = self.settings, self.sizes
        features = (None, sizes["pooled_size"])
        self.pooled_norm.build(features)
        for layer in (self.global_token, self.initial_hidden, self.initial_cell):
            layer.build(features)
        if s.attend_to == "regions":
            num_regions, region_size = sizes["num_regions"], sizes["region_size"]
            self.region_norm.build((None, num_regions, region_size))
            places = _locate_regions(num_regions, region_size).shape[-1] if s.positions else 0
            self.region_tokens.build((None, num_regions, region_size + places))
        else:
            self.region_tokens.build(features)
        self.embedding.build((None, None))
        self.attention.build((None, s.units), (None, self.num_tokens, s.memory_size))
        self.context_gate.build((None, s.units))
        inside = s.attention == "inside"
        self.cell.build((None, s.embedding_size + (s.memory_size if inside else 0)))
        self.deep_output.build((None, s.units + s.memory_size + s.embedding_size))
        self.classifier.build((None, s.units))
        self.built = True

    def start(self, pooled, regions, training=False):
        """Reads the photos.

        Args:
            pooled: `(B, P)` float.
            regions: `(B, R, D)` float; unused with slots.

        Returns:
            `(states, memory, keys)`: the LSTM's hidden and cell state `(B, U)` each, the tokens to attend to
            `(B, S, M)` and their keys `(B, S, A)`.
        """
        pooled = self.pooled_norm(pooled)
        token = ops.expand_dims(self.global_token(pooled), 1)  # (B, 1, M)
        if self.settings.attend_to == "regions":
            tokens = self.region_tokens(self._add_places(self.region_norm(regions)))  # (B, R, M)
        else:
            tokens = ops.reshape(self.region_tokens(pooled), (-1, self.num_tokens - 1, self.settings.memory_size))
        memory = self.memory_dropout(ops.concatenate([tokens, token], axis=1), training=training)  # (B, S, M)
        states = [self.initial_hidden(pooled), self.initial_cell(pooled)]
        return states, memory, self.attention.project_keys(memory)

    def _add_places(self, regions):
        """Puts behind what a region shows where it lies, `(B, R, D + 2 * side of the grid)`, if that is wanted."""
        if not self.settings.positions:
            return regions
        places = ops.convert_to_tensor(_locate_regions(*regions.shape[1:]))
        return ops.concatenate([regions, ops.broadcast_to(places, (ops.shape(regions)[0], *places.shape))], axis=-1)

    def step(self, token_ids, states, memory, keys):
        """Reads one word and predicts the next.

        Args:
            token_ids: `(N,)` int, the words before: one of each photo, or as many of each, in adjacent rows.
            states: From the step before, `(N, U)` each, or from `start`, its rows repeated.
            memory, keys: From `start`.

        Returns:
            `(logits, attention_scores, states)`: `(N, V)`, `(N, S)` and the two new states.
        """
        word = self.embedding(token_ids)  # (B, E)
        hidden, context, attention_scores, states = self._recur(word, states, memory, keys)
        return self._predict(hidden, context, word), attention_scores, states

    def call(self, inputs, training=False):
        """Returns logits `(B, T, V)` for `inputs` with `pooled`, `regions` and `input_ids` `(B, T)`."""
        return self.call_with_attention(inputs, training=training)[0]

    def call_with_attention(self, inputs, training=False):
        """As `call`, and the attention scores `(B, T, S)`."""
        states, memory, keys = self.start(inputs["pooled"], inputs["regions"], training=training)
        return self.read(inputs["input_ids"], states, memory, keys, training=training)

    def read(self, input_ids, states, memory, keys, training=False):
        """Reads whole captions of photos that `start` has read.

        Args:
            input_ids: `(B, T)` int.
            states, memory, keys: From `start`; for several captions of a photo, its rows repeated.

        Returns:
            Logits `(B, T, V)` and attention scores `(B, T, S)`.
        """
        words = self.word_dropout(self.embedding(input_ids), training=training)  # (B, T, E)
        if self.settings.attention == "inside":
            hidden, context, scores = self._unroll(words, states, memory, keys)
        else:
            hidden = self._run_lstm(words, states)
            context, scores = self._attend(hidden, memory, keys)
        return self._predict(hidden, context, words, training), scores

    def _recur(self, word, states, memory, keys):
        """One step of the recurrence: `(hidden, context, attention_scores, states)`."""
        if self.settings.attention == "inside":
            context, scores = self._attend(states[0], memory, keys)
            hidden, states = self.cell(ops.concatenate([word, context], axis=-1), states)
        else:
            hidden, states = self.cell(word, states)
            context, scores = self._attend(hidden, memory, keys)
        return hidden, context, scores, states

    def _attend(self, query, memory, keys):
        # What a photo shows is there once, however many hypotheses look at it.
        grouped = ops.reshape(query, (ops.shape(memory)[0], -1, query.shape[-1]))
        context, attention_scores = (
            ops.reshape(seen, (*ops.shape(query)[:-1], seen.shape[-1]))
            for seen in self.attention(grouped, memory, keys)
        )
        return self.context_gate(query) * context, attention_scores

    def _unroll(self, words, states, memory, keys):
        """Runs `_recur` over all words: hidden `(B, T, U)`, context `(B, T, M)`, attention scores `(B, T, S)`."""

        def recur(carry, word):
            _, context, scores, states = self._recur(word, carry[:2], memory, keys)
            # On a line of its own: TensorFlow converts no assignment within an expression, and warns of it.
            carry = [*states, context, scores]
            return carry, carry

        # `ops.scan` wants what a step returns to look like what it carries on, so context and scores are carried too.
        batch = ops.shape(words)[0]
        blank = [ops.zeros((batch, self.settings.memory_size)), ops.zeros((batch, self.num_tokens))]
        _, outputs = ops.scan(recur, [*states, *blank], ops.transpose(words, (1, 0, 2)))
        hidden, _, context, scores = (ops.transpose(output, (1, 0, 2)) for output in outputs)
        return hidden, context, scores

    def _run_lstm(self, words, states):
        """Runs the bare LSTM over all words, hidden `(B, T, U)`."""

        def recur(states, word):
            states = self.cell(word, states)[1]
            return states, states

        _, [hidden, _] = ops.scan(recur, states, ops.transpose(words, (1, 0, 2)))
        return ops.transpose(hidden, (1, 0, 2))

    def _predict(self, hidden, context, word, training=False):
        """Deep output (Xu et al. 2015, equation 7): logits from state, context and word."""
        features = self.output_dropout(ops.concatenate([hidden, context, word], axis=-1), training=training)
        return self.classifier(self.classifier_dropout(self.deep_output(features), training=training))

    def get_config(self):
        return super().get_config() | self.sizes | {"decoder_config": dataclasses.asdict(self.settings)}


def _locate_regions(num_regions: int, region_size: int) -> np.ndarray:
    """Returns row and column of each region, one number of each row and column not 0, float32 `(R, 2 * side)`.

    They are as long as normalised regions of `region_size` numbers, so that a fresh layer listens to both alike.
    """
    side = math.isqrt(num_regions)
    if side * side != num_regions:
        raise ValueError(f"positions need a square grid of regions. Received: num_regions={num_regions}")
    rows, columns = np.divmod(np.arange(num_regions), side)
    return (np.concatenate([np.eye(side)[rows], np.eye(side)[columns]], axis=1) * (region_size / 2) ** 0.5).astype(
        "float32"
    )
