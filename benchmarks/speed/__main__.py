"""Measures how fast this project is, beside the popular recipe and the machine's limits.

    python -m benchmarks.speed NAME ... [--small] [--out DIR]
    python -m benchmarks.speed readme

`NAME` is one of `extraction`, `training`, `decoding`, `photo`, `visitors`, `start`, `memory`, `cider`, or `all`. Each
prints a table and writes `artifacts/results/speed_NAME.json`; `readme` writes `benchmarks/README.md` from these files.
`--small` is for a try: it measures little and writes nothing, unless `--out` says where. With `--out` the text stays as
it is.
"""

import argparse
import importlib
import os
from pathlib import Path

from benchmarks.speed import measuring, readme
from captioner import startup

NAMES = ("extraction", "training", "decoding", "photo", "visitors", "start", "memory", "cider")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=[*NAMES, "all", "readme"], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--small", action="store_true", help="measure little, for a try")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: artifacts/results)")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    startup.keep_freed_memory()
    out = options.out or (None if options.small else measuring.RESULTS_DIR)
    for name in NAMES if "all" in options.names else options.names:
        if name == "readme":
            continue
        startup.import_keras()
        measuring.publish(importlib.import_module(f"benchmarks.speed.{name}").measure(small=options.small), out)
    # Results that went elsewhere are not in it.
    if "readme" in options.names or out == measuring.RESULTS_DIR:
        readme.write_readme(measuring.RESULTS_DIR)


if __name__ == "__main__":
    main()
