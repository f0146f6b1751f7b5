"""What the compact encoder is taught with: photos, the words people used for them, and a teacher that looks along.

The teacher's grid and its pooled vector are projected on their principal components, which keep their scale: a linear
probe reads nearly all words from the 32 strongest, which whitening would drown in the hundreds of faint ones. Each
cell of the grid is then centred and scaled, since the padding of a convolutional teacher makes its border faint.

Legend: `N` photos, `B` batch, `S` side in pixels, `H` side of the teacher's grid, `D` depth of a region, `P` pooled
size, `K` components, `W` words, `L` classes.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tqdm
from keras import ops

from captioner import datasets, networks, photos

# Words that say nothing of what is to be seen. What remains is nouns, colours, verbs and places.
FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "being", "by", "for", "from", "has", "have", "her", "his", "in"),
        *("into", "is", "it", "its", "of", "off", "on", "one", "or", "other", "out", "over", "some", "that", "the"),
        *("their", "them", "there", "they", "this", "through", "to", "up", "while", "who", "with"),
    )
)
# The principal components of grid and pooled vector that are taught. A linear probe names the words of validation
# photos from 32, 128 and 256 components of MobileNetV2's pooled vector with a precision of 35.8, 38.4 and 39.0 %.
NUM_COMPONENTS = 128
# At least so many train photos, if there are as many, say what the components are.
_NUM_SURVEYED = 2000
_BATCH_SIZE = 50


@dataclasses.dataclass(frozen=True)
class Lessons:
    """The photos of one or several data sets and the words people used for them.

    Attributes:
        photos: uint8 `(N, S, S, 3)`, train photos, as large as the teacher takes them.
        words: float32 `(N, W)`, the share of a photo's captions that use each word.
        validation: Name of a data set -> its validation photos and their words, as above.
        failed: File -> why the photo could not be read and was left out.
    """

    photos: np.ndarray
    words: np.ndarray
    validation: dict[str, tuple[np.ndarray, np.ndarray]]
    failed: dict[str, str] = dataclasses.field(default_factory=dict)


def read_lessons(
    listed: Sequence[datasets.CaptionDataset], image_size: int, *, min_photos: int = 12, progress: bool = False
) -> Lessons:
    """Reads the train and validation photos of data sets into memory, and all words of their captions.

    Args:
        listed: The data sets; their test splits are not looked at.
        image_size: Side `S`.
        min_photos: A word must be used for this many train photos.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If there is nothing to learn from or to judge by, or two data sets have one name.
    """
    names = [dataset.name for dataset in listed]
    if len(set(names)) < len(names):
        raise ValueError(f"Two data sets have one name. Rename the folder of one. Received: {', '.join(names)}")
    vocabulary, failed = fit_words(listed, min_photos), {}
    if not vocabulary:
        raise ValueError(
            f"The captions are too few to learn from: no word is used for {min_photos} train photos. Add more data."
        )
    num_photos = sum(len(dataset.image_ids(split)) for dataset in listed for split in ("train", "validation"))

    with tqdm.tqdm(total=num_photos, desc="photos", disable=not progress) as bar:

        def read(dataset: datasets.CaptionDataset, split: str) -> tuple[np.ndarray, np.ndarray]:
            found = {}
            for image_id, path in dataset.photo_paths(split).items():
                try:
                    found[image_id] = photos.load_photo(path, image_size)
                except photos.PhotoError as error:
                    failed[str(path)] = str(error)
                bar.update()
            pixels = np.array(list(found.values()), np.uint8).reshape(-1, image_size, image_size, 3)
            return pixels, share_words(dataset, list(found), vocabulary)

        train = [read(dataset, "train") for dataset in listed]
        validation = {dataset.name: read(dataset, "validation") for dataset in listed}
    pixels, words = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    if not all(map(len, (pixels, *(judging for judging, _ in validation.values())))):
        reason = next(iter(failed.values()), "there are none")
        raise ValueError(f"No train or no validation photo can be read, for example: {reason} Mend the data set.")
    return Lessons(pixels, words, validation, failed)


def fit_words(listed: Sequence[datasets.CaptionDataset], min_photos: int) -> tuple[str, ...]:
    """Returns the content words used for at least `min_photos` train photos, the most frequent first."""
    counts = collections.Counter(
        word
        for dataset in listed
        for captions in dataset.references_of("train").values()
        for word in set(" ".join(captions).split())
    )
    return tuple(word for word, n in counts.most_common() if n >= min_photos and word not in FUNCTION_WORDS)


def share_words(dataset: datasets.CaptionDataset, image_ids: Sequence[str], words: Sequence[str]) -> np.ndarray:
    """Returns the share of a photo's captions that use each word, float32 `(N, W)`."""
    columns = {word: column for column, word in enumerate(words)}
    shares = np.zeros((len(image_ids), len(words)), np.float32)
    for row, image_id in enumerate(image_ids):
        captions = dataset.references[image_id]
        for caption in captions:
            for word in set(caption.split()) & columns.keys():
                shares[row, columns[word]] += 1 / len(captions)
    return shares


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
        spec = networks.find_spec(name)
        network = networks.load_network(name, networks.find_weights(name))
        if len(network.output.shape) != 2:
            raise ValueError(f"teacher must be an encoder that was trained to tell classes. Received: teacher={name!r}")
        views = networks.cut_network(name, network, spec.regions_layers[0]).output
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
