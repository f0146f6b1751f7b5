"""Captions photos on a Ray cluster of two nodes on this machine, kills one half way, and compares with one process.

    python -m benchmarks.ray_cluster artifacts/compact [--source $FLICKR8K_DIR/Images] [--photos 2000]

Two broken photos are among them. Writes `artifacts/results/ray_cluster.json`, and `benchmarks/README.md` anew.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# One core for a worker, and so for the stages whose work is measured here. Before TensorFlow is imported.
os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
# Nodes are started by this process, and tell nobody.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np
import psutil

from benchmarks import page_server
from benchmarks.speed import measuring, readme
from captioner.artifacts import saving
from captioner.data import photos

_BATCH_SIZE = 32
# Of a photo as cameras and telephones make it.
_MEGAPIXELS, _LARGE_PHOTOS = 12, 8
_NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
_COMPARED = ("photo", "caption", "words", "confidence", "error")


def measure_stages(folder: Path, paths: list[Path]) -> dict[str, float]:
    """Returns the milliseconds of work of one core that each stage takes for a photo."""
    captioner = saving.load_captioner(folder)
    work = dict.fromkeys(("reading", "encoding", "search"), 0.0)

    def add(stage: str, function: Callable, *arguments):
        start = time.process_time()
        result = function(*arguments)
        work[stage] += time.process_time() - start
        return result

    def caption(batch: list[Path]) -> None:
        side = captioner.encoder.image_size
        pixels = add("reading", lambda: np.stack([photos.load_photo(path, side) for path in batch]))
        add("search", captioner.caption_features, *add("encoding", captioner.encoder.encode, pixels))

    caption(paths[:_BATCH_SIZE])
    work = dict.fromkeys(work, 0.0)
    for start in range(0, len(paths), _BATCH_SIZE):
        caption(paths[start : start + _BATCH_SIZE])
    return {f"{stage}_ms": round(1000 * seconds / len(paths), 2) for stage, seconds in work.items()}


def measure_size(paths: list[Path]) -> float:
    """Returns the mean size of files in kilobytes."""
    return round(sum(path.stat().st_size for path in paths) / len(paths) / 1000, 1)


def count_rows(output: Path) -> int:
    """Returns how many photos are done, in a file or in the files of a folder."""
    files = output.glob("part-*") if output.is_dir() else [output] if output.exists() else []
    return sum(file.read_bytes().count(b"\n") for file in files)


def read_rows(output: Path) -> list[list]:
    """Returns what is compared of each row, in the order of the photos."""
    files = sorted(output.glob("part-*")) if output.is_dir() else [output]
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [[row[key] for key in _COMPARED] for row in rows]


def caption_all(options: argparse.Namespace, folder: Path, output: Path, *more: str, on_half=lambda: None) -> dict:
    """Captions the photos of a folder by the command.

    Args:
        options: Of this command.
        folder: The photos.
        output: A file, or a folder for Ray.
        more: Further options of `caption`.
        on_half: What to do when half of the photos are done.

    Returns:
        Seconds until the first photos were done, photos a second and busy cores of the machine from then on, seconds
        in all.
    """
    arguments = ["--captioner", str(options.captioner), "--format", "jsonl", "--output", str(output), "--quiet", *more]
    started = time.monotonic()
    # The command takes the cores that it finds; a worker of Ray those that it is given.
    environment = {name: value for name, value in os.environ.items() if name != "TF_NUM_INTRAOP_THREADS"}
    command = [sys.executable, "-m", "captioner", "caption", str(folder), *arguments]
    process = subprocess.Popen(command, env=environment)
    # Seconds, photos, and how long the cores of the machine have been idle together.
    seen, half = [(0.0, 0, 0.0)], options.photos // 2
    while process.poll() is None or count_rows(output) > seen[-1][1]:
        if (done := count_rows(output)) > seen[-1][1]:
            seen.append((time.monotonic() - started, done, psutil.cpu_times().idle))
        if done >= half:
            on_half()
            half = sys.maxsize
        time.sleep(0.1)
    # 1: the broken photos have no caption.
    if process.returncode != 1:
        raise RuntimeError(f"caption ended with {process.returncode}.")
    if len(seen) < 3:
        raise RuntimeError("Too few photos for a rate: raise --photos, or lower --photos-per-file.")
    seconds, photos, idle = np.subtract(seen[-1], seen[1]).tolist()
    return {
        "first_after_s": round(seen[1][0], 1),
        "photos_per_s": round(photos / seconds, 2),
        "busy_cores": round((os.cpu_count() or 1) - idle / seconds, 2),
        "total_s": round(seen[-1][0], 1),
    }


@contextlib.contextmanager
def run_cluster(num_nodes: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Starts nodes with a core each; gives the address, and what kills one of the nodes as a power cut would."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=_NODE | {"include_dashboard": False})
    try:
        others = [cluster.add_node(**_NODE) for _ in range(num_nodes - 1)]
        yield cluster.address, lambda: cluster.remove_node(others[0], allow_graceful=False)
    finally:
        cluster.shutdown()


def compare_rows(output: Path, alone: list[list]) -> dict[str, int]:
    """Returns how many photos are there, missing, there twice, and of another caption than one process gives."""
    rows = read_rows(output)
    names = [row[0] for row in rows]
    found, expected = {row[0]: row for row in rows}, {row[0]: row for row in alone}
    return {
        "photos": len(rows),
        "missing": len(expected.keys() - found.keys()),
        "twice": len(names) - len(set(names)),
        "failed": sum(row[-1] is not None for row in rows),
        "different_captions": sum(found.get(name, row) != row for name, row in expected.items()),
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captioner", type=Path, help="folder of a captioner")
    parser.add_argument("--photos", type=int, default=2000, metavar="N", help="default: 2000")
    parser.add_argument("--photos-per-file", type=int, default=64, metavar="N", help="default: 64")
    parser.add_argument("--source", type=Path, metavar="DIR", help="photos to take (default: random patches)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "photos"
        folder.mkdir()
        if options.source:
            for path in sorted(options.source.glob("*.jpg"))[: options.photos - 2]:
                (folder / path.name).symlink_to(path.resolve())
        else:
            page_server.make_photos(folder, options.photos - 2, None, megapixels=0.1875)
        given = sorted(folder.iterdir())[: 8 * _BATCH_SIZE]
        stages = measure_stages(options.captioner, given) | {"kilobytes": measure_size(given)}
        (Path(made) / "large").mkdir()
        large = page_server.make_photos(Path(made) / "large", _LARGE_PHOTOS, options.source, megapixels=_MEGAPIXELS)
        reading = measure_stages(options.captioner, large)["reading_ms"]
        camera = stages | {"reading_ms": reading, "kilobytes": measure_size(large), "megapixels": _MEGAPIXELS}
        for number in range(2):
            (folder / f"broken{number}.jpg").write_bytes(b"no picture" * number)
        alone = Path(made) / "alone.jsonl"
        runs: dict[str, dict] = {"alone": caption_all(options, folder, alone)}
        expected = read_rows(alone)
        for name, num_nodes in (("one_node", 1), ("two_nodes", 2), ("one_of_two_killed", 2)):
            output = Path(made) / name
            with run_cluster(num_nodes) as (address, kill):
                more = ("--ray", address, "--photos-per-file", str(options.photos_per_file))
                killing = {"on_half": kill} if name == "one_of_two_killed" else {}
                runs[name] = caption_all(options, folder, output, *more, **killing) | compare_rows(output, expected)
            print(name, runs[name], flush=True)
    result = {"captioner": options.captioner.name, "photos": options.photos, "photos_per_file": options.photos_per_file}
    result |= {"ray": importlib.metadata.version("ray"), "stages": stages, "camera": camera, "runs": runs}
    page_server.write_result("ray_cluster", result)
    readme.write_readme(measuring.RESULTS_DIR)


if __name__ == "__main__":
    main()
