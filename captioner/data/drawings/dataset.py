"""The drawn data set: pictures and captions that the project makes itself, in Flickr8k's official layout.

It is the real data of the tests, and the notebook's where Flickr8k is not at hand. Scores on it say nothing
about photos. Its validation and test splits show combinations of colour and noun that train never shows, and
`scenes.json` keeps what each picture shows, so it can be counted how many of those a captioner names right.
No TensorFlow here.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from captioner import config, files
from captioner.data import datasets
from captioner.data.drawings import captions as scene_captions
from captioner.data.drawings import pictures as scene_pictures
from captioner.data.drawings import scenes

SCENES_FILE = "scenes.json"
DEFAULT_FOLDER = config.DATA_DIR / "drawings"
# Raise this whenever the same seed gives other pictures or captions: older folders are then drawn anew.
DRAWING_VERSION = 3
# The same number of pictures is always the same bytes.
_SEED = 0


def draw_dataset(folder: str | Path | None = None, *, num_photos: int = 1000) -> Path:
    """Draws the data set, unless the folder holds it already; takes some seconds.

    Args:
        folder: Where to, by default `data/drawings`. An older drawn data set there is replaced, nothing else.
        num_photos: How many pictures, at least 10; 72 % are train, 14 % validation and 14 % test.

    Returns:
        The folder, for `datasets.read_dataset`.

    Raises:
        BlockingIOError: If another process is drawing it.
        FileExistsError: If the folder holds something else.
        ValueError: If there are too few photos to have three splits.
    """
    folder = Path(folder or DEFAULT_FOLDER)
    files.heal_folder(folder)
    made_from = {"version": DRAWING_VERSION, "num_photos": num_photos, "seed": _SEED}
    if not _is_there(folder, made_from):
        with files.hold(folder, "drawing the data set"):
            # Another process may just have finished.
            if not _is_there(folder, made_from):
                planned = scenes.plan_scenes(num_photos, _SEED)
                with files.replace_folder(folder) as new:
                    _write_folder(new, planned, made_from)
    return folder


def _is_there(folder: Path, made_from: dict) -> bool:
    if not (folder.exists() and any(folder.iterdir())):
        return False
    if not is_drawn(folder):
        raise FileExistsError(
            f"{folder} holds something other than a drawn data set, and would be lost. Name a new folder."
        )
    return _read_json(folder)["made_from"] == made_from


def is_drawn(folder: str | Path) -> bool:
    """Says whether a folder holds a drawn data set."""
    return (Path(folder) / SCENES_FILE).is_file()


def read_scenes(folder: str | Path | None = None) -> dict[str, scenes.Scene]:
    """Returns image id -> what the picture shows.

    Raises:
        FileNotFoundError: If the folder holds no drawn data set.
        ValueError: If its `scenes.json` is damaged.
    """
    folder = Path(folder or DEFAULT_FOLDER)
    if not is_drawn(folder):
        raise FileNotFoundError(f"{folder} holds no drawn data set: {SCENES_FILE} is missing. Draw it first.")
    listed = _read_json(folder)["scenes"]
    made = (scenes.Scene(**s | {"groups": tuple(scenes.Group(**g) for g in s["groups"])}) for s in listed)
    return {scene.image_id: scene for scene in made}


def read_seed(folder: str | Path) -> int:
    """Returns the seed by which a data set was drawn."""
    return _read_json(Path(folder))["made_from"]["seed"]


def count_held_out(caption: str, scene: scenes.Scene) -> tuple[int, int]:
    """Counts the held-out combinations of a scene: how many the caption names, and how many there are.

    Summed over a split, right / all is the share of unseen combinations that a captioner puts together. A
    wrong combination beside a right one takes nothing away.

    Args:
        caption: A caption, raw or cleaned.
        scene: What the picture shows.
    """
    held_out = scene.combinations & set(scenes.held_out_combinations(scene.split))
    return len(held_out & scene_captions.named_combinations(caption)), len(held_out)


def score_held_out(captions: Mapping[str, str], folder: str | Path | None = None) -> dict[str, int | float]:
    """Returns how many held-out combinations captions name: `shown`, `named` and the share `named_percent`.

    Args:
        captions: Image id -> caption, of one split or several.
        folder: The drawn data set they belong to.
    """
    known = read_scenes(folder)
    counts = [count_held_out(caption, known[image_id]) for image_id, caption in captions.items()]
    named, shown = (sum(column) for column in zip(*counts, strict=True))
    return {"shown": shown, "named": named, "named_percent": 100 * named / max(shown, 1)}


def names_side_right(caption: str, scene: scenes.Scene) -> bool | None:
    """Says whether what a caption has on the left or right is there.

    It is the side that counts: "a red star on the left" means the thing there that is red or a star, if one is. A
    thing of which nothing is in the picture is passed over.

    Args:
        caption: A caption, raw or cleaned.
        scene: What the picture shows.

    Returns:
        `None` if the caption names no side.
    """
    named = scene_captions.named_sides(caption)
    if named is None:
        return None
    meant = [(_find_meant(thing, scene), side) for thing, side in named.items()]
    seen = [(thing, side) for thing, side in meant if thing is not None]
    return bool(seen) and all(scene.sides.get(thing) == side for thing, side in seen)


def _find_meant(named: scenes.Combination, scene: scenes.Scene) -> scenes.Combination | None:
    """Returns the thing of a scene that shares most with a named one, `None` if none or if two share as much."""
    shared = {thing: sum(a == b for a, b in zip(named, thing, strict=True)) for thing in scene.combinations}
    best = max(shared.values())
    likest = [thing for thing, count in shared.items() if count == best]
    return likest[0] if best and len(likest) == 1 else None


def score_sides(captions: Mapping[str, str], folder: str | Path | None = None) -> dict[str, int | float]:
    """Returns how many captions name a side, `named`, how many of these are `right`, and the share `right_percent`.

    Args:
        captions: Image id -> caption, of one split or several.
        folder: The drawn data set they belong to.
    """
    known = read_scenes(folder)
    said = [names_side_right(caption, known[image_id]) for image_id, caption in captions.items()]
    named, right = sum(one is not None for one in said), sum(one is True for one in said)
    return {"named": named, "right": right, "right_percent": 100 * right / max(named, 1)}


def _write_folder(folder: Path, planned: list[scenes.Scene], made_from: dict) -> None:
    image_dir = folder / datasets.IMAGE_FOLDERS[0]
    image_dir.mkdir(parents=True)
    lines = []
    for scene in planned:
        picture = scene_pictures.draw_scene(scene, made_from["seed"])
        # Full chroma resolution, since colours are what is to be learnt.
        picture.save(image_dir / scene.image_id, quality=90, subsampling=0)
        texts = scene_captions.write_captions(scene, made_from["seed"])
        lines += [f"{scene.image_id}#{number}\t{text}" for number, text in enumerate(texts)]
    _write_lines(folder / datasets.TOKEN_FILE, lines)
    for split, name in datasets.SPLIT_FILES.items():
        _write_lines(folder / name, [scene.image_id for scene in planned if scene.split == split])
    content = {"made_from": made_from, "scenes": [dataclasses.asdict(scene) for scene in planned]}
    _write_lines(folder / SCENES_FILE, [json.dumps(content, indent=1)])


def _write_lines(path: Path, lines: list[str]) -> None:
    """Writes text with the same bytes on every system."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _read_json(folder: Path) -> dict:
    try:
        content = json.loads((folder / SCENES_FILE).read_text(encoding="utf-8"))
        return {"made_from": content["made_from"], "scenes": content["scenes"]}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ValueError(
            f"{folder / SCENES_FILE} is damaged. Delete the folder {folder} and draw the data set again."
        ) from None
