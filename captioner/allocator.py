"""Keeps freed memory in the process instead of giving it back to the kernel.

Every operation of TensorFlow allocates arrays of many megabytes and frees them at once. The C library of Linux maps
each such block anew, and the kernel clears its pages one fault at a time: on two cores that was four tenths of a
training step. `benchmarks/allocator.py` measures it.
"""

import ctypes

# From glibc's malloc.h; see `man mallopt`.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed. Call it first, before TensorFlow starts its threads.

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
