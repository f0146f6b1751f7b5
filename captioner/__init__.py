"""Image captioning: image encoder, attention LSTM decoder, beam search, honest scores.

    import captioner
    model = captioner.load("compact")
    print(model.caption("dog.jpg")[0].text)

What stands in `__all__` is for other programs. All but the version is imported when it is asked for, so that
`import captioner` takes no time and no memory.
"""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captioner.config import DecodingConfig
    from captioner.data.photos import PhotoError
    from captioner.inference import Caption, Captioner

__version__ = "0.1.0"
__all__ = ["Caption", "Captioner", "DecodingConfig", "PhotoError", "__version__", "load"]

# Where they are; those behind `inference` need TensorFlow.
_HOMES = {
    "Caption": "captioner.inference",
    "Captioner": "captioner.inference",
    "DecodingConfig": "captioner.config",
    "PhotoError": "captioner.data.photos",
}


def load(name_or_folder: "str | os.PathLike[str] | None" = None) -> "Captioner":
    """Loads a captioner with its encoder.

    The first call imports TensorFlow, which takes seconds.

    Args:
        name_or_folder: The name of a captioner in `artifacts/` or of one that came with the project, else the folder of
            a saved captioner; by default the one with the best encoder of those that there are.

    Returns:
        The captioner; many threads may share it.

    Raises:
        FileNotFoundError: If there is none, a file of it is missing, or the encoder's weights cannot be had.
        ValueError: If a file is damaged, or the encoder has other weights than the captioner was trained on.

    Example:
        >>> captioner.load("compact").caption("dog.jpg")[0].text
        'a dog runs through the grass'
    """
    from captioner import startup

    startup.prepare_library()
    from captioner.artifacts import catalogue, saving

    return saving.load_captioner(catalogue.choose_captioner(name_or_folder))


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] == "captioner.inference":
        from captioner import startup

        startup.prepare_library()
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
