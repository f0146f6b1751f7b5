"""What the compact encoder is taught with: views and their targets, losses, and a judge.

The targets come from a folder that `captioner.targets` fills, memory-mapped. Legend: `N` photos, `M` views (a view
is a photo or a crop of one), `B` batch, `S` side in pixels, `H` side of the teacher's grid, `K` components, `W` words,
`L` classes.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf


class Supervision:
    """The targets in a folder. Make one with `captioner.targets.prepare_targets`.

    Attributes:
        teacher: Name of the encoder that made the targets.
        photos: uint8 `(N, S, S, 3)`.
        words: float32 `(N, W)`, share of the captions that use each word.
        photo_rows: int64 `(M,)`, the photo of each view: views of train photos first, then the validation photos.
        boxes: float32 `(M, 4)`, where in its photo a view lies: top, left, bottom, right, 0 to 1.
        maps: float16 `(M, H, H, K)`.
        pooled: float32 `(M, K)`.
        num_views: How many views are of train photos.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.teacher, self.num_views = index["teacher"], index["num_views"]
        for name in ("photos", "words", "photo_rows", "boxes", "maps", "pooled"):
            setattr(self, name, np.load(folder / f"{name}.npy", mmap_mode="r"))
        with np.load(folder / "matrices.npz") as arrays:
            self.shift, self.classes, self.class_bias = (arrays[n] for n in ("shift", "classes", "class_bias"))
        self.map_variance = float(np.square(self.maps[: self.num_views : 7], dtype=np.float32).sum(-1).mean())
        self.pooled_variance = float(np.square(self.pooled[: self.num_views]).sum(-1).mean())
        self.word_shares = np.mean(self.words[: self.photo_rows[self.num_views - 1] + 1], axis=0)

    def train_rows(self, start: int, count: int, seed: int) -> np.ndarray:
        """Returns views `start` to `start + count` of an endless sequence in which each round is a new order."""
        positions = np.arange(start, start + count)
        rounds, places = positions // self.num_views, positions % self.num_views
        orders = {r: np.random.default_rng((seed, 1, r)).permutation(self.num_views) for r in set(rounds.tolist())}
        return np.array([orders[r][place] for r, place in zip(rounds.tolist(), places.tolist(), strict=True)])

    def batch(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns photos, boxes, maps, pooled and words of the given views."""
        photos = self.photo_rows[rows]
        maps = self.maps[rows].astype(np.float32)
        return self.photos[photos], self.boxes[rows], maps, self.pooled[rows], self.words[photos]

    def validation_photos(self, batch_size: int) -> Iterator[np.ndarray]:
        """Yields the validation photos, uint8 `(B, S, S, 3)`, in order."""
        rows = self.photo_rows[self.num_views :]
        for start in range(0, len(rows), batch_size):
            yield self.photos[rows[start : start + batch_size]]

    def class_logits(self, pooled):
        """Returns what the teacher's classifier makes of projected vectors `(B, K)`: `(B, L)`."""
        return pooled @ self.classes + self.class_bias

    def move_pooled(self, pooled, whole, seen):
        """Corrects `pooled` `(B, K)` of whole views for a part: by how far the mean of its map `seen` moved."""
        return pooled + (tf.reduce_mean(seen, (1, 2)) - tf.reduce_mean(whole, (1, 2))) @ self.shift

    def losses(self, predicted: dict, maps, pooled, words) -> tuple:
        """Returns four scalars: unexplained share of map and of pooled, KL of classes, cross-entropy of words."""
        map_loss = tf.reduce_mean(tf.reduce_sum((predicted["map"] - maps) ** 2, -1)) / self.map_variance
        pooled_loss = tf.reduce_mean(tf.reduce_sum((predicted["pooled"] - pooled) ** 2, -1)) / self.pooled_variance
        teacher, student = (tf.nn.log_softmax(self.class_logits(x)) for x in (pooled, predicted["pooled"]))
        class_loss = tf.reduce_mean(tf.reduce_sum(tf.exp(teacher) * (teacher - student), -1))
        entropies = tf.nn.sigmoid_cross_entropy_with_logits(labels=words, logits=predicted["words"])
        word_loss = tf.reduce_sum(entropies) / (tf.reduce_sum(words) + 1e-6)
        return map_loss, pooled_loss, class_loss, word_loss

    def judge(self, predicted: dict[str, np.ndarray]) -> dict[str, float]:
        """Compares predictions for the whole validation photos with the targets.

        Args:
            predicted: float32 `map` `(B, H', H', K)`, `pooled` `(B, K)` and `words` `(B, W)` of all of them.

        Returns:
            Mean cosine of map and pooled, share of their variance that is explained, agreement with the teacher's
            first class, and share of the ten likeliest words that a person used.
        """
        maps, pooled = (np.asarray(array[self.num_views :], np.float32) for array in (self.maps, self.pooled))
        maps = fit_grid(maps, predicted["map"].shape[1]).numpy()
        scores = {}
        for name, target in (("map", maps), ("pooled", pooled)):
            scores[f"{name}_cosine"] = _mean_cosine(predicted[name], target)
            scores[f"{name}_explained"] = 1 - np.square(predicted[name] - target).sum() / np.square(target).sum()
        best = [self.class_logits(x).argmax(-1) for x in (predicted["pooled"], pooled)]
        scores["class_agreement"] = (best[0] == best[1]).mean()
        guesses = np.argsort(predicted["words"], axis=-1)[:, -10:]
        used = self.words[self.photo_rows[self.num_views :]]
        scores["word_precision"] = (np.take_along_axis(used, guesses, axis=-1) > 0).mean()
        return {name: round(float(score), 4) for name, score in scores.items()}


def crop_grids(grids, boxes, size: int):
    """Cuts boxes out of pictures or feature grids and resamples them bilinearly.

    Pictures and grids of any size stay aligned: a box is given in shares of the whole, and cells are areas, sampled at
    their centres; beyond the border the outermost cells are repeated.

    Args:
        grids: `(B, H, H, C)`.
        boxes: float32 `(B, 4)`: top, left, bottom, right, 0 to 1; left beyond right mirrors the view.
        size: Side of the result in cells.

    Returns:
        float32 `(B, size, size, C)`.
    """
    side = grids.shape[1]
    padded = tf.pad(grids, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    first, last = boxes[:, :2], boxes[:, 2:]
    margin = (last - first) * (0.5 / size)
    # A share x lies at x * side - 0.5 in cells, one more in the padded grid, whose last index is side + 1.
    corners = (tf.concat([first + margin, last - margin], axis=1) * side + 0.5) / (side + 1)
    return tf.image.crop_and_resize(padded, corners, tf.range(tf.shape(grids)[0]), (size, size))


def combine_boxes(outer, inner):
    """Returns where boxes `inner` `(B, 4)` of the views `outer` `(B, 4)` lie in the photo; mirroring is kept."""
    corner, size = outer[:, :2], outer[:, 2:] - outer[:, :2]
    return tf.concat([corner + inner[:, :2] * size, corner + inner[:, 2:] * size], axis=1)


def draw_views(
    rng: np.random.Generator, count: int, *, min_side: float, color_jitter: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draws parts of views and changes of colour.

    Args:
        rng: Source of randomness.
        count: Number of views `B`.
        min_side: Smallest share of a side that is kept.
        color_jitter: Largest relative change of saturation, contrast and brightness.

    Returns:
        Boxes `(B, 4)` for `crop_grids`, half of them mirrored, and factors `(B, 3)` for saturation, contrast and
        brightness, all float32.
    """
    sides = rng.uniform(min_side, 1.0, (count, 1)) * rng.uniform(0.9, 1.1, (count, 2))
    sides = np.clip(sides, min_side, 1.0)
    corners = rng.uniform(0, 1, (count, 2)) * (1 - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1)
    mirrored = rng.random(count) < 0.5
    boxes[mirrored] = boxes[mirrored][:, [0, 3, 2, 1]]
    factors = rng.uniform(1 - color_jitter, 1 + color_jitter, (count, 3))
    return boxes.astype(np.float32), factors.astype(np.float32)


def jitter_colors(pixels, factors):
    """Changes saturation, contrast and brightness of pixels `(B, S, S, 3)` by factors `(B, 3)`; stays in 0..255."""
    saturation, contrast, brightness = (factors[:, i, None, None, None] for i in range(3))
    grey = tf.reduce_mean(pixels, axis=-1, keepdims=True)
    level = tf.reduce_mean(grey, axis=(1, 2), keepdims=True)
    pixels = grey + saturation * (pixels - grey)
    return tf.clip_by_value((level + contrast * (pixels - level)) * brightness, 0.0, 255.0)


def fit_grid(grids, size: int):
    """Resamples `(B, H, H, K)` to another side; nothing to do where the student's grid is the teacher's."""
    if grids.shape[1] == size:
        return tf.convert_to_tensor(grids)
    return tf.image.resize(grids, (size, size), antialias=True)


def _mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / np.maximum(lengths, 1e-6)).mean())
