"""Compares the time to decode photos in processes of their own with that in threads of one process, side by side.

    python -m benchmarks.decoder_speed [--source $FLICKR8K_DIR/Images] [--photos 1000]

Both take the same files in turns, several rounds: a thread for each core, or all processes. Writes
`artifacts/results/decoder_speed.json`, or `decoder_speed_large.json` with `--megapixels`.
"""

import argparse
import concurrent.futures
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from benchmarks import page_server
from captioner.data import decoders, photos

_IMAGE_SIZE = 224


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


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument("--source", type=Path, metavar="DIR", help="photos to take (default: random patches)")
    parser.add_argument("--megapixels", type=float, metavar="M", help="enlarge them (default: as they are)")
    options = parser.parse_args()
    pool, seconds = decoders.shared_pool(), {"threads": [], "processes": []}
    with tempfile.TemporaryDirectory() as folder:
        if options.source and not options.megapixels:
            paths = sorted(options.source.glob("*.jpg"))[: options.photos]
        else:
            size = options.megapixels or 0.2
            paths = page_server.make_photos(Path(folder), options.photos, options.source, megapixels=size)
        cores = os.cpu_count() or 1
        ways = {"threads": (photos.load_photo, cores), "processes": (pool.load_photo, decoders.NUM_PROCESSES)}
        for way in ways.values():
            time_all(*way, paths[:50])
        for _ in range(options.rounds):
            for name, way in ways.items():
                seconds[name].append(time_all(*way, paths))
    result = {"photos": len(paths), "rounds": options.rounds, "megapixels": options.megapixels}
    for number, kind in enumerate(("clock", "work")):
        threads, processes = (np.array(seconds[way])[:, number] for way in ("threads", "processes"))
        ratio = float(np.median(processes / threads))
        result[kind] = {"threads_s": round(float(np.median(threads)), 2), "ratio_of_processes": round(ratio, 3)}
    page_server.write_result(f"decoder_speed{'_large' if options.megapixels else ''}", result)


if __name__ == "__main__":
    main()
