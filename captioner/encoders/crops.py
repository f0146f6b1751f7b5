"""Crops of the train photos: more views of the same few photos, encoded once."""

from collections.abc import Sequence

import numpy as np

from captioner import config
from captioner.data import datasets, photos
from captioner.data.drawings import dataset as drawings
from captioner.encoders import features
from captioner.encoders.encoder import Encoder


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
    boxes = photos.draw_boxes(rng, shape, min_side=settings.min_crop, max_side=0.95)
    listed = list_boxes(image_ids, boxes)
    paths = {crop: dataset.photo_path(photo_of(crop)) for crop in listed}
    return features.extract_features(encoder, paths, boxes=listed, progress=progress)
