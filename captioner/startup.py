"""What an entry point does first, before TensorFlow is imported."""

import ctypes
import importlib
import os
import sys
import threading

# From glibc's malloc.h; see `man mallopt`.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_STANDARD_ERROR = 2


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


def import_quietly(name: str = "tensorflow") -> None:
    """Imports a module while nothing that it writes to standard error is shown.

    Without a GPU, TensorFlow 2.21 says so at its import, whatever `TF_CPP_MIN_LOG_LEVEL` is, since its log is not set
    up yet (https://github.com/tensorflow/tensorflow/issues/100442). Exceptions are raised as ever. For a process of
    one thread: whatever else writes to standard error meanwhile is lost.
    """
    kept = os.dup(_STANDARD_ERROR)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), _STANDARD_ERROR)
    try:
        importlib.import_module(name)
    finally:
        os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)


def prepare_library() -> None:
    """Does for a program that uses this package what can be done without its leave.

    TensorFlow is told to log errors alone, and what it writes at its import is hidden where no other thread can write
    to standard error meanwhile. `keep_freed_memory` is left to the program: it changes how all of it gets memory.
    """
    if "tensorflow" not in sys.modules and threading.active_count() == 1:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import_quietly()
