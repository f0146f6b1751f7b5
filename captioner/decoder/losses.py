"""What a decoder is trained by and measured by, word by word. Legend: `B` batch, `T` caption length, `V` vocabulary."""

import keras
from keras import ops

from captioner.data.vocabulary import Vocabulary


@keras.saving.register_keras_serializable("captioner")
class CaptionLoss(keras.losses.Loss):
    """Cross-entropy for each word, padding left out, with label smoothing.

    With smoothing `s` a word costs `(1 - s) * -log p(word) + s * mean over V of -log p`.

    Args:
        label_smoothing: `s`, in [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "caption_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, target_ids, logits):
        """Returns the mean over all words, a scalar, of `target_ids` `(B, T)` and `logits` `(B, T, V)`."""
        target_ids = ops.cast(target_ids, "int32")
        size, rest = logits.shape[-1], self.label_smoothing / logits.shape[-1]
        # Soft targets go through the one fused kernel; the same sum from log-probabilities costs several passes over V.
        soft_targets = (1 - self.label_smoothing) * ops.one_hot(target_ids, size, dtype=logits.dtype) + rest
        word_losses = ops.categorical_crossentropy(soft_targets, logits, from_logits=True)  # (B, T)
        counted = _count_words(target_ids, logits.dtype)
        return ops.sum(word_losses * counted) / ops.maximum(ops.sum(counted), 1)

    def get_config(self):
        return super().get_config() | {"label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("captioner")
class Perplexity(keras.metrics.Metric):
    """`exp` of the mean cross-entropy for each word, end markers counted, padding not."""

    def __init__(self, name: str = "perplexity", **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_variable((), "zeros", name="total")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, target_ids, logits, sample_weight=None):
        word_losses, counted = word_cross_entropy(target_ids, logits)
        self.total.assign_add(ops.sum(word_losses))
        self.count.assign_add(ops.sum(counted))

    def result(self):
        return ops.exp(self.total / ops.maximum(self.count, 1))


def word_cross_entropy(target_ids, logits):
    """Returns `-log p` of each target and 1 where there is one, 0 on padding; both `(B, T)` float32."""
    target_ids = ops.cast(target_ids, "int32")
    counted = _count_words(target_ids, logits.dtype)
    return ops.sparse_categorical_crossentropy(target_ids, logits, from_logits=True) * counted, counted


def _count_words(target_ids, dtype):
    return ops.cast(ops.not_equal(target_ids, Vocabulary.pad_id), dtype)
