"""The compact encoder with heads, side by side with its teacher: what is computed of a batch in distillation.

Legend: `B` batch, `S` side of a photo in pixels, `H` side of a grid, `K` components, `L` classes, `W` words.
"""

import keras
import numpy as np
from keras import ops

from captioner.distillation.teacher import Teacher, resize_grid
from captioner.encoders import augmentation, compact

LOSSES = ("map", "pooled", "classes", "words")
# What the heads predict of the teacher; "words" is of people.
_TAUGHT = LOSSES[:3]


def build_student(architecture: compact.CompactConfig, teacher: Teacher, word_shares: np.ndarray) -> keras.Model:
    """Puts four heads on a compact encoder.

    Args:
        architecture: Its shape.
        teacher: With its statistics.
        word_shares: `(W,)`, how often each word is used: starting from that, the first hours need not go into
            learning it.

    Returns:
        A model from preprocessed pixels to `map` `(B, H, H, K)`, `pooled` `(B, K)`, `classes` `(B, L)` and `words`
        `(B, W)`; the last two are logits.
    """
    network = compact.build_network(architecture)
    grid = network.output
    pooled = keras.layers.GlobalAveragePooling2D()(grid)
    shares = np.clip(word_shares, 1e-4, 1 - 1e-4)
    sizes = {
        "map": teacher.statistics["map_axes"].shape[-1],
        "pooled": teacher.statistics["pooled_axes"].shape[-1],
        "classes": teacher.num_classes,
        "words": len(shares),
    }
    # Small, so that it starts from the mean, not from noise.
    small = keras.initializers.RandomNormal(stddev=1e-3)
    outputs = {}
    for name, size in sizes.items():
        bias = keras.initializers.Constant(np.log(shares / (1 - shares))) if name == "words" else "zeros"
        head = keras.layers.Dense(size, kernel_initializer=small, bias_initializer=bias, name=f"head_{name}")
        outputs[name] = head(grid if name == "map" else pooled)
    return keras.Model(network.input, outputs, name="student")


class Distiller(keras.Model):
    """Student and teacher side by side. `train_on_batch` takes a dictionary and returns the mean of each loss.

    Its arrays are `photos` uint8 `(B, S, S, 3)`, `words` float32 `(B, W)`, and what `views.draw_views` gives.
    """

    def __init__(self, student: keras.Model, teacher: Teacher, weights: dict[str, float], num_words: float):
        super().__init__()
        self.student, self.teacher = student, teacher
        self._weights, self._num_words = weights, num_words
        self._trackers = {name: keras.metrics.Mean(name=name) for name in LOSSES}

    def build(self, input_shape):
        """Does nothing: student and teacher come built."""

    def call(self, inputs, training=False):
        """Returns each loss for each view: name -> `(B,)`. Without a teacher there are those of the words alone."""
        pixels = augmentation.cut_boxes(ops.cast(inputs["photos"], "float32"), inputs["boxes"], self.teacher.image_size)
        pixels = augmentation.blend(augmentation.jitter_colors(pixels, inputs["factors"]), inputs["shares"])
        side = self.student.input.shape[1]
        small = ops.image.resize(pixels, (side, side), interpolation="bilinear", antialias=True)
        predicted = self.student(compact.preprocess(small), training=training)
        entropies = ops.binary_crossentropy(
            augmentation.blend(inputs["words"], inputs["shares"]), predicted["words"], from_logits=True
        )
        losses = {"words": ops.sum(entropies, -1) / self._num_words}
        if any(self._weights[name] for name in _TAUGHT):
            losses |= self._taught_losses(predicted, self.teacher(pixels))
        return losses

    def _taught_losses(self, predicted, targets):
        """Returns the unexplained share of map and pooled, and how far the classes are from the teacher's (KL)."""
        known = self.teacher.statistics
        maps = resize_grid(targets["map"], predicted["map"].shape[1])
        map_loss = ops.mean(ops.sum((predicted["map"] - maps) ** 2, -1), (1, 2)) / known["map_variance"]
        pooled_loss = ops.sum((predicted["pooled"] - targets["pooled"]) ** 2, -1) / known["pooled_variance"]
        teacher = targets["classes"]
        distances = ops.log(teacher + 1e-9) - ops.log_softmax(predicted["classes"])
        return {"map": map_loss, "pooled": pooled_loss, "classes": ops.sum(teacher * distances, -1)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the weighted sum of the mean losses."""
        means = {name: ops.mean(values) for name, values in y_pred.items()}
        for name, value in means.items():
            self._trackers[name].update_state(value)
        return sum(self._weights[name] * value for name, value in means.items())
