"""Which saved captioners there are, and what their small files say of them; `saving` saves and loads them.

No TensorFlow here, so that the page and the command can tell at once.
"""

import importlib.util
import os
import re
import tempfile
from pathlib import Path

from captioner import config, files
from captioner.artifacts import confidence, manifest
from captioner.data import captions

CONFIG_FILE, METRICS_FILE, CARD_FILE = "config.json", "metrics.json", "README.md"
FORMAT = 1
# What says whether an encoder is the one that a captioner was trained on.
ENCODER_KEYS = ("name", "regions_layer", "fingerprint", "mirrored")
# Rules of the search that came after the format, and what stands for their absence.
_LATER_RULES = {"rarity": 0.0, "detector_weight": 0.0}
# Which captioner answers when nobody names one: the best encoder first.
PREFERENCE = ("vgg16", "efficientnet_lite2", "mobilenet_v2", "compact")
# Folders on their way in or out: hidden ones, and those that `save_captioner` has set aside.
_NOT_LISTED = re.compile(r"\..*|.*~\d+")


def list_captioners(*artifacts_dirs: str | Path) -> list[Path]:
    """Returns the folders of all captioners, the one to prefer first.

    Those for photos stand before those for drawings, whose scores are of another kind, and last are those whose encoder
    cannot be had.

    Args:
        *artifacts_dirs: Where to look, by default in `artifacts/` and among those that came with the project. Of two
            captioners of one name the first counts.
    """
    by_name: dict[str, Path] = {}
    for artifacts_dir in artifacts_dirs or _default_dirs():
        files.heal_folders(artifacts_dir)
        for path in Path(artifacts_dir).glob(f"*/{CONFIG_FILE}"):
            by_name.setdefault(path.parent.name, path.parent)
    rank = {name: number for number, name in enumerate(PREFERENCE)}
    folders = [folder for name, folder in by_name.items() if not _NOT_LISTED.fullmatch(name)]

    def place(folder: Path) -> tuple:
        return _lacks_package(folder), is_of_drawings(folder), rank.get(folder.name, len(rank)), folder.name

    return sorted(folders, key=place)


def choose_captioner(name_or_folder: str | os.PathLike[str] | None = None) -> Path:
    """Returns the folder of a captioner.

    Args:
        name_or_folder: The name of one of `list_captioners`, else a folder; by default the captioner to prefer.

    Raises:
        FileNotFoundError: If there is none; the message lists those that there are.
    """
    folders = list_captioners()
    by_name = {folder.name: folder for folder in folders}
    if name_or_folder is None and folders:
        return folders[0]
    if name_or_folder is None:
        raise FileNotFoundError(f"No captioner in {config.ARTIFACTS_DIR}. Run {config.MAKER} to the end to create one.")
    folder = by_name.get(str(name_or_folder), Path(name_or_folder))
    files.heal_folder(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"No captioner at {folder}. Name a folder, or one of those that there are: {', '.join(by_name) or 'none'}."
        )
    return folder


def _lacks_package(folder: Path) -> bool:
    """Whether a captioner's encoder comes in a package that is not installed."""
    try:
        module = config.PACKAGED_ENCODERS.get(files.read_json(folder / CONFIG_FILE)["encoder"]["name"])
    # A damaged captioner is reported when it is loaded.
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return module is not None and importlib.util.find_spec(module) is None


def check_place(folder: str | Path, *, replace: bool = False) -> None:
    """Checks that a captioner may be saved here; call it before the long work, too.

    Args:
        folder: Where to, `artifacts/<name>`.
        replace: Whether what is there may be set aside.

    Raises:
        FileExistsError: If something is there and must not be replaced.
    """
    folder = Path(folder)
    files.heal_folder(folder)
    if folder.exists() and not replace:
        raise FileExistsError(
            f"{folder} is there already, and nothing is replaced unasked. Choose another name, or ask for it with "
            f"--replace, in Python replace=True: what is there is then kept as {files.free_name(folder).name}."
        )


