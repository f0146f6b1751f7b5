"""Trains the compact encoder to see what a large one sees: knowledge distillation on photos alone.

The teacher has looked at each photo and at a few crops of it, see `captioner.targets`. Views are then drawn without
end: a part, perhaps mirrored, is cut out of such a crop and, at the same place, out of the teacher's grid, since a
convolutional map moves with its photo. The student predicts the grid's principal components through linear heads
that are dropped afterwards. Three more targets: the pooled vector, the teacher's class probabilities, and the words
people used for the photo. Train photos teach, validation photos judge, test photos are never opened.

Legend: `N` photos, `B` batch, `S` side in pixels, `H` side of the teacher's grid, `D` depth of the teacher, `K`
components, `C` channels of the student, `W` words.

References:
    L. Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", 2022.
    https://arxiv.org/abs/2106.05237
    K. Jordan et al., "Muon", 2024. https://kellerjordan.github.io/posts/muon/
"""

import csv
import dataclasses
import math
import os
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tqdm

from captioner import compact, supervision


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """How the compact encoder is trained."""

    # A view is one photo seen once. Longer is better: the run may be extended while it goes on.
    views: int = 500_000
    batch_size: int = 64
    # For matrices, by Muon; a step changes a kernel's entries by about a fifth of this.
    learning_rate: float = 1e-2
    # Vectors and heads go by Adam, at this share of the learning rate: at 0.2 the noise of the heads' steps is louder
    # than what they say.
    adam_fraction: float = 0.05
    weight_decay: float = 0.02
    warmup_views: int = 10_000
    # The rate is constant until this share of the views is left, then falls along a cosine; 1.0 is a plain cosine.
    # A constant part lets a run be extended without loss.
    decay_fraction: float = 0.5
    # Judged and shipped are averaged weights, over about this many views.
    average_views: int = 12_000
    # Parts keep at least this share of each side, beyond which the teacher would see them differently.
    min_side: float = 0.85
    color_jitter: float = 0.25
    # 0 leaves the teacher out: a student that has the captions' words alone, to show what a teacher is worth.
    teacher_weight: float = 1.0
    class_weight: float = 0.1
    word_weight: float = 0.1
    seed: int = 0

    def learning_rate_at(self, view: int) -> float:
        """Returns the learning rate after `view` views: warm-up, constant, half a cosine."""
        decay_views = self.decay_fraction * self.views
        progress = min(max((view - self.views + decay_views) / max(decay_views, 1), 0.0), 1.0)
        warmup = min(1.0, (view + self.batch_size) / max(self.warmup_views, 1))
        return self.learning_rate * warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def build_student(architecture: compact.CompactConfig, taught: supervision.Supervision) -> keras.Model:
    """Puts the three heads on a compact encoder: `map` `(B, H, H, K)`, `pooled` `(B, K)`, `words` `(B, W)`."""
    network = compact.build_network(architecture)
    grid = network.output
    pooled = keras.layers.GlobalAveragePooling2D()(grid)
    # Starting from how often each word is used, the first hours need not go into learning that.
    shares = np.clip(taught.word_shares, 1e-4, 1 - 1e-4)
    odds = keras.initializers.Constant(np.log(shares / (1 - shares)))
    # Small, so that it starts from the mean, not from noise.
    small = keras.initializers.RandomNormal(stddev=1e-3)
    outputs = {}
    for name, features, bias in (("map", grid, "zeros"), ("pooled", pooled, "zeros"), ("words", pooled, odds)):
        size = getattr(taught, name if name != "map" else "maps").shape[-1]
        head = keras.layers.Dense(size, kernel_initializer=small, bias_initializer=bias, name=f"head_{name}")
        outputs[name] = head(features)
    return keras.Model(network.input, outputs, name="student")


