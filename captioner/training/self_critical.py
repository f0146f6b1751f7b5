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

import keras
import numpy as np
import tensorflow as tf
import tqdm

from captioner import config
from captioner.data.vocabulary import Vocabulary
from captioner.decoder.batches import PhotoViews
from captioner.decoder.network import CaptionDecoder
from captioner.scoring import evaluation
from captioner.training import run_files

_WEIGHTS_FILE, _HISTORY_FILE, _SETTINGS_FILE = "refined.weights.h5", "refined.csv", "refined.json"


def refine_decoder(
    decoder: CaptionDecoder,
    views: PhotoViews,
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
    begun = {"settings": dataclasses.asdict(settings), "decoder": _digest(decoder)}
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
            if evaluation.best_row(history) is history[-1]:
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
        self._end_id, self._start_id = vocabulary.end_id, vocabulary.start_id
        encoded = {i: [(*vocabulary.encode(text), self._end_id) for text in texts] for i, texts in references.items()}
        self._reward = CiderReward(encoded)
        self._num_steps = -(-min(settings.photos_per_round, len(self._image_ids)) // settings.batch_size)
        # Added to logits: what is no word of a caption is never drawn.
        self._forbidden = np.zeros(len(vocabulary), np.float32)
        self._forbidden[[vocabulary.pad_id, vocabulary.start_id, vocabulary.unknown_id]] = -1e9
        self._optimizer = keras.optimizers.Adam(settings.learning_rate, beta_2=0.99, global_clipnorm=1.0)
        self._optimizer.build(decoder.trainable_variables)
        self._sample = tf.function(self._traced_sample, reduce_retracing=True)
        self._update = tf.function(self._traced_update, reduce_retracing=True)

    def train_round(self, number: int, progress: bool) -> list[float]:
        """Trains on the photos of round `number`, from 1, and returns the mean reward of each step."""
        settings = self._settings
        random = np.random.default_rng([settings.seed, number])
        order = random.permutation(len(self._image_ids))
        rewards = []
        for step in tqdm.trange(self._num_steps, desc=f"round {number}", unit="step", disable=not progress):
            done = ((number - 1) * self._num_steps + step) / (settings.rounds * self._num_steps)
            self._optimizer.learning_rate.assign(settings.learning_rate * (1 - 0.9 * done))
            indices = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            rewards.append(self._train_step(indices, random))
        return rewards

    def _train_step(self, indices: np.ndarray, random: np.random.Generator) -> float:
        views = self._views.take(indices, random)
        seed = random.integers(2**31, size=2, dtype=np.int32)
        sampled = self._sample(views["pooled"], views["regions"], seed).numpy()  # (N, T)
        rewards = np.array(
            [self._reward.score(self._image_ids[i], row[row > 0].tolist()) for i, row in self._pair(indices, sampled)]
        ).reshape(len(indices), -1)  # (B, K)
        siblings = (rewards.sum(axis=1, keepdims=True) - rewards) / (rewards.shape[1] - 1)
        advantages = (rewards - siblings).reshape(-1).astype(np.float32)
        target_ids = sampled[:, : (sampled > 0).sum(axis=1).max()]
        first = np.full((len(target_ids), 1), self._start_id, np.int32)
        input_ids = np.concatenate([first, target_ids[:, :-1]], axis=1)
        # As in `captioner.decoder.batches`: the end marker is a target only.
        input_ids[input_ids == self._end_id] = Vocabulary.pad_id
        self._update(views["pooled"], views["regions"], input_ids, target_ids, advantages)
        return float(rewards.mean())

    def _pair(self, indices: np.ndarray, sampled: np.ndarray):
        return zip(np.repeat(indices, self._settings.num_samples), sampled, strict=True)

    def _traced_sample(self, pooled, regions, seed):
        """Draws `K` captions of each photo, `(N, T)` int32, padded behind the end marker."""
        start = self._decoder.start(tf.cast(pooled, "float32"), tf.cast(regions, "float32"))
        states, memory, keys = tf.nest.map_structure(lambda x: tf.repeat(x, self._settings.num_samples, axis=0), start)
        token_ids = tf.fill(tf.shape(memory)[:1], self._start_id)
        finished = tf.zeros_like(token_ids, tf.bool)
        words = []
        for number in range(self._settings.max_length):
            logits, _, states = self._decoder.step(token_ids, states, memory, keys)
            drawn = tf.random.stateless_categorical(logits + self._forbidden, 1, seed + number, dtype=tf.int32)[:, 0]
            words.append(tf.where(finished, Vocabulary.pad_id, drawn))
            finished |= drawn == self._end_id
            token_ids = tf.where(finished, self._end_id, drawn)
        return tf.stack(words, axis=1)

    def _traced_update(self, pooled, regions, input_ids, target_ids, advantages):
        pooled, regions = (
            tf.repeat(tf.cast(x, "float32"), self._settings.num_samples, axis=0) for x in (pooled, regions)
        )
        inputs = {"pooled": pooled, "regions": regions, "input_ids": input_ids}
        with tf.GradientTape() as tape:
            logits = self._decoder(inputs, training=False)  # (N, T, V)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(target_ids, logits)  # (N, T)
            counted = tf.cast(target_ids > 0, losses.dtype)
            loss = tf.reduce_sum(advantages[:, None] * losses * counted) / tf.reduce_sum(counted)
        variables = self._decoder.trainable_variables
        self._optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


def _digest(decoder: CaptionDecoder) -> str:
    """Tells one decoder's weights from another's."""
    return " ".join(f"{float(np.sum(weight, dtype=np.float64)):.9g}" for weight in decoder.get_weights())


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
