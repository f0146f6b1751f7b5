"""What all measurements of speed share: taking turns, the machine's limits, photos, and a report with its table."""

import concurrent.futures
import dataclasses
import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import page_server
from captioner import files
from captioner.artifacts import results
from captioner.data import datasets

RESULTS_DIR = results.RESULTS_DIR
SEED = 0
# Flickr8k's usual size, 500x375, where its photos are not at hand.
_MEGAPIXELS = 0.1875
_MATRIX_SIDE = {False: 4096, True: 512}


@dataclasses.dataclass(frozen=True)
class Report:
    """What one command measured.

    Attributes:
        name: Of the command and of the file.
        title: Of the table.
        columns: Heads of the columns; the first is of what stands in a row.
        rows: One list for each line.
        notes: Sentences below the table: what is to be known, what limits it, what could not be measured.
        sizes: How much was measured.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = ()
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def take_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of each work in each round; all take turns, so that what else the machine does hits all.

    Each is done once before, for what is compiled or read at first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median_rates(seconds: Mapping[str, Sequence[float]], counts: Mapping[str, float]) -> dict[str, float]:
    """Returns how many of what was counted each work did in a second, in its median round."""
    return {name: counts[name] / statistics.median(times) for name, times in seconds.items()}


def build_product(*, small: bool = False) -> tuple[Callable[[], object], float]:
    """Returns a work, the largest matrix product, and how many GFLOP it takes."""
    import tensorflow as tf

    side = _MATRIX_SIDE[small]
    matrix = tf.random.stateless_uniform((side, side), (SEED, SEED))
    product = tf.function(tf.matmul)
    return lambda: product(matrix, matrix).numpy()[0, 0], 2 * side**3 / 1e9


def measure_bandwidth(*, megabytes: int = 256, rounds: int = 5) -> float:
    """Returns how many GB/s all cores read and write together when they copy memory."""
    cores = os.cpu_count() or 1
    pairs = [(np.ones(megabytes << 17), np.ones(megabytes << 17)) for _ in range(cores)]
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        copy = {"copy": lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs))}
        seconds = statistics.median(take_turns(copy, rounds)["copy"])
    return 2 * cores * megabytes * (1 << 20) / seconds / 1e9


def find_source() -> Path | None:
    """Returns the folder of Flickr8k's photos, or nothing where it is not at hand."""
    folder = os.environ.get(datasets.DATA_VARIABLE)
    return Path(folder, "Images") if folder else None


def find_photos(count: int, folder: Path) -> list[Path]:
    """Returns photos of Flickr8k, or where it is not at hand, patches of random colours of the usual size."""
    if source := find_source():
        return sorted(source.glob("*.jpg"))[:count]
    return page_server.make_photos(folder, count, None, megapixels=_MEGAPIXELS, seed=SEED)


def describe_machine() -> dict:
    """Returns what a measurement was made on and with."""
    from captioner.scoring import evaluation

    megabytes = round(psutil.virtual_memory().total / 1e6)
    machine = {"cpu": _name_cpu(), "cores": os.cpu_count(), "memory_mb": megabytes, "load_average": os.getloadavg()[0]}
    time_of_day = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    return {"machine": machine, "seed": SEED, "time": time_of_day} | evaluation.describe_machine()


def _name_cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def build_table(report: Mapping[str, Any]) -> str:
    """Returns a report, as its file holds it, as a Markdown table with its notes."""
    lines = [report["columns"], ["---"] * len(report["columns"]), *report["rows"]]
    table = ["| " + " | ".join(map(_format, line)) + " |" for line in lines]
    return "\n".join([*table, "", *(f"- {note}" for note in report["notes"])]).rstrip()


def _format(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def publish(report: Report, folder: Path | None) -> None:
    """Prints a report as a table and, if there is a folder, writes `speed_<name>.json` there."""
    content = dataclasses.asdict(report) | describe_machine()
    print(f"## {report.title}\n\n{build_table(content)}\n", flush=True)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        with files.replace_file(folder / f"speed_{report.name}.json") as new:
            new.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