def choose_place(name: str, run: str, *, asked: str | None = None, replace: bool = False) -> tuple[Path, bool]:
    """Returns where a captioner goes: where somebody asked for, else into a folder that no other captioner has.

    Args:
        name: What it would be called.
        run: What it was made of, as its metrics have it in `run`.
        asked: The name that somebody gave it.
        replace: Whether somebody said that it may take the place of another captioner of its name.

    Returns:
        `artifacts/<asked>`. Without a name `artifacts/<name>`, or `artifacts/<name>-<run>` where a captioner made of
        something else has that name and must not be replaced. And whether what is there may be replaced: by leave, or
        as the captioner of the same run.
    """
    if asked or replace:
        return config.ARTIFACTS_DIR / (asked or name), replace
    runs = {folder.name: _read_run(folder) for folder in list_captioners() if folder.name in (name, f"{name}-{run}")}
    folder = config.ARTIFACTS_DIR / (name if runs.get(name, run) == run else f"{name}-{run}")
    return folder, folder.name in runs


def _read_run(folder: Path) -> str | None:
    """Returns what a captioner was made of; `None` where nothing says so."""
    try:
        return read_metrics(folder).get("run")
    except (OSError, ValueError):
        return None  # A damaged captioner is in nobody's way.


def check_writable() -> None:
    """Checks that captioners can be saved in `artifacts/`; call it before the long work.

    Raises:
        PermissionError: If they cannot.
    """
    folder = config.ARTIFACTS_DIR
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"No captioner can be saved in {folder} ({error.strerror}). Give yourself the right to write there, or set "
            f"{config.ARTIFACTS_VARIABLE} to a folder where you may."
        ) from None


def _default_dirs() -> list[Path]:
    named = os.environ.get(config.ARTIFACTS_VARIABLE)
    return [config.ARTIFACTS_DIR] if named else [config.ARTIFACTS_DIR, config.SHIPPED_DIR]


def read_config(folder: str | Path) -> dict:
    """Returns the `config.json` of a captioner without loading it.

    Raises:
        FileNotFoundError: If there is no captioner, or it lacks that file.
        ValueError: If the file is damaged or not the one that was saved, or of another version of this project.
    """
    folder = Path(folder)
    files.heal_folder(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"No captioner at {folder}. Run {config.MAKER} to the end to create one.")
    settings = _read_json(folder, CONFIG_FILE)
    if settings.get("format") != FORMAT or settings.get("cleaning_version") != captions.CLEANING_VERSION:
        raise ValueError(f"{folder} was made by another version of this project. Run {config.MAKER} again.")
    checks = {"encoder": _check_encoder, "decoding": read_search, "calibration": read_calibration}
    for key, check in checks.items():
        try:
            check(settings)
        except (KeyError, ValueError) as error:
            reason = f"Received: {key}={settings.get(key)!r:.200} ({error})"
            raise ValueError(f"{files.damaged(folder / CONFIG_FILE)} {reason}") from None
    return settings


def read_search(settings: dict) -> config.DecodingConfig:
    """Returns how a captioner of this configuration searches unless it is told otherwise.

    One that was saved before there was a rule searches without it, as it was measured.
    """
    kept = settings["decoding"]
    return config.from_json(config.DecodingConfig, _LATER_RULES | kept if isinstance(kept, dict) else kept)


def read_calibration(settings: dict) -> config.Calibration | None:
    """Returns when a captioner of this configuration may say that it is sure; `None` where it was never calibrated."""
    kept = settings["calibration"]
    return None if kept is None else config.from_json(config.Calibration, kept)


def read_metrics(folder: str | Path) -> dict:
    """Returns the `metrics.json` of a captioner."""
    return _read_json(Path(folder), METRICS_FILE)


def is_of_drawings(folder: Path) -> bool:
    """Returns whether a captioner was trained on drawings of this project, and so knows no photos."""
    try:
        return confidence.subject_of(read_metrics(folder)) == "drawings"
    except (OSError, ValueError):
        return False  # A damaged captioner is reported when it is loaded.


def version_of(folder: Path) -> str:
    """Returns what tells a saved captioner from others and from one that takes its place."""
    return f"{folder.name} {files.digest_file(folder / manifest.MANIFEST_FILE)}"


def _check_encoder(settings: dict) -> None:
    encoder = settings["encoder"]
    kinds = dict.fromkeys(ENCODER_KEYS, str) | {"mirrored": bool}
    if not isinstance(encoder, dict) or {key: type(value) for key, value in encoder.items()} != kinds:
        raise ValueError(f"expected: {', '.join(ENCODER_KEYS)}")


def _read_json(folder: Path, name: str) -> dict:
    manifest.check_manifest(folder, [name])
    return files.read_json(folder / name)
