"""The compact encoder: a small residual network of our own, 112x112 pixels in, a 7x7 grid out.

The arithmetic is laid out for a CPU: a stem that cuts the photo into 4x4 patches, then bottleneck blocks (1x1, 3x3,
1x1) on grids of 28, 14 and 7 cells a side. Everything but the 3x3 convolutions is one matrix product. The weights
come from `captioner.distillation.trainer`. Legend: `B` batch, `S` side of the photo, `H` side of a grid, `C` channels.

References:
    K. He et al., "Deep Residual Learning", 2015. https://arxiv.org/abs/1512.03385
    Z. Liu et al., "A ConvNet for the 2020s", 2022 (patch stem and patch downsampling). https://arxiv.org/abs/2201.03545
"""

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
from keras import ops

from captioner import config, files, float16

GRID_LAYER = "compact_grid"
WEIGHTS_FILE = "encoder.weights.h5"


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    """Shape of the compact encoder."""

    # 112 pixels still give a 7x7 grid at stride 16, for a quarter of the arithmetic of 224.
    image_size: int = 112
    # Patches of 4x4 leave the costly fine grids out: 28x28 is where the first block works.
    stem_size: int = 4
    # Channels on the grids of 28, 14 and 7 cells a side; the last is the depth of a region.
    widths: Sequence[int] = (64, 160, 384)
    # Most blocks where a weight costs least arithmetic, which is on the smallest grid.
    depths: Sequence[int] = (2, 4, 6)
    # The 3x3 convolution of a block works on this share of the channels.
    bottleneck: float = 0.5

    def __post_init__(self):
        # JSON knows lists alone.
        for name in ("widths", "depths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.widths) != len(self.depths) or not self.widths:
            raise ValueError(
                "widths and depths need one entry for each grid. "
                f"Received: widths={self.widths!r}, depths={self.depths!r}"
            )
        sides, channels = (self.image_size, self.stem_size), (*self.widths, *self.depths)
        if (
            not all(type(number) is int and 0 < number <= 4096 for number in (*sides, *channels))
            or len(self.widths) > 8
        ):
            raise ValueError(f"Sides, widths and depths must be whole numbers from 1 to 4096. Received: {self}")
        if not 0 < self.bottleneck <= 1:
            raise ValueError(f"bottleneck must lie in (0, 1]. Received: bottleneck={self.bottleneck!r}")
        stride = self.stem_size * 2 ** (len(self.widths) - 1)
        if self.image_size % stride:
            raise ValueError(
                f"image_size must be a multiple of the stride {stride}. Received: image_size={self.image_size!r}"
            )

    @property
    def grid_size(self) -> int:
        """Side of the last grid in cells."""
        return self.image_size // (self.stem_size * 2 ** (len(self.widths) - 1))


@keras.saving.register_keras_serializable(package="captioner")
class Convolution(keras.layers.Layer):
    """A convolution without bias whose kernel is a matrix `(k * k * C, filters)`.

    Covers what the encoder needs: 1x1, patches (stride equals size) and 3x3 with stride 1 and zero padding. As a
    matrix, the kernel suits optimizers that orthogonalise updates, and all but the 3x3 is one matrix product.

    Args:
        filters: Channels out.
        size: Side `k` of the kernel.
        patches: Whether the stride equals the size, which makes the grid `k` times smaller.
    """

    def __init__(self, filters: int, size: int, *, patches: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size, self.patches = filters, size, patches

    def build(self, input_shape):
        fan_in = self.size**2 * input_shape[-1]
        self.kernel = self.add_weight(
            shape=(fan_in, self.filters),
            initializer=keras.initializers.RandomNormal(stddev=(2 / fan_in) ** 0.5),
            name="kernel",
        )

    def call(self, inputs):  # (B, H, H, C) -> (B, H', H', filters)
        if self.size == 1:
            return ops.matmul(inputs, self.kernel)
        kernel = ops.reshape(self.kernel, (self.size, self.size, inputs.shape[-1], self.filters))
        return ops.conv(inputs, kernel, strides=self.size if self.patches else 1, padding="same")

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        step = self.size if self.patches else 1
        return batch, height // step, width // step, self.filters

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "size": self.size, "patches": self.patches}


@keras.saving.register_keras_serializable(package="captioner")
class Normalization(keras.layers.Layer):
    """Batch normalization over the last axis, under TensorFlow as one fused operation each way.

    Keras' own layer is made of elementary operations there, which on a CPU cost more time than the convolutions
    around them.
    """

    momentum, epsilon = 0.98, 1e-4

    def build(self, input_shape):
        for name, initializer in (("scale", "ones"), ("offset", "zeros")):
            setattr(self, name, self.add_weight(shape=input_shape[-1:], initializer=initializer, name=name))
        for name, initializer in (("moving_mean", "zeros"), ("moving_variance", "ones")):
            weight = self.add_weight(shape=input_shape[-1:], initializer=initializer, trainable=False, name=name)
            setattr(self, name, weight)

    def call(self, inputs, training=False):  # (B, H, H, C) -> (B, H, H, C)
        if keras.backend.backend() == "tensorflow":
            outputs, mean, variance = self._normalize_fused(inputs, training)
        else:
            mean, variance = ops.moments(inputs, (0, 1, 2)) if training else (self.moving_mean, self.moving_variance)
            outputs = (inputs - mean) * ops.rsqrt(variance + self.epsilon) * self.scale + self.offset
        if training:
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs

    def _normalize_fused(self, inputs, training):
        import tensorflow as tf

        statistics = () if training else (self.moving_mean, self.moving_variance)
        return tf.compat.v1.nn.fused_batch_norm(
            inputs, self.scale, self.offset, *statistics, epsilon=self.epsilon, is_training=bool(training)
        )

    def compute_output_shape(self, input_shape):
        return input_shape


def preprocess(pixels):
    """Maps RGB pixels, float32 in 0..255, to -1..1."""
    return pixels / 127.5 - 1.0


def build_network(architecture: CompactConfig | None = None) -> keras.Model:
    """Builds the compact encoder with random weights.

    Args:
        architecture: Its shape, by default that of the shipped encoder.

    Returns:
        A model from preprocessed pixels `(B, S, S, 3)` to the layer `compact_grid`, `(B, H, H, C)`, not negative.
        The encoder's `regions` are its cells row by row, `pooled` is their mean.
    """
    architecture = architecture or CompactConfig()
    side = architecture.image_size
    pixels = keras.layers.Input((side, side, 3), name="pixels")
    grid = pixels
    for stage, (width, depth) in enumerate(zip(architecture.widths, architecture.depths, strict=True)):
        size = architecture.stem_size if stage == 0 else 2
        grid = Convolution(width, size, patches=True, name=f"stage{stage}_patches")(grid)
        grid = Normalization(name=f"stage{stage}_patches_norm")(grid)
        for block in range(depth):
            grid = _add_block(grid, round(width * architecture.bottleneck), f"stage{stage}_block{block}")
    grid = keras.layers.ReLU(name=GRID_LAYER)(Normalization(name="last_norm")(grid))
    return keras.Model(pixels, grid, name="compact")


def read_architecture(folder: str | Path) -> CompactConfig:
    """Returns the shape of the encoder whose weights a folder holds; the default where there is no `encoder.json`.

    Raises:
        ValueError: If that file is damaged.
    """
    file = Path(folder) / config.ENCODER_FILE
    if not file.is_file():
        return CompactConfig()
    try:
        return config.from_json(CompactConfig, files.read_json(file)["architecture"])
    except (ValueError, KeyError):
        raise ValueError(files.damaged(file)) from None


def save_weights(network: keras.Model, folder: str | Path, description: dict) -> Path:
    """Writes an encoder's weights and what is known of them.

    Kernels are rounded to float16, in the network too: that changes the features by a few thousandths, and halves the
    file.

    Args:
        network: From `build_network`.
        folder: Where `encoder.weights.h5` and `encoder.json` go; each replaces its predecessor in one step.
        description: Goes into `encoder.json` with the size and the number of parameters.

    Returns:
        The file of the weights, which `network.load_weights` reads.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    float16.round_kernels(network)
    with files.replace_file(folder / WEIGHTS_FILE) as half, tempfile.TemporaryDirectory() as elsewhere:
        full = Path(elsewhere, WEIGHTS_FILE)
        network.save_weights(full)
        float16.halve_weights(full, half)
    facts = {"parameters": network.count_params(), "bytes": (folder / WEIGHTS_FILE).stat().st_size}
    text = json.dumps({"encoder": "compact"} | facts | description, indent=2)
    with files.replace_file(folder / config.ENCODER_FILE) as new:
        new.write_text(text + "\n", encoding="utf-8")
    return folder / WEIGHTS_FILE


def _add_block(grid, inner: int, name: str):
    """Adds one residual block, `(B, H, H, C)` to the same shape, working on `inner` channels."""
    update = grid
    for filters, size, part in ((inner, 1, "reduce"), (inner, 3, "convolve"), (grid.shape[-1], 1, "expand")):
        update = keras.layers.ReLU(name=f"{name}_{part}_relu")(update)
        update = Convolution(filters, size, name=f"{name}_{part}")(update)
        # The sum needs no normalization: whatever reads it next is normalized, and this is the widest place.
        update = update if part == "expand" else Normalization(name=f"{name}_{part}_norm")(update)
    return keras.layers.Add(name=f"{name}_add")([grid, update])
