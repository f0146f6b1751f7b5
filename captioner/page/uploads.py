"""A captioner that serves many visitors: woken once, then their photos in turn, which never leave memory.

No Streamlit here, and no TensorFlow before a captioner is woken.
"""

import collections
import dataclasses
import gc
import io
import itertools
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from captioner import output, startup
from captioner.data import decoders, photos

if TYPE_CHECKING:
    from captioner.config import DecodingConfig
    from captioner.inference import Caption, Captioner

# Photos captioned together. Four take hardly longer than one, and another visitor waits for no more than them.
BATCH_SIZE = 4
# Captioners that are awake at once; each takes some hundred megabytes.
_MAX_AWAKE = 2
PREVIEW_SIDE = photos.REDUCED_SIDES[0]
# Streamlit shows a spinner only half a second after it began.
_HEAD_START_SECONDS = 0.7


class Turns:
    """A lock that threads get in the order in which they ask for it, so that none is passed over.

    All visitors share the cores: in turn the first is served sooner, and the memory for one batch is enough. A visitor
    with a hundred photos asks for each batch anew, behind all others that wait.
    """

    def __init__(self):
        self._waiting: collections.deque[threading.Event] = collections.deque()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        turn = threading.Event()
        with self._lock:
            self._waiting.append(turn)
            if self._waiting[0] is turn:
                turn.set()
        turn.wait()

    def __exit__(self, *_) -> None:
        with self._lock:
            self._waiting.popleft()
            if self._waiting:
                self._waiting[0].set()


@dataclasses.dataclass
class _Awake:
    captioner: "Captioner"
    last_use: int = 0


_TURNS = Turns()
# By folder and version. Not in Streamlit's cache, which every visitor's browser may ask the server to empty.
_AWAKE: dict[tuple[Path, str], _Awake] = {}
_WAKING = threading.Lock()
_USES = itertools.count()


@dataclasses.dataclass(frozen=True)
class CaptionedPhoto:
    """One photo of a visitor and what became of it.

    Attributes:
        name: Its file name.
        captions: Best first; empty where it could not be captioned.
        preview: A small JPEG of it.
        problem: One sentence that says why it has no caption.
        chosen: Which of the captions the visitor prefers.
        edited: What the visitor wrote in its place.
    """

    name: str
    captions: "Sequence[Caption]" = ()
    preview: bytes = b""
    problem: str = ""
    chosen: int = 0
    edited: str = ""

    @property
    def best(self) -> "Caption":
        """The caption that stands on the page."""
        return self.captions[self.chosen]

    @property
    def row(self) -> output.Row:
        """What downloads hold of it: the caption that stands on the page, then the others."""
        others = [caption for number, caption in enumerate(self.captions) if number != self.chosen]
        captions = [self.best, *others] if self.captions else []
        return output.Row(self.name, captions, self.problem, self.edited)

    @property
    def sentence(self) -> str:
        """The caption as it stands on the page."""
        return self.row.sentences[0]

    @property
    def own(self) -> str:
        """What the visitor wrote, or chose, in place of the captioner's first caption; empty for neither."""
        return self.sentence if self.edited or self.chosen else ""


def share_captioner(folder: Path, version: str) -> "Captioner":
    """Returns the captioner that all visitors share, woken once for each `version` of its folder.

    When there are too many, the one that nobody has wanted for the longest time goes to sleep.

    Raises:
        FileNotFoundError, ValueError: As `wake_captioner`.
    """
    key = folder, version
    # Who wants one that is awake does not wait for another one that wakes, which takes seconds.
    if not (shared := _AWAKE.get(key)):
        with _WAKING:
            if not (shared := _AWAKE.get(key)):
                woken = wake_captioner(folder)
                # Now, since one that cannot be loaded takes nobody's place.
                while len(_AWAKE) >= _MAX_AWAKE:
                    del _AWAKE[min(_AWAKE, key=lambda one: _AWAKE[one].last_use)]
                _free_memory()
                shared = _AWAKE[key] = _Awake(woken)
    shared.last_use = next(_USES)
    return shared.captioner


def wake_captioner(folder: Path) -> "Captioner":
    """Loads a captioner and compiles what it runs, so that the first photo waits no longer than the others.

    Args:
        folder: Its folder.

    Raises:
        FileNotFoundError, ValueError: As `captioner.artifacts.saving.load_captioner`.
    """
    if "tensorflow" not in sys.modules:
        # Its import holds up every other thread for seconds: what the server has to send goes out first.
        time.sleep(_HEAD_START_SECONDS)
    startup.import_keras(quietly=False)
    import keras

    from captioner.artifacts import saving

    # Streamlit calls it after every run, of any visitor: what TensorFlow has prepared would be gone, and the next photo
    # would wait half a second for it.
    keras.backend.clear_session = lambda: None
    captioner = saving.load_captioner(folder)
    side = captioner.encoder.image_size
    for batch in (1, 2):  # The second shape makes the compiled functions take any batch.
        captioner.caption_photos(np.zeros((batch, side, side, 3), np.uint8))
    return captioner


def _free_memory() -> None:
    """Frees the captioners that went to sleep, and hides what stays from the garbage collector.

    Streamlit collects garbage after every run: looking through TensorFlow each time would cost more than a caption.
    What is frozen is never freed, and parts of a captioner refer to each other.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def caption_uploads(
    captioner: "Captioner", uploads: Sequence[tuple[str, bytes]], search: "DecodingConfig | None" = None
) -> list[CaptionedPhoto]:
    """Captions a batch of uploads; one that cannot be read gets its reason and holds up no other.

    Args:
        captioner: The captioner.
        uploads: Name and content of each file.
        search: How to search, by default the captioner's `settings`.
    """
    done, pixels = [], []
    for name, content in uploads:
        try:
            photo, preview = decoders.shared_pool().load_with_preview(
                content, captioner.encoder.image_size, PREVIEW_SIDE, name
            )
            pixels.append(photo)
            done.append(CaptionedPhoto(name, preview=preview))
        except photos.PhotoError as error:
            done.append(CaptionedPhoto(name, problem=str(error)))
    with _TURNS:
        found = iter(captioner.caption_photos(np.stack(pixels), search) if pixels else ())
    return [photo if photo.problem else dataclasses.replace(photo, captions=next(found)) for photo in done]


def decode_preview(photo: CaptionedPhoto) -> Image.Image:
    """Returns the photo's preview as an RGB picture."""
    return Image.open(io.BytesIO(photo.preview), formats=("JPEG",)).convert("RGB")
