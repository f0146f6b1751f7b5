"""Results that were kept: what this project's captioners scored on Flickr8k, and what others published.

`artifacts/results/flickr8k-<captioner>.json` is the `metrics.json` of a captioner without its captions, put there by
`python -m benchmarks.results_table --keep`. `published.json` holds scores of others with their sources, and
`looked_at.json` what judges who saw the photos thought of captions, counted by `python -m benchmarks.judging`.
"""

import json
from pathlib import Path

from captioner import config, files
from captioner.artifacts import catalogue

RESULTS_DIR = config.PROJECT_DIR / "artifacts" / "results"
_REMEDY = "Take it from the repository again."
_PREFIX, _PUBLISHED_FILE = "flickr8k-", "published.json"


def read_results(folder: str | Path = RESULTS_DIR) -> dict[str, dict]:
    """Returns captioner -> report of all results that are kept, the highest validation CIDEr-D first."""
    kept = sorted(Path(folder).glob(f"{_PREFIX}*.json"))
    reports = {file.stem.removeprefix(_PREFIX): files.read_json(file, _REMEDY) for file in kept}
    return dict(sorted(reports.items(), key=lambda item: -item[1]["cider_d"]))


def read_published() -> list[dict]:
    """Returns what others published for the same test split: `name`, `split`, scores in percent and `source`."""
    return json.loads((RESULTS_DIR / _PUBLISHED_FILE).read_text(encoding="utf-8"))


def read_ensemble() -> dict:
    """Returns the report of captioners that write together, as `benchmarks.ensemble` made it."""
    return files.read_json(RESULTS_DIR / "ensemble.json", _REMEDY)


def read_looked_at() -> dict:
    """Returns what judges who saw the photos thought: `captioner`, `photos` with captions and judgements, `people`."""
    return files.read_json(RESULTS_DIR / "looked_at.json", _REMEDY)


def keep_result(captioner_dir: str | Path, folder: str | Path = RESULTS_DIR) -> Path:
    """Copies the metrics of a captioner, without its captions, to the results; returns the file."""
    report = catalogue.read_metrics(captioner_dir)
    report = {key: value for key, value in report.items() if key != "captions"}
    report["test"] = {key: value for key, value in report.get("test", {}).items() if key != "captions"}
    name = f"{report['data']}-{report['captioner']}.json"
    if not files.is_plain_name(name):
        raise ValueError(f"The names in {captioner_dir} lead to another folder. Received: {name!r}")
    file = Path(folder) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with files.replace_file(file) as new:
        new.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return file
