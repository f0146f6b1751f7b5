"""Measures how much disk the packages of an installation take, and writes that into README.

    python -m benchmarks.installed_size

Counts what `pip install -r requirements.txt` brings, whatever else is installed, and keeps it for each package in
`artifacts/results/installed_size.json`.
"""

import importlib.metadata
import json
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

from captioner import config, files
from captioner.artifacts import results

RESULT = results.RESULTS_DIR / "installed_size.json"
README = config.PROJECT_DIR / "README.md"
_SENTENCE = re.compile(r"[\d.]+ GB are installed packages, [\d.]+ GB of them TensorFlow")
# Bytes: a file takes whole ones on disk.
_BLOCK = 4096


def list_packages(requirements: Iterable[str]) -> set[str]:
    """Returns the names of the packages that satisfy requirements, and what they require in turn.

    Raises:
        importlib.metadata.PackageNotFoundError: If one of them is not installed.
    """
    found: dict[str, set[str]] = {}
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = importlib.metadata.distribution(requirement.name).name
        extras = {"", *requirement.extras}
        if extras <= found.setdefault(name, set()):
            continue
        found[name] |= extras
        for line in importlib.metadata.requires(name) or ():
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(inner)
    return set(found)


def measure_package(name: str) -> int:
    """Returns the bytes that the files of an installed package take on disk."""
    paths = (Path(str(file.locate())) for file in importlib.metadata.files(name) or ())
    return sum(-(-path.stat().st_size // _BLOCK) * _BLOCK for path in paths if path.is_file())


def describe(sizes: dict[str, float]) -> str:
    """Returns the sentence of README.

    Args:
        sizes: Package -> megabytes.
    """
    total, tensorflow = sum(sizes.values()) / 1000, sizes["tensorflow"] / 1000
    return f"{total:.1f} GB are installed packages, {tensorflow:.1f} GB of them TensorFlow"


def main() -> None:
    """Runs the command."""
    lines = (config.PROJECT_DIR / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = list_packages(text for line in lines if (text := line.partition("#")[0].strip()))
    sizes = {name: round(measure_package(name) / 1e6, 1) for name in names}
    sizes = dict(sorted(sizes.items(), key=lambda size: -size[1]))
    machine = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    with files.replace_file(RESULT) as new:
        new.write_text(json.dumps(machine | {"megabytes": sizes}, indent=2) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(_SENTENCE.sub(describe(sizes), text), encoding="utf-8")
    print(f"{describe(sizes)}.")


if __name__ == "__main__":
    main()
