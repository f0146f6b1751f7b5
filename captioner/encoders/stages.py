"""An encoder in two parts: a stem that stays as it is, whose maps are computed once, and stages that can learn.

Legend: `B` batch, `S` side of the photo in pixels, `H` side of the stem's grid, `C` its channels, `M = H * H` cells.
"""

import keras
import numpy as np
import tensorflow as tf

from captioner.encoders import specs
from captioner.encoders.encoder import Encoder
from captioner.encoders.folding import call_folded


class Stem:
    """The stages of an encoder that stay frozen, in the place of an encoder for `extract_features`.

    Its `regions` are the cells of its map, `pooled` is their mean.
    """

    # Each view of a photo has a row of its own.
    mirrored = False

    def __init__(self, encoder: Encoder, layer: str):
        grid = encoder.model.get_layer(layer).output  # (B, H, H, C)
        self.name, self.regions_layer, self.fingerprint = encoder.name, layer, encoder.fingerprint
        self.image_size = encoder.image_size
        self.map_shape = tuple(grid.shape[1:])
        self.num_regions, self.region_size = grid.shape[1] * grid.shape[2], grid.shape[3]
        self.pooled_size = self.region_size
        network, preprocess = keras.Model(encoder.model.input, grid), specs.ENCODERS[encoder.name].preprocess
        side = encoder.image_size
        self._compiled = tf.function(
            lambda photos: call_folded(network, preprocess(tf.cast(photos, "float32"))),
            input_signature=[tf.TensorSpec((None, side, side, 3), tf.uint8)],
            autograph=False,
        )

    def encode(self, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns `pooled` `(B, C)` and `regions` `(B, M, C)`, float32, of RGB photos, uint8 `(B, S, S, 3)`."""
        grid = self._compiled(photos).numpy().reshape(len(photos), self.num_regions, self.region_size)
        return grid.mean(axis=1), grid


def split_encoder(encoder: Encoder) -> tuple[Stem, keras.Model]:
    """Splits an encoder behind the last layer that stays frozen.

    Args:
        encoder: The encoder. It shares its weights with both parts.

    Returns:
        The stem, and a model of the other stages from its maps `(B, H, H, C)` to `pooled` `(B, P)` and `regions`
        `(B, R, D)`.

    Raises:
        ValueError: If the encoder has no such layer.
    """
    layer = specs.ENCODERS[encoder.name].last_frozen_layer
    if layer is None or layer not in [known.name for known in encoder.model.layers]:
        raise ValueError(f"The encoder {encoder.name} cannot be split behind a layer it has not. Received: {layer!r}")
    stages = keras.Model(encoder.model.get_layer(layer).output, encoder.model.output, trainable=False)
    return Stem(encoder, layer), stages
