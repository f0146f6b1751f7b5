"""Writes `docs/reliability.md` from the results of the commands that try to break photos and page.

python -m benchmarks.reliability_report
"""

import json
from pathlib import Path

from benchmarks import page_server
from captioner import config
from captioner.artifacts import results
from captioner.data import decoder_process, photo_budget
from captioner.page import guard

REPORT = config.PROJECT_DIR / "docs" / "reliability.md"
_COMMANDS = {
    "fuzz_photos": "python -m benchmarks.fuzz_photos",
    "hostile_photos": "python -m benchmarks.hostile_photos",
    "decoder_speed": "python -m benchmarks.decoder_speed artifacts/compact --source DIR",
    "decoder_speed_large": "python -m benchmarks.decoder_speed artifacts/compact --source DIR --megapixels 12",
    "fuzz_files": "python -m benchmarks.fuzz_files",
    "kills": "python -m benchmarks.kills",
    "page_soak": "python -m benchmarks.page_soak artifacts/compact --source DIR",
    "page_fairness": "python -m benchmarks.page_fairness artifacts/compact --source DIR",
}
# What no command can know: what was found, and what is not promised.
_NOTES = Path(__file__).with_name("reliability_notes.md")


def read_results() -> dict[str, dict]:
    """Returns the results that are there, by name."""
    files = {name: results.RESULTS_DIR / f"{name}.json" for name in _COMMANDS}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


def build_report(found: dict[str, dict]) -> str:
    """Returns the report as Markdown.

    Args:
        found: Name -> what a command wrote; those that are missing are named.
    """
    parts = ["# Reliability of photos and page", _explain_limits()]
    writers = {
        "fuzz_photos": _write_fuzz,
        "hostile_photos": _write_hostile,
        "fuzz_files": _write_files,
        "kills": _write_kills,
        "page_soak": _write_soak,
        "page_fairness": _write_fairness,
        "decoder_speed": _write_speed,
        "decoder_speed_large": _write_speed,
    }
    for name, write in writers.items():
        text = write(found[name]) if name in found else "Not measured yet."
        where = f"`{_COMMANDS[name]}`"
        if name in found:
            where += f", {found[name]['date']}, {found[name]['cores']} cores, load {found[name]['load_average']:.1f}"
        parts.append(f"{text}\n\n({where})")
    return "\n\n".join([*parts, _NOTES.read_text(encoding="utf-8")])


def _explain_limits() -> str:
    return (
        "Written by `python -m benchmarks.reliability_report` from the results of the commands named below.\n\n"
        "## Promised\n\n"
        "- Photos are decoded in up to four processes of their own, for page, command and extraction alike. Each may "
        f"take {photo_budget.MAX_MEGABYTES} MB and {decoder_process.MAX_SECONDS} seconds of work for a photo.\n"
        "- A photo is pixels or one sentence. No photo ends a run or the page, and none stops another.\n"
        f"- A visitor keeps at most {guard.MAX_PHOTOS} photos and {guard.MAX_VISITOR_BYTES // 1_000_000} MB in all in "
        f"memory, all visitors {guard.MAX_BYTES // 1_000_000:,} MB.\n"
        "- Visitors take turns, batch by batch, in the order in which they ask. Each has one run of the page, and two "
        "messages a second after the first twenty; who does not stop is sent away.\n"
        "- Of two that train, extract, download or save at one place, the second is told who is there."
    )


def _write_fuzz(result: dict) -> str:
    outcomes = sorted({outcome for counts in result["by_format"].values() for outcome in counts})
    lines = ["| format | " + " | ".join(outcomes) + " |", "|---" * (len(outcomes) + 1) + "|"]
    for kind, counts in result["by_format"].items():
        lines.append(f"| {kind} | " + " | ".join(f"{counts.get(outcome, 0):,}" for outcome in outcomes) + " |")
    return (
        f"## Damaged photos\n\n{result['photos']:,} small photos, damaged at random (seed {result['seed']}): "
        f"{result['failures']} gave anything but pixels or a sentence. The parent lived through all; the largest "
        f"process took {result['largest_process_mb']} MB, the slowest photo {result['slowest_s']} s by the clock.\n\n"
    ) + "\n".join(lines)


