"""The machine and the versions that something was measured or trained with. Keras alone, on any backend."""

import collections
import datetime
import importlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import keras

from captioner import __version__, config


def describe_machine() -> dict:
    """Returns with what a report was made: versions, git commit, date, cores and device."""
    packages = ("tensorflow", "keras", "numpy", "nltk", "pycocoevalcap")
    return {
        "versions": {"captioner": __version__, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "git_commit": _git_commit(),
        "date": datetime.date.today().isoformat(),
        "device": name_device(),
    }


def name_device() -> str:
    """Returns the GPUs that this backend of Keras sees, and how many CPU cores there are."""
    gpus = [f"{count} {name}" for name, count in collections.Counter(_list_gpus()).items()]
    return ", ".join([*gpus, f"{os.cpu_count()} CPU cores"])


def check_backend(began: str, run: Path) -> None:
    """Checks that this backend of Keras is the one that a training run was begun with.

    Backends read one another's files, but compute other numbers: of what two have trained, nobody can say what made it.

    Args:
        began: The backend that began it.
        run: The folder or file of the run.

    Raises:
        ValueError: If it is another one.
    """
    if began != (mine := keras.backend.backend()):
        raise ValueError(
            f"{run} holds a training run that was begun with {began}, and {mine} does not go on with it. "
            f"Set KERAS_BACKEND={began} to go on, or delete it to begin anew."
        )


def _list_gpus() -> list[str]:
    """Returns what each GPU is called."""
    if keras.backend.backend() == "jax":
        devices = importlib.import_module("jax").devices()
        return [device.device_kind for device in devices if device.platform != "cpu"]
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", "unnamed") for gpu in gpus]


def _git_commit() -> str | None:
    """Returns the commit of this checkout, or `None` where it is no checkout."""
    if config.IS_INSTALLED:
        return None  # Around it may lie a checkout of another project.
    try:
        result = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607  Which git it is, is the user's choice.
            cwd=config.PROJECT_DIR,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
