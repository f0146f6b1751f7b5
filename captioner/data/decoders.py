"""Photos of strangers, decoded in processes of their own: what breaks a decoder ends one of them and nothing else.

Each process imports Pillow, pi_heif and numpy alone, lives long, and has limits of memory and of time. It is a fresh
interpreter, not a copy of this one, and it ends when this process ends, even by a kill, since it then reads no more
requests. It answers with pixels or with a sentence, never with an object. What it is asked, and how, is in
`captioner.data.decoder_process`.
"""

import atexit
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import io
import itertools
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from captioner import config
from captioner.data import decoder_process, photos
from captioner.data.photos import PhotoError

# Twice as many as there are cores, up to four: while one waits for its next photo another works, and a photo that
# takes seconds is passed by those of other visitors.
NUM_PROCESSES = min(4, 2 * (os.cpu_count() or 1))
# Photos that are read one after another because a run wants them all: more than cores would only take turns.
_NUM_BUSY = min(NUM_PROCESSES, os.cpu_count() or 1)
# Photos that a process is asked for at once: it begins the next one without waiting for its question.
_GROUP_SIZE = 8
# Seconds for a photo by the clock, for processes that wait or that the system gives no time to. Their own limit, of
# seconds of work, is `decoder_process.MAX_SECONDS`.
_PATIENCE = 30.0
# Pixels of the largest encoder take half a megabyte: whatever has taken a process over may not fill this one's memory.
_MAX_REPLY_BYTES = 64_000_000
# Memory for photos of up to some megapixels is kept for the next one: to get it from the system, page by page, takes
# longer than to fill it. The C library of Linux alone reads these.
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": "8000000", "MALLOC_TRIM_THRESHOLD_": "32000000"}
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

    def load_photo(self, source: str | Path | bytes, image_size: int, name: str | None = None) -> np.ndarray:
        """Reads a photo as `photos.load_photo` does, uint8 `(S, S, 3)`, and with its errors.

        Raises:
            PhotoError: Also where the photo ended its process, or took too long.
        """
        return self._read_one(Request(source, name), image_size)[0]

    def load_with_preview(
        self, source: str | Path | bytes, image_size: int, preview_side: int, name: str | None = None
    ) -> tuple[np.ndarray, bytes]:
        """Reads a photo as `load_photo`, and a small JPEG of it, see `photos.encode_preview`."""
        return self._read_one(Request(source, name, preview_side=preview_side), image_size)

    def load_photos(
        self, requests: Iterable["Request"], image_size: int, *, num_ahead: int = 32
    ) -> Generator[np.ndarray | PhotoError]:
        """Reads many photos and goes on with it while the caller works on those that it was given.

        Args:
            requests: The photos.
            image_size: Side `S` of their squares in pixels.
            num_ahead: Photos that are read before the caller wants them, and kept in memory.

        Yields:
            For each photo, in their order, what `load_photo` returns or its error.
        """
        left, threads = iter(requests), concurrent.futures.ThreadPoolExecutor(_NUM_BUSY)
        waiting: collections.deque[concurrent.futures.Future[list[_Answer]]] = collections.deque()
        try:
            while group := list(itertools.islice(left, _GROUP_SIZE)):
                waiting.append(threads.submit(self._read, group, image_size))
                if len(waiting) * _GROUP_SIZE > num_ahead:
                    yield from _pixels_of(waiting.popleft().result())
            while waiting:
                yield from _pixels_of(waiting.popleft().result())
        finally:
            threads.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Ends all processes at once. Photos that are being read get their error, and later ones a new process."""
        for process in list(self._started):
            process.end()

    def _read_one(self, request: "Request", image_size: int) -> tuple[np.ndarray, bytes]:
        (answer,) = self._read([request], image_size)
        if isinstance(answer, PhotoError):
            raise answer
        return answer

    def _read(self, requests: "list[Request]", image_size: int) -> "list[_Answer]":
        """Has a process read photos; the one that ends it gets its error, and another process reads the rest."""
        answers: list[_Answer] = []
        while waiting := requests[len(answers) :]:
            # A process that answers reads no further: of photos that are sent themselves, it is sent one.
            files = list(itertools.takewhile(lambda request: not isinstance(request.source, bytes), waiting))
            process = self._places.get()
            try:
                process = self._replace_ended(process)
                answers.extend(process.ask(files or waiting[:1], image_size))
            except _EndedError as error:
                answers += [*error.answers, PhotoError(f"{waiting[len(error.answers)].printed_name} {error}")]
            finally:
                self._places.put(process)
        return answers

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


@dataclasses.dataclass(frozen=True)
class Request:
    """A photo that is wanted.

    Attributes:
        source: A file, or the content of one.
        name: What to call it in messages, by default the file's name.
        box: The part of it to read, by default the whole.
        preview_side: Side of a preview in pixels, see `photos.encode_preview`; 0 for none.
    """

    source: str | Path | bytes
    name: str | None = None
    box: photos.Box | None = None
    preview_side: int = 0

    @property
    def printed_name(self) -> str:
        """What it is called."""
        return photos.printable(self.name or photos.name_photo(self.source))

    def encode(self, image_size: int) -> bytes:
        """Returns what a process reads, see `captioner.data.decoder_process`."""
        content = self.source if isinstance(self.source, bytes) else b""
        fields = {"name": self.printed_name, "image_size": image_size, "preview_side": self.preview_side}
        fields |= {"path": None if isinstance(self.source, bytes) else os.path.abspath(self.source)}
        fields |= {"box": None if self.box is None else [float(side) for side in self.box]}
        head = json.dumps(fields).encode("ascii")
        return decoder_process.REQUEST.pack(len(head), len(content)) + head + content


# Pixels and preview of a photo, or why there are none.
_Answer = tuple[np.ndarray, bytes] | PhotoError


def _pixels_of(answers: list[_Answer]) -> Iterator[np.ndarray | PhotoError]:
    return (answer if isinstance(answer, PhotoError) else answer[0] for answer in answers)


def _widen(pipe: BinaryIO) -> None:
    """Lets a pipe of Linux hold a whole photo, so that neither side waits for the other to take it in parts."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, decoder_process.PIPE_BYTES)


