"""Keeps results and prints the README's table of them, or writes it there.

    python -m benchmarks.results_table [--keep artifacts/NAME] [--write]

A result, `artifacts/results/<data>-<name>.json`, is the `metrics.json` that `model.ipynb` wrote for a captioner,
without the captions.
"""

import argparse
from pathlib import Path

from captioner import config
from captioner.artifacts import results

README = config.PROJECT_DIR / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
SCORES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "cider_d": "CIDEr-D",
    "rouge_l": "ROUGE-L",
}


def build_table(reports: dict[str, dict], published: list[dict]) -> str:
    """Returns a Markdown table: for each result its validation and test scores; then the published.

    The controls stand below the first result alone: they are much the same for all.

    Args:
        reports: Name -> content of a `metrics.json`.
        published: From `captioner.artifacts.results.read_published`.
    """
    if not reports:
        return "No result is kept yet: `--keep` takes that of a captioner which the notebook made from all of Flickr8k."
    lines = ["| | split | " + " | ".join(SCORES.values()) + " |", "|---" * (len(SCORES) + 2) + "|"]
    for name, report in reports.items():
        for row in (report, report.get("test")):
            if row:
                lines.append(_row(f"**{name}**, {row['num_beams']} beams", row["split"], row))
        labels = {
            "shuffled": "its captions, shuffled among the photos",
            "most_common": "the commonest train caption for every photo",
            "human": "people, each caption against the other four",
        }
        for control, label in labels.items():
            if name == next(iter(reports)) and control in report.get("controls", {}):
                lines.append(_row(label, report["split"], report["controls"][control]))
    lines += [_row(f"published: [{row['name']}]({row['source']})", row["split"], row) for row in published]
    return "\n".join(lines)


def replace_table(readme: str, table: str) -> str:
    """Returns the README with the part between its markers replaced.

    Raises:
        ValueError: If the markers are missing.
    """
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"README.md must hold the lines {BEGIN!r} and {END!r}.")
    before, rest = readme.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END, 1)[1]}"


def _row(label: str, split: str, scores: dict) -> str:
    return f"| {label} | {split} | " + " | ".join(f"{scores[key]:.1f}" for key in SCORES) + " |"


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table into README.md")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder of a captioner whose metrics become a result")
    options = parser.parse_args()
    if options.keep:
        print(f"Kept {results.keep_result(options.keep).name}.")
    table = build_table(results.read_results(), results.read_published())
    if options.write:
        README.write_text(replace_table(README.read_text(encoding="utf-8"), table), encoding="utf-8")
    else:
        print(table)


if __name__ == "__main__":
    main()
