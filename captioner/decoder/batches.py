"""Captions and features as batches for training.

Batches hold captions of like length, so little of a batch is padding. Legend: `B` batch, `T` caption length, `P` pooled
size, `R` regions, `D` region depth.
"""

import array
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from captioner import config
from captioner.data.vocabulary import Vocabulary
from captioner.encoders.crops import name_crop, photo_of
from captioner.encoders.features import FeatureStore

# Captions are shuffled, cut into pools of this many batches and sorted by length within each.
_POOL_BATCHES = 20
# Captions of a batch of photos come in so many parts of like length: one more costs more calls than it saves padding.
NUM_PARTS = 2


class PhotoViews:
    """Features of photos: of the whole, or of one of their crops in its place.

    Args:
        image_ids: The photos, which may repeat.
        features: Their features.
        crops: Features of crops of the same photos, see `captioner.encoders.crops.extract_crops`.
        crop_share: How often a crop takes the place of the whole photo.
    """

    def __init__(
        self,
        image_ids: Sequence[str],
        features: FeatureStore,
        crops: FeatureStore | None = None,
        crop_share: float = config.TrainingConfig.crop_share,
    ):
        self._features, self._rows = features, features.row_numbers(image_ids)
        self._crop_share = crop_share
        # Their rows are (photos, crops of a photo).
        self._crops = None if crops is None else (crops, _find_crops(crops, image_ids))

    def take(self, indices: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns float16 `pooled` `(B, P)` and `regions` `(B, R, D)` of the photos at `indices` `(B,)`."""
        rows = self._rows[indices]
        views = {"pooled": self._features.pooled[rows], "regions": self._features.regions[rows]}
        if self._crops is not None:
            crops, crop_rows = self._crops
            cropped = np.flatnonzero(random.random(len(indices)) < self._crop_share)
            choices = crop_rows[indices[cropped]]  # (cropped, crops of a photo)
            rows = choices[np.arange(len(cropped)), random.integers(choices.shape[1], size=len(cropped))]
            views["pooled"][cropped] = crops.pooled[rows]
            views["regions"][cropped] = crops.regions[rows]
        return views


class CaptionBatches:
    """Endless batches of captions with their photos' features, in an order that seed and epoch alone decide.

    Args:
        captions: Pairs of image id and cleaned caption.
        features: Features of those photos.
        vocabulary: Words to ids.
        batch_size: `B`.
        max_length: Longer captions lose their tail, and with it the end marker.
        seed: Decides the order.
        crops: Features of crops of the same photos, see `captioner.encoders.crops.extract_crops`.
        crop_share: Share of the captions that come with one of the crops of their photo instead of the whole, anew in
            each epoch.
    """

    def __init__(
        self,
        captions: Iterable[tuple[str, str]],
        features: FeatureStore,
        vocabulary: Vocabulary,
        *,
        batch_size: int = config.TrainingConfig.batch_size,
        max_length: int = config.TrainingConfig.max_length,
        seed: int = 0,
        crops: FeatureStore | None = None,
        crop_share: float = config.TrainingConfig.crop_share,
    ):
        self._features, self.batch_size, self._seed = features, batch_size, seed
        # One array of all words, not one for each caption, of which there may be millions.
        image_ids, tokens, lengths = [], array.array("H" if len(vocabulary) <= 1 << 16 else "i"), array.array("i")
        for image_id, text in captions:
            ids = [vocabulary.start_id, *vocabulary.encode(text), vocabulary.end_id][: max_length + 1]
            image_ids.append(image_id)
            tokens.extend(ids)
            lengths.append(len(ids) - 1)
        if not image_ids:
            raise ValueError("There are no captions to train on. Received: captions=[]")
        self._views = PhotoViews(image_ids, features, crops, crop_share)
        self._tokens, self._lengths = (np.frombuffer(numbers, numbers.typecode) for numbers in (tokens, lengths))
        self._starts = np.cumsum(self._lengths + 1) - self._lengths - 1

    @property
    def num_batches(self) -> int:
        """Batches of one epoch; the last may be smaller."""
        return -(-len(self._lengths) // self.batch_size)

    def epoch(self, number: int, *, shuffle: bool = True) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Yields the batches of one epoch.

        Yields:
            `{"pooled": (B, P), "regions": (B, R, D), "input_ids": (B, T)}` and `target_ids` `(B, T)`; features are
            float16, ids int32, right-padded, targets shifted by one.
        """
        random = np.random.default_rng([self._seed, number, 1])
        for indices in self._order(number, shuffle):
            yield self._batch(indices, random)

    def dataset(self, first_epoch: int = 0) -> tf.data.Dataset:
        """Returns the batches of all epochs from `first_epoch` on, read ahead of the training."""

        def endless():
            number = first_epoch
            while True:
                yield from self.epoch(number)
                number += 1

        return tf.data.Dataset.from_generator(endless, output_signature=self._signature()).prefetch(4)

    def validation_dataset(self) -> tf.data.Dataset:
        """Returns one pass in a fixed order."""
        fixed = functools.partial(self.epoch, 0, shuffle=False)
        return tf.data.Dataset.from_generator(fixed, output_signature=self._signature()).prefetch(4)

    def _order(self, number: int, shuffle: bool) -> list[np.ndarray]:
        size = self.batch_size
        if not shuffle:
            order = np.argsort(self._lengths, kind="stable")
            return [order[i : i + size] for i in range(0, len(order), size)]
        random = np.random.default_rng([self._seed, number])
        shuffled = random.permutation(len(self._lengths))
        batches = []
        for start in range(0, len(shuffled), size * _POOL_BATCHES):
            pool = shuffled[start : start + size * _POOL_BATCHES]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def _batch(self, indices: np.ndarray, random: np.random.Generator):
        ids = np.full((len(indices), self._lengths[indices].max() + 1), Vocabulary.pad_id, np.int32)
        for row, index in enumerate(indices):
            start, length = self._starts[index], self._lengths[index] + 1
            ids[row, :length] = self._tokens[start : start + length]
        # The end marker is a target only; as an input it would start a word that is never scored.
        input_ids = np.where(ids[:, :-1] == Vocabulary.end_id, Vocabulary.pad_id, ids[:, :-1])
        views = self._views.take(indices, random)
        return views | {"input_ids": input_ids}, ids[:, 1:]

    def _signature(self):
        def spec(array):
            return tf.TensorSpec((None, *array.shape[1:]), tf.as_dtype(array.dtype))

        ids = tf.TensorSpec((None, None), tf.int32)
        views = {"pooled": spec(self._features.pooled), "regions": spec(self._features.regions)}
        return views | {"input_ids": ids}, ids


class PhotoBatches:
    """Photos with all of their captions, in an order that seed and epoch alone decide.

    Args:
        references: Cleaned captions of each photo.
        vocabulary: Words to ids.
        maps: Features of those photos.
        views: Features of further views of them, see `captioner.encoders.crops.extract_views`.
        settings: Sizes, share of the views, and the seed.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]],
        vocabulary: Vocabulary,
        maps: FeatureStore,
        views: FeatureStore | None,
        settings: config.FineTuningConfig,
    ):
        self._settings = settings
        self._views = PhotoViews(list(references), maps, views, settings.view_share)
        self._tokens = [
            [[vocabulary.start_id, *vocabulary.encode(text), vocabulary.end_id] for text in texts]
            for texts in references.values()
        ]

    @property
    def num_batches(self) -> int:
        """Batches of one epoch; the last may be smaller."""
        return -(-len(self._tokens) // self._settings.photos_per_batch)

    def epoch(self, number: int) -> Iterator[tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]]:
        """Yields the batches of one epoch.

        Yields:
            Regions, float16 `(B, R, D)`, and the captions in `NUM_PARTS` parts of like length, each the rows of their
            photos `(N,)`, `input_ids` and `target_ids` `(N, T)`, int32, right-padded.
        """
        random = np.random.default_rng([self._settings.seed, number])
        order = random.permutation(len(self._tokens))
        size = self._settings.photos_per_batch
        for start in range(0, len(order), size):
            # In order, since that is how they lie on the disk.
            indices = np.sort(order[start : start + size])
            yield self._views.take(indices, random)["regions"], self._split(indices)

    def _split(self, indices: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        length = self._settings.max_length + 1
        captions = [(row, tokens[:length]) for row, index in enumerate(indices) for tokens in self._tokens[index]]
        captions.sort(key=lambda caption: len(caption[1]))
        cuts = np.linspace(0, len(captions), NUM_PARTS + 1).astype(int)
        return [_pad(captions[first:last]) for first, last in itertools.pairwise(cuts)]


def _pad(captions: Sequence[tuple[int, list[int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids = np.full((len(captions), max((len(tokens) for _, tokens in captions), default=1)), Vocabulary.pad_id, np.int32)
    for row, (_, tokens) in enumerate(captions):
        ids[row, : len(tokens)] = tokens
    # As in `CaptionBatches`: the end marker is a target only.
    input_ids = np.where(ids[:, :-1] == Vocabulary.end_id, Vocabulary.pad_id, ids[:, :-1]).astype(np.int32)
    return np.array([row for row, _ in captions], np.int32), input_ids, ids[:, 1:]


def _find_crops(crops: FeatureStore, image_ids: Sequence[str]) -> np.ndarray:
    """Returns the rows of the crops of each photo, `(len(image_ids), crops of a photo)`."""
    count = len(crops.image_ids) // len(set(map(photo_of, crops.image_ids)))
    rows = crops.row_numbers([name_crop(image_id, number) for image_id in image_ids for number in range(count)])
    return rows.reshape(-1, count)