class _EndedError(Exception):
    """A process that has ended over a photo. The message is the rest of the sentence about that photo."""

    def __init__(self, message: str, answers: list[_Answer]):
        super().__init__(message)
        self.answers = answers


class _Process:
    """One process, and what is said to it."""

    def __init__(self):
        self.deadline, self._is_late = math.inf, False
        self._process = subprocess.Popen(  # noqa: S603  It runs this interpreter on this package, nothing that is given.
            # -P: modules in the folder where this happens to run are none of its business.
            [sys.executable, "-P", "-W", "ignore", "-c", _START, str(config.PROJECT_DIR)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for this process, which still wants the photos that it waits for.
            start_new_session=True,
            env=os.environ | _ALLOCATION | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self._requests = cast(BinaryIO, self._process.stdin)
        self._replies = cast(io.BufferedReader, self._process.stdout)
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

    def ask(self, requests: list[Request], image_size: int) -> list[_Answer]:
        """Sends requests together and returns their answers.

        Args:
            requests: Files, or one photo that is sent itself.
            image_size: Side `S`.

        Raises:
            _EndedError: If the process died or had to be ended; it has the answers before that.
        """
        answers: list[_Answer] = []
        self.deadline = time.monotonic() + _PATIENCE
        try:
            self._requests.write(b"".join(request.encode(image_size) for request in requests))
            self._requests.flush()
            for _ in requests:
                answers.append(self._receive(image_size))
                self.deadline = time.monotonic() + _PATIENCE
        except (OSError, EOFError, ValueError):  # Its end of a pipe is closed, or this end is.
            raise _EndedError(self._explain_end(), answers) from None
        except BaseException:
            self.end()  # Ctrl-C: half an answer must not be taken for the next photo's.
            raise
        finally:
            self.deadline = math.inf
        return answers

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

    def _receive(self, image_size: int) -> _Answer:
        readable, *sizes = decoder_process.REPLY.unpack(self._read(decoder_process.REPLY.size))
        if not readable:
            return PhotoError(self._read(sizes[0]).decode(errors="replace"))
        pixels = np.empty((image_size, image_size, 3), np.uint8)
        if sizes[0] != pixels.nbytes or self._replies.readinto(pixels.data) < pixels.nbytes:
            raise EOFError
        return pixels, self._read(sizes[1])

    def _read(self, size: int) -> bytes:
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
