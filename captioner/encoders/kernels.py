"""The kernels of an encoder: what learns when it is fine-tuned, and what is kept of that."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import keras
import numpy as np


def find_kernels(network: keras.Model) -> dict[str, keras.Variable]:
    """Returns layer name -> kernel of each convolution: what learns when an encoder is fine-tuned."""
    convolutions = [layer for layer in network.layers if not isinstance(layer, keras.layers.Dense)]
    # Norms have vectors alone.
    return {layer.name: weight for layer in convolutions for weight in layer.weights if len(weight.shape) > 1}


def learn_kernels(network: keras.Model) -> dict[str, keras.Variable]:
    """Lets the kernels of convolutions learn and nothing else; returns them as `find_kernels` does."""
    kernels = find_kernels(network)
    network.trainable = True
    learning = {kernel.path for kernel in kernels.values()}
    for variable in network.weights:
        variable.trainable = variable.path in learning
    return kernels


def round_kernels(kernels: Iterable[keras.Variable]) -> None:
    """Rounds kernels to float16, as they will be saved."""
    for kernel in kernels:
        kernel.assign(keras.ops.convert_to_numpy(kernel).astype(np.float16).astype(np.float32))


def save_kernels(network: keras.Model, layers: Sequence[str], path: str | Path) -> None:
    """Writes the kernels of layers, float16, so that the rest can come from where it always comes from."""
    kernels = find_kernels(network)
    with h5py.File(path, "w") as file:
        for layer in layers:
            file[layer] = keras.ops.convert_to_numpy(kernels[layer]).astype(np.float16)


def load_kernels(network: keras.Model, path: str | Path) -> tuple[str, ...]:
    """Gives a network the kernels that `save_kernels` wrote, and returns the names of their layers.

    Raises:
        ValueError: If the file is damaged or of another network.
    """
    kernels = find_kernels(network)
    try:
        with h5py.File(path) as file:
            for layer, values in file.items():
                kernels[layer].assign(values[()].astype(np.float32))
            return tuple(file)
    # What h5py and Keras raise on files that are cut short or of other shapes.
    except (OSError, KeyError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ValueError(f"{path} does not hold fine-tuned weights of {network.name}. Received: {reason}") from None
