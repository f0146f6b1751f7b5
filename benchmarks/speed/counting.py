"""How many floating-point operations of matrix products a photo, a step of the decoder and a search take.

A search multiplies less than training, see `captioner.decoder.steps`.
"""

import math
from collections.abc import Sequence

import keras


def count_network(network: keras.Model) -> int:
    """Returns the operations of convolutions and dense layers for one photo."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            total += 2 * math.prod(layer.output.shape[1:]) * math.prod(layer.kernel_size)
        elif isinstance(layer, keras.layers.Conv2D):
            total += 2 * math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:-1])
        elif isinstance(layer, keras.layers.Dense):
            total += 2 * math.prod(layer.kernel.shape)
    return total


def count_step(decoder) -> int:
    """Returns the operations of one step of one caption in training."""
    shape, vocabulary_size = decoder.settings, decoder.sizes["vocabulary_size"]
    units, memory, embedding = shape.units, shape.memory_size, shape.embedding_size
    lstm = (embedding + memory + units) * 4 * units
    output = (units + memory + embedding) * units + units * vocabulary_size
    attended = decoder.num_tokens * (shape.attention_size + memory)
    return 2 * (units * shape.attention_size + units + lstm + output + attended)


def count_search_weights(decoder) -> int:
    """Returns the weights that one step of a search reads, however many beams it has."""
    shape, vocabulary_size = decoder.settings, decoder.sizes["vocabulary_size"]
    return shape.units * (shape.attention_size + 1 + 4 * shape.units + shape.units + vocabulary_size)


def count_search_step(decoder) -> int:
    """Returns the operations of one step of one beam."""
    attended = decoder.num_tokens * (decoder.settings.attention_size + 5 * decoder.settings.units)
    return 2 * (count_search_weights(decoder) + attended)


def count_start(decoder) -> int:
    """Returns the operations of reading one photo's features."""
    shape, sizes = decoder.settings, decoder.sizes
    pooled = sizes["pooled_size"] * (shape.memory_size + 2 * shape.units)
    regions = sizes["num_regions"] * sizes["region_size"] * shape.memory_size
    return 2 * (pooled + regions + decoder.num_tokens * shape.memory_size * shape.attention_size)


def count_search(decoder, captions: Sequence[Sequence], num_beams: int) -> int:
    """Returns the operations of a search that found these captions of each photo.

    A photo takes the steps of its longest caption, its end included, and no more.
    """
    steps = sum(max(len(caption.words) for caption in found) + 1 for found in captions)
    tokens = 2 * decoder.num_tokens * decoder.settings.memory_size * 5 * decoder.settings.units
    return len(captions) * (count_start(decoder) + tokens) + num_beams * steps * count_search_step(decoder)


def count_training(decoder, num_steps: int, num_captions: int) -> int:
    """Returns the operations of training on captions with so many words in all, their ends included.

    Each product takes two more of its size for the gradient, but for those of the features, which get none.
    """
    shape, sizes = decoder.settings, decoder.sizes
    pooled = sizes["pooled_size"] * (shape.memory_size + 2 * shape.units)
    regions = sizes["num_regions"] * sizes["region_size"] * shape.memory_size
    forward = num_steps * count_step(decoder) + num_captions * count_start(decoder)
    return 3 * forward - num_captions * 2 * (pooled + regions)


def count_merge_training(model: keras.Model, units: int, embedding_size: int, max_length: int) -> int:
    """Returns the operations of training `popular_recipe.build_model` on one sample, a prefix of a caption."""
    dense = [2 * math.prod(layer.kernel.shape) for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    photo = 2 * model.inputs[0].shape[-1] * units
    lstm = 2 * max_length * (embedding_size + units) * 4 * units
    return 3 * (sum(dense) + lstm) - photo
