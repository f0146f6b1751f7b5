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
times = [time.perf_counter()]
def mark():
    times.append(time.perf_counter())
from captioner import startup
startup.keep_freed_memory()
startup.import_keras()
mark()
from captioner.artifacts import saving
mark()
captioner = saving.load_captioner(sys.argv[1])
mark()
captioner.caption(sys.argv[2])
mark()
captioner.caption(sys.argv[2])
mark()
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""
_NAMES = (
    *("import of TensorFlow and Keras", "import of this package", "reading and checking the weights"),
    *("first caption: functions are compiled", "second caption"),
)


def measure(*, small: bool = False) -> measuring.Report:
    """Measures the seconds from command to caption."""
    rounds = 1 if small else 5
    captioner = config.SHIPPED_DIR / "compact"
    with tempfile.TemporaryDirectory() as folder:
        photo = measuring.find_photos(1, Path(folder))[0]
        command = [sys.executable, "-m", "captioner", "caption", str(photo), "--captioner", str(captioner)]
        parts, wholes, silences = [], [], []
        for _ in range(rounds):
            run = [sys.executable, "-c", _PARTS, str(captioner), str(photo)]
            done = subprocess.run(run, cwd=config.PROJECT_DIR, stdout=subprocess.PIPE, check=True)
            parts.append(json.loads(done.stdout))
            seconds, silence = _time_output(command)
            wholes.append(seconds)
            silences.append(silence)
    rows = [[name, statistics.median(times)] for name, times in zip(_NAMES, zip(*parts, strict=True), strict=True)]
    rows.append(["`python -m captioner caption`, to its end", statistics.median(wholes)])
    rows.append(["longest time in which it says nothing", statistics.median(silences)])
    return measuring.Report(
        "start",
        "A cold start",
        ["`compact`, one photo", "s"],
        rows,
        ["Files are in the system's cache, as at every start but the first. TensorFlow's own import cannot be helped."],
        {"rounds": rounds},
    )


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
