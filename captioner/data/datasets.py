"""Photos with captions, split into train, validation and test.

Two layouts are read, for Flickr8k and for anyone's own photos alike:

- official: `Images/`, `Flickr8k.token.txt` and `Flickr_8k.{train,dev,test}Images.txt`;
- Kaggle: `Images/` and `captions.txt`. It has no split files, so the official lists of image ids, shipped in
  `flickr8k_splits.json`, decide; own split files beside `captions.txt` win over them.

Reference: M. Hodosh, P. Young, J. Hockenmaier, "Framing Image Description as a Ranking Task: Data, Models and
Evaluation Metrics", JAIR 47, 2013. https://doi.org/10.1613/jair.3994
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from captioner import config
from captioner.data import captions as captions_module

DATA_VARIABLE = "FLICKR8K_DIR"
TOKEN_FILE = "Flickr8k.token.txt"
KAGGLE_FILE = "captions.txt"
SPLIT_FILES = {
    "train": "Flickr_8k.trainImages.txt",
    "validation": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
# The official zip really spells it "Flicker8k".
IMAGE_FOLDERS = ("Images", "Flicker8k_Dataset", "Flickr8k_Dataset")
_SHIPPED_SPLITS = Path(__file__).with_name("flickr8k_splits.json")


@dataclasses.dataclass(frozen=True)
class CaptionDataset:
    """Which photo is on which split, and what people wrote about it.

    Attributes:
        name: `flickr8k` for its photos on their official splits, else the name of the folder; for reports.
        folder: Where it was read from.
        image_dir: Folder of the photos.
        splits: Image ids of each split that was read.
        references: Cleaned captions of each photo on those splits.
    """

    name: str
    folder: Path
    image_dir: Path
    splits: dict[str, tuple[str, ...]]
    references: dict[str, tuple[str, ...]]

    def image_ids(self, split: str) -> tuple[str, ...]:
        """Returns the image ids of one split."""
        if split not in self.splits:
            raise ValueError(f"split must be one of {tuple(self.splits)}. Received: split={split!r}")
        return self.splits[split]

    def references_of(self, split: str) -> dict[str, tuple[str, ...]]:
        """Returns image id -> cleaned captions of one split."""
        return {image_id: self.references[image_id] for image_id in self.image_ids(split)}

    def captions(self, split: str) -> list[tuple[str, str]]:
        """Returns all pairs of image id and cleaned caption of one split."""
        return [(i, caption) for i in self.image_ids(split) for caption in self.references[i]]

    def photo_path(self, image_id: str) -> Path:
        """Returns where a photo lies; whether it is there is for the reader of photos to say."""
        return self.image_dir / image_id

    def photo_paths(self, *splits: str) -> dict[str, Path]:
        """Returns image id -> path for the given splits, by default for all that were read."""
        return {i: self.photo_path(i) for split in splits or self.splits for i in self.image_ids(split)}

    def subset(self, num_photos: int, split: str = "train") -> "CaptionDataset":
        """Returns a copy with only the first photos of one split, for quick experiments."""
        kept = self.splits | {split: self.image_ids(split)[:num_photos]}
        ids = {image_id for image_ids in kept.values() for image_id in image_ids}
        references = {image_id: texts for image_id, texts in self.references.items() if image_id in ids}
        return dataclasses.replace(self, splits=kept, references=references)


def find_dataset(folder: str | Path | None = None) -> Path:
    """Returns the data folder: `folder`, else `FLICKR8K_DIR`, else `data/flickr8k`.

    Raises:
        FileNotFoundError: If that folder holds no caption file; the message says how to provide one.
    """
    chosen = Path(folder or os.environ.get(DATA_VARIABLE) or config.DATA_DIR / "flickr8k").expanduser()
    if not any((chosen / name).is_file() for name in (TOKEN_FILE, KAGGLE_FILE)):
        raise FileNotFoundError(
            f"No data set in {chosen}: neither {TOKEN_FILE} nor {KAGGLE_FILE} is there. Name its folder, set "
            f"{DATA_VARIABLE}, or run `python -m captioner download` to fetch Flickr8k to data/flickr8k."
        )
    return chosen


def read_dataset(folder: str | Path | None = None, splits: Sequence[str] = config.SPLITS) -> CaptionDataset:
    """Reads captions and splits; photos are only located, not opened.

    Args:
        folder: As for `find_dataset`.
        splits: The splits to read. Captions of other photos are dropped unseen.

    Returns:
        The data set, with every caption cleaned.

    Raises:
        FileNotFoundError: If a file or the photo folder is missing.
        ValueError: If a line is mangled, a photo is on two splits or has no caption.
    """
    folder = find_dataset(folder)
    image_ids = _read_splits(folder, splits)
    raw = read_raw_captions(folder)
    references = {i: _clean_all(raw.get(i, ())) for ids in image_ids.values() for i in ids}
    if not any(references.values()):
        raise ValueError(
            f"None of the photos with captions in {folder} is on a split. Unless the photos are Flickr8k's, "
            f"add {', '.join(SPLIT_FILES.values())}, one image id a line."
        )
    bare = [image_id for image_id, texts in references.items() if not texts]
    if bare:
        raise ValueError(
            f"{len(bare)} of {len(references)} photos in {folder} have no caption, for example {bare[0]!r}. "
            "Add their captions or take them off the split files."
        )
    name = "flickr8k" if _are_official(image_ids) else folder.name
    return CaptionDataset(name, folder, _find_image_dir(folder), image_ids, references)


def read_raw_captions(folder: str | Path) -> dict[str, list[str]]:
    """Returns the raw captions of each image id in a data folder, in the file's order and whatever their split."""
    token_file = Path(folder) / TOKEN_FILE
    if token_file.is_file():
        return captions_module.read_token_file(token_file)
    return captions_module.read_kaggle_captions(Path(folder) / KAGGLE_FILE)


