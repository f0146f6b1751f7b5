"""A decoder as a file. Keras alone, so that it can be read on any backend."""

from pathlib import Path

import keras
import numpy as np

from captioner import files, float16
from captioner.decoder.network import CaptionDecoder


def save_decoder(decoder: CaptionDecoder, file: Path) -> None:
    """Writes a decoder, its weights in float16, without an optimizer, whose state would triple the file."""
    copy = CaptionDecoder.from_config(decoder.get_config())
    copy.set_weights(decoder.get_weights())
    copy.save(file)
    float16.halve_archive(file)


def load_decoder(file: Path) -> CaptionDecoder:
    """Reads what `save_decoder` wrote.

    Raises:
        ValueError: If the file is damaged, or holds something else.
    """
    with files.reading(file):
        decoder = keras.saving.load_model(file, compile=False)
        if not isinstance(decoder, CaptionDecoder):
            raise TypeError(f"a {type(decoder).__name__} in place of a CaptionDecoder")
        float16.check_finite(decoder, "It")
    return decoder


def digest_decoder(decoder: CaptionDecoder) -> str:
    """Tells one decoder's weights from another's: the sum of each."""
    return " ".join(f"{float(np.sum(weight, dtype=np.float64)):.9g}" for weight in decoder.get_weights())
