"""Folded networks against the same networks as Keras calls them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner.encoders import specs
from captioner.encoders.folding import call_folded


def randomise(network):
    """Gives every norm statistics of its own, so that one that is left out or taken twice shows."""
    random = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 2, weight.shape) for weight in layer.get_weights()])
    return network


def count_operations(network, kind, call):
    """How many operations of a kind there are in what TensorFlow compiles."""
    shape = (None, *network.inputs[0].shape[1:])
    graph = tf.function(call, input_signature=[tf.TensorSpec(shape)]).get_concrete_function().graph
    return sum(operation.type == kind for operation in graph.get_operations())


def check(network, num_folded):
    """Compares both, and counts the factors of norms that are left."""
    photos = np.random.default_rng(1).normal(size=(2, *network.inputs[0].shape[1:])).astype(np.float32)
    expected = network(photos, training=False)
    found = tf.function(lambda pixels: call_folded(network, pixels))(photos)
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
        assert np.std(other) > 0
    roots = [
        count_operations(network, "Rsqrt", call)
        for call in (lambda pixels: network(pixels, training=False), lambda pixels: call_folded(network, pixels))
    ]
    assert roots[0] - roots[1] == num_folded


@pytest.fixture
def photo():
    return keras.Input((8, 8, 3))


class TestCallFolded:
    def test_every_kind_of_convolution(self, photo):
        grid = keras.layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(photo)
        grid = keras.layers.ReLU()(keras.layers.BatchNormalization(epsilon=0.1)(grid))
        grid = keras.layers.ZeroPadding2D()(grid)
        grid = keras.layers.DepthwiseConv2D(3, depth_multiplier=1, padding="valid", use_bias=False)(grid)
        grid = keras.layers.BatchNormalization()(grid)
        check(randomise(keras.Model(photo, grid)), num_folded=2)

    def test_norms_that_follow_no_bare_convolution_stay(self, photo):
        biased = keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 1, bias_initializer="ones")(photo))
        curved = keras.layers.Conv2D(3, 1, activation="tanh", use_bias=False)(photo)
        added = keras.layers.Add()([photo, keras.layers.BatchNormalization()(curved)])
        network = keras.Model(photo, [biased, keras.layers.BatchNormalization()(added)])
        check(randomise(network), num_folded=0)

    def test_norms_without_scale_or_offset(self, photo):
        grid = photo
        for parts in ({"scale": False}, {"center": False}, {"center": False, "scale": False}):
            grid = keras.layers.Conv2D(4, 3, use_bias=False)(grid)
            grid = keras.layers.BatchNormalization(**parts)(grid)
        check(randomise(keras.Model(photo, grid)), num_folded=3)

    def test_other_kinds_of_convolutions_stay(self, photo):
        grid = keras.layers.Conv2D(6, 3, dilation_rate=2, use_bias=False)(photo)
        grid = keras.layers.BatchNormalization()(grid)
        grid = keras.layers.Conv2D(6, 1, groups=3, use_bias=False)(grid)
        grid = keras.layers.BatchNormalization()(grid)
        grid = keras.layers.DepthwiseConv2D(2, dilation_rate=2, use_bias=False)(grid)
        grid = keras.layers.BatchNormalization()(grid)
        grid = keras.layers.DepthwiseConv2D(2, depth_multiplier=2, use_bias=False)(grid)
        grid = keras.layers.BatchNormalization()(grid)
        check(randomise(keras.Model(photo, grid)), num_folded=0)

    def test_what_others_read_too_stays_as_it_is(self, photo):
        shared = keras.layers.Conv2D(3, 1, use_bias=False)(photo)
        normed = keras.layers.BatchNormalization()(shared)
        check(randomise(keras.Model(photo, keras.layers.Add()([shared, normed]))), num_folded=0)
        given = keras.layers.Conv2D(3, 1, use_bias=False)(photo)
        normed = keras.layers.BatchNormalization()(given)
        check(randomise(keras.Model(photo, {"bare": given, "normed": normed})), num_folded=0)

    @pytest.mark.parametrize(("name", "num_norms"), [("efficientnet_lite2", 64), ("mobilenet_v2", 52)])
    def test_encoders(self, name, num_norms):
        network = specs.ENCODERS[name].build()
        network = specs.cut_network(name, network, specs.ENCODERS[name].regions_layers[0])
        check(randomise(network), num_folded=num_norms)
