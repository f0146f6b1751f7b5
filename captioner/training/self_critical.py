"""Self-critical training: from the likeliest words to the captions that score best.

Teacher forcing never lets a decoder see its own mistakes, and likelihood is not what captions are judged by. So a
trained decoder goes on with reinforcement: it samples some captions of a photo, each is scored by CIDEr-D against the
photo's references, and a caption that scores higher than its siblings becomes likelier,

    gradient = -(reward - mean reward of the siblings) * gradient of log p(caption).

It changes little: some hundred steps at a small rate, of which validation keeps the best. Longer training makes
captions shorter and more alike. It needs a decoder that was trained without label smoothing, whose samples are words
that fit: with smoothing a tenth of them are any words, and all that is learnt is to avoid those.

Legend: `B` photos, `K` samples of each, `N = B * K`, `T` words.

References:
    S. Rennie et al., "Self-critical Sequence Training for Image Captioning", 2016. https://arxiv.org/abs/1612.00563
    R. Luo, "A Better Variant of Self-Critical Sequence Training", 2020 (siblings as the baseline).
    https://arxiv.org/abs/2003.09971
"""

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import tqdm
from keras import ops

from captioner import config
from captioner.data.vocabulary import Vocabulary
from captioner.decoder import losses
from captioner.decoder.network import CaptionDecoder
from captioner.decoder.sampling import CaptionSampler
from captioner.decoder.weights import digest_decoder
from captioner.training import run_files

_WEIGHTS_FILE, _HISTORY_FILE, _SETTINGS_FILE = "refined.weights.h5", "refined.csv", "refined.json"


