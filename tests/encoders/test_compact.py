"""The compact encoder: what it makes of MobileNetV2, and its files."""

import json

import keras
import numpy as np
import pytest

from captioner import float16
from captioner.encoders import compact
from captioner.encoders.encoder import load_encoder


@pytest.fixture(scope="module")
def network():
    """With weights and norms of its own, rounded as they are shipped."""
    keras.utils.set_random_seed(0)
    random, network = np.random.default_rng(0), compact.build_network()
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    float16.round_kernels(network)
    return network


def random_photos(count):
    return np.random.default_rng(1).integers(0, 256, (count, compact.IMAGE_SIZE, compact.IMAGE_SIZE, 3), np.uint8)


def test_it_is_mobilenet_v2_on_smaller_photos(network):
    assert network.input.shape == (None, 192, 192, 3)
    assert network.get_layer(compact.GRID_LAYER).output.shape == (None, 6, 6, 1280)
    whole = keras.applications.MobileNetV2(weights=None)
    copied = compact.copy_weights(whole)
    assert whole.count_params() - copied.count_params() == 1281 * 1000  # what tells classes
    # The same kernels on the same pixels: at a corner far from the others, a larger photo looks the same.
    pixels = np.random.default_rng(2).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    first = [keras.Model(one.input, one.get_layer("block_1_project_BN").output) for one in (whole, copied)]
    larger, smaller = (np.asarray(one(pixels[:, :side, :side])) for one, side in zip(first, (224, 192), strict=True))
    np.testing.assert_allclose(larger[:, :40, :40], smaller[:, :40, :40], atol=1e-5)


def test_rounded_weights_come_back_as_they_were_from_half_the_file(network, tmp_path):
    network.save_weights(tmp_path / "full.weights.h5")
    file = compact.save_weights(network, tmp_path, {})
    loaded = compact.build_network()
    loaded.load_weights(file)
    for kept, weight in zip(loaded.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)
    assert file.stat().st_size < min(5.5e6, 0.6 * (tmp_path / "full.weights.h5").stat().st_size)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder.json", "encoder.weights.h5", "full.weights.h5"]


def test_what_is_known_of_weights_stands_beside_them(network, tmp_path):
    file = compact.save_weights(network, tmp_path, {"captioner": "owl", "bytes": 5})
    facts = {"captioner": "owl", "bytes": file.stat().st_size, "parameters": 2257984}
    assert json.loads((tmp_path / "encoder.json").read_text()) == facts
    assert compact.read_facts(file) == facts
    assert compact.read_facts(tmp_path / "elsewhere" / file.name) == {}


@pytest.mark.parametrize("content", ["[1]", '{"captioner"'])
def test_a_damaged_description_is_told_when_the_encoder_is_loaded(network, tmp_path, content):
    file = compact.save_weights(network, tmp_path, {})
    (tmp_path / "encoder.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"encoder\.json is damaged\. Take that file from the repository again, or name"
    ):
        load_encoder("compact", weights=file)


def test_weights_of_another_network_say_where_to_have_the_right_ones(tmp_path):
    file = tmp_path / compact.WEIGHTS_FILE
    file.write_bytes(b"cut short")
    with pytest.raises(
        ValueError, match=r"not hold the weights of compact\. Take that file from the repository again, or"
    ):
        load_encoder("compact", weights=file)


def test_an_encoder_gives_what_the_network_sees(network, tmp_path):
    encoder = load_encoder("compact", weights=compact.save_weights(network, tmp_path, {}))
    assert (encoder.image_size, encoder.num_regions, encoder.region_size) == (192, 36, 1280)
    photos = random_photos(2)
    expected = np.asarray(network(photos / np.float32(127.5) - 1)).reshape(2, 36, 1280)
    pooled, regions = encoder.encode(photos)
    np.testing.assert_allclose(regions, expected, rtol=1e-3, atol=1e-4 * expected.max())
    np.testing.assert_allclose(pooled, expected.mean(axis=1), rtol=1e-3, atol=1e-4 * expected.max())
