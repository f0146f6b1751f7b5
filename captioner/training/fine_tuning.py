"""Fine-tuning: the last stages of an encoder learn on together with the decoder.

What limits captions is what the encoder tells apart, and it was trained to tell 1,000 classes apart, not who wears what
and does what. So its last stages learn from the captions, at a small rate, from maps of the stages before them that
were computed once: of each train photo, of its mirror image and of crops, one of them drawn anew each time. Of the
encoder only the kernels of convolutions learn; batch normalisation stays as ImageNet left it. One pass of a photo
through the stages serves all of its captions, which are read in two batches, the shorter and the longer half.

Captions are written by a running average of all weights. Validation decides which epoch is kept, the start included;
see `captioner.training.epochs` for the files of a run.

Legend: `B` photos, `N` captions, `T` words, `M` cells of a map, `C` its channels, `P` pooled size, `R` regions,
`D` region depth.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import keras
import numpy as np
import tensorflow as tf
import tqdm

from captioner import config, float16
from captioner.data import datasets
from captioner.data.drawings import dataset as drawings
from captioner.decoder import losses
from captioner.decoder.batches import NUM_PARTS, PhotoBatches
from captioner.decoder.weights import digest_decoder
from captioner.encoders import crops, features, kernels, specs, stages
from captioner.encoders.features import FeatureStore
from captioner.encoders.grids import turn_back
from captioner.encoders.splits import EncodedSplit
from captioner.inference import Captioner
from captioner.scoring import evaluation
from captioner.training import epochs, run_files


def fine_tune_captioner(
    captioner: Captioner,
    dataset: datasets.CaptionDataset,
    run_dir: str | Path,
    *,
    settings: config.FineTuningConfig | None = None,
    progress: bool = True,
) -> list[dict]:
    """Trains a captioner's decoder and the last stages of its encoder together, or goes on with the run in `run_dir`.

    Args:
        captioner: A trained captioner with its encoder. It ends with the best weights of both; features that were
            extracted before are then those of another encoder.
        dataset: The data set, read with `train` and `validation`.
        run_dir: Folder of the run.
        settings: How to train.
        progress: Whether to show progress bars.

    Returns:
        A row for the captioner as it came and for each epoch: `epoch` (from 0), mean `loss` for each word (`None` at
        0), the scores under `val_<name>`, and `seconds`. None where the settings ask for no epochs, or nothing of the
        encoder can learn.

    Raises:
        BlockingIOError: If another process is training there.
        ValueError: If `run_dir` holds the run of something else, or a file of it is damaged.
    """
    settings = settings or config.FineTuningConfig()
    if not settings.epochs or not specs.ENCODERS[captioner.encoder.name].last_frozen_layer:
        return []
    stem, tail = stages.split_encoder(captioner.encoder)
    described = _describe(captioner, dataset, settings)
    run = epochs.Run(Path(run_dir), described, num_epochs=settings.epochs, patience=settings.patience)
    maps = _extract_maps(stem, dataset, settings, progress)
    # The captions of drawings say what is left and right, large and small.
    train_views = None if drawings.is_drawn(dataset.folder) else maps["train views"]
    references = {
        split: {i: texts for i, texts in dataset.references_of(split).items() if i not in maps[split].failed}
        for split in ("train", "validation")
    }
    mirror_images = maps["validation views"] if captioner.encoder.mirrored else None
    encoded = _Encoded(tail, stem.map_shape, maps["validation"], mirror_images)
    split = EncodedSplit("validation", references["validation"], cast(FeatureStore, encoded))
    score = evaluation.validation_scorer(captioner, split)
    batches = PhotoBatches(references["train"], captioner.vocabulary, maps["train"], train_views, settings)
    trainer = _Trainer(captioner, tail, stem.map_shape, batches, settings)
    with run_files.alone(Path(run_dir)):
        history = run.train(trainer, lambda: score(captioner.decoder), progress)
    trainer.set_weights(run.load_best())
    if run_files.best_row(history)["epoch"]:
        learnt = kernels.find_kernels(tail)
        kernels.round_kernels(learnt.values())
        captioner.encoder.adopt_changes(tuple(learnt))
    float16.round_kernels(captioner.decoder)
    return history


def _describe(captioner: Captioner, dataset: datasets.CaptionDataset, settings: config.FineTuningConfig) -> dict:
    """Returns what decides the result of a run."""
    return {
        "settings": dataclasses.asdict(settings),
        "encoder": captioner.encoder.fingerprint,
        "mirrored": captioner.encoder.mirrored,
        "decoder": digest_decoder(captioner.decoder),
        "data": dataset.name,
        "captions": len(dataset.captions("train")),
        "decoding": dataclasses.asdict(captioner.settings),
    }


def _extract_maps(
    stem: stages.Stem, dataset: datasets.CaptionDataset, settings: config.FineTuningConfig, progress: bool
) -> dict[str, FeatureStore]:
    """Encodes the photos of train and validation, and further views of them."""
    maps = {}
    for split, num_crops in (("train", settings.num_crops), ("validation", 0)):
        maps[split] = features.extract_features(stem, dataset.photo_paths(split), progress=progress)
        maps[f"{split} views"] = crops.extract_views(
            stem, dataset, split, num_crops=num_crops, min_crop=settings.min_crop, progress=progress
        )
    return maps


class _Encoded:
    """Features of validation photos as the encoder gives them now, in the place of a feature store."""

    def __init__(self, tail: keras.Model, map_shape, maps: FeatureStore, mirrored: FeatureStore | None):
        self._maps, self._mirrored, self._shape = maps, mirrored, map_shape
        self._compiled = tf.function(
            lambda grid: tail(tf.cast(grid, "float32"), training=False),
            input_signature=[tf.TensorSpec((None, *map_shape), tf.float16)],
        )

    def rows(self, image_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns `pooled` `(B, P)` and `regions` `(B, R, D)`, means over photo and mirror image where there are."""
        pooled, regions = self._encode(self._maps, image_ids)
        if self._mirrored is not None:
            # The first view of a photo is its mirror image.
            views = self._encode(self._mirrored, [crops.name_crop(image_id, 0) for image_id in image_ids])
            pooled, regions = (pooled + views[0]) / 2, (regions + turn_back(views[1])) / 2
        return pooled, regions

    def _encode(self, maps: FeatureStore, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        views = self._compiled(maps.rows(ids)[1].reshape(-1, *self._shape))
        return views["pooled"].numpy(), views["regions"].numpy()


class _Trainer(epochs.Trainer):
    """What one run needs at hand: compiled step, optimizers, running averages."""

    def __init__(self, captioner: Captioner, tail: keras.Model, map_shape, batches: PhotoBatches, settings):
        self._decoder, self._tail, self._batches, self._settings = captioner.decoder, tail, batches, settings
        self._groups = [captioner.decoder.trainable_variables, list(kernels.find_kernels(tail).values())]
        variables = [variable for group in self._groups for variable in group]
        self._peaks = (settings.learning_rate, settings.encoder_learning_rate)
        decay = (settings.weight_decay, 0.0)
        self._optimizers = [
            keras.optimizers.AdamW(peak, weight_decay=share, global_clipnorm=settings.clip_norm)
            for peak, share in zip(self._peaks, decay, strict=True)
        ]
        for optimizer, group in zip(self._optimizers, self._groups, strict=True):
            optimizer.exclude_from_weight_decay(var_names=["bias"])
            optimizer.build(group)
        self._averages = [keras.Variable(variable.numpy(), trainable=False) for variable in variables]
        states = (variable for optimizer in self._optimizers for variable in optimizer.variables)
        super().__init__(variables, [*self._averages, *states])
        ids = tf.TensorSpec((None, None), tf.int32)
        part = (tf.TensorSpec((None,), tf.int32), ids, ids)
        maps = tf.TensorSpec((None, *map_shape), tf.float16)
        self._map_shape = map_shape
        self._step = tf.function(self._traced_step, input_signature=[maps, [part] * NUM_PARTS, tf.TensorSpec(())])

    def train_epoch(self, number: int, progress: bool) -> float:
        """Trains for epoch `number`, from 1, and returns the mean loss for each word."""
        settings, batches, per_epoch = self._settings, self._batches, self._batches.num_batches
        run_files.restart_dropout(self._decoder, settings.seed, number)
        found = []
        bar = tqdm.tqdm(batches.epoch(number), f"epoch {number}", per_epoch, unit="step", disable=not progress)
        for place, (maps, parts) in enumerate(bar):
            step = (number - 1) * per_epoch + place
            share = epochs.learning_rate_share(settings, step, settings.epochs * per_epoch)
            for optimizer, peak in zip(self._optimizers, self._peaks, strict=True):
                optimizer.learning_rate.assign(peak * share)
            # At first the average would be of weights that were hardly trained.
            momentum = min(settings.averaging, (step + 1) / (step + 10))
            found.append(self._step(maps.reshape(-1, *self._map_shape), parts, np.float32(momentum)))
        return float(np.mean([loss.numpy() for loss in found]))

    def _traced_step(self, maps, parts, momentum):
        watched = [variable.value for variable in self._variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            loss = self._measure_loss(tf.cast(maps, "float32"), parts)
        gradients = tape.gradient(loss, watched)
        count = len(self._groups[0])
        parts_of_gradients = gradients[:count], gradients[count:]
        for optimizer, group, share in zip(self._optimizers, self._groups, parts_of_gradients, strict=True):
            optimizer.apply_gradients(zip(share, group, strict=True))
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign(momentum * average + (1 - momentum) * variable)
        return loss

    def _measure_loss(self, maps, parts):
        """Returns the mean cross-entropy for each word of the captions of photos, a scalar."""
        views = self._tail(maps, training=False)
        states, memory, keys = self._decoder.start(views["pooled"], views["regions"], training=True)
        total = count = 0.0
        for rows, input_ids, target_ids in parts:
            # Of each caption what was started with its photo.
            started = tf.nest.map_structure(lambda array, rows=rows: tf.gather(array, rows), (states, memory, keys))
            own_states, own_memory, own_keys = started
            logits, _ = self._decoder.read(input_ids, own_states, own_memory, own_keys, training=True)  # (N, T, V)
            word_losses, counted = losses.word_cross_entropy(target_ids, logits)
            total, count = total + tf.reduce_sum(word_losses), count + tf.reduce_sum(counted)
        return total / count

    def score_averages(self, score: epochs.Score) -> tuple[Mapping[str, float], list[np.ndarray]]:
        """Returns the scores of the running averages, and these; training goes on from the weights as they were."""
        weights, averages = epochs.read_values(self._variables), epochs.read_values(self._averages)
        self.set_weights(averages)
        scores = score()
        self.set_weights(weights)
        return scores, averages
