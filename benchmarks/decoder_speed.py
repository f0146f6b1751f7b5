"""Compares the time to decode photos in processes of their own with that in threads of one process, side by side.

    python -m benchmarks.decoder_speed artifacts/compact [--source $FLICKR8K_DIR/Images] [--photos 1000]

Both take the same files in turns, several rounds: a thread for each core, or all processes. Writes
`artifacts/results/decoder_speed.json`, or `decoder_speed_large.json` with `--megapixels`.
"""

import argparse
import collections
import concurrent.futures
import os
import tempfile
import time
import unittest.mock
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from benchmarks import page_server
from captioner.artifacts import saving
from captioner.command_line import bulk
from captioner.data import decoders, photos

_IMAGE_SIZE = 224
_WAYS = ("threads", "processes")


def measure_work() -> float:
    """Returns the seconds of work that this process and those that it started have done."""
    started = [child.cpu_times() for child in psutil.Process().children()]
    return time.process_time() + sum(times.user + times.system for times in started)


def time_all(load_photo: Callable, num_threads: int, paths: list[Path]) -> tuple[float, float]:
    """Returns the seconds to decode files with so many threads, by the clock and of work."""
    start, work = time.perf_counter(), measure_work()
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(lambda path: load_photo(path, _IMAGE_SIZE), paths))
    return time.perf_counter() - start, measure_work() - work


def time_captions(captioner, way: str, paths: list[Path]) -> tuple[float, float]:
    """Returns the seconds to caption files as the command does, by the clock and of work."""
    pool = decoders.shared_pool() if way == "processes" else photos
    start, work = time.perf_counter(), measure_work()
    with unittest.mock.patch.object(bulk.decoders, "shared_pool", return_value=pool):
        collections.deque(bulk.caption_paths(captioner, paths), maxlen=0)
    return time.perf_counter() - start, measure_work() - work


def compare(seconds: dict[str, list[tuple[float, float]]], column: int) -> dict[str, float]:
    """Returns the median seconds of threads and by how much processes differ, by the clock (0) or of work (1)."""
    threads, processes = (np.array(seconds[way])[:, column] for way in _WAYS)
    ratio = round(float(np.median(processes / threads)), 3)
    return {"threads_s": round(float(np.median(threads)), 2), "ratio_of_processes": ratio}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captioner", type=Path, help="folder of a captioner")
    parser.add_argument("--photos", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument("--source", type=Path, metavar="DIR", help="photos to take (default: random patches)")
    parser.add_argument("--megapixels", type=float, metavar="M", help="enlarge them (default: as they are)")
    options = parser.parse_args()
    captioner = saving.load_captioner(options.captioner)
    decoding, captioning = {way: [] for way in _WAYS}, {way: [] for way in _WAYS}
    ways = {"threads": (photos.load_photo, os.cpu_count() or 1)}
    ways["processes"] = (decoders.shared_pool().load_photo, decoders.NUM_PROCESSES)
    with tempfile.TemporaryDirectory() as folder:
        if options.source and not options.megapixels:
            paths = sorted(options.source.glob("*.jpg"))[: options.photos]
        else:
            size = options.megapixels or 0.2
            paths = page_server.make_photos(Path(folder), options.photos, options.source, megapixels=size)
        for number in range(options.rounds + 1):
            for way in _WAYS:
                decoding[way].append(time_all(*ways[way], paths))
                captioning[way].append(time_captions(captioner, way, paths))
            if not number:  # The first round starts processes and compiles functions.
                decoding, captioning = {way: [] for way in _WAYS}, {way: [] for way in _WAYS}
    result = {"photos": len(paths), "rounds": options.rounds, "megapixels": options.megapixels}
    result |= {"clock": compare(decoding, 0), "work": compare(decoding, 1)}
    result |= {"captioning": compare(captioning, 0), "captioning_work": compare(captioning, 1)}
    page_server.write_result(f"decoder_speed{'_large' if options.megapixels else ''}", result)


if __name__ == "__main__":
    main()
