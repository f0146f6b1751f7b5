"""Compares the time to decode photos in processes of their own with that in threads of one process, side by side.

    python -m benchmarks.decoder_speed artifacts/compact [--source $FLICKR8K_DIR/Images] [--photos 1000]

Both take the same files in turns, several rounds. Writes `artifacts/results/decoder_speed.json`, or
`decoder_speed_large.json` with `--megapixels`. With fewer photos in the folder than wanted, they are taken again.
"""

import argparse
import collections
import concurrent.futures
import os
import tempfile
import time
import unittest.mock
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


class Threads:
    """Decodes in threads of this process, one for each core: what the processes are compared with."""

    def load_photos(self, requests, image_size, num_ahead=32):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            waiting = collections.deque()
            for request in requests:
                waiting.append(pool.submit(photos.load_photo, request.source, image_size))
                if len(waiting) > num_ahead:
                    yield waiting.popleft().result()
            yield from (future.result() for future in waiting)


def time_all(pool, paths: list[Path]) -> tuple[float, float]:
    """Returns the seconds to decode files, by the clock and of work."""
    start, work = time.perf_counter(), measure_work()
    collections.deque(pool.load_photos(map(decoders.Request, paths), _IMAGE_SIZE), maxlen=0)
    return time.perf_counter() - start, measure_work() - work


def time_captions(captioner, pool, paths: list[Path]) -> tuple[float, float]:
    """Returns the seconds to caption files as the command does, by the clock and of work."""
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
    pools = dict(zip(_WAYS, (Threads(), decoders.shared_pool()), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        if options.source and not options.megapixels:
            given = sorted(options.source.glob("*.jpg"))
            paths = [given[number % len(given)] for number in range(options.photos)]
        else:
            size = options.megapixels or 0.2
            paths = page_server.make_photos(Path(folder), options.photos, options.source, megapixels=size)
        for number in range(options.rounds + 1):
            for way in _WAYS:
                decoding[way].append(time_all(pools[way], paths))
                captioning[way].append(time_captions(captioner, pools[way], paths))
            if not number:  # The first round starts processes and compiles functions.
                decoding, captioning = {way: [] for way in _WAYS}, {way: [] for way in _WAYS}
    result = {"photos": len(paths), "rounds": options.rounds, "megapixels": options.megapixels}
    result |= {"clock": compare(decoding, 0), "work": compare(decoding, 1)}
    result |= {"captioning": compare(captioning, 0), "captioning_work": compare(captioning, 1)}
    page_server.write_result(f"decoder_speed{'_large' if options.megapixels else ''}", result)


if __name__ == "__main__":
    main()
