"""Photos of strangers, decoded in processes of their own: what breaks a decoder ends one of them and nothing else.

Each process imports Pillow, pi_heif and numpy alone, lives long, and has limits of memory and of time. It is a fresh
interpreter, not a copy of this one, and it ends when this process ends, even by a kill, since it then reads no more
requests. It answers with pixels or with a sentence, never with an object. What it is asked, and how, is in
`captioner.data.decoder_process`.
"""

import atexit
import contextlib
import functools
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from captioner import config
from captioner.data import decoder_process, photos
from captioner.data.photos import PhotoError

# Twice as many as there are cores, up to four: while one waits for its next photo another works, and a photo that
# takes seconds is passed by those of other visitors.
NUM_PROCESSES = min(4, 2 * (os.cpu_count() or 1))
# Seconds for a photo by the clock, for processes that wait or that the system gives no time to. Their own limit, of
# seconds of work, is `decoder_process.MAX_SECONDS`.
_PATIENCE = 30.0
# Pixels of the largest encoder take half a megabyte: whatever has taken a process over may not fill this one's memory.
_MAX_REPLY_BYTES = 64_000_000
_START = "import sys; sys.path.append(sys.argv[1]); from captioner.data import decoder_process; decoder_process.serve()"


class DecoderPool:
    """Processes that decode photos. Threads may share it; it starts a process when there is a photo for it.

    Args:
        num_processes: How many photos can be decoded at once.
    """

    def __init__(self, num_processes: int = NUM_PROCESSES):
        # Those that wait for a photo, the last used on top; nothing where one can still be started.
        self._places: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(num_processes):
            self._places.put(None)
        self._started: set[_Process] = set()
        self._watch: threading.Thread | None = None

    def load_photo(
        self, source: str | Path | bytes, image_size: int, name: str | None = None, *, box: photos.Box | None = None
    ) -> np.ndarray:
        """Reads a photo as `photos.load_photo` does, uint8 `(S, S, 3)`, and with its errors.

        Raises:
            PhotoError: Also where the photo ended its process, or took too long.
        """
        return self._read(source, image_size, name, box, preview_side=0)[0]

    def load_with_preview(
        self, source: str | Path | bytes, image_size: int, preview_side: int, name: str | None = None
    ) -> tuple[np.ndarray, bytes]:
        """Reads a photo as `load_photo`, and a small JPEG of it, see `photos.encode_preview`."""
        return self._read(source, image_size, name, None, preview_side)

    def close(self) -> None:
        """Ends all processes at once. Photos that are being read get their error, and later ones a new process."""
        for process in list(self._started):
            process.end()

    def _read(self, source, image_size: int, name: str | None, box, preview_side: int) -> tuple[np.ndarray, bytes]:
        name = photos.printable(name or photos.name_photo(source))
        given = isinstance(source, bytes)
        request = {"name": name, "image_size": image_size, "preview_side": preview_side}
        request["path"] = None if given else os.path.abspath(source)
        request["box"] = None if box is None else [float(side) for side in box]
        process = self._places.get()
        try:
            process = self._replace_ended(process)
            readable, first, preview = process.ask(request, source if given else b"")
        except _EndedError as error:
            raise PhotoError(f"{name} {error}") from None
        finally:
            self._places.put(process)
        if not readable:
            raise PhotoError(first.decode(errors="replace"))
        return np.frombuffer(first, np.uint8).reshape(image_size, image_size, 3), preview

    def _replace_ended(self, process: "_Process | None") -> "_Process":
        if process and process.is_alive():
            return process
        if process:
            process.end()
            self._started.discard(process)
        self._started.add(process := _Process())
        if self._watch is None:
            self._watch = threading.Thread(target=self._watch_clock, daemon=True)
            self._watch.start()
        return process

    def _watch_clock(self) -> None:
        """Ends processes that are past their time, one look every second: a clock for each photo would cost more."""
        while True:
            time.sleep(1)
            for process in list(self._started):
                if time.monotonic() > process.deadline:
                    process.stop()


@functools.cache
def shared_pool() -> DecoderPool:
    """Returns the pool that page, command and extraction share; it ends with this process."""
    pool = DecoderPool()
    atexit.register(pool.close)
    return pool


def _widen(pipe: BinaryIO) -> None:
    """Lets a pipe of Linux hold a whole photo, so that neither side waits for the other to take it in parts."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, decoder_process.PIPE_BYTES)


class _EndedError(Exception):
    """A process that has ended over a photo. The message is the rest of the sentence about that photo."""


class _Process:
    """One process, and what is said to it."""

    def __init__(self):
        self.deadline, self._is_late = math.inf, False
        self._process = subprocess.Popen(  # noqa: S603  It runs this interpreter on this package, nothing that is given.
            # -P: modules in the folder where this happens to run are none of its business.
            [sys.executable, "-P", "-W", "ignore", "-c", _START, str(config.PROJECT_DIR)],
            bufsize=decoder_process.PIPE_BYTES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for this process, which still wants the photos that it waits for.
            start_new_session=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self._requests = cast(BinaryIO, self._process.stdin)
        self._replies = cast(BinaryIO, self._process.stdout)
        for pipe in (self._requests, self._replies):
            _widen(pipe)
        if self._replies.read(len(decoder_process.READY)) != decoder_process.READY:
            self.end()
            raise RuntimeError(
                "The process that reads photos does not start. Expected: `import captioner.data.photos` works in "
                f"{sys.executable}."
            )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict, content: bytes) -> tuple[bool, bytes, bytes]:
        """Sends a request and returns whether there are pixels, then pixels and preview, or a sentence.

        Raises:
            _EndedError: If the process died or had to be ended.
        """
        head = json.dumps(request).encode("ascii")
        self.deadline = time.monotonic() + _PATIENCE
        try:
            self._requests.write(decoder_process.REQUEST.pack(len(head), len(content)) + head)
            self._requests.write(content)
            self._requests.flush()
            readable, *sizes = decoder_process.REPLY.unpack(self._receive(decoder_process.REPLY.size))
            first, second = map(self._receive, sizes)
        except (OSError, EOFError, ValueError):  # Its end of a pipe is closed, or this end is.
            raise _EndedError(self._explain_end()) from None
        except BaseException:
            self.end()  # Ctrl-C: half an answer must not be taken for the next photo's.
            raise
        finally:
            self.deadline = math.inf
        return readable, first, second

    def end(self) -> None:
        """Ends the process and leaves nothing of it behind."""
        self._process.kill()
        self._process.wait()
        self._replies.close()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()

    def stop(self) -> None:
        """Ends a process that takes too long; who waits for it is told so."""
        self._is_late = True
        self._process.kill()

    def _receive(self, size: int) -> bytes:
        if size > _MAX_REPLY_BYTES or len(content := self._replies.read(size)) < size:
            raise EOFError
        return content

    def _explain_end(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)  # It may still be on its way out.
        self.end()
        if self._is_late or self._process.returncode == -decoder_process.TIME_SIGNAL:
            return f"takes more than {decoder_process.MAX_SECONDS} seconds to read: save it anew, or make it smaller."
        return "cannot be read: it breaks the program that decodes it. Save it anew."
