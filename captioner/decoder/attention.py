"""Additive attention (Bahdanau et al., 2015): where the decoder looks before each word.

Legend: `B` batch, `T` caption length, `U` LSTM units, `A` attention size, `M` memory size, `S` memory tokens.

References:
    D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", 2015.
    https://arxiv.org/abs/1409.0473
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable("captioner")
class AdditiveAttention(keras.layers.Layer):
    """Bahdanau's attention with keys computed once per photo.

    Args:
        units: Size `A` of the space in which query and keys are compared.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.query_projection = keras.layers.Dense(units, name="query")
        self.key_projection = keras.layers.Dense(units, use_bias=False, name="key")
        self.scorer = keras.layers.Dense(1, use_bias=False, name="score")

    def build(self, query_shape, memory_shape):
        self.query_projection.build(query_shape)
        self.key_projection.build(memory_shape)
        self.scorer.build((*memory_shape[:-1], self.units))

    def project_keys(self, memory):
        """Returns the keys `(B, S, A)` of a memory `(B, S, M)`."""
        return self.key_projection(memory)

    def call(self, query, memory, keys):
        """Attends to the memory.

        Args:
            query: `(B, T, U)`, `T` of them for each memory.
            memory: `(B, S, M)`.
            keys: `(B, S, A)`, from `project_keys`.

        Returns:
            The context `(B, T, M)`, and attention scores `(B, T, S)` that sum to 1 over `S`.
        """
        query = ops.expand_dims(self.query_projection(query), 2)  # (B, T, 1, A)
        energies = ops.squeeze(self.scorer(ops.tanh(query + ops.expand_dims(keys, 1))), -1)  # (B, T, S)
        if memory.shape[0] == 1:
            # On a CPU, TensorFlow's library oneDNN sets up a softmax and a batch of products anew at each call. For one
            # photo that takes longer than the work, so the softmax is written out, and the product is a plain one.
            likelihoods = ops.exp(energies - ops.max(energies, axis=-1, keepdims=True))
            attention_scores = likelihoods / ops.sum(likelihoods, axis=-1, keepdims=True)
            return ops.expand_dims(ops.matmul(attention_scores[0], memory[0]), 0), attention_scores
        attention_scores = ops.softmax(energies, axis=-1)
        return ops.matmul(attention_scores, memory), attention_scores

    def get_config(self):
        return super().get_config() | {"units": self.units}
