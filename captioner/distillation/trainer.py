"""Trains the compact encoder to see what a large one sees: knowledge distillation.

Views of the train photos are drawn without end, and teacher and student look at the same view. The student predicts,
through linear heads that are dropped afterwards, the principal components of the teacher's grid and of its pooled
vector, the teacher's class probabilities, and the words people used for the photo. Train photos teach, validation
photos judge, test photos are never opened.

Keras alone, so that TensorFlow will do as well as JAX, which is faster on a GPU (`KERAS_BACKEND=jax`). What is computed
of a batch is in `captioner.distillation.student`.

References:
    L. Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", 2022.
    https://arxiv.org/abs/2106.05237
    K. Jordan et al., "Muon", 2024. https://kellerjordan.github.io/posts/muon/
"""

import csv
import dataclasses
import hashlib
import math
import time
from concurrent import futures
from pathlib import Path

import keras
import numpy as np
import tqdm
from keras import ops
from PIL import Image

from captioner import files
from captioner.data import photos
from captioner.distillation import student
from captioner.distillation.lessons import Lessons
from captioner.distillation.teacher import Teacher, compare, predict, resize_grid
from captioner.encoders import augmentation, compact
from captioner.scoring import machine


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """How the compact encoder is trained."""

    # A view is one photo seen once. Longer is better: a run that has ended goes on if it is started with more views.
    views: int = 500_000
    batch_size: int = 64
    # For matrices, by Muon; a step changes a kernel's entries by about a fifth of this.
    learning_rate: float = 1e-2
    # Vectors and heads go by Adam, at this share of the learning rate: at 0.2 the noise of the heads' steps is louder
    # than what they say.
    adam_fraction: float = 0.05
    weight_decay: float = 0.02
    warmup_steps: int = 150
    # The rate is constant until this share of the views is left, then falls along a cosine; 1.0 is a plain cosine.
    # Stopped before that, a run can be planned longer without loss.
    decay_fraction: float = 0.5
    # 0 leaves the teacher out: a student that has the captions' words alone, to show what a teacher is worth.
    teacher_weight: float = 1.0
    class_weight: float = 0.1
    word_weight: float = 0.1
    seed: int = 0

    def learning_rate_at(self, view: int) -> float:
        """Returns the learning rate after `view` views: warm-up, constant, half a cosine."""
        decay_views = self.decay_fraction * self.views
        progress = min(max((view - self.views + decay_views) / max(decay_views, 1), 0.0), 1.0)
        warmup = min(1.0, (view / self.batch_size + 1) / max(self.warmup_steps, 1))
        return self.learning_rate * warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of each loss."""
        taught = self.teacher_weight
        return {"map": taught, "pooled": taught, "classes": taught * self.class_weight, "words": self.word_weight}


class Distillation:
    """A training run in a folder: its student, optimizer and position.

    Attributes:
        student: The network with its heads.
        views: Views seen so far.
    """

    def __init__(
        self,
        folder: str | Path,
        lessons: Lessons,
        teacher: Teacher,
        options: DistillationConfig,
        *,
        architecture: compact.CompactConfig | None = None,
        views_options: augmentation.ViewsConfig | None = None,
    ):
        """Starts a run, or takes up the one that the folder holds.

        Raises:
            ValueError: If the folder holds a run of another network, teacher, backend or other data.
        """
        self.folder, self.options = Path(folder), options
        self.architecture = architecture or compact.CompactConfig()
        self._lessons, self._teacher = lessons, teacher
        self._views_options = views_options or augmentation.ViewsConfig()
        self.views = 0
        words = hashlib.sha256(np.ascontiguousarray(lessons.words).data).hexdigest()[:16]
        taught_by = teacher.encoder if options.teacher_weight else "no teacher"
        self._made_of = f"{taught_by}, {len(lessons.photos)} photos, words {words}, {self.architecture}"
        checkpoint = self._read_checkpoint()
        keras.utils.set_random_seed(options.seed)
        if checkpoint:
            names = [name for name in checkpoint if name.startswith("teacher_")]
            teacher.statistics = {name.removeprefix("teacher_"): checkpoint[name] for name in names}
        else:
            teacher.fit_statistics(lessons.photos)
        self.student = student.build_student(self.architecture, teacher, lessons.words.mean(axis=0))
        for name, weight in options.loss_weights.items():
            self.student.get_layer(f"head_{name}").trainable = bool(weight)
        self._distiller = student.Distiller(
            self.student, teacher, options.loss_weights, float(lessons.words.sum(1).mean())
        )
        self._optimizer = keras.optimizers.Muon(
            options.learning_rate,
            adam_lr_ratio=options.adam_fraction,
            weight_decay=options.weight_decay,
            adam_weight_decay=None,
            adam_beta_2=0.99,
            exclude_layers=["head_"],
        )
        self._optimizer.build(self.student.trainable_variables)
        # XLA makes TensorFlow's convolutions slower on a CPU; the other backends compile on their own.
        self._distiller.compile(self._optimizer, jit_compile=keras.backend.backend() != "tensorflow")
        self._validation = {
            name: (teacher.targets(pixels), words) for name, (pixels, words) in lessons.validation.items()
        }
        size = self.architecture.image_size
        self._small = {
            name: np.stack([photos.resize_photo(Image.fromarray(photo), size) for photo in pixels])
            for name, (pixels, _) in lessons.validation.items()
        }
        if checkpoint:
            self._restore(checkpoint)

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
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = judged = time.monotonic()
        self._distiller.reset_metrics()
        losses = {}
        with (
            futures.ThreadPoolExecutor(1) as background,
            tqdm.tqdm(total=last, initial=self.views, unit="view", desc="distillation", disable=not progress) as bar,
        ):
            coming = background.submit(self._batch, self.views)
            while self.views < last:
                batch = coming.result()
                coming = background.submit(self._batch, self.views + self.options.batch_size)
                losses = self._step(batch)
                bar.update(self.options.batch_size)
                now = time.monotonic()
                if now - saved > save_seconds:
                    self.save()
                    bar.set_postfix(losses)
                    saved = time.monotonic()
                if now - judged > judge_seconds:
                    self._record(losses)
                    losses, judged = {}, time.monotonic()
        self.save()
        if losses:
            self._record(losses)

    def judge(self) -> dict[str, dict[str, float]]:
        """Compares the student with the teacher on the whole validation photos of each data set."""
        scores = {}
        for name, (targets, words) in self._validation.items():
            predicted = predict(self.student, self._small[name], compact.preprocess)
            maps = ops.convert_to_numpy(resize_grid(targets["map"], predicted["map"].shape[1]))
            scores[name] = compare(predicted, targets | {"map": maps}, words)
        return scores

    def export(self, folder: str | Path) -> Path:
        """Writes the encoder, without its heads, to be used as `compact`; returns the file of the weights."""
        network = compact.build_network(self.architecture)
        for layer in network.layers:
            layer.set_weights(self.student.get_layer(layer.name).get_weights())
        facts = {
            "architecture": dataclasses.asdict(self.architecture),
            "teacher": self._teacher.encoder if self.options.teacher_weight else None,
            "train_photos": len(self._lessons.photos),
            "data": list(self._lessons.validation),
            "views": self.views,
            "keras": f"{keras.version()}, {keras.backend.backend()}",
            "trained_on": machine.name_device(),
            "options": dataclasses.asdict(self.options) | dataclasses.asdict(self._views_options),
            "validation": self.judge(),
        }
        return compact.save_weights(network, folder, facts)

    def save(self) -> None:
        """Writes the checkpoint; it replaces the one before in one step."""
        arrays = {name: ops.convert_to_numpy(variable) for name, variable in self._state().items()}
        arrays |= {f"teacher_{name}": values for name, values in self._teacher.statistics.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        with files.replace_file(self._checkpoint_file) as new:
            np.savez(new, views=self.views, made_of=self._made_of, backend=keras.backend.backend(), **arrays)

    @property
    def _checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.npz"

    def _batch(self, position: int) -> dict[str, np.ndarray]:
        """Returns the batch at a position of an endless sequence in which each round is a new order."""
        count, num_photos = self.options.batch_size, len(self._lessons.photos)
        places = np.arange(position, position + count)
        orders = {
            number: np.random.default_rng((self.options.seed, 1, number)).permutation(num_photos)
            for number in set((places // num_photos).tolist())
        }
        rows = np.array([orders[place // num_photos][place % num_photos] for place in places.tolist()])
        drawn = augmentation.draw_views(
            np.random.default_rng((self.options.seed, position)), count, self._views_options
        )
        return {"photos": self._lessons.photos[rows], "words": self._lessons.words[rows], **drawn}

    def _step(self, batch: dict[str, np.ndarray]) -> dict[str, float]:
        """Trains on a batch; returns the mean losses since they were last reset."""
        self._optimizer.learning_rate.assign(self.options.learning_rate_at(self.views))
        losses = self._distiller.train_on_batch(batch, return_dict=True)
        self.views += self.options.batch_size
        return {name: float(losses[name]) for name, weight in self.options.loss_weights.items() if weight}

    def _record(self, losses: dict[str, float]) -> None:
        row: dict[str, float | str] = {"views": self.views, "learning_rate": self.options.learning_rate_at(self.views)}
        row |= {f"{name}_loss": round(value, 4) for name, value in losses.items()}
        for data, scores in self.judge().items():
            row |= {f"{data}_{name}": value for name, value in scores.items()}
        row["time"] = time.strftime("%Y-%m-%d %H:%M:%S")
        self._distiller.reset_metrics()
        with (self.folder / "progress.csv").open("a", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, row)
            if not lines.tell():
                writer.writeheader()
            writer.writerow(row)

    def _read_checkpoint(self) -> dict[str, np.ndarray]:
        if not self._checkpoint_file.is_file():
            return {}
        remedy = "Delete that file: the run begins anew."
        with files.reading(self._checkpoint_file, remedy), np.load(self._checkpoint_file) as arrays:
            checkpoint = dict(arrays)
        made_of = str(checkpoint["made_of"] if "backend" in checkpoint else "an earlier version of this project")
        if made_of != self._made_of:
            raise ValueError(
                f"{self._checkpoint_file} is of another run. Name another folder, or delete that file. "
                f"Received: {self._made_of}. It is of: {made_of}"
            )
        machine.check_backend(str(checkpoint["backend"]), self._checkpoint_file)
        return checkpoint

    def _restore(self, checkpoint: dict[str, np.ndarray]) -> None:
        self.views = int(checkpoint["views"])
        for name, variable in self._state().items():
            variable.assign(checkpoint[name])

    def _state(self) -> dict:
        groups = {"student": self.student.weights, "optimizer": self._optimizer.variables}
        return {f"{group}_{i}": variable for group, listed in groups.items() for i, variable in enumerate(listed)}
