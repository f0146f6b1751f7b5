"""Which saved captioners there are, and what their small files say of them; `saving` saves and loads them.

No TensorFlow here, so that the page and the command can tell at once.
"""

import dataclasses
import json
from pathlib import Path

from captioner import config
from captioner.data import captions
from captioner.files import damaged

CONFIG_FILE, METRICS_FILE, CARD_FILE = "config.json", "metrics.json", "README.md"
FORMAT = 1
# What says whether an encoder is the one that a captioner was trained on.
ENCODER_KEYS = ("name", "regions_layer", "fingerprint", "mirrored")
# Which captioner answers when nobody names one: the best encoder first.
PREFERENCE = ("vgg16", "efficientnet_lite2", "mobilenet_v2", "compact")


def list_captioners(artifacts_dir: str | Path = config.ARTIFACTS_DIR) -> list[Path]:
    """Returns the folders of all captioners, the one to prefer first."""
    folders = [path.parent for path in Path(artifacts_dir).glob(f"*/{CONFIG_FILE}") if path.parent.name[0] != "."]
    rank = {name: number for number, name in enumerate(PREFERENCE)}
    return sorted(folders, key=lambda folder: (rank.get(folder.name, len(rank)), folder.name))


def choose_captioner(folder: str | Path | None = None) -> Path:
    """Returns the given folder, else the preferred captioner in `artifacts/`.

    Raises:
        FileNotFoundError: If there is none.
    """
    if folder is not None:
        return Path(folder)
    found = list_captioners(config.ARTIFACTS_DIR)
    if not found:
        raise FileNotFoundError(f"No captioner in {config.ARTIFACTS_DIR}. Run model.ipynb to the end to create one.")
    return found[0]


def read_config(folder: str | Path) -> dict:
    """Returns the `config.json` of a captioner without loading it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"No captioner at {folder}. Run model.ipynb to the end to create one.")
    settings = _read_json(folder, CONFIG_FILE)
    if settings.get("format") != FORMAT or settings.get("cleaning_version") != captions.CLEANING_VERSION:
        raise ValueError(f"{folder} was made by another version of this project. Run model.ipynb again.")
    encoder, decoding, calibration = (settings.get(key) for key in ("encoder", "decoding", "calibration"))
    known = {field.name for field in dataclasses.fields(config.DecodingConfig)}
    if not isinstance(encoder, dict) or not encoder.keys() >= set(ENCODER_KEYS):
        raise ValueError(damaged(folder / CONFIG_FILE) + f" Received: encoder={encoder!r}")
    if not isinstance(decoding, dict) or not decoding.keys() <= known:
        raise ValueError(damaged(folder / CONFIG_FILE) + f" Received: decoding={decoding!r}")
    # Captioners saved before there was a calibration have none.
    if calibration is not None and not _is_calibration(calibration):
        raise ValueError(damaged(folder / CONFIG_FILE) + f" Received: calibration={calibration!r}")
    return settings


def read_metrics(folder: str | Path) -> dict:
    """Returns the `metrics.json` of a captioner."""
    return _read_json(Path(folder), METRICS_FILE)


def version_of(folder: Path) -> str:
    """Returns what tells a saved captioner from others and from one that takes its place."""
    return f"{folder.name} {(folder / CONFIG_FILE).stat().st_mtime_ns}"


def _is_calibration(content: object) -> bool:
    known = {field.name for field in dataclasses.fields(config.Calibration)}
    return (
        isinstance(content, dict)
        and content.keys() <= known
        and all(value is None or isinstance(value, int | float) for value in content.values())
    )


def _read_json(folder: Path, name: str) -> dict:
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"The captioner at {folder} lacks {name}. Run model.ipynb again to make it anew."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(damaged(folder / name))
    return content
