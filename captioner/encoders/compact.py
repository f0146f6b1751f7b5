"""The compact encoder: MobileNetV2 that learnt from captions, for photos of 192x192 pixels; its grid is 6x6.

It ships with the project, in 5 MB, so it is there where no other encoder is. Its weights are those of a captioner on
`mobilenet_v2`: they began as ImageNet's, then all convolutions learnt from captions, see
`captioner.training.end_to_end` and `captioner.training.shrinking`.

Legend: `B` batch, `S` side of the photo in pixels, `H` side of the grid, `C` channels.

References:
    M. Sandler et al., "MobileNetV2", 2018. https://arxiv.org/abs/1801.04381
"""

import json
import tempfile
from pathlib import Path

import keras

from captioner import config, files, float16

IMAGE_SIZE = 192
GRID_LAYER = "out_relu"
WEIGHTS_FILE = "encoder.weights.h5"
MAKE_ENCODER_ANEW = (
    "Take that file from the repository again, or name the folder of another captioner on compact with "
    "--encoder-weights; `python -m captioner shrink` makes one."
)


def build_network() -> keras.Model:
    """Builds the encoder with random weights.

    Returns:
        A model from preprocessed pixels `(B, S, S, 3)` to the layer `out_relu`, `(B, H, H, C)`, with `S` 192, `H` 6 and
        `C` 1280.
    """
    return keras.applications.MobileNetV2((IMAGE_SIZE, IMAGE_SIZE, 3), include_top=False, weights=None)


def copy_weights(network: keras.Model) -> keras.Model:
    """Returns a compact encoder with the weights of MobileNetV2.

    Args:
        network: MobileNetV2 for photos of any size, with or without what tells classes.
    """
    compact = build_network()
    for layer in (layer for layer in compact.layers if layer.weights):
        layer.set_weights(network.get_layer(layer.name).get_weights())
    return compact


def read_facts(weights_file: Path) -> dict:
    """Returns what is known of an encoder's weights, which `save_weights` wrote beside them; nothing if it did not.

    Raises:
        ValueError: If that file is damaged.
    """
    file = weights_file.with_name(config.ENCODER_FILE)
    return files.read_json(file, MAKE_ENCODER_ANEW) if file.is_file() else {}


def save_weights(network: keras.Model, folder: str | Path, description: dict) -> Path:
    """Writes an encoder's weights and what is known of them.

    Args:
        network: From `build_network`. What float16 holds exactly is stored so, which halves the file if its kernels
            were rounded.
        folder: Where `encoder.weights.h5` and `encoder.json` go; each replaces its predecessor in one step.
        description: Goes into `encoder.json` with the size and the number of parameters.

    Returns:
        The file of the weights, which `network.load_weights` reads.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.replace_file(folder / WEIGHTS_FILE) as half, tempfile.TemporaryDirectory() as elsewhere:
        full = Path(elsewhere, WEIGHTS_FILE)
        network.save_weights(full)
        float16.halve_weights(full, half)
    facts = {"parameters": network.count_params(), "bytes": (folder / WEIGHTS_FILE).stat().st_size}
    text = json.dumps(description | facts, indent=2)
    with files.replace_file(folder / config.ENCODER_FILE) as new:
        new.write_text(text + "\n", encoding="utf-8")
    return folder / WEIGHTS_FILE
