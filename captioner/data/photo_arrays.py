"""The photos of a split in memory, for training that looks at them again and again."""

import numpy as np
import tqdm

from captioner.data import datasets, decoders, photos


def read_photos(
    dataset: datasets.CaptionDataset, split: str, size: int, *, progress: bool = False
) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """Reads the photos of a split.

    Args:
        dataset: The data set, read with this split.
        split: The split.
        size: Side `S` in pixels.
        progress: Whether to show a progress bar.

    Returns:
        The image ids of the photos that could be read; the photos, RGB, uint8 `(N, S, S, 3)`; and image id -> why of
        those that could not.
    """
    paths, failed = dataset.photo_paths(split), {}
    found = np.empty((len(paths), size, size, 3), np.uint8)
    image_ids: list[str] = []
    loading = decoders.shared_pool().load_photos(map(decoders.Request, paths.values()), size)
    pairs = zip(paths, loading, strict=True)
    for image_id, loaded in tqdm.tqdm(pairs, f"{split} photos", len(paths), unit="photo", disable=not progress):
        if isinstance(loaded, photos.PhotoError):
            failed[image_id] = str(loaded)
        else:
            found[len(image_ids)] = loaded
            image_ids.append(image_id)
    return image_ids, found[: len(image_ids)], failed