class Views(Protocol):
    """Features of photos to train on, for example `captioner.decoder.batches.PhotoViews`."""

    def take(self, indices: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns `pooled` `(B, P)` and `regions` `(B, R, D)` of the photos at `indices` `(B,)` or of views of them."""


def refine_decoder(
    decoder: CaptionDecoder,
    views: Views,
    references: Mapping[str, Sequence[str]],
    vocabulary: Vocabulary,
    score_validation: Callable[[CaptionDecoder], dict[str, float]],
    run_dir: str | Path,
    *,
    settings: config.SelfCriticalConfig | None = None,
    progress: bool = True,
) -> list[dict]:
    """Trains a decoder on by the CIDEr-D of its own captions, and leaves it with its best weights.

    Args:
        decoder: A trained decoder. Its weights are replaced.
        views: Features of the train photos.
        references: Their cleaned captions, image id by image id in the order of `views`.
        vocabulary: Its words.
        score_validation: Captions the validation photos with the decoder as it is; returns at least `cider_d`.
        run_dir: Folder of a run on these photos and captions alone. The result is kept there: finished work is found
            again and not repeated. A run that was stopped begins anew.
        settings: How to train.
        progress: Whether to show a progress bar.

    Returns:
        A row for the decoder as it came and for each round: `round` (from 0), mean `reward` of the samples (`None` at
        0), the scores under `val_<name>`, and `seconds`.

    Raises:
        BlockingIOError: If another process is training there.
        ValueError: If a file of finished work is damaged.
    """
    run_dir, settings = Path(run_dir), settings or config.SelfCriticalConfig()
    weights, history_file, begun_file = (run_dir / name for name in (_WEIGHTS_FILE, _HISTORY_FILE, _SETTINGS_FILE))
    begun = {"settings": dataclasses.asdict(settings), "decoder": digest_decoder(decoder)}
    if begun_file.is_file() and run_files.read_description(begun_file) == begun:
        with run_files.reading(weights):
            decoder.load_weights(weights)
        return run_files.read_history(history_file)
    with run_files.alone(run_dir):
        # What is there is of another run, and from now on its weights are overwritten.
        begun_file.unlink(missing_ok=True)
        trainer = _Trainer(decoder, views, references, vocabulary, settings)
        history: list[dict] = []
        for number in range(settings.rounds + 1):
            started = time.monotonic()
            reward = float(np.mean(trainer.train_round(number, progress))) if number else None
            scores = {f"val_{name}": float(value) for name, value in score_validation(decoder).items()}
            history.append({"round": number, "reward": reward} | scores)
            if run_files.best_row(history) is history[-1]:
                decoder.save_weights(weights)
            history[-1]["seconds"] = time.monotonic() - started
        run_files.write_history(history_file, history)
        # Last: without it the rest is of an unfinished run.
        run_files.describe_run(begun_file, begun)
        decoder.load_weights(weights)
        return history


class _Trainer:
    """What one run needs at hand: compiled functions, optimizer, rewards."""

    def __init__(self, decoder, views, references, vocabulary, settings: config.SelfCriticalConfig):
        self._decoder, self._views, self._settings = decoder, views, settings
        self._image_ids = list(references)
        end = vocabulary.end_id
        encoded = {i: [(*vocabulary.encode(text), end) for text in texts] for i, texts in references.items()}
        self._reward = CiderReward(encoded)
        # Full batches alone: photos that fill none come in another round.
        self._num_steps = max(min(settings.photos_per_round, len(self._image_ids)) // settings.batch_size, 1)
        self._sampler = CaptionSampler(decoder, vocabulary)
        self._learner = _Learner(decoder)
        # XLA takes three times as long as plain kernels for this recurrence on a CPU.
        self._is_compiled = keras.backend.backend() != "tensorflow"
        optimizer = keras.optimizers.Adam(settings.learning_rate, beta_2=0.99, global_clipnorm=1.0)
        self._learner.compile(optimizer, jit_compile=self._is_compiled)

    def train_round(self, number: int, progress: bool) -> list[float]:
        """Trains on the photos of round `number`, from 1, and returns the mean reward of each step."""
        settings = self._settings
        random = np.random.default_rng([settings.seed, number])
        order = random.permutation(len(self._image_ids))
        rewards = []
        for step in tqdm.trange(self._num_steps, desc=f"round {number}", unit="step", disable=not progress):
            done = ((number - 1) * self._num_steps + step) / (settings.rounds * self._num_steps)
            self._learner.optimizer.learning_rate.assign(settings.learning_rate * (1 - 0.9 * done))
            indices = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            rewards.append(self._train_step(indices, random))
        return rewards

    def _train_step(self, indices: np.ndarray, random: np.random.Generator) -> float:
        settings, views = self._settings, self._views.take(indices, random)
        chances = random.random((len(indices), settings.num_samples, settings.max_length), np.float32)
        sampled = self._sampler.predict_on_batch(views | {"chances": chances})  # (B, K, T)
        rewards = np.array(
            [
                [
                    self._reward.score(self._image_ids[i], words[words != Vocabulary.pad_id].tolist())
                    for words in of_photo
                ]
                for i, of_photo in zip(indices, sampled, strict=True)
            ]
        )  # (B, K)
        siblings = (rewards.sum(axis=1, keepdims=True) - rewards) / (rewards.shape[1] - 1)
        # Where a length more is a compilation more, all are as long.
        length = settings.max_length if self._is_compiled else (sampled != Vocabulary.pad_id).sum(axis=-1).max()
        target_ids = sampled[..., :length]
        input_ids = np.pad(target_ids[..., :-1], [(0, 0), (0, 0), (1, 0)], constant_values=Vocabulary.start_id)
        # As in `captioner.decoder.batches`: the end marker is a target only.
        input_ids[input_ids == Vocabulary.end_id] = Vocabulary.pad_id
        batch = {"input_ids": input_ids, "target_ids": target_ids, "advantages": (rewards - siblings).astype("float32")}
        self._learner.train_on_batch(views | batch)
        return float(rewards.mean())


class _Learner(keras.Model):
    """What `train_on_batch` computes, of features, `input_ids` and `target_ids` `(B, K, T)`, and `advantages`."""

    def __init__(self, decoder: CaptionDecoder):
        super().__init__(name="learner")
        self.decoder = decoder

    def build(self, input_shape):
        """Does nothing: the decoder comes built."""

    def call(self, inputs, training=False):
        """Returns the loss of each caption's words and which of them count, `(B * K, T)`; nothing is dropped out."""
        states, memory, keys = self.decoder.start(inputs["pooled"], inputs["regions"])
        num_captions, length = ops.shape(inputs["input_ids"])[1:]
        states = [ops.repeat(state, num_captions, axis=0) for state in states]
        input_ids, target_ids = (ops.reshape(inputs[name], (-1, length)) for name in ("input_ids", "target_ids"))
        logits, _ = self.decoder.read(input_ids, states, memory, keys)
        return losses.word_cross_entropy(target_ids, logits)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the mean over words of their losses times the advantage of their caption."""
        word_losses, counted = y_pred
        return ops.sum(ops.reshape(x["advantages"], (-1, 1)) * word_losses) / ops.sum(counted)


_MAX_ORDER = 4
# Of the Gaussian that punishes another length, in tokens.
_SIGMA = 6.0


class CiderReward:
    """Scores captions against the references of photos.

    Args:
        references: Image id -> its references, each a sequence of tokens. How rare an n-gram is comes from these.
    """

    def __init__(self, references: Mapping[str, Sequence[Sequence[Hashable]]]):
        self._frequencies = collections.Counter(
            gram for texts in references.values() for gram in set().union(*map(_count_grams, texts))
        )
        self._log_photos = math.log(len(references))
        self._references = {image_id: [self._weigh(text) for text in texts] for image_id, texts in references.items()}

    def score(self, image_id: str, tokens: Sequence[Hashable]) -> float:
        """Returns CIDEr-D as published, 0 to 10, of a caption of this photo."""
        vectors, norms, length = self._weigh(tokens)
        total = 0.0
        for other_vectors, other_norms, other_length in self._references[image_id]:
            similarity = sum(
                _overlap(vector, other) / (norm * other_norm)
                for vector, other, norm, other_norm in zip(vectors, other_vectors, norms, other_norms, strict=True)
                if norm and other_norm
            )
            total += similarity * math.exp(-((length - other_length) ** 2) / (2 * _SIGMA**2))
        return 10 * total / (_MAX_ORDER * len(self._references[image_id]))

    def _weigh(self, tokens: Sequence[Hashable]) -> tuple[list[dict], list[float], int]:
        """Returns for each order the n-grams weighted by tf-idf, the norms of these vectors, and the length."""
        vectors: list[dict] = [{} for _ in range(_MAX_ORDER)]
        for gram, count in _count_grams(tokens).items():
            rarity = self._log_photos - math.log(max(self._frequencies[gram], 1))
            vectors[len(gram) - 1][gram] = count * rarity
        return vectors, [math.sqrt(sum(w * w for w in vector.values())) for vector in vectors], len(tokens)


def _count_grams(tokens: Sequence[Hashable]) -> collections.Counter:
    orders = range(1, _MAX_ORDER + 1)
    return collections.Counter(tuple(tokens[i : i + n]) for n in orders for i in range(len(tokens) - n + 1))


def _overlap(vector: dict, other: dict) -> float:
    """The product of two vectors, where no n-gram counts more often than in the reference."""
    return sum(min(weight, other[gram]) * other[gram] for gram, weight in vector.items() if gram in other)
