"""What a process does that decodes photos for `captioner.data.decoders`: it reads requests until there are no more.

A request is two lengths, JSON (`path` or `null` for content that follows, `name`, `image_size` `S`, `box`,
`preview_side` or 0) and the content. A reply is whether the photo could be read, two lengths, and RGB pixels
`(S, S, 3)` with a JPEG for a preview, or one sentence with nothing.
"""

import contextlib
import json
import os
import signal
import struct
import sys

import numpy as np

from captioner.data import photo_budget, photos

# What a pipe and its buffers hold: the whole of a photo, so that neither side waits for the other to take it in parts.
PIPE_BYTES = 1 << 20
READY = b"ready"
REQUEST = struct.Struct("<II")
REPLY = struct.Struct("<?II")
# Seconds of work for one photo: 48 megapixels of HEIC take one. Then the system ends the process by `SIGPROF`.
MAX_SECONDS = 4
TIME_SIGNAL = 27
# What lies beside the photo in memory: the interpreter and its modules.
_OWN_MEGABYTES = 60


def serve() -> None:
    """Answers requests from standard input on standard output until it is closed."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Nothing that a decoder prints may pass for an answer.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _set_limits()
    sink.write(READY)
    sink.flush()
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        size, content_size = REQUEST.unpack(head)
        request, content = json.loads(source.read(size)), source.read(content_size)
        with contextlib.suppress(BrokenPipeError):
            sink.write(_answer(request, content))
            sink.flush()


def _answer(request: dict, content: bytes) -> bytes:
    source = content if request["path"] is None else request["path"]
    try:
        with _limit_of_time():
            photo = photos.open_photo(source, request["name"], reduced=True)
            pixels = photos.square_photo(photo, request["image_size"], request["box"])
            side = request["preview_side"]
            preview = photos.encode_preview(photo, side) if side else b""
    except (photos.PhotoError, MemoryError) as error:
        reason = photo_budget.too_large(request["name"]) if isinstance(error, MemoryError) else error
        sentence = str(reason).encode()
        return REPLY.pack(False, len(sentence), 0) + sentence
    return b"".join((REPLY.pack(True, pixels.nbytes, len(preview)), np.ascontiguousarray(pixels).data, preview))


@contextlib.contextmanager
def _limit_of_time():
    """Has the system end this process after its seconds of work: no decoder's code could be stopped by an exception."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)


def _set_limits() -> None:
    try:
        import resource
    except ImportError:  # Windows has none of them.
        return
    memory = (photo_budget.MAX_MEGABYTES + _OWN_MEGABYTES) * 1_000_000
    # Linux counts memory as data; elsewhere the budget alone decides. No core is dumped, and no file is written.
    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))
