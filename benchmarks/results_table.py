"""Keeps results and prints the tables of README and docs/results.md, or writes them there.

    python -m benchmarks.results_table [--keep artifacts/NAME] [--write]

A result, `artifacts/results/<data>-<name>.json`, is the `metrics.json` that the notebook, `train`, `tune`, `shrink` or
`benchmarks.measure` wrote for a captioner, without the captions. `looked_at.json` is what judges who saw the photos
thought, photo by photo.
"""

import argparse
import collections
import statistics
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from captioner import config
from captioner.artifacts import confidence, results
from captioner.scoring import claims

README, DETAILS = config.PROJECT_DIR / "README.md", config.PROJECT_DIR / "docs" / "results.md"
# Which table stands in which file, between `<!-- name: begin -->` and `<!-- name: end -->`.
PLACES = {
    **dict.fromkeys(("looked", "confidence", "results"), README),
    **dict.fromkeys(("all", "claims", "steps", "detector"), DETAILS),
}
SCORES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "cider_d": "CIDEr-D",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
}
# Captioners of photos that come with the project.
SHIPPED = ("efficientnet_lite2", "compact")
# What README shows of them, split by split.
_SUMMARY = {
    "validation": ("bleu_1", "bleu_4", "cider_d"),
    "test": ("bleu_1", "bleu_4", "cider_d", "rouge_l", "meteor"),
}
_NOTHING_KEPT = "No result is kept yet: `--keep` takes that of a captioner which was made from all of Flickr8k."
_CONTROLS = {
    "shuffled": "{whose} captions, shuffled among the photos",
    "most_common": "the commonest train caption for every photo",
    "human": "people, each caption against the other four",
}


def build_summary(
    reports: dict[str, dict], shipped: Collection[str], published: list[dict], ensemble: dict | None = None
) -> str:
    """Returns a Markdown table with a row for each thing that a reader needs: validation and test scores side by side.

    These are the captioners that ship, the means of those that have several seeds, an ensemble, the controls of the
    best captioner, and what others published.

    Args:
        reports: As for `build_table`.
        shipped: Names of the captioners that ship.
        published: As for `build_table`.
        ensemble: As for `build_table`.
    """
    if not reports:
        return _NOTHING_KEPT
    heads = [f"{split}<br>{SCORES[key]}" for split, keys in _SUMMARY.items() for key in keys]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, group in group_seeds(reports).items():
        if name in shipped:
            lines.append(_summary_row(f"**{name}**, which ships", [group.report]))
        if group.seeds:
            lines.append(_summary_row(group.label(name), group.seeds))
    if ensemble:
        lines.append(_summary_row(f"{_name_members(ensemble['members'])}", [ensemble]))
    controls = _find_controls(reports)
    lines += [
        _summary_row(label.format(whose="the best one's"), [controls[key]])
        for key, label in _CONTROLS.items()
        if key in controls
    ]
    lines += [_summary_row(_link(row), [{"test": row}]) for row in published]
    return "\n".join(lines)


def _summary_row(label: str, reports: list[dict]) -> str:
    """Returns a row of the means of reports, each with its test scores in `test`."""
    by_split = {"validation": reports, "test": [report.get("test", {}) for report in reports]}
    cells = (_mean(by_split[split], key) for split, keys in _SUMMARY.items() for key in keys)
    return f"| {label} | " + " | ".join(cells) + " |"


def _find_controls(reports: dict[str, dict]) -> dict[str, dict]:
    """Returns the controls of the best captioner that has them."""
    singles = (group.report for group in group_seeds(reports).values())
    return next((report["controls"] for report in singles if report.get("controls")), {})


def _link(row: dict) -> str:
    return f"published: [{row['name']}]({row['source']})"


def build_table(reports: dict[str, dict], published: list[dict], ensemble: dict | None = None) -> str:
    """Returns a Markdown table of everything: each result on validation and test, an ensemble, and the published.

    The controls stand below the first result that has them: they are much the same for all.

    Args:
        reports: Name -> content of a `metrics.json`.
        published: From `captioner.artifacts.results.read_published`.
        ensemble: From `captioner.artifacts.results.read_ensemble`.
    """
    if not reports:
        return _NOTHING_KEPT
    lines = ["| | split | " + " | ".join(SCORES.values()) + " |", "|---" * (len(SCORES) + 2) + "|"]
    controls = _find_controls(reports)
    for name, group in group_seeds(reports).items():
        for row in (group.report, group.report.get("test")):
            if row:
                lines.append(_row(f"**{name}**, {row['num_beams']} beams", row["split"], row))
        lines += _mean_rows(group.label(name), group.seeds) if group.seeds else []
        if group.report.get("controls"):
            rows = {label.format(whose="its"): controls[key] for key, label in _CONTROLS.items() if key in controls}
            lines += [_row(label, group.report["split"], row) for label, row in rows.items()]
            controls = {}
    for row in (ensemble, ensemble["test"]) if ensemble else ():
        lines.append(_row(f"{_name_members(ensemble['members'])}", row["split"], row))
    lines += [_row(_link(row), row["split"], row) for row in published]
    return "\n".join(lines)


