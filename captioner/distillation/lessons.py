"""What the compact encoder is taught with: photos and the words people used for them.

Legend: `N` photos, `S` side in pixels, `W` words.
"""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from captioner.data import datasets, photo_arrays
from captioner.data.vocabulary import FUNCTION_WORDS


@dataclasses.dataclass(frozen=True)
class Lessons:
    """The photos of one or several data sets and the words people used for them.

    Attributes:
        photos: uint8 `(N, S, S, 3)`, train photos, as large as the teacher takes them.
        words: float32 `(N, W)`, the share of a photo's captions that use each word.
        validation: Name of a data set -> its validation photos and their words, as above.
        failed: File -> why the photo could not be read and was left out.
    """

    photos: np.ndarray
    words: np.ndarray
    validation: dict[str, tuple[np.ndarray, np.ndarray]]
    failed: dict[str, str] = dataclasses.field(default_factory=dict)


def read_lessons(
    listed: Sequence[datasets.CaptionDataset], image_size: int, *, min_photos: int = 12, progress: bool = False
) -> Lessons:
    """Reads the train and validation photos of data sets into memory, and all words of their captions.

    Args:
        listed: The data sets; their test splits are not looked at.
        image_size: Side `S`.
        min_photos: A word must be used for this many train photos.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If there is nothing to learn from or to judge by, or two data sets have one name.
    """
    names = [dataset.name for dataset in listed]
    if len(set(names)) < len(names):
        raise ValueError(f"Two data sets have one name. Rename the folder of one. Received: {', '.join(names)}")
    vocabulary = fit_words(listed, min_photos)
    failed: dict[str, str] = {}
    if not vocabulary:
        raise ValueError(
            f"The captions are too few to learn from: no word is used for {min_photos} train photos. Add more data."
        )

    def read(dataset: datasets.CaptionDataset, split: str) -> tuple[np.ndarray, np.ndarray]:
        image_ids, pixels, reasons = photo_arrays.read_photos(dataset, split, image_size, progress=progress)
        failed.update({str(dataset.photo_path(image_id)): reason for image_id, reason in reasons.items()})
        return pixels, share_words(dataset, image_ids, vocabulary)

    train = [read(dataset, "train") for dataset in listed]
    validation = {dataset.name: read(dataset, "validation") for dataset in listed}
    pixels, words = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    if not all(map(len, (pixels, *(judging for judging, _ in validation.values())))):
        reason = next(iter(failed.values()), "there are none")
        raise ValueError(f"No train or no validation photo can be read, for example: {reason} Mend the data set.")
    return Lessons(pixels, words, validation, failed)


def fit_words(listed: Sequence[datasets.CaptionDataset], min_photos: int) -> tuple[str, ...]:
    """Returns the content words used for at least `min_photos` train photos, the most frequent first."""
    counts = collections.Counter(
        word
        for dataset in listed
        for captions in dataset.references_of("train").values()
        for word in set(" ".join(captions).split())
    )
    return tuple(word for word, n in counts.most_common() if n >= min_photos and word not in FUNCTION_WORDS)


def share_words(dataset: datasets.CaptionDataset, image_ids: Sequence[str], words: Sequence[str]) -> np.ndarray:
    """Returns the share of a photo's captions that use each word, float32 `(N, W)`."""
    columns = {word: column for column, word in enumerate(words)}
    shares = np.zeros((len(image_ids), len(words)), np.float32)
    for row, image_id in enumerate(image_ids):
        captions = dataset.references[image_id]
        for caption in captions:
            for word in set(caption.split()) & columns.keys():
                shares[row, columns[word]] += 1 / len(captions)
    return shares
