"""The compact encoder: shapes, gradients and files."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner.encoders import compact
from captioner.encoders.compact import CompactConfig
from captioner.encoders.encoder import load_encoder

TOY = CompactConfig(image_size=16, stem_size=2, widths=(4, 8), depths=(1, 1))


def random_pixels(count: int, side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, side, side, 3)).astype(np.float32)


def test_the_default_encoder_gives_a_7x7_grid_and_its_file_stays_below_8_megabytes():
    network = compact.build_network()
    config = CompactConfig()
    assert network.input.shape == (None, config.image_size, config.image_size, 3)
    assert network.get_layer(compact.GRID_LAYER).output.shape == (None, 7, 7, config.widths[-1])
    assert network.count_params() * 2 < 7.5e6


def test_the_grid_is_as_many_cells_as_the_stride_leaves_and_never_negative():
    grid = compact.build_network(TOY)(random_pixels(3, 16))
    assert grid.shape == (3, 4, 4, 8) and TOY.grid_size == 4
    assert np.min(grid) >= 0


def test_preprocessing_maps_black_and_white_to_minus_one_and_one():
    assert compact.preprocess(np.array([0.0, 127.5, 255.0])).tolist() == [-1, 0, 1]


@pytest.mark.parametrize(("size", "patches", "strides"), [(1, False, 1), (2, True, 2), (3, False, 1)])
def test_a_convolution_equals_tensorflows(size, patches, strides):
    inputs = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype(np.float32)
    layer = compact.Convolution(5, size, patches=patches)
    outputs = layer(inputs)
    kernel = tf.reshape(layer.kernel, (size, size, 4, 5))
    np.testing.assert_allclose(outputs, tf.nn.conv2d(inputs, kernel, strides, "SAME"), atol=1e-5)
    assert layer.compute_output_shape(inputs.shape) == outputs.shape


def test_normalization_uses_the_batch_in_training_and_its_running_statistics_after():
    layer = compact.Normalization()
    inputs = np.random.default_rng(0).normal(3.0, 2.0, (8, 4, 4, 2)).astype(np.float32)
    outputs = np.asarray(layer(inputs, training=True))
    np.testing.assert_allclose(outputs.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(outputs.std((0, 1, 2)), 1, atol=1e-3)
    # One step at momentum 0.98 from mean 0.
    np.testing.assert_allclose(layer.moving_mean, 0.02 * inputs.mean((0, 1, 2)), rtol=1e-3)
    for _ in range(400):
        layer(inputs, training=True)
    np.testing.assert_allclose(layer(inputs), outputs, atol=0.02)


def test_weights_in_float16_keep_the_features_and_halve_the_file(tmp_path):
    network = compact.build_network(CompactConfig(image_size=32, widths=(32, 64), depths=(1, 1)))
    pixels = random_pixels(4, 32)
    network(pixels, training=True)
    network.save_weights(tmp_path / "full.weights.h5")
    expected = np.asarray(network(pixels))
    file = compact.save_weights(network, tmp_path, {"teacher": "toy"})
    loaded = compact.build_network(CompactConfig(image_size=32, widths=(32, 64), depths=(1, 1)))
    loaded.load_weights(file)
    np.testing.assert_array_equal(loaded(pixels), network(pixels))
    np.testing.assert_allclose(loaded(pixels), expected, atol=5e-3 * expected.max())
    assert file.stat().st_size < 0.75 * (tmp_path / "full.weights.h5").stat().st_size
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder.json", "encoder.weights.h5", "full.weights.h5"]


def test_the_description_says_what_the_weights_are(tmp_path):
    network = compact.build_network(TOY)
    file = compact.save_weights(network, tmp_path, {"teacher": "toy", "views": 5})
    facts = json.loads((tmp_path / "encoder.json").read_text())
    assert facts["encoder"] == "compact" and facts["teacher"] == "toy" and facts["views"] == 5
    assert facts["parameters"] == network.count_params() and facts["bytes"] == file.stat().st_size


def test_the_whole_model_survives_keras_own_saving(tmp_path):
    network = compact.build_network(TOY)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    pixels = random_pixels(2, 16)
    np.testing.assert_allclose(loaded(pixels), network(pixels), atol=1e-6)


def test_a_photo_that_does_not_fit_the_stride_is_refused():
    with pytest.raises(ValueError, match="multiple of the stride 4. Received: image_size=18"):
        CompactConfig(image_size=18, stem_size=2, widths=(4, 8), depths=(1, 1))


def test_every_grid_needs_a_width_and_a_depth():
    with pytest.raises(ValueError, match=r"one entry for each grid. Received: widths=\(4,\), depths=\(1, 2\)"):
        CompactConfig(widths=(4,), depths=(1, 2))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"widths": (0, 8), "depths": (1, 1)}, "must be whole numbers from 1 to 4096"),
        ({"widths": (4, 8.0), "depths": (1, 1)}, "must be whole numbers from 1 to 4096"),
        ({"widths": (4, 8), "depths": (1, 10**9)}, "must be whole numbers from 1 to 4096"),
        ({"widths": (4,) * 9, "depths": (1,) * 9}, "must be whole numbers from 1 to 4096"),
        ({"bottleneck": 0.0}, r"bottleneck must lie in \(0, 1\]. Received: bottleneck=0.0"),
        ({"bottleneck": float("nan")}, r"bottleneck must lie in \(0, 1\]. Received: bottleneck=nan"),
    ],
)
def test_sizes_that_no_network_has_are_refused_before_one_is_built(sizes, message):
    with pytest.raises(ValueError, match=message):
        CompactConfig(**sizes)


@pytest.mark.parametrize("content", ["[1]", '{"architecture": {"sides": 3}}', '{"architecture"'])
def test_a_damaged_description_is_one_sentence(tmp_path, content):
    (tmp_path / "encoder.json").write_text(content)
    with pytest.raises(ValueError, match=r"encoder\.json is damaged\. Run model\.ipynb again"):
        compact.read_architecture(tmp_path)


def test_weights_are_loaded_in_the_shape_that_is_told_beside_them(tmp_path):
    network = compact.build_network(TOY)
    compact.save_weights(network, tmp_path, {"architecture": dataclasses.asdict(TOY)})
    assert compact.read_architecture(tmp_path) == TOY
    assert compact.read_architecture(tmp_path / "elsewhere") == CompactConfig()
    encoder = load_encoder("compact", weights=tmp_path / compact.WEIGHTS_FILE)
    assert (encoder.image_size, encoder.num_regions, encoder.region_size) == (16, 16, 8)
    photos = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    expected = np.asarray(network(photos / np.float32(127.5) - 1)).reshape(2, 16, 8)
    np.testing.assert_allclose(encoder.encode(photos)[1], expected, rtol=1e-3, atol=1e-3)
