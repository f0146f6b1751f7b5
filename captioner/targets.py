"""Computes once what the compact encoder is taught: photos, and what the teacher and the people say of each view.

A view is a whole photo or a crop of one. The teacher looks at every view; further crops and mirror images of a view
are cut out of its grid during training, which holds only near the view itself. Measured with MobileNetV2 on 150 train
photos, its true grid and the one cut out of the whole photo's have a mean cosine of 0.83 (mirrored), 0.81 (90 % of the
sides), 0.70 (80 %), 0.60 (70 %) and 0.38 (50 %).

Grids and pooled vectors are projected on their principal components, which keep their scale: a linear probe reads
nearly all words from the 32 strongest, which whitening would drown in the hundreds of faint ones. Each cell of the
grid is then centred and scaled, since the teacher's padding makes its border faint and does not move with a crop.

Legend: `N` photos, `M` views, `S` side in pixels, `H` side of the teacher's grid, `D` depth of a region, `P` pooled
size, `K` components, `W` words, `L` classes.
"""

import collections
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from captioner import crops, datasets, encoders, features, photos

# Words that say nothing of what is to be seen. What remains is nouns, colours, verbs and places.
FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "being", "by", "for", "from", "has", "have", "her", "his", "in"),
        *("into", "is", "it", "its", "of", "off", "on", "one", "or", "other", "out", "over", "some", "that", "the"),
        *("their", "them", "there", "they", "this", "through", "to", "up", "while", "who", "with"),
    )
)


@dataclasses.dataclass(frozen=True)
class TargetsConfig:
    """What is kept of photos, teacher and captions."""

    # Photos are kept larger than the student sees them, so that a crop keeps its detail.
    photo_size: int = 160
    # Crops of each train photo that the teacher looks at; each costs as much as a photo.
    num_crops: int = 7
    # Smallest side of these crops.
    min_crop: float = 0.55
    # Components kept of each region and of the pooled vector. A linear probe names the words of validation photos
    # from 32, 128 and 256 components of MobileNetV2's pooled vector with a precision of 35.8, 38.4 and 39.0 %.
    num_components: int = 128
    # 0 leaves the components' scale as it is, 1 whitens. See above.
    whitening: float = 0.0
    # A word must be used for this many train photos.
    min_photos: int = 12


@dataclasses.dataclass(frozen=True)
class Projection:
    """Principal components of vectors: `(x - mean) @ matrix`.

    Attributes:
        mean: float32 `(D,)`.
        matrix: float32 `(D, K)`, scaled columns, the strongest first.
        inverse: float32 `(K, D)`, back to the nearest vector.
    """

    mean: np.ndarray
    matrix: np.ndarray
    inverse: np.ndarray

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Projects `(..., D)` to `(..., K)`."""
        return (np.asarray(vectors, np.float32) - self.mean) @ self.matrix


def fit_projection(vectors: np.ndarray, num_components: int, whitening: float) -> Projection:
    """Fits principal components.

    Args:
        vectors: `(N, D)`.
        num_components: How many to keep, at most `D`.
        whitening: A component with standard deviation `s` is divided by `s ** whitening`.

    Raises:
        ValueError: If there are fewer vectors or dimensions than components.
    """
    if min(vectors.shape) < num_components:
        raise ValueError(
            f"num_components must be at most the number of vectors and of dimensions. "
            f"Received: num_components={num_components}, vectors of shape {vectors.shape}"
        )
    vectors = np.asarray(vectors, np.float32)
    mean = vectors.mean(axis=0, dtype=np.float64)
    centered = (vectors - mean).astype(np.float32)
    variances, axes = np.linalg.eigh(centered.T @ centered / len(vectors))
    strongest = np.argsort(variances)[::-1][:num_components]
    scales = np.maximum(variances[strongest], 1e-8) ** (whitening / 2)
    matrix = axes[:, strongest] / scales
    inverse = (axes[:, strongest] * scales).T
    return Projection(*(array.astype(np.float32) for array in (mean, matrix, inverse)))


def level_cells(maps: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Centres and scales each cell of grids `(M, H, H, K)` by what it holds on average in `reference`.

    The overall strength stays; afterwards all cells are equally strong on average.
    """
    mean = reference.mean(axis=0)
    strength = np.sqrt(np.square(reference - mean).sum(axis=-1).mean(axis=0))[..., None]  # (H, H, 1)
    return (maps - mean) * (strength.mean() / np.maximum(strength, 1e-6))


def fit_words(dataset: datasets.CaptionDataset, min_photos: int) -> tuple[str, ...]:
    """Returns the content words used for at least `min_photos` train photos, the most frequent first."""
    counts = collections.Counter(
        word for captions in dataset.references_of("train").values() for word in set(" ".join(captions).split())
    )
    return tuple(word for word, n in counts.most_common() if n >= min_photos and word not in FUNCTION_WORDS)


def count_words(dataset: datasets.CaptionDataset, image_ids: Sequence[str], words: Sequence[str]) -> np.ndarray:
    """Returns the share of a photo's captions that use each word, float32 `(N, W)`."""
    columns = {word: column for column, word in enumerate(words)}
    shares = np.zeros((len(image_ids), len(words)), np.float32)
    for row, image_id in enumerate(image_ids):
        captions = dataset.references[image_id]
        for caption in captions:
            for word in set(caption.split()) & columns.keys():
                shares[row, columns[word]] += 1 / len(captions)
    return shares


