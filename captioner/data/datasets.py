"""Photos with captions, split into train, validation and test.

Flickr8k and anyone's own photos alike are read in each layout of `captioner.data.layouts`. A table without split files
beside it, such as Kaggle's, takes the official lists of image ids, shipped in `flickr8k_splits.json`; own split files
(`Flickr_8k.trainImages.txt` and so on) win over them.

Reference: M. Hodosh, P. Young, J. Hockenmaier, "Framing Image Description as a Ranking Task: Data, Models and
Evaluation Metrics", JAIR 47, 2013. https://doi.org/10.1613/jair.3994
"""

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from captioner import config
from captioner.data import captions as captions_module
from captioner.data import layouts

DATA_VARIABLE = "FLICKR8K_DIR"
# The official names; other spellings of them, and other layouts, are found as well.
TOKEN_FILE = "Flickr8k.token.txt"  # noqa: S105  The captions' words are its tokens, not a password.
SPLIT_FILES = {
    "train": "Flickr_8k.trainImages.txt",
    "validation": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
# The official zip really spells it "Flicker8k".
IMAGE_FOLDERS = ("Images", "Flicker8k_Dataset", "Flickr8k_Dataset")
_SHIPPED_SPLITS = Path(__file__).with_name("flickr8k_splits.json")
# Of photos that could not be read.
_NUM_NAMED = 5
# Programs that fetch a file twice name the second one so, and the official captions have such an image id.
_FETCHED_TWICE = re.compile(r"\.\d+$")


@dataclasses.dataclass(frozen=True)
class CaptionDataset:
    """Which photo is on which split, and what people wrote about it.

    Attributes:
        name: `flickr8k` for its photos on their official splits, else the name of the folder; for reports.
        folder: Where it was read from.
        image_dir: Folder of the photos.
        splits: Image ids of each split that was read.
        references: Cleaned captions of each photo on those splits.
        files: Where photos are that do not lie in that folder by their image id.
        notes: A sentence on each thing that was left out or is missing, for the caller to show.
    """

    name: str
    folder: Path
    image_dir: Path
    splits: dict[str, tuple[str, ...]]
    references: dict[str, tuple[str, ...]]
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
        return self.files.get(image_id, self.image_dir / image_id)

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
    _find_captions(chosen, layouts.list_folders(chosen))
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
        ValueError: If a line is mangled, a photo is on two splits or has no caption, or captions are not cut into
            words.
    """
    unknown = [split for split in splits if split not in config.SPLITS]
    if unknown:
        raise ValueError(f"splits must be among {config.SPLITS}. Received: splits={unknown!r}")
    folder = find_dataset(folder)
    folders = layouts.list_folders(folder)
    path, read, others = _find_captions(folder, folders)
    raw = read(path)
    image_ids, notes = _read_splits(folder, folders, raw, splits)
    notes += [f"Captions are read from {path.name}, not from {other.relative_to(folder)}." for other in others]
    references = {i: _clean_all(raw.of(i)) for ids in image_ids.values() for i in ids}
    if not references:
        raise ValueError(
            f"None of the photos with captions in {folder} is on a split. Unless the photos are Flickr8k's, "
            f"add {', '.join(SPLIT_FILES.values())}, one image id a line."
        )
    bare = [image_id for image_id, texts in references.items() if not texts]
    if bare:
        raise ValueError(
            f"{len(bare)} of {len(references)} photos in {folder} have no caption, for example {bare[0]!r:.80}. "
            f"Add their captions to {path.name} or take them off the split files."
        )
    captions_module.refuse_uncut((text for texts in references.values() for text in texts), folder)
    image_dir, files, missing = _find_photos(folder, folders, list(references))
    if missing:
        notes.append(_count(missing, references, f"photos are missing in {image_dir}"))
    notes += _note_left_out(raw, references, splits)
    name = "flickr8k" if _are_official(image_ids) else folder.name
    return CaptionDataset(name, folder, image_dir, image_ids, references, files, tuple(notes))


def read_raw_captions(folder: str | Path) -> Mapping[str, list[str]]:
    """Returns the raw captions of each image id in a data folder, in the file's order and whatever their split."""
    path, read, _ = _find_captions(Path(folder), layouts.list_folders(Path(folder)))
    return read(path).captions


def explain_unreadable(split: str, num_read: int, unreadable: Mapping[str, str]) -> str:
    """Returns a sentence on the photos of a split that were left out, of which it names the first few; else nothing.

    Args:
        split: The split.
        num_read: How many of its photos could be read.
        unreadable: Image id -> why one could not be read.
    """
    if not unreadable:
        return ""
    named = " ".join(f"{image_id}: {reason}" for image_id, reason in list(unreadable.items())[:_NUM_NAMED])
    count = num_read + len(unreadable)
    text = f"{len(unreadable):,} of {count:,} {split} photos could not be read and were left out."
    text += " These are most of them: is the data set complete?" if 2 * len(unreadable) > count else ""
    return f"{text} {named}"


def _find_captions(folder: Path, folders: Mapping[Path, list[str]]) -> tuple:
    found = layouts.find_captions(folders)
    if found is None:
        raise FileNotFoundError(
            f"No data set in {folder}: neither {TOKEN_FILE} nor captions.txt, results.csv or dataset_flickr8k.json is "
            f"there. {layouts.explain_nearest(folders, SPLIT_FILES)}Name its folder, set {DATA_VARIABLE}, or run "
            "`python -m captioner download` to fetch Flickr8k."
        )
    return found


def _clean_all(raw_captions: Sequence[str]) -> tuple[str, ...]:
    """Cleans captions and leaves out those without a word."""
    return tuple(text for text in map(captions_module.clean_caption, raw_captions) if text)


def _find_photos(
    folder: Path, folders: Mapping[Path, list[str]], image_ids: Sequence[str]
) -> tuple[Path, dict[str, Path], list[str]]:
    """Returns the folder of most photos, where the others are, and which are nowhere."""
    wanted = {layouts.same_name(Path(image_id).name) for image_id in image_ids}
    names = {place: {layouts.same_name(name): name for name in found} for place, found in folders.items()}
    known = [name.lower() for name in IMAGE_FOLDERS]
    ranked = sorted(names, key=lambda place: (-len(wanted & names[place].keys()), place.name.lower() not in known))
    image_dir = ranked[0]
    if not wanted & names[image_dir].keys() and image_dir.name.lower() not in known:
        raise FileNotFoundError(f"No photos in {folder}: expected a folder {' or '.join(IMAGE_FOLDERS)} there.")
    files, missing, in_place = {}, [], set(folders[image_dir])
    for image_id in image_ids:
        if image_id in in_place:
            continue
        name = layouts.same_name(Path(image_id).name)
        spellings = (name, _FETCHED_TWICE.sub("", name))
        exact = (place / image_id for place in folders if "/" in image_id and (place / image_id).is_file())
        alike = (place / names[place][n] for n in spellings for place in ranked if n in names[place])
        if path := next(itertools.chain(exact, alike), None):
            files[image_id] = path
        else:
            missing.append(image_id)
    return image_dir, files, missing


def _note_left_out(
    raw: layouts.RawCaptions, references: Mapping[str, Sequence[str]], splits: Sequence[str]
) -> list[str]:
    notes = []
    if set(splits) == set(config.SPLITS):
        listed = {layouts.same_name(image_id) for image_id in references}
        others = [image_id for image_id in raw.captions if layouts.same_name(image_id) not in listed]
        if others:
            notes.append(_count(others, raw.captions, "photos with captions are on no split and were left out"))
    num_captions = sum(len(raw.of(image_id)) for image_id in references)
    if num_empty := num_captions - sum(map(len, references.values())):
        notes.append(f"{num_empty:,} of {num_captions:,} captions hold no word and were left out.")
    return notes


def _count(some: Sequence[str], everything: Collection[str], what: str) -> str:
    return f"{len(some):,} of {len(everything):,} {what}, for example {some[0]!r:.80}."


def _read_splits(
    folder: Path, folders: Mapping[Path, list[str]], raw: layouts.RawCaptions, splits: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Reads the lists of image ids, checks that no photo is on two of them, and notes what they lack."""
    own = {name.lower(): place / name for place, names in reversed(list(folders.items())) for name in names}
    notes: list[str] = []
    if any(name.lower() in own for name in SPLIT_FILES.values()):
        image_ids = {split: _read_split_file(own, folder, SPLIT_FILES[split]) for split in splits}
    elif raw.splits is not None:
        image_ids = {split: tuple(raw.splits[split]) for split in splits}
    else:
        image_ids, notes = _choose_shipped_splits(folders, raw, splits)
    seen: dict[str, str] = {}
    for split, ids in image_ids.items():
        for image_id in ids:
            photo = raw.spell(image_id)
            if photo in seen:
                raise ValueError(
                    f"{image_id!r} is listed for {seen[photo]} and again for {split}. "
                    "List each photo once, else scores are of photos the captioner was trained on."
                )
            seen[photo] = split
    return image_ids, notes


def _choose_shipped_splits(
    folders: Mapping[Path, list[str]], raw: layouts.RawCaptions, splits: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Returns the official splits of those of their photos that are there, and a note where some are not."""
    shipped = _read_shipped_splits()
    told = {split: tuple(i for i in shipped[split] if _clean_all(raw.of(i))) for split in splits}
    there = {layouts.same_name(name) for names in folders.values() for name in names}
    image_ids = {split: tuple(i for i in ids if layouts.same_name(i) in there) for split, ids in told.items()}
    if not any(image_ids.values()):
        image_ids = told  # Captions alone, which can be scored.
    found, listed = (sum(map(len, ids.values())) for ids in (image_ids, {s: shipped[s] for s in splits}))
    note = f"No split files: of the {listed:,} photos on Flickr8k's official splits, {found:,} are there and count."
    return image_ids, [note] if found < listed else []


def _read_shipped_splits() -> dict[str, list[str]]:
    return json.loads(_SHIPPED_SPLITS.read_text(encoding="utf-8"))


def _are_official(image_ids: dict[str, tuple[str, ...]]) -> bool:
    """Says whether these are Flickr8k's photos on their own splits, whatever the folder is called."""
    official = _read_shipped_splits()
    return all(set(ids) <= set(official[split]) for split, ids in image_ids.items())


def _read_split_file(own: Mapping[str, Path], folder: Path, name: str) -> tuple[str, ...]:
    if name.lower() not in own:
        raise FileNotFoundError(f"{name} is missing in {folder}: it lists one image id a line.")
    return layouts.read_split_file(own[name.lower()])
