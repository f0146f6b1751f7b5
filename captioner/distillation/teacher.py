"""What the compact encoder is taught with: photos, the words people used for them, and a teacher that looks along.

The teacher's grid and its pooled vector are projected on their principal components, which keep their scale: a linear
probe reads nearly all words from the 32 strongest, which whitening would drown in the hundreds of faint ones. Each
cell of the grid is then centred and scaled, since the padding of a convolutional teacher makes its border faint.

Legend: `N` photos, `B` batch, `S` side in pixels, `H` side of the teacher's grid, `D` depth of a region, `P` pooled
size, `K` components, `W` words, `L` classes.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from captioner.encoders import specs, weights

# The principal components of grid and pooled vector that are taught. A linear probe names the words of validation
# photos from 32, 128 and 256 components of MobileNetV2's pooled vector with a precision of 35.8, 38.4 and 39.0 %.
NUM_COMPONENTS = 128
# At least so many train photos, if there are as many, say what the components are.
_NUM_SURVEYED = 2000
_BATCH_SIZE = 50


def fit_projection(vectors: np.ndarray, num_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the principal components of vectors.

    Args:
        vectors: `(N, D)`.
        num_components: How many to keep, at most `D`.

    Returns:
        float32 mean `(D,)` and axes `(D, K)`, the strongest first; `(vectors - mean) @ axes` projects.
    """
    vectors = np.asarray(vectors, np.float32)
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    centered = vectors - mean
    variances, axes = np.linalg.eigh(centered.T @ centered / len(vectors))
    return mean, axes[:, np.argsort(variances)[::-1][:num_components]].astype(np.float32)