def _write_hostile(result: dict) -> str:
    lines = ["| photo | bytes | seconds | |", "|---|---|---|---|"]
    for name, photo in result["photos"].items():
        lines.append(f"| {name} | {photo['bytes']:,} | {photo['seconds']} | {photo['said']} |")
    return (
        "## Photos that were made to do harm\n\nSeconds include the start of a process. The largest took "
        f"{result['largest_process_mb']} MB.\n\n"
    ) + "\n".join(lines)


def _write_files(result: dict) -> str:
    lines = ["| file | read | refused in a sentence |", "|---|---|---|"]
    for kind, counts in result["by_kind"].items():
        lines.append(f"| {kind} | {counts.get('read', 0):,} | {counts.get('refused', 0):,} |")
    return (
        f"## Damaged text and JSON files\n\n{result['files']:,} files that people bring or keep, damaged at random "
        f"(seed {result['seed']}): {result['failures']} gave anything but a result or a sentence.\n\n"
    ) + "\n".join(lines)


def _write_kills(result: dict) -> str:
    lines = ["| work | killed | ended with other bytes |", "|---|---|---|"]
    for work, found in result["work"].items():
        lines.append(f"| {work} | {found['kills']} times | {found['different']} |")
    return (
        "## Kills\n\nEach job was killed at random moments (seed "
        f"{result['seed']}) and then run to its end, and what it left was compared (bytes; of a saved "
        "captioner its weights and small files) with what it leaves "
        "undisturbed.\n\n"
    ) + "\n".join(lines)


def _write_soak(result: dict) -> str:
    server = [memory["server"] for memory in result["megabytes_after_each_minute"]]
    return (
        f"## Load\n\n{result['sessions']} visitors at once for {result['minutes']:g} minutes, {result['visits']} "
        f"visits: {result['photos']} good photos and {result['bad_photos']} damaged or hostile ones. "
        f"{result['faults']} wrong, foreign or missing captions and sentences, {result['trace_backs_in_log']} "
        "tracebacks in the log. The "
        f"server's memory after each minute: {', '.join(map(str, server))} MB, and "
        f"{result['megabytes_after_all_left']['server']} MB after all had left."
    )


def _write_fairness(result: dict) -> str:
    attacks = {
        "2000_reruns": "asks 2,000 times for the page",
        "100_photos": "gives 100 photos",
        "bombs": "uploads decompression bombs",
    }
    lines = [
        "| another visitor | median | times quiet |",
        "|---|---|---|",
        f"| none | {result['quiet']['median_ms']} ms | 1 |",
    ]
    for key, label in attacks.items():
        lines.append(f"| {label} | {result[key]['median_ms']} ms | {result[key]['times_quiet']} |")
    return (
        f"## One visitor against another\n\nFrom giving one photo of {result['megapixels']} megapixels to its caption, "
        "while another visitor keeps doing what the table says.\n\n"
    ) + "\n".join(lines)


def _write_speed(result: dict) -> str:
    size = f"of {result['megapixels']:g} megapixels" if result["megapixels"] else "as they are"
    return (
        f"## What decoding in separate processes costs, photos {size}\n\n{result['photos']:,} photos, "
        f"{result['rounds']} rounds in turns. Compared with threads in one process: "
        f"{result['clock']['ratio_of_processes']} times the elapsed time and "
        f"{result['work']['ratio_of_processes']} times the CPU time. A whole run of `caption` over them: "
        f"{result['captioning']['ratio_of_processes']} and {result['captioning_work']['ratio_of_processes']} times."
    )


def main() -> None:
    """Runs the command."""
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(build_report(read_results()), encoding="utf-8")
    print(f"Wrote {REPORT.relative_to(page_server.PROJECT_DIR)}.")


if __name__ == "__main__":
    main()
