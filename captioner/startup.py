"""What an entry point does first, before TensorFlow is imported."""

import contextlib
import ctypes
import gc
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator

# From glibc's malloc.h; see `man mallopt`.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_STANDARD_ERROR = 2
# Where Keras reads `keras.json`, and where it chooses the backend that stands there.
_KERAS_SETTINGS_FILES = tuple(os.path.join("keras", "src", "backend", name) for name in ("config.py", "__init__.py"))
# What this project's models are made for, whatever `keras.json` says.
_KERAS_SETTINGS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
# Where they are installed, Keras imports them, half a second and more, for work on tables and pictures alone.
_KERAS_EXTRAS = ("pandas", "matplotlib", "IPython")
# They would cut training and even the encoding of photos short without a word.
_KERAS_LIMITS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed memory instead of giving it back to the kernel.

    Every operation of TensorFlow allocates arrays of many megabytes and frees them at once. The C library of Linux
    maps each large block anew, and the kernel clears its pages one fault at a time. Call this before TensorFlow starts
    its threads.

    Returns:
        Whether it did so; it is glibc alone that can be told.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # No block is mapped on its own, nothing is trimmed, all threads share the one heap that can grow.
    options = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 1 << 26), (_M_ARENA_MAX, 1))
    results = [set_option(option, value) for option, value in options]
    return all(result == 1 for result in results)


@contextlib.contextmanager
def without_errors() -> Iterator[None]:
    """Shows nothing that is written to standard error meanwhile, not even by C++; exceptions are raised as ever."""
    try:
        kept = os.dup(_STANDARD_ERROR)
    except OSError:
        kept = None
    if kept is None:  # It is closed: nothing is shown.
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), _STANDARD_ERROR)
    try:
        yield
    finally:
        os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)


def import_quietly(name: str = "tensorflow") -> None:
    """Imports a module while nothing that it writes to standard error is shown.

    Without a GPU, TensorFlow 2.21 says so at its import, whatever `TF_CPP_MIN_LOG_LEVEL` is, since its log is not set
    up yet (https://github.com/tensorflow/tensorflow/issues/100442). Exceptions are raised as ever. For a process of
    one thread: whatever else writes to standard error meanwhile is lost.
    """
    with without_errors():
        importlib.import_module(name)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keeps the garbage collector from looking through all that is imported, again and again."""
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
        # Modules stay, so nothing of them is ever looked through later.
        gc.freeze()
    finally:
        if was_at_work:
            gc.enable()


@contextlib.contextmanager
def _without_extras() -> Iterator[None]:
    """Hides packages that Keras can do without from whoever imports them meanwhile."""
    hidden = [name for name in _KERAS_EXTRAS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # so Python is told that there is none
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def import_keras(*, any_backend: bool = False, quietly: bool = True, with_extras: bool = True) -> None:
    """Imports Keras with the settings that this project is made for; those that other projects left do not count.

    That is the backend of `KERAS_BACKEND` and of `keras.json`, and its numbers and order of channels. Call this before
    anything imports TensorFlow or Keras.

    Args:
        any_backend: Whether the backend may be chosen, as for `tune`; else it is TensorFlow.
        quietly: Whether to hide what is written to standard error meanwhile, see `import_quietly`.
        with_extras: Whether Keras may import pandas, Matplotlib and IPython; else it never knows their objects. Not for
            a program whose other threads may import them meanwhile.

    Raises:
        ValueError: If the backend is not installed, Keras cannot use its settings, or the program has imported Keras
            with other settings already.
    """
    is_loaded = "keras" in sys.modules
    if not is_loaded:
        if not any_backend:
            os.environ["KERAS_BACKEND"] = "tensorflow"
        for limit in _KERAS_LIMITS:
            os.environ.pop(limit, None)
    try:
        if not is_loaded:
            with _without_garbage_collection(), contextlib.nullcontext() if with_extras else _without_extras():
                import_quietly("keras") if quietly else importlib.import_module("keras")
        settings = importlib.import_module("keras").config
    except ImportError as error:
        backend = os.environ.get("KERAS_BACKEND", "of keras.json")
        raise ValueError(
            f"Keras cannot use the backend {backend}: install it, or set KERAS_BACKEND=tensorflow. Received: {error}"
        ) from None
    except (AttributeError, OSError, TypeError, ValueError) as error:
        failed = traceback.extract_tb(error.__traceback__)[-1].filename
        if not failed.endswith(_KERAS_SETTINGS_FILES):
            raise ValueError(
                f"Keras does not start, since {failed} fails. If that is a file of yours with the name of a module "
                f"that Keras needs, call it otherwise. Received: {error}"
            ) from error
        home = os.environ.get("KERAS_HOME", os.path.join("~", ".keras"))
        raise ValueError(
            f"Keras does not start, perhaps for a damaged {os.path.join(home, 'keras.json')}, which it can do without: "
            f"mend or remove that. Received: {error}"
        ) from error
    if not any_backend and settings.backend() != "tensorflow":
        raise ValueError(
            "Captions need Keras with the backend tensorflow. Set KERAS_BACKEND=tensorflow before Keras is imported. "
            f"Received: {settings.backend()}"
        )
    for name, value in _KERAS_SETTINGS.items():
        if not is_loaded:
            getattr(settings, f"set_{name}")(value)
        elif getattr(settings, name)() != value:
            raise ValueError(
                f"Captions need {value} as {name} of Keras. Call keras.config.set_{name}({value!r}) before. "
                f"Received: {getattr(settings, name)()!r}"
            )


def prepare_library() -> None:
    """Does for a program that uses this package what can be done without its leave.

    TensorFlow is told to log errors alone, and what it writes at its import is hidden where no other thread can write
    to standard error meanwhile. `keep_freed_memory` is left to the program: it changes how all of it gets memory.

    Raises:
        ValueError: As for `import_keras`.
    """
    is_quiet = "tensorflow" not in sys.modules and threading.active_count() == 1
    if is_quiet:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import_keras(quietly=is_quiet)
