"""Results that were kept: what this project's captioners scored on Flickr8k, and what others published.

`artifacts/results/flickr8k-<captioner>.json` is the `metrics.json` of a captioner without its captions, put there by
`python -m benchmarks.results_table --keep`. `published.json` holds scores of others with their sources.
"""

import json
from pathlib import Path

from captioner import config

RESULTS_DIR = config.PROJECT_DIR / "artifacts" / "results"
_PREFIX, _PUBLISHED_FILE = "flickr8k-", "published.json"


def read_results(folder: str | Path = RESULTS_DIR) -> dict[str, dict]:
    """Returns captioner -> report of all results that are kept, the highest validation CIDEr-D first."""
    files = sorted(Path(folder).glob(f"{_PREFIX}*.json"))
    reports = {file.stem.removeprefix(_PREFIX): json.loads(file.read_text(encoding="utf-8")) for file in files}
    return dict(sorted(reports.items(), key=lambda item: -item[1]["cider_d"]))


def read_published(folder: str | Path = RESULTS_DIR) -> list[dict]:
    """Returns what others published for the same test split: `name`, `split`, scores in percent and `source`."""
    return json.loads((Path(folder) / _PUBLISHED_FILE).read_text(encoding="utf-8"))


def keep_result(captioner_dir: str | Path, folder: str | Path = RESULTS_DIR) -> Path:
    """Copies the metrics of a captioner, without its captions, to the results; returns the file.

    What is known of an encoder of our own goes with it, as `encoder_facts`.
    """
    report = json.loads((Path(captioner_dir) / "metrics.json").read_text(encoding="utf-8"))
    report = {key: value for key, value in report.items() if key != "captions"}
    report["test"] = {key: value for key, value in report.get("test", {}).items() if key != "captions"}
    description = Path(captioner_dir) / config.ENCODER_FILE
    if description.is_file():
        report["encoder_facts"] = json.loads(description.read_text(encoding="utf-8"))
    file = Path(folder) / f"{report['data']}-{report['captioner']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return file