def _clean_all(raw_captions: Sequence[str]) -> tuple[str, ...]:
    """Cleans captions and leaves out those without a word."""
    return tuple(text for text in map(captions_module.clean_caption, raw_captions) if text)


def _find_image_dir(folder: Path) -> Path:
    for name in IMAGE_FOLDERS:
        if (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(f"No photos in {folder}: expected a folder {' or '.join(IMAGE_FOLDERS)} there.")


def _read_splits(folder: Path, splits: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Reads the lists of image ids and holds that no photo is on two of them."""
    unknown = [split for split in splits if split not in config.SPLITS]
    if unknown:
        raise ValueError(f"splits must be among {config.SPLITS}. Received: splits={unknown!r}")
    own = any((folder / name).is_file() for name in SPLIT_FILES.values())
    shipped = None if own else _read_shipped_splits()
    image_ids = {s: _read_split_file(folder / SPLIT_FILES[s]) if own else tuple(shipped[s]) for s in splits}
    seen: dict[str, str] = {}
    for split, ids in image_ids.items():
        for image_id in ids:
            if image_id in seen:
                raise ValueError(
                    f"{image_id!r} is listed for {seen[image_id]} and for {split}. "
                    "List each photo once, else scores are of photos the captioner was trained on."
                )
            seen[image_id] = split
    return image_ids


def _read_shipped_splits() -> dict[str, list[str]]:
    return json.loads(_SHIPPED_SPLITS.read_text(encoding="utf-8"))


def _are_official(image_ids: dict[str, tuple[str, ...]]) -> bool:
    """Says whether these are Flickr8k's photos on their own splits, whatever the folder is called."""
    official = _read_shipped_splits()
    return all(set(ids) <= set(official[split]) for split, ids in image_ids.items())


def _read_split_file(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing in {path.parent}: it lists one image id a line.")
    return tuple(line.strip() for line in captions_module.read_text(path).split("\n") if line.strip())
