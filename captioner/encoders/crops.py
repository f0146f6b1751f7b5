"""Crops of photos and their mirror images: more views of the same few photos, encoded once."""

from collections.abc import Sequence

import numpy as np

from captioner import config
from captioner.data import datasets, photos
from captioner.data.drawings import dataset as drawings
from captioner.encoders import features
from captioner.encoders.encoder import Encoder
from captioner.encoders.stages import Stem

_MIRROR_IMAGE = (0.0, 1.0, 1.0, 0.0)
# Crops leave at least so much out of a side, else they would be the whole photo again.
_MAX_CROP = 0.95


def name_crop(image_id: str, number: int) -> str:
    """Returns the id of a crop of a photo."""
    return f"{image_id}#{number}"


def photo_of(crop: str) -> str:
    """Returns the image id of the photo that a crop, by its id, is of."""
    return crop.rpartition("#")[0]


def list_boxes(image_ids: Sequence[str], boxes: np.ndarray) -> dict[str, photos.Box]:
    """Returns crop id -> box, for `captioner.encoders.features.extract_features`.

    Args:
        image_ids: The photos, `N`.
        boxes: `(N, K, 4)`.
    """
    return {
        name_crop(image_id, number): tuple(box)
        for image_id, listed in zip(image_ids, boxes.tolist(), strict=True)
        for number, box in enumerate(listed)
    }


def extract_crops(
    encoder: Encoder, dataset: datasets.CaptionDataset, settings: config.TrainingConfig, *, progress: bool = True
) -> features.FeatureStore | None:
    """Encodes crops of the train photos, half of them mirrored, to train on beside the whole photos.

    Returns:
        Their features, or `None` without crops: if the settings ask for none, or the data are drawings, whose captions
        say what is left and right, large and small.
    """
    if not settings.num_crops or drawings.is_drawn(dataset.folder):
        return None
    image_ids = dataset.image_ids("train")
    rng, shape = np.random.default_rng(0), (len(image_ids), settings.num_crops)
    boxes = photos.draw_boxes(rng, shape, min_side=settings.min_crop, max_side=_MAX_CROP)
    listed = list_boxes(image_ids, boxes)
    paths = {crop: dataset.photo_path(photo_of(crop)) for crop in listed}
    return features.extract_features(encoder, paths, boxes=listed, progress=progress)


def extract_views(
    encoder: Encoder | Stem,
    dataset: datasets.CaptionDataset,
    split: str,
    *,
    num_crops: int,
    min_crop: float,
    progress: bool = True,
) -> features.FeatureStore:
    """Encodes the mirror image of each photo, view 0, and crops, half of them mirrored.

    Args:
        encoder: An encoder that does not mirror by itself, or its stem.
        dataset: The data set, read with this split.
        split: The split.
        num_crops: Crops of each photo; 0 for the mirror image alone.
        min_crop: Least share of a side that a crop keeps.
        progress: Whether to show a progress bar.
    """
    image_ids = dataset.image_ids(split)
    shape = (len(image_ids), num_crops)
    boxes = photos.draw_boxes(np.random.default_rng(0), shape, min_side=min_crop, max_side=_MAX_CROP)
    mirror_images = np.broadcast_to(np.array(_MIRROR_IMAGE, boxes.dtype), (len(image_ids), 1, 4))
    listed = list_boxes(image_ids, np.concatenate([mirror_images, boxes], axis=1))
    paths = {view: dataset.photo_path(photo_of(view)) for view in listed}
    return features.extract_features(encoder, paths, boxes=listed, progress=progress)