class Teacher(keras.layers.Layer):
    """A frozen network whose view of photos is taught: its grid, its pooled vector and its classes.

    Args:
        name: The encoder to learn from, one of `networks.ENCODERS`.

    Raises:
        ValueError: If there is no encoder of that name, or it knows no classes.
        FileNotFoundError: If its weights cannot be had.
    """

    def __init__(self, name: str):
        super().__init__(name="teacher")
        spec = specs.find_spec(name)
        network = weights.load_network(name, weights.find_weights(name))
        if len(network.output.shape) != 2:
            raise ValueError(f"teacher must be an encoder that was trained to tell classes. Received: teacher={name!r}")
        views = specs.cut_network(name, network, spec.regions_layers[0]).output
        self.encoder, self.image_size, self._preprocess = name, spec.image_size, spec.preprocess
        self._network = keras.Model(network.input, views | {"classes": network.output})
        self._network.trainable = False
        self.num_classes = network.output.shape[-1]
        self.statistics: dict[str, np.ndarray] = {}

    @property
    def grid_size(self) -> int:
        """Side `H` of the teacher's grid."""
        return round(self._network.output["regions"].shape[1] ** 0.5)

    def fit_statistics(self, pixels: np.ndarray, num_components: int = NUM_COMPONENTS) -> None:
        """Finds components, and the mean and strength of each cell, from photos, uint8 `(N, S, S, 3)`, evenly spread.

        What is found is `statistics`, NumPy arrays by name, to be kept beside what was taught with it: signs of
        components are arbitrary.
        """
        seen = self._look(pixels[:: max(1, len(pixels) // _NUM_SURVEYED)])
        size = min(num_components, seen["regions"].shape[-1])
        found = dict(zip(("map_mean", "map_axes"), fit_projection(_flatten(seen["regions"][::5]), size), strict=True))
        pooled_size = min(num_components, seen["pooled"].shape[-1])
        found |= zip(("pooled_mean", "pooled_axes"), fit_projection(seen["pooled"], pooled_size), strict=True)
        maps = (seen["regions"] - found["map_mean"]) @ found["map_axes"]  # (N, H * H, K)
        found["cell_mean"] = maps.mean(axis=0)
        strength = np.sqrt(np.square(maps - found["cell_mean"]).sum(-1).mean(0))[:, None]  # (H * H, 1)
        found["cell_scale"] = strength.mean() / np.maximum(strength, 1e-6)
        leveled = (maps - found["cell_mean"]) * found["cell_scale"]
        found["map_variance"] = np.square(leveled).sum(-1).mean()
        pooled = (seen["pooled"] - found["pooled_mean"]) @ found["pooled_axes"]
        found["pooled_variance"] = np.square(pooled).sum(-1).mean()
        self.statistics = {name: np.asarray(values, np.float32) for name, values in found.items()}

    def call(self, pixels):
        """Looks at RGB pixels, float32 `(B, S, S, 3)` in 0..255, once `statistics` are known.

        Returns:
            `map` `(B, H, H, K)`, `pooled` `(B, K)` and `classes` `(B, L)`, which are probabilities.
        """
        return self._project(self._network(self._preprocess(pixels), training=False))

    def targets(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what `call` gives for photos, uint8 `(N, S, S, 3)`, as NumPy arrays."""
        return {name: ops.convert_to_numpy(values) for name, values in self._project(self._look(pixels)).items()}

    def _project(self, seen: dict) -> dict:
        known = self.statistics
        maps = ops.matmul(seen["regions"] - known["map_mean"], known["map_axes"])
        maps = (maps - known["cell_mean"]) * known["cell_scale"]
        return {
            "map": ops.reshape(maps, (-1, self.grid_size, self.grid_size, maps.shape[-1])),
            "pooled": ops.matmul(seen["pooled"] - known["pooled_mean"], known["pooled_axes"]),
            "classes": seen["classes"],
        }

    def _look(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        return predict(self._network, pixels, self._preprocess)


def predict(network: keras.Model, pixels: np.ndarray, preprocess: Callable) -> dict[str, np.ndarray]:
    """Returns a network's outputs for photos, uint8 `(N, S, S, 3)`.

    Batches are filled up to one size: another would be compiled anew.
    """
    parts = []
    for start in range(0, len(pixels), _BATCH_SIZE):
        batch = ops.convert_to_numpy(preprocess(pixels[start : start + _BATCH_SIZE].astype(np.float32)))
        full = np.concatenate([batch, np.zeros((_BATCH_SIZE - len(batch), *batch.shape[1:]), batch.dtype)])
        parts.append({name: values[: len(batch)] for name, values in network.predict_on_batch(full).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def resize_grid(grids, size: int):
    """Resamples `(B, H, H, K)` to another side; nothing to do where the student's grid is the teacher's."""
    return grids if grids.shape[1] == size else ops.image.resize(grids, (size, size), antialias=True)


def compare(predicted: dict[str, np.ndarray], targets: dict[str, np.ndarray], words: np.ndarray) -> dict[str, float]:
    """Compares what a student makes of photos with what the teacher makes of them.

    Args:
        predicted: float32 `map` `(N, H, H, K)`, `pooled` `(N, K)`, `classes` `(N, L)` and `words` `(N, W)`.
        targets: The teacher's `map`, `pooled` and `classes` of the same shapes.
        words: `(N, W)`, the words that people used.

    Returns:
        Mean cosine of map and pooled, share of their variance that is explained, agreement with the teacher's
        first class, and share of the ten likeliest words that a person used.
    """
    scores = {}
    for name in ("map", "pooled"):
        target = targets[name]
        scores[f"{name}_cosine"] = _mean_cosine(predicted[name], target)
        scores[f"{name}_explained"] = 1 - np.square(predicted[name] - target).sum() / np.square(target).sum()
    scores["class_agreement"] = (predicted["classes"].argmax(-1) == targets["classes"].argmax(-1)).mean()
    guesses = np.argsort(predicted["words"], axis=-1)[:, -10:]
    scores["word_precision"] = (np.take_along_axis(words, guesses, axis=-1) > 0).mean()
    return {name: round(float(score), 4) for name, score in scores.items()}


def _flatten(regions: np.ndarray) -> np.ndarray:
    return regions.reshape(-1, regions.shape[-1])


def _mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / np.maximum(lengths, 1e-6)).mean())
