"""What the files of a captioner were when it was saved: `manifest.json` holds a SHA-256 of each.

Files of different captioners look right one by one, and give wrong captions together. Whoever changes a file of a
captioner on purpose writes the manifest anew: `python -m captioner.artifacts.manifest FOLDER`. No TensorFlow here.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from captioner import config, files

MANIFEST_FILE = "manifest.json"
# What else lies there, such as the notes of a person, is not read and therefore not minded.
_SUFFIXES = (".json", ".keras", ".h5")


def write_manifest(folder: str | Path) -> None:
    """Writes the manifest of the files that a folder holds, in one step."""
    listed = [file for file in sorted(Path(folder).iterdir()) if file.is_file() and file.name[0] != "."]
    digests = {file.name: files.digest_file(file) for file in listed if file.name != MANIFEST_FILE}
    with files.replace_file(Path(folder) / MANIFEST_FILE) as new:
        new.write_text(json.dumps({"sha256": digests}, indent=2) + "\n", encoding="utf-8")


def check_manifest(folder: str | Path, names: Iterable[str], *, whole: bool = False) -> None:
    """Checks that files of a captioner are those that it was saved with.

    Args:
        folder: The captioner's.
        names: Files that are about to be read.
        whole: Whether to check all that were saved as well, and that there are no others that would be read.

    Raises:
        FileNotFoundError: If the manifest or a file is missing.
        ValueError: If the manifest is damaged, or a file is another.
    """
    folder = Path(folder)
    digests = _read_manifest(folder)
    names = set(names)
    if whole:
        there = {file.name for file in folder.iterdir() if file.suffix in _SUFFIXES and file.name[0] != "."}
        names |= digests.keys() | (there - {MANIFEST_FILE})
    for name in sorted(names):
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"The captioner at {folder} lacks {name}. {files.MAKE_CAPTIONER_ANEW}")
        if files.digest_file(file) != digests.get(name):
            raise ValueError(
                f"{file} is not the file this captioner was saved with. Put that one back, or run {config.MAKER} "
                "again to make the captioner anew."
            )


def _read_manifest(folder: Path) -> dict[str, str]:
    file = folder / MANIFEST_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"The captioner at {folder} lacks {MANIFEST_FILE}: an earlier version of this project saved it, or it is "
            f"not whole. {files.MAKE_CAPTIONER_ANEW}"
        )
    digests = files.read_json(file).get("sha256")
    if not isinstance(digests, dict) or not all(files.is_plain_name(name) for name in digests):
        raise ValueError(files.damaged(file))
    return digests


if __name__ == "__main__":
    write_manifest(sys.argv[1])
