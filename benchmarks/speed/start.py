"""A cold start: from the command to the first caption, and what it is made of."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.speed import measuring
from captioner import config

# Runs in a fresh interpreter; prints the seconds of each part.
_PARTS = """
import json, sys, time
seconds = {}
class timed:
    def __init__(self, name):
        self.name = name
    def __enter__(self):
        self.started = time.perf_counter()
    def __exit__(self, *_):
        seconds[self.name] = time.perf_counter() - self.started
    @classmethod
    def function(cls, owner, name):
        work = getattr(owner, name)
        def run(*given, **named):
            with cls(name):
                return work(*given, **named)
        setattr(owner, name, run)
with timed("keras"):
    from captioner import startup
    startup.keep_freed_memory()
    startup.import_keras(with_extras=False)
with timed("package"):
    from captioner.artifacts import manifest, saving
    from captioner.data import photos
for owner, name in ((manifest, "check_manifest"), (saving, "load_decoder"), (saving, "load_encoder")):
    timed.function(owner, name)
captioner = saving.load_captioner(sys.argv[1])
photo = photos.load_photo(sys.argv[2], captioner.encoder.image_size)[None]
with timed("encode"):
    features = captioner.encoder.encode(photo)
with timed("search"):
    captioner.caption_features(*features)
with timed("second"):
    captioner.caption_photos(photo)
print(json.dumps(seconds))
"""
_ALONE = "import time; started = time.perf_counter(); import tensorflow, keras; print(time.perf_counter() - started)"
_NAMES = {
    "keras": "import of TensorFlow and Keras",
    "package": "import of this package",
    "check_manifest": "files compared with their digests",
    "load_decoder": "decoder built and read",
    "load_encoder": "encoder built and read",
    "encode": "first photo through the encoder, which is traced",
    "search": "first search, which is traced",
    "second": "second caption, the whole of it",
}


def measure(*, small: bool = False) -> measuring.Report:
    """Measures the seconds from command to caption."""
    rounds = 1 if small else 5
    captioner = config.SHIPPED_DIR / "compact"
    with tempfile.TemporaryDirectory() as folder:
        photo = measuring.find_photos(1, Path(folder))[0]
        command = [sys.executable, "-m", "captioner", "caption", str(photo), "--captioner", str(captioner)]
        parts, alone, wholes, silences = [], [], [], []
        for _ in range(rounds):
            parts.append(_run(_PARTS, str(captioner), str(photo)))
            alone.append(_run(_ALONE))
            seconds, silence = _time_output(command)
            wholes.append(seconds)
            silences.append(silence)
    rows = [[text, statistics.median(part[name] for part in parts)] for name, text in _NAMES.items()]
    rows.insert(1, ["`import tensorflow, keras` as any program does it", statistics.median(alone)])
    rows.append(["`python -m captioner caption`, to its end", statistics.median(wholes)])
    rows.append(["longest time in which it says nothing", statistics.median(silences)])
    megabytes = sum(file.stat().st_size for file in captioner.iterdir()) / 1e6
    return measuring.Report(
        "start",
        "A cold start",
        ["`compact`, one photo", "s"],
        rows,
        [
            "Files are in the system's cache, as at every start but the first.",
            "Why not less: most of the import is TensorFlow's own modules, and no other thread gets far meanwhile, "
            "since they hold Python's lock. Left out are pandas, Matplotlib and IPython, which Keras would import, and "
            "the garbage collector, which would look through all modules over and over.",
            "Keras builds layers one by one in Python, and TensorFlow traces functions in Python at their first call: "
            f"that is the rest, and not files, of which {megabytes:.0f} MB are read.",
        ],
        {"rounds": rounds},
    )


def _run(code: str, *arguments: str):
    """Returns what code prints as JSON in a fresh interpreter."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=config.PROJECT_DIR, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return json.loads(done.stdout)


def _time_output(command: list[str]) -> tuple[float, float]:
    """Returns the seconds of a command at a terminal and the longest in which it wrote nothing."""
    screen, terminal = os.openpty()
    started = last = time.perf_counter()
    silence = 0.0
    process = subprocess.Popen(command, cwd=config.PROJECT_DIR, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    with contextlib.suppress(OSError), open(screen, "rb", buffering=0) as lines:  # Linux ends a terminal by an error.
        while lines.read(1 << 12):
            now = time.perf_counter()
            silence, last = max(silence, now - last), now
    if process.wait():
        raise RuntimeError(f"{' '.join(command)} failed. Run it to see why.")
    ended = time.perf_counter()
    return ended - started, max(silence, ended - last)