class Group(NamedTuple):
    """A captioner and its seeds.

    Attributes:
        report: Its own.
        seeds: Those of all its seeds, measured with one search; none if it is the only one.
        is_former: Whether it was measured again since, with a search that the other seeds were not measured with.
    """

    report: dict
    seeds: list[dict]
    is_former: bool

    def label(self, name: str) -> str:
        """Says in a table what the mean of the seeds is."""
        return f"{name}, mean of {len(self.seeds)} seeds" + (", former search" if self.is_former else "")


def group_seeds(reports: dict[str, dict]) -> dict[str, Group]:
    """Returns each captioner that is not one of several seeds, with its seeds.

    Args:
        reports: As for `build_table`; `<name>-seed1` is another seed of `<name>`, and `<name>-seed0` is `<name>` itself
            as it was when the other seeds were measured.
    """
    bases = {name: name.partition("-seed")[0] for name in reports}
    bases = {name: base if base in reports else name for name, base in bases.items()}
    groups = {}
    for base in (name for name in reports if bases[name] == name):
        others = [report for name, report in reports.items() if bases[name] == base != name]
        is_former = f"{base}-seed0" in reports
        groups[base] = Group(reports[base], others if is_former or not others else [reports[base], *others], is_former)
    return groups


def _name_members(members: list[str]) -> str:
    """Returns who writes together, seeds of one captioner counted."""
    counts = collections.Counter(name.partition("-seed")[0] for name in members)
    return f"ensemble of {len(members)}: " + ", ".join(f"{count} of {name}" for name, count in counts.items())


def _mean_rows(label: str, reports: list[dict]) -> Iterator[str]:
    """Yields a row for each split: means over seeds, with the standard deviation among them."""
    tested = [report["test"] for report in reports if report.get("test")]
    for rows in (reports, tested):
        if len(rows) < len(reports):
            continue
        cells = " | ".join(_mean(rows, key) for key in SCORES)
        yield f"| {label} | {rows[0]['split']} | {cells} |"


def _mean(rows: list[dict], key: str) -> str:
    """Returns the mean of a score, with the standard deviation where there are several; a dash where one lacks it."""
    values = [row.get(key) for row in rows]
    if None in values:
        return "-"
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def build_claims_table(reports: dict[str, dict]) -> str:
    """Returns a Markdown table of what captions claim and no reference says, of results that were asked, and of people.

    Args:
        reports: As for `build_table`.
    """
    singles = group_seeds(reports)
    asked = {name: report["claims"] for name, report in reports.items() if name in singles and "claims" in report}
    people = [report.get("controls", {}).get("human", {}) for report in reports.values()]
    if claimed := [found["claims"] for found in people if "claims" in found]:
        asked |= {"people": max(claimed, key=len)}
    if not asked:
        return "No result that is kept was asked what its captions claim."
    lines = ["| on validation, in percent | " + " | ".join(asked) + " |", "|---" * (len(asked) + 1) + "|"]
    for key, label in claims.LABELS.items():
        # Kinds of claims came one by one, and older results lack the later ones.
        shares = [found.get(key, {}).get("percent") for found in asked.values()]
        lines.append(f"| {label} | " + " | ".join("-" if s is None else f"{s:.1f}" for s in shares) + " |")
    return "\n".join([*lines, _overused_row(asked)])


def build_steps_table(reports: dict[str, dict]) -> str:
    """Returns a Markdown table of what each step of `train` brought to captioners whose encoder was fine-tuned.

    Args:
        reports: As for `build_table`.
    """
    lines = ["| on validation | CIDEr-D | BLEU-4 | minutes |", "|---" * 4 + "|"]
    for name, (report, *_) in group_seeds(reports).items():
        if report.get("fine_tuning") and report.get("history"):
            lines += [f"| `{name}`: {step} | {' | '.join(cells)} |" for step, *cells in _list_steps(report)]
    return "\n".join(lines)


