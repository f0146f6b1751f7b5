"""Writes `benchmarks/README.md` from the results in `artifacts/results/`."""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import scaling_report
from benchmarks.speed import measuring
from captioner import config, files

README = config.PROJECT_DIR / "benchmarks" / "README.md"
_HEAD = """# Benchmarks

Generated from `artifacts/results/speed_*.json` by `python -m benchmarks.speed readme`: do not edit.

`python -m benchmarks.speed NAME` makes each table anew (`all` makes all of them), `--small` is for a try. Both sides of
a table are measured in the same run, in turns, and medians are given. *The popular recipe* is written by us as the
best-known Flickr8k notebooks do it: `predict()` for each photo, features in a pickle, every caption expanded into one
sample per prefix, left-padded to 34 words, one-hot targets over the vocabulary, and `predict()` for each word.
"""


def build_readme(reports: Mapping[str, dict], commands: Mapping[str, str], sections: Sequence[str] = ()) -> str:
    """Returns the text.

    Args:
        reports: Name -> content of `speed_<name>.json`.
        commands: Name of a module -> what it does, for the list of the other benchmarks.
        sections: What other commands have to say, with headings.
    """
    parts = [_HEAD]
    for name, report in reports.items():
        parts.append(
            f"## {report['title']}\n\n`python -m benchmarks.speed {name}`\n\n{measuring.build_table(report)}\n"
        )
        parts.append(f"*{_describe(report)}*\n")
    if not reports:
        parts.append("Nothing is measured yet.\n")
    rows = "\n".join(f"- `python -m benchmarks.{name}`: {does}" for name, does in commands.items())
    return "\n".join([*parts, *sections, f"## Other commands\n\n{rows}\n"])


def _describe(report: Mapping) -> str:
    machine, versions = report["machine"], report["versions"]
    cores = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_mb'] / 1000:.0f} GB"
    packages = ", ".join(f"{name} {versions[name]}" for name in ("python", "tensorflow", "keras"))
    sizes = ", ".join(f"{name} {value}".replace("_", " ") for name, value in report["sizes"].items())
    return (
        f"{cores}; load {machine['load_average']:.1f} as it ended; {packages}; commit {report['git_commit']}; "
        f"{report['date']}; seed {report['seed']}; {sizes}."
    )


def read_reports(folder: Path) -> dict[str, dict]:
    """Returns name -> content of the reports in a folder."""
    found = sorted(folder.glob("speed_*.json"))
    return {file.stem.removeprefix("speed_"): json.loads(file.read_text(encoding="utf-8")) for file in found}


def list_commands(folder: Path) -> dict[str, str]:
    """Returns name -> first sentence of the modules in a folder that are commands."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py"))}
    trees = {name: ast.parse(text) for name, text in texts.items() if '__name__ == "__main__"' in text}
    return {name: (ast.get_docstring(tree) or "").splitlines()[0] for name, tree in trees.items()}


def write_readme(folder: Path, file: Path = README) -> None:
    """Writes the file from the reports of a folder and the commands beside it."""
    clusters = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("ray_cluster.json")]
    sections = [scaling_report.build_section(result) for result in clusters]
    text = build_readme(read_reports(folder), list_commands(config.PROJECT_DIR / "benchmarks"), sections)
    with files.replace_file(file) as new:
        new.write_text(text, encoding="utf-8")
