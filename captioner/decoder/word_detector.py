"""Which words a photo calls for, asked of the photo as a whole and of no sentence.

A decoder writes what goes on well from the words before, and so "a man in a red" ends in "shirt" whatever the photo
shows. A logistic regression for each word, on the same features, says how likely one of the people who describe a photo
is to use that word (H. Fang et al., "From Captions to Visual Concepts and Back", 2015,
https://arxiv.org/abs/1411.4952). A search adds the weighted logarithm of that to the logit of the word.

The regressions share what they look for in the features: their weights are a product of two matrices, of which the
first is the same for all words. So words of few photos profit from those of many, and with Flickr8k's vocabulary there
are fewer than half as many weights.

Legend: `B` photos, `P` pooled size, `R` regions, `D` region depth, `H` shared size, `W` detected words, `V` vocabulary.
"""

from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf

from captioner import files

# Length of either part of the features: so long that weights of usual size tell photos apart.
_LENGTH = 10.0
_ARRAYS = {"word_ids": np.int32, "shared": np.float32, "kernel": np.float32, "bias": np.float32}


def pool_features(pooled, regions):
    """Returns the features that words are detected by: the mean of a photo, and the maximum over its regions.

    Args:
        pooled: `(B, P)` float.
        regions: `(B, R, D)` float.

    Returns:
        float32 `(B, P + D)`, both parts of length 10.
    """
    views = tf.cast(pooled, tf.float32), tf.reduce_max(tf.cast(regions, tf.float32), axis=1)
    return _LENGTH * tf.concat([tf.math.l2_normalize(view, axis=-1) for view in views], axis=-1)


class WordDetector:
    """Says how likely people are to use each word of a photo.

    Args:
        word_ids: The words that it knows, int32 `(W,)`.
        shared: What all words are detected by, float32 `(P + D, H)`.
        kernel: What each makes of that, float32 `(H, W)`.
        bias: float32 `(W,)`.
        vocabulary_size: `V`.
    """

    def __init__(
        self, word_ids: np.ndarray, shared: np.ndarray, kernel: np.ndarray, bias: np.ndarray, vocabulary_size: int
    ):
        self.word_ids, self.shared, self.kernel, self.bias = word_ids, shared, kernel, bias
        # Tensors, which compiled functions share: of arrays each would hold a copy.
        self._shared, self._kernel, self._bias = (tf.constant(array) for array in (shared, kernel, bias))
        # The place of a word that it does not know is behind all others.
        self._places = np.full(vocabulary_size, len(word_ids), np.int32)
        self._places[word_ids] = np.arange(len(word_ids))

    def log_probs(self, pooled: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
        """Returns the log-probability that people use each word, float32 `(B, V)`.

        Words that it does not know count like one that everybody uses: theirs is 0. These are function words, the end
        marker and other special words, words that say who is male or female, and any that no train photo was described
        with.

        Args:
            pooled: `(B, P)` float.
            regions: `(B, R, D)` float.
        """
        logits = tf.matmul(tf.matmul(pool_features(pooled, regions), self._shared), self._kernel) + self._bias
        known = tf.math.log_sigmoid(logits)  # (B, W)
        return tf.gather(tf.pad(known, [[0, 0], [0, 1]]), self._places, axis=1)

    def check_finite(self) -> None:
        """Checks that all weights are numbers, as they will be saved.

        Raises:
            ValueError: If one is not.
        """
        with np.errstate(over="ignore"):
            arrays = self.shared.astype(np.float16), self.kernel.astype(np.float16), self.bias
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("The word detector has weights that are no numbers: its training has failed.")

    def save(self, path: str | Path) -> None:
        """Writes the weights, matrices in float16."""
        with h5py.File(path, "w") as file:
            file["word_ids"], file["bias"] = self.word_ids, self.bias
            file["shared"], file["kernel"] = (array.astype(np.float16) for array in (self.shared, self.kernel))

    @classmethod
    def load(cls, path: str | Path, vocabulary_size: int, num_features: int) -> "WordDetector":
        """Reads what `save` wrote.

        Args:
            path: The file.
            vocabulary_size: `V`.
            num_features: `P + D`.

        Raises:
            ValueError: If the file is damaged, or of another encoder or vocabulary.
        """
        path = Path(path)
        with files.reading(path):
            with h5py.File(path) as file:
                arrays = {name: file[name][()].astype(kind) for name, kind in _ARRAYS.items()}
            size, count = arrays["shared"].size // num_features, len(arrays["word_ids"])
            shapes = {"word_ids": (count,), "shared": (num_features, size), "kernel": (size, count), "bias": (count,)}
            if {name: array.shape for name, array in arrays.items()} != shapes or not all(
                np.isfinite(array).all() for array in arrays.values()
            ):
                raise ValueError(f"its weights do not fit {num_features} features")
            if count and not 0 <= arrays["word_ids"].min() <= arrays["word_ids"].max() < vocabulary_size:
                raise ValueError(f"its words are not among {vocabulary_size}")
        return cls(**arrays, vocabulary_size=vocabulary_size)