def _list_steps(report: dict) -> Iterator[tuple[str, str, str, str]]:
    """Yields the stages of the training, each with its best scores, and the rules of the search that were taken."""
    stages = {
        "training": (report["history"], "decoder alone, {} epochs"),
        "fine_tuning": (report["fine_tuning"][1:], "then with the encoder's last stages, {} epochs"),
        # The first row is of the captioner as it came.
        "refinement": (report["refinement"][1:], "then self-critical training, {} rounds"),
    }
    for stage, (rows, step) in stages.items():
        if rows:
            best = max(rows, key=lambda row: row["val_cider_d"])
            scores = f"{best['val_cider_d']:.1f}", f"{best['val_bleu_4']:.1f}"
            yield step.format(len(rows)), *scores, f"{report['minutes'][stage]:.0f}"
    rules = {
        "then the length penalty chosen": {"say_once": False, "careful": False},
        "then each thing said once": {"say_once": True, "careful": False},
        "then claims that are sure alone": {"say_once": True, "careful": True},
    }
    if weight := report.get("detector_weight"):
        # Both were tried together, and the best is not what was taken.
        both = rules.pop("then claims that are sure alone") | {"length_penalty": report["length_penalty"]}
        rules["then claims that are sure alone, and a word detector heeded"] = both | {"detector_weight": weight}
    elif report.get("careful"):
        rules["then claims that are sure alone"]["length_penalty"] = report["length_penalty"]
    if rarity := report.get("rarity"):
        rules["then rare words favoured"] = {"say_once": True, "careful": report["careful"], "rarity": rarity}
    untold = {"rarity": 0, "detector_weight": 0}
    rules = {step: rule if "rarity" in rule else untold | rule for step, rule in rules.items()}
    for step, rule in rules.items():
        if rows := [row for row in report["searches"] if {key: row.get(key, 0) for key in rule} == rule]:
            best = max(rows, key=lambda row: row["cider_d"])
            number = best["rarity"] if best.get("rarity") else best["length_penalty"]
            yield f"{step}: {number:g}", f"{best['cider_d']:.1f}", f"{best['bleu_4']:.1f}", ""


def build_detector_table(report: dict) -> str:
    """Returns a Markdown table of the weights of the word detector that were tried, at the penalty that was taken.

    Args:
        report: Of a captioner with a word detector, as in `artifacts/results/`.
    """
    columns = {"cider_d": ".1f", "bleu_4": ".1f", "mean_length": ".1f", "words_used": "d", "borne_out": ".1f"}
    lines = [
        "| weight of the detector | CIDEr-D | BLEU-4 | words of a caption | words used | captions borne out, % |",
        "|---" * 6 + "|",
    ]
    for row in report["searches"]:
        if row["careful"] and not row["rarity"] and row["length_penalty"] == report["length_penalty"]:
            weight = row["detector_weight"]
            taken = ", taken" if weight == report["detector_weight"] else ""
            lines.append(
                f"| {weight:g}{taken} | {' | '.join(format(row[key], spec) for key, spec in columns.items())} |"
            )
    return "\n".join(lines)


def build_looked_table(looked: dict) -> str:
    """Returns a Markdown table of how captions were judged by judges who saw the photos, with examples.

    Args:
        looked: From `captioner.artifacts.results.read_looked_at`.
    """
    lines = [f"| of {len(looked['photos'])} photos | captions | for example |", "|---" * 3 + "|"]
    for judgement in ("right", "partly", "wrong"):
        photos = [photo for photo in looked["photos"] if photo["judgement"] == judgement]
        examples = (
            f"“{photo['caption']}”" + (f" ({photo['instead']})" if photo["instead"] else "") for photo in photos[:2]
        )
        share = 100 * len(photos) / len(looked["photos"])
        lines.append(f"| {judgement} | {len(photos)} ({share:.0f} %) | {' '.join(examples)} |")
    people = " ".join(f"{judgement} {count}," for judgement, count in looked["people"].items()).rstrip(",")
    return "\n".join([*lines, f"| captions by people, judged likewise | {people} | |"])


def build_tables() -> dict[str, str]:
    """Returns name -> Markdown of all tables, from the results that are kept."""
    reports = results.read_results()
    looked = results.read_looked_at()
    return {
        "looked": build_looked_table(looked),
        "confidence": confidence.list_confidence(reports[looked["captioner"]]),
        "results": build_summary(reports, SHIPPED, results.read_published(), results.read_ensemble()),
        "all": build_table(reports, results.read_published(), results.read_ensemble()),
        "claims": build_claims_table(reports),
        "steps": build_steps_table(reports),
        "detector": build_detector_table(reports[SHIPPED[0]]),
    }


def _overused_row(asked: dict[str, dict]) -> str:
    """Returns the most over-used word of each, with its share of the captions and of the references."""
    words = [found["overused"][0] for found in asked.values()]
    cells = [f"{row['word']} {row['captions']:.0f} ({row['references']:.0f})" for row in words]
    return "| the most over-used word, in brackets its share of the references | " + " | ".join(cells) + " |"


def replace_table(text: str, name: str, table: str) -> str:
    """Returns a page with the part between two markers replaced.

    Raises:
        ValueError: If the markers are missing.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise ValueError(f"{PLACES[name].name} must hold the lines {begin!r} and {end!r}.")
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end, 1)[1]}"


def _row(label: str, split: str, scores: dict) -> str:
    cells = (_mean([scores], key) for key in SCORES)
    return f"| {label} | {split} | " + " | ".join(cells) + " |"


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the tables into their pages")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder of a captioner whose metrics become a result")
    options = parser.parse_args()
    if options.keep:
        print(f"Kept {results.keep_result(options.keep).name}.")
    for name, table in build_tables().items():
        if options.write:
            text = replace_table(PLACES[name].read_text(encoding="utf-8"), name, table)
            PLACES[name].write_text(text, encoding="utf-8")
        else:
            print(f"{table}\n")


if __name__ == "__main__":
    main()