def prepare_targets(
    folder: str | Path,
    dataset: datasets.CaptionDataset,
    teacher: str,
    options: TargetsConfig | None = None,
) -> Path:
    """Computes the targets, or finds them finished; a run that was killed goes on where it was.

    Args:
        folder: Where they are or will be.
        dataset: Photos and captions; test photos are left out.
        teacher: Name of the encoder to learn from, any of `captioner.encoders.ENCODERS`.
        options: What to keep.

    Returns:
        The folder, for `captioner.supervision.Supervision`.

    Raises:
        ValueError: If the folder holds targets of another kind.
    """
    folder, options = Path(folder), options or TargetsConfig()
    train, validation = dataset.image_ids("train"), dataset.image_ids("validation")
    index = {"teacher": teacher, "image_ids": [*train, *validation], "num_views": len(train) * (1 + options.num_crops)}
    index |= dataclasses.asdict(options)
    if (folder / "index.json").is_file():
        if json.loads((folder / "index.json").read_text(encoding="utf-8")) != index:
            raise ValueError(f"{folder} holds other targets. Delete that folder or name another one.")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    encoder = encoders.load_encoder(teacher)
    stores = {s: features.extract_features(encoder, dataset.photo_paths(s)) for s in ("train", "validation")}
    boxes = crops.draw_boxes(len(train), options.num_crops, min_side=options.min_crop)
    if options.num_crops:
        listed = crops.list_boxes(train, boxes)
        paths = {crop: dataset.photo_path(crops.photo_of(crop)) for crop in listed}
        stores["crops"] = features.extract_features(encoder, paths, folder / "crop_features", boxes=listed)
    _write_photos(folder / "photos.npy", dataset, [*train, *validation], options.photo_size)
    _write_views(folder, boxes, len(train), len(validation))
    _write_maps(folder, _list_views(stores, train, validation, options), len(train), options, _read_classifier(teacher))
    words = fit_words(dataset, options.min_photos)
    np.save(folder / "words.npy", count_words(dataset, [*train, *validation], words))
    (folder / "words.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def _write_photos(file: Path, dataset, ids: Sequence[str], size: int) -> None:
    pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(len(ids), size, size, 3))
    for row, image_id in enumerate(ids):
        pixels[row] = photos.load_photo(dataset.photo_path(image_id), size)
    pixels.flush()


def _write_views(folder: Path, boxes: np.ndarray, num_train: int, num_validation: int) -> None:
    """Writes photo and box of each view: the whole train photos, their crops, the whole validation photos."""
    whole = np.array([0, 0, 1, 1], np.float32)
    rows = np.arange(num_train), np.repeat(np.arange(num_train), boxes.shape[1]), num_train + np.arange(num_validation)
    np.save(folder / "photo_rows.npy", np.concatenate(rows))
    parts = np.tile(whole, (num_train, 1)), boxes.reshape(-1, 4), np.tile(whole, (num_validation, 1))
    np.save(folder / "boxes.npy", np.concatenate(parts))


def _list_views(stores, train, validation, options: TargetsConfig) -> list[tuple]:
    """Returns store and row of each view, in the order of `_write_views`."""
    parts = [crops.name_crop(image_id, number) for image_id in train for number in range(options.num_crops)]
    groups = {"train": train, "crops": parts, "validation": validation}
    return [
        (stores[name], row) for name, ids in groups.items() if ids for row in stores[name].row_numbers(ids).tolist()
    ]


def _write_maps(folder: Path, views: list[tuple], num_train: int, options: TargetsConfig, classifier) -> None:
    """Projects grids and pooled vectors, and ties pooled to grids and classes to pooled, on train photos alone."""
    pooled = np.stack([store.pooled[row] for store, row in views]).astype(np.float32)
    sample = np.concatenate([store.regions[row] for store, row in views[:num_train:5]])
    project_map = fit_projection(sample, options.num_components, options.whitening)
    project_pooled = fit_projection(pooled[:num_train], options.num_components, options.whitening)
    maps = np.stack([project_map(store.regions[row]) for store, row in views])  # (M, H * H, K)
    side = round(maps.shape[1] ** 0.5)
    maps = maps.reshape(len(views), side, side, -1)
    maps = level_cells(maps, maps[:num_train])
    pooled = project_pooled(pooled)
    np.save(folder / "maps.npy", maps.astype(np.float16))
    np.save(folder / "pooled.npy", pooled)
    kernel, bias = classifier  # (P, L), (L,)
    np.savez(
        folder / "matrices.npz",
        shift=np.linalg.lstsq(maps[:num_train].mean((1, 2)), pooled[:num_train], rcond=None)[0],
        classes=project_pooled.inverse @ kernel,
        class_bias=project_pooled.mean @ kernel + bias,
    )


def _read_classifier(teacher: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel `(P, L)` and bias `(L,)` of the teacher's last layer, which makes classes of `pooled`."""
    network = encoders.load_network(teacher, encoders.find_weights(teacher))
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)][-1]
    return tuple(weight.astype(np.float32) for weight in dense.get_weights())