class Distillation:
    """A training run in a folder: its student, its averaged student, optimizer and position.

    Attributes:
        student: The network with its heads, as it trains.
        average: The same with averaged weights: the one to judge and ship.
        views: Views seen so far.
    """

    def __init__(
        self,
        folder: str | Path,
        taught: supervision.Supervision,
        options: DistillationConfig,
        architecture: compact.CompactConfig | None = None,
    ):
        self.folder, self.taught, self.options = Path(folder), taught, options
        self.architecture = architecture or compact.CompactConfig()
        keras.utils.set_random_seed(options.seed)
        self.student = build_student(self.architecture, taught)
        self.average = build_student(self.architecture, taught)
        self.average.set_weights(self.student.get_weights())
        self.optimizer = keras.optimizers.Muon(
            options.learning_rate,
            adam_lr_ratio=options.adam_fraction,
            weight_decay=options.weight_decay,
            adam_weight_decay=None,
            adam_beta_2=0.99,
            exclude_layers=["head_"],
        )
        self.optimizer.build(self.student.trainable_variables)
        self.views = 0
        self._step = tf.function(self._train_step, reduce_retracing=True)
        self._predict = tf.function(lambda pixels: self.average(compact.preprocess(pixels), training=False))
        if (self.folder / "checkpoint.npz").is_file():
            self._restore()

    def train(
        self,
        *,
        until: int | None = None,
        save_seconds: float = 120,
        judge_seconds: float = 900,
        progress: bool = False,
    ) -> None:
        """Trains to the planned number of views, or to `until`, from where the folder's checkpoint stands.

        Batches follow from the seed and the position alone, so an interrupted run ends with the weights of an
        uninterrupted one. Every row of `progress.csv` is one judgement on validation photos.
        """
        last = min(until or self.options.views, self.options.views)
        saved = judged = time.monotonic()
        losses = []
        with tqdm.tqdm(total=last, initial=self.views, unit="view", desc="distillation", disable=not progress) as bar:
            while self.views < last:
                losses.append([float(loss) for loss in self.step()])
                bar.update(self.options.batch_size)
                now = time.monotonic()
                if now - saved > save_seconds:
                    self.save()
                    bar.set_postfix(map_loss=float(np.mean(losses[-50:], axis=0)[0]))
                    saved = time.monotonic()
                if now - judged > judge_seconds:
                    self._record(np.mean(losses, axis=0))
                    losses, judged = [], time.monotonic()
        self.save()
        if losses:
            self._record(np.mean(losses, axis=0))

    def step(self):
        """Trains on the next batch and returns its losses: map, pooled, classes, words."""
        count = self.options.batch_size
        rng = np.random.default_rng((self.options.seed, self.views))
        rows = np.sort(self.taught.train_rows(self.views, count, self.options.seed))
        boxes, factors = supervision.draw_views(
            rng, count, min_side=self.options.min_side, color_jitter=self.options.color_jitter
        )
        self.optimizer.learning_rate.assign(self.options.learning_rate_at(self.views))
        losses = self._step(*self.taught.batch(rows), boxes, factors)
        self.views += count
        return losses

    def _train_step(self, photos, outer, maps, pooled, words, boxes, factors):
        places = supervision.combine_boxes(outer, boxes)
        pixels = supervision.crop_grids(photos, places, self.architecture.image_size)
        pixels = supervision.jitter_colors(pixels, factors)
        seen = supervision.crop_grids(maps, boxes, maps.shape[1])
        pooled = self.taught.move_pooled(pooled, maps, seen)
        seen = supervision.fit_grid(seen, self.architecture.grid_size)
        with tf.GradientTape() as tape:
            predicted = self.student(compact.preprocess(pixels), training=True)
            losses = self.taught.losses(predicted, seen, pooled, words)
            taught = self.options.teacher_weight
            weights = (taught, taught, taught * self.options.class_weight, self.options.word_weight)
            total = tf.add_n([weight * loss for weight, loss in zip(weights, losses, strict=True)])
        variables = self.student.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        # Early on the average must follow quickly, or it is mostly random weights.
        steps = tf.cast(self.optimizer.iterations, tf.float32)
        keep = tf.minimum(1 - self.options.batch_size / self.options.average_views, (steps - 1) / (steps + 9))
        for slow, fast in zip(self.average.weights, self.student.weights, strict=True):
            slow.assign(keep * slow + (1 - keep) * fast)
        return losses

    def judge(self) -> dict[str, float]:
        """Compares the averaged student with the teacher on the whole validation photos."""
        outputs = []
        for photos in self.taught.validation_photos(100):
            pixels = supervision.crop_grids(
                photos, tf.tile([[0.0, 0.0, 1.0, 1.0]], (len(photos), 1)), self.architecture.image_size
            )
            outputs.append({name: value.numpy() for name, value in self._predict(pixels).items()})
        predicted = {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}
        return self.taught.judge(predicted)

    def export(self, folder: str | Path) -> Path:
        """Writes the averaged encoder, without its heads, to be used as `compact`; returns the file of the weights."""
        network = compact.build_network(self.architecture)
        for layer in network.layers:
            layer.set_weights(self.average.get_layer(layer.name).get_weights())
        teacher = self.taught.teacher if self.options.teacher_weight else None
        facts = {"architecture": dataclasses.asdict(self.architecture), "teacher": teacher}
        return compact.save_weights(network, folder, facts | {"views": self.views, "validation": self.judge()})

    def save(self) -> None:
        """Writes the checkpoint; it replaces the one before in one step."""
        arrays = {name: variable.numpy() for name, variable in self._state().items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "checkpoint.tmp", "wb") as file:
            np.savez(file, views=self.views, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.folder / "checkpoint.tmp", self.folder / "checkpoint.npz")

    def _restore(self) -> None:
        with np.load(self.folder / "checkpoint.npz") as arrays:
            self.views = int(arrays["views"])
            for name, variable in self._state().items():
                found = arrays[name].shape if name in arrays else "nothing"
                if found != tuple(variable.shape):
                    raise ValueError(
                        f"{arrays.fid.name} does not fit this network. Name another folder, or the architecture it was "
                        f"made with. Received: {name} of shape {found} instead of {tuple(variable.shape)}"
                    )
                variable.assign(arrays[name])

    def _state(self) -> dict:
        groups = {
            "student": self.student.weights,
            "average": self.average.weights,
            "optimizer": self.optimizer.variables,
        }
        return {f"{group}_{i}": variable for group, listed in groups.items() for i, variable in enumerate(listed)}

    def _record(self, losses: np.ndarray) -> None:
        row = {"views": self.views, "learning_rate": self.options.learning_rate_at(self.views)}
        row |= dict(zip(("map_loss", "pooled_loss", "class_loss", "word_loss"), losses.round(4), strict=True))
        row |= self.judge() | {"time": time.strftime("%Y-%m-%d %H:%M:%S")}
        file = self.folder / "progress.csv"
        with file.open("a", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, row)
            if not lines.tell():
                writer.writeheader()
            writer.writerow(row)
