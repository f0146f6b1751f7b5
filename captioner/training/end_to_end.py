"""End to end: a whole encoder and a fresh decoder learn together, from photos.

`captioner.training.fine_tuning` spares two cores most of the work: it teaches the last stages alone, from maps that
were computed once. Where there is a GPU, all convolutions can learn, and each photo is seen anew each time, cropped,
mirrored and in other colours. The encoder waits until the decoder knows something; batch normalisation stays as
ImageNet left it. One pass of a photo serves all of its captions, which are read in two parts, shorter and longer ones.

Captioners can teach: the words that they find likely, looking at the same view, count beside those that people wrote.
6,000 photos are few, and what several captioners hold likely says more of a photo than five captions do.

Captions are written by a running average of all weights; see `captioner.training.epochs` for the files of a run. It is
made of Keras alone: TensorFlow does it as well as JAX, which is faster on a GPU.

Legend: `B` photos, `K` captions of each, `N = B * K`, `T` words, `S` side of a photo, `V` vocabulary.

References:
    G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015 (the ensemble that teaches).
    https://arxiv.org/abs/1503.02531
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tqdm
from keras import ops

from captioner.data.vocabulary import Vocabulary
from captioner.decoder import losses
from captioner.decoder.sight import Sight
from captioner.encoders import augmentation, kernels
from captioner.training import epochs, run_files
from captioner.training.tuning import EndToEndConfig

# The longest captions of a photo, this share of them, are read apart, so that the others need not be as long.
_LONG = 0.4


class ViewBatches:
    """Views of photos with all of their captions, in an order that seed and epoch alone decide.

    Args:
        photos: RGB, uint8 `(N, S, S, 3)`.
        captions: Cleaned captions of each of them.
        vocabulary: Words to ids.
        settings: Sizes, how views differ from photos, and the seed.
        full_length: Whether all batches are as long as captions may be, for backends that compile for each length.
    """

    def __init__(
        self,
        photos: np.ndarray,
        captions: Sequence[Sequence[str]],
        vocabulary: Vocabulary,
        settings: EndToEndConfig,
        *,
        full_length: bool = False,
    ):
        self._photos, self._settings, self._full_length = photos, settings, full_length
        ends = vocabulary.start_id, vocabulary.end_id
        count = max(map(len, captions))
        self._ids = np.full((len(captions), count, settings.max_length + 1), vocabulary.pad_id, np.int32)
        for of_photo, texts in zip(self._ids, captions, strict=True):
            listed = sorted(([ends[0], *vocabulary.encode(text), ends[1]] for text in texts), key=len)
            # The last are the longest; a photo that has fewer captions than others begins with none.
            for row, tokens in zip(of_photo[count - len(listed) :], listed, strict=True):
                row[: len(tokens)] = tokens[: len(row)]
        self._num_short = count - round(count * _LONG)

    @property
    def num_batches(self) -> int:
        """Full batches of one epoch; photos that fill no batch come in another epoch."""
        return max(len(self._photos) // self._settings.photos_per_batch, 1)

    def epoch(self, number: int) -> Iterator[dict[str, np.ndarray]]:
        """Yields the batches of one epoch.

        Yields:
            `photos` uint8 `(B, S, S, 3)`, `boxes` and `factors` as from `augmentation.draw_views`, and the captions in
            two parts, `shorter` and `longer`, int32 `(B, K, T + 1)`, from start to end marker, right-padded.
        """
        settings = self._settings
        random = np.random.default_rng([settings.seed, number])
        order = random.permutation(len(self._photos))
        for start in range(0, self.num_batches * settings.photos_per_batch, settings.photos_per_batch):
            indices = order[start : start + settings.photos_per_batch]
            boxes, factors = augmentation.draw_views(random, len(indices), **settings.views)
            ids = self._ids[indices]
            parts = {"shorter": ids[:, : self._num_short], "longer": ids[:, self._num_short :]}
            parts = {name: self._trim(part) for name, part in parts.items() if part.shape[1]}
            yield {"photos": self._photos[indices], "boxes": boxes, "factors": factors} | parts

    def _trim(self, ids: np.ndarray) -> np.ndarray:
        """Cuts off what is padding in all captions."""
        return ids if self._full_length else ids[..., : max(int((ids != Vocabulary.pad_id).sum(-1).max()), 2)]


class Tuner(keras.Model):
    """What `train_on_batch` computes of a batch of `ViewBatches`.

    Args:
        sight: What learns.
        teachers: What teaches beside people; empty for none.
        taught_share: How much the teachers' words count, people's counting the rest.
    """

    def __init__(self, sight: Sight, teachers: Sequence[Sight] = (), taught_share: float = 0.0):
        super().__init__()
        self.network, self.decoder = sight.network, sight.decoder
        self._sight, self._teachers, self._share = sight, tuple(teachers), taught_share if teachers else 0.0
        self.taught_by = [part for teacher in teachers for part in (teacher.network, teacher.decoder)]
        for part in self.taught_by:
            # Setting `trainable` on a whole model can miss variables of its layers.
            for variable in part.variables:
                variable.trainable = False

    def build(self, input_shape):
        """Does nothing: encoder and decoder come built."""

    def call(self, inputs, training=False):
        """Returns the sum of all words' losses, and how many words there are."""
        started = self._sight.start(inputs, training)
        taught = [(teacher, teacher.start(inputs, False)) for teacher in self._teachers]
        total = count = 0.0
        for name in ("shorter", "longer"):
            if name in inputs:
                ids = inputs[name]
                logits = self._sight.read(started, ids, training)
                word_losses, counted = losses.word_cross_entropy(
                    ops.reshape(ids[..., 1:], ops.shape(logits)[:2]), logits
                )
                if taught:
                    likely = sum(ops.softmax(teacher.read(start, ids, False)) for teacher, start in taught)
                    distances = -ops.sum(ops.stop_gradient(likely) * ops.log_softmax(logits), -1) / len(taught)
                    word_losses = (1 - self._share) * word_losses + self._share * distances * counted
                total, count = total + ops.sum(word_losses), count + ops.sum(counted)
        return total, count

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the mean loss for each word."""
        total, count = y_pred
        return total / count


class TwoRates(keras.optimizers.AdamW):
    """AdamW that moves some variables at another rate, and not before some steps are done.

    Args:
        num_slow: How many these are, the first of all that learn.
        slow_share: Their share of the learning rate.
        wait: Steps in which they stay as they are; as many again until they have their full share.
        **kwargs: As for `keras.optimizers.AdamW`.
    """

    def __init__(self, *args, num_slow: int, slow_share: float, wait: int, **kwargs):
        super().__init__(*args, **kwargs)
        self._num_slow, self._slow_share, self._wait = num_slow, slow_share, wait

    def update_step(self, gradient, variable, learning_rate):
        if self._get_variable_index(variable) < self._num_slow:
            done = ops.cast(self.iterations, "float32") - self._wait
            learning_rate = learning_rate * self._slow_share * ops.clip(done / max(self._wait, 1), 0.0, 1.0)
        super().update_step(gradient, variable, learning_rate)


def train_end_to_end(
    sight: Sight,
    batches: ViewBatches,
    score: Callable[[], Mapping[str, float]],
    run_dir: str | Path,
    *,
    settings: EndToEndConfig,
    description: Mapping,
    teachers: Sequence[Sight] = (),
    progress: bool = True,
) -> list[dict]:
    """Trains an encoder and a decoder together, or goes on with the run in `run_dir`.

    Args:
        sight: Encoder and decoder. They end with their best weights, the encoder's rounded to float16.
        batches: What to train on.
        score: Captions the validation photos with both as they are; returns at least `cider_d`.
        run_dir: Folder of the run.
        settings: How to train.
        description: What the run is of; a run of something else is never gone on with.
        teachers: Encoders and decoders, of the same words, that teach beside people.
        progress: Whether to show progress bars.

    Returns:
        A row for both as they came and for each epoch: `epoch` (from 0), mean `loss` for each word (`None` at 0), the
        scores under `val_<name>`, and `seconds`.

    Raises:
        BlockingIOError: If another process is training there.
        ValueError: If `run_dir` holds the run of something else, or a file of it is damaged.
    """
    learning = kernels.learn_kernels(sight.network)
    run = epochs.Run(Path(run_dir), dict(description), num_epochs=settings.epochs, patience=settings.patience)
    trainer = _Trainer(sight, batches, settings, teachers)
    with run_files.alone(Path(run_dir)):
        history = run.train(trainer, score, progress)
    trainer.set_weights(run.load_best())
    kernels.round_kernels(learning.values())
    return history


class _Trainer(epochs.Trainer):
    """What one run needs at hand: compiled step, optimizer, running averages."""

    def __init__(self, sight: Sight, batches: ViewBatches, settings: EndToEndConfig, teachers):
        self._sight, self._batches, self._settings = sight, batches, settings
        self._tuner = Tuner(sight, teachers, settings.taught_share)
        slow = sight.network.trainable_variables
        variables = [*slow, *sight.decoder.trainable_variables]
        self._optimizer = TwoRates(
            settings.learning_rate,
            num_slow=len(slow),
            slow_share=settings.encoder_learning_rate / settings.learning_rate,
            wait=settings.frozen_epochs * batches.num_batches,
            weight_decay=settings.weight_decay,
            global_clipnorm=settings.clip_norm,
            use_ema=True,
            ema_momentum=settings.averaging,
        )
        self._optimizer.exclude_from_weight_decay(var_list=slow, var_names=["bias"])
        self._optimizer.build(variables)
        super().__init__(variables, self._optimizer.variables)
        # XLA takes three times as long as plain kernels for this recurrence on a CPU.
        self._tuner.compile(self._optimizer, jit_compile=keras.backend.backend() != "tensorflow")

    def train_epoch(self, number: int, progress: bool) -> float:
        """Trains for epoch `number`, from 1, and returns the mean loss for each word."""
        settings, per_epoch = self._settings, self._batches.num_batches
        run_files.restart_dropout(self._sight.decoder, settings.seed, number)
        found = []
        bar = tqdm.tqdm(self._batches.epoch(number), f"epoch {number}", per_epoch, unit="step", disable=not progress)
        for place, batch in enumerate(bar):
            share = epochs.learning_rate_share(settings, (number - 1) * per_epoch + place, settings.epochs * per_epoch)
            self._optimizer.learning_rate.assign(settings.learning_rate * share)
            self._tuner.reset_metrics()
            found.append(self._tuner.train_on_batch(batch))
        return float(np.mean(found))

    def score_averages(self, score: Callable[[], Mapping[str, float]]) -> tuple[Mapping[str, float], list[np.ndarray]]:
        """Returns the scores of the running averages of all weights, and these."""
        if not ops.convert_to_numpy(self._optimizer.iterations):
            return score(), epochs.read_values(self._variables)
        weights = epochs.read_values(self._variables)
        self._optimizer.finalize_variable_values(self._variables)
        averages = epochs.read_values(self._variables)
        # Copies: JAX reuses the memory of arrays that it is passed.
        self.set_weights(averages)
        scores = score()
        self.set_weights(weights)
        return scores, averages
