"""Which data set a person gets to work on: their own, Flickr8k, or the drawings. No TensorFlow here."""

import os
from collections.abc import Sequence
from pathlib import Path

from captioner import config
from captioner.data import datasets, flickr8k
from captioner.data.drawings import dataset as drawings

# What may be asked for instead of a folder.
NAMES = ("auto", "flickr8k", "drawn")
_DRAWN_WARNING = "Its scores say nothing of photos."


def obtain_dataset(
    choice: str = "auto", *, splits: Sequence[str] = config.SPLITS, num_photos: int = 0
) -> tuple[datasets.CaptionDataset, str]:
    """Returns the data set to work on, and a sentence that says which one it is and why, its notes below.

    Args:
        choice: A folder; `"flickr8k"`, found or downloaded; `"drawn"`, the project's own drawings; or `"auto"`,
            Flickr8k if it can be had, else the drawings.
        splits: The splits to read.
        num_photos: Only so many photos of each split, for a try; 0 for all.

    Raises:
        FileNotFoundError: If a named data set cannot be had.
        ValueError: If its files are mangled.
    """
    # Whoever names a folder, here or in the environment, wants that one or an error, never a download in its place.
    named = choice if choice not in NAMES else os.environ.get(datasets.DATA_VARIABLE)
    if choice == "drawn":
        folder, why = drawings.draw_dataset(), f"Data: the drawn data set, as asked for. {_DRAWN_WARNING}"
    elif named:
        folder = datasets.find_dataset(named)
        why = f"Data: {folder.name}, as asked for."
    else:
        try:
            folder, why = _obtain_flickr8k(), "Data: Flickr8k."
        except OSError as error:
            if choice == "flickr8k":
                raise
            folder = drawings.draw_dataset()
            # The rest of the message names folders and what to put there, which nobody need do for the drawings.
            reason = str(error).partition(". ")[0].rstrip(".")
            why = f"Data: the drawn data set, since Flickr8k cannot be had. {_DRAWN_WARNING} ({reason}.)"
    dataset = datasets.read_dataset(folder, splits)
    why = "\n".join([why, *dataset.notes])
    for split in splits if num_photos else ():
        dataset = dataset.subset(num_photos, split)
    return dataset, why


def _obtain_flickr8k() -> Path:
    try:
        return datasets.find_dataset()
    except FileNotFoundError:
        return flickr8k.download_flickr8k()
