"""Networks that are only read: norms folded into the convolutions before them, kernels as constants.

A batch normalization whose statistics stay is a factor and an offset for each channel, so it can be part of the kernel
and the bias of the convolution that it follows (B. Jacob et al., 2018, section 3.2: https://arxiv.org/abs/1712.05877).
And of a constant kernel TensorFlow keeps the layout that its arithmetic wants, which it else makes anew for each batch.
"""

from collections import Counter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def call_folded(network: keras.Model, inputs: tf.Tensor) -> Any:
    """Calls a network of one input as if it were `network(inputs, training=False)`.

    For use in a `tf.function`: the kernels of convolutions without bias are constants of what it compiles, so changes
    of the weights after that do not count.

    Args:
        network: The network; a layer stands in it once.
        inputs: `(B, ...)`, as it takes them.

    Returns:
        What the network gives, equal to a rounding of float32.
    """
    norms = _find_norms(network)
    folded = {norm.name for norm in norms.values()}
    known = {id(network.inputs[0]): inputs}
    for layer in network.layers:
        if id(layer.output) in known:  # the input
            continue
        given = keras.tree.map_structure(lambda tensor: known[id(tensor)], layer.input)
        if layer.name in folded:
            result = given
        elif _is_bare(layer):
            result = _convolve(layer, norms.get(layer.name), given)
        else:
            result = layer(given)
        known[id(layer.output)] = result
    return keras.tree.map_structure(lambda tensor: known[id(tensor)], network.output)


def _find_norms(network: keras.Model) -> dict[str, keras.Layer]:
    """Returns name of a convolution -> the norm that alone reads it."""
    makers = {id(layer.output): layer for layer in network.layers}
    read = [id(tensor) for layer in network.layers for tensor in keras.tree.flatten(layer.input)]
    times_read = Counter([*read, *map(id, keras.tree.flatten(network.output))])
    norms = {}
    for norm in network.layers:
        is_norm = isinstance(norm, keras.layers.BatchNormalization) and norm.axis in (-1, 3)
        if is_norm and times_read[id(norm.input)] == 1:
            maker = makers[id(norm.input)]
            if _is_bare(maker):
                norms[maker.name] = norm
    return norms


def _is_bare(layer: keras.Layer) -> bool:
    """Says whether a layer is a convolution and nothing else, of the kind that `_convolve` knows."""
    return (
        isinstance(layer, _CONVOLUTIONS)
        and not layer.use_bias
        and layer.activation is keras.activations.linear
        and (getattr(layer, "groups", 1), getattr(layer, "depth_multiplier", 1)) == (1, 1)
        and layer.data_format == "channels_last"
        and tuple(layer.dilation_rate) == (1, 1)
    )


def _convolve(layer: keras.Layer, norm: keras.Layer | None, inputs: tf.Tensor) -> tf.Tensor:
    """Calls a convolution, and the norm behind it if there is one."""
    kernel = _read(layer.kernel)
    factor, offset = _read_norm(norm) if norm else (np.float32(1), None)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = kernel * np.reshape(factor, (-1, 1))
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, (1, *layer.strides, 1), layer.padding.upper())
    else:
        outputs = tf.nn.conv2d(inputs, kernel * factor, layer.strides, layer.padding.upper())
    return outputs if offset is None else tf.nn.bias_add(outputs, offset)


def _read_norm(norm: keras.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Returns factor and offset of each channel, float32 `(C,)`."""
    factor = 1 / np.sqrt(_read(norm.moving_variance) + norm.epsilon)
    if norm.gamma is not None:
        factor *= _read(norm.gamma)
    shift = -_read(norm.moving_mean) * factor
    return factor, shift if norm.beta is None else shift + _read(norm.beta)


def _read(variable: keras.Variable) -> np.ndarray:
    """Returns the value of a weight, also while a function is traced."""
    with tf.init_scope():
        return keras.ops.convert_to_numpy(variable)
