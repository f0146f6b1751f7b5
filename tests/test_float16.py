"""Weights files of half the size: what is rounded, what is kept, and that nothing is lost."""

import h5py
import keras
import numpy as np

from captioner import float16


def make_model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Input((40,)), keras.layers.Dense(60), keras.layers.BatchNormalization()])
    # 1e-9 is nothing in float16, and 0.1 is not exactly itself.
    model.layers[1].moving_variance.assign(np.full(60, 1e-9, np.float32))
    model.layers[0].bias.assign(np.full(60, 0.1, np.float32))
    return model


def test_kernels_are_rounded_and_vectors_are_not():
    model = make_model()
    kernel = model.layers[0].kernel.numpy()
    float16.round_kernels(model)
    rounded = model.layers[0].kernel.numpy()
    assert not np.array_equal(rounded, kernel)
    # Half of a unit in the last of eleven binary places.
    assert (np.abs(rounded - kernel) <= np.abs(kernel) * 2**-11 + 2**-25).all()
    assert (model.layers[1].moving_variance.numpy() == np.float32(1e-9)).all()
    assert (model.layers[0].bias.numpy() == np.float32(0.1)).all()


def test_a_halved_weights_file_loads_the_same_weights(tmp_path):
    model = make_model()
    float16.round_kernels(model)
    model.save_weights(tmp_path / "full.weights.h5")
    float16.halve_weights(tmp_path / "full.weights.h5", tmp_path / "half.weights.h5")
    other = make_model()
    other.set_weights([np.zeros_like(weight) for weight in other.get_weights()])
    other.load_weights(tmp_path / "half.weights.h5")
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        assert ours.dtype == theirs.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    kinds = []
    with h5py.File(tmp_path / "half.weights.h5") as file:
        file.visititems(lambda _, item: kinds.append(item.dtype.name) if isinstance(item, h5py.Dataset) else None)
    # Kernel, and scale, shift and mean, which are still ones and zeros; bias and variance need float32.
    assert sorted(kinds) == ["float16"] * 4 + ["float32"] * 2


def test_what_was_not_rounded_is_kept_whole(tmp_path):
    model = make_model()
    model.save_weights(tmp_path / "full.weights.h5")
    float16.halve_weights(tmp_path / "full.weights.h5", tmp_path / "half.weights.h5")
    other = make_model()
    other.layers[0].kernel.assign(np.zeros((40, 60), np.float32))
    other.load_weights(tmp_path / "half.weights.h5")
    np.testing.assert_array_equal(other.layers[0].kernel.numpy(), model.layers[0].kernel.numpy())


def test_a_halved_archive_loads_as_the_same_model(tmp_path):
    model = make_model()
    float16.round_kernels(model)
    model.save(tmp_path / "model.keras")
    before = (tmp_path / "model.keras").stat().st_size
    float16.halve_archive(tmp_path / "model.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert (tmp_path / "model.keras").stat().st_size < before - 40 * 60
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
