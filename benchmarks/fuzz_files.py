"""Damages text and JSON files that people bring or keep, and checks that each is read or refused in one sentence.

    python -m benchmarks.fuzz_files [--count 8000] [--seed 0]

Captions and splits of every layout, captions to be scored, and the files of a captioner, whose manifest is made to fit:
else none would be read at all. File number n of a seed is always the same one. Writes
`artifacts/results/fuzz_files.json`; exits with 1 if any gave anything but a result or a sentence.
"""

import argparse
import collections
import copy
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tqdm

from benchmarks import page_server
from benchmarks.fuzz_photos import mutate
from captioner import config
from captioner.artifacts import catalogue, manifest
from captioner.command_line import scoring
from captioner.data import datasets
from captioner.data.vocabulary import Vocabulary
from captioner.encoders import compact

_IDS = tuple(f"{number}_photo.jpg" for number in range(6))
_TEXTS = {i: [f"A dog runs over green grass {n} .", f"a man jumps, {n}"] for n, i in enumerate(_IDS)}
_SPLITS = {"train": _IDS[:4], "validation": _IDS[4:5], "test": _IDS[5:]}
# What stands in JSON where something else was meant.
_VALUES = (None, True, False, -1, 0, 1e308, 10**400, float("nan"), "", "x" * 5000, "\ud800", "../../a", [], {}, [[]])
_MAX_SENTENCE = 1000
_MAX_KEPT = 20


def make_samples() -> dict[str, dict[str, str]]:
    """Returns kind -> name -> text of sound files; the first of each kind is damaged, the others lie beside it."""
    token = "".join(f"{i}#{n}\t{text}\n" for i, texts in _TEXTS.items() for n, text in enumerate(texts))
    splits = {datasets.SPLIT_FILES[name]: "\n".join(ids) + "\n" for name, ids in _SPLITS.items()}
    table = "image,caption\n" + "".join(f'{i},"{text}"\n' for i, texts in _TEXTS.items() for text in texts)
    bars = "image_name| comment_number| comment\n"
    bars += "".join(f"{i}| {n}| {text}\n" for i, texts in _TEXTS.items() for n, text in enumerate(texts))
    names = {"train": "train", "validation": "val", "test": "test"}
    karpathy = [
        {"filename": i, "split": names[split], "sentences": [{"raw": text} for text in _TEXTS[i]]}
        for split, ids in _SPLITS.items()
        for i in ids
    ]
    first = {i: texts[0] for i, texts in _TEXTS.items()}
    coco = [{"image_id": i, "caption": text} for i, text in first.items()]
    saved = (config.PROJECT_DIR / "artifacts" / "compact").glob("*.json")
    kept = {file.name: file.read_text(encoding="utf-8") for file in sorted(saved)}
    rows = "".join(f'{i},"{text}"\n' for i, text in first.items())
    return {
        "token file": {datasets.TOKEN_FILE: token, **splits},
        "split file": dict(reversed(splits.items())) | {datasets.TOKEN_FILE: token},
        "table": {"captions.txt": table, **splits},
        "table with bars": {"results.csv": bars, **splits},
        "Karpathy's file": {"dataset.json": json.dumps({"images": karpathy, "dataset": "own"})},
        "scores": {"scores.json": json.dumps(first)},
        "scores as COCO has them": {"scores.json": json.dumps({"captions": coco, "unreadable_photos": 1})},
        "scores in lines": {"scores.jsonl": "\n".join(map(json.dumps, coco))},
        "scores as a table": {"scores.csv": f"photo,caption\n{rows}"},
        **{name: {name: text} | kept for name, text in kept.items()},
    }


def damage(text: str, random: np.random.Generator) -> bytes:
    """Returns a damaged copy of a file: its bytes, or, of JSON in half of the cases, its values."""
    content = text.encode()
    if random.random() < 0.5 and text.startswith(("{", "[")):
        try:
            value = json.loads(text)
        except ValueError:  # Lines of JSON.
            return mutate(content, content[::-1], random)
        for _ in range(int(random.integers(1, 3))):
            value = _replace_value(value, random)
        return json.dumps(value).encode()
    return mutate(content, content[::-1], random)


def read(folder: Path, name: str) -> object:
    """Reads a file as the project does that reads it."""
    if name.startswith("scores"):
        return scoring.read_captions(folder / name, _IDS)
    readers: dict[str, Callable] = {
        "config.json": lambda: catalogue.read_search(catalogue.read_config(folder)),
        "manifest.json": lambda: catalogue.read_config(folder),
        "metrics.json": lambda: catalogue.read_metrics(folder),
        "vocabulary.json": lambda: Vocabulary.load(folder / name),
        "encoder.json": lambda: compact.read_facts(folder / compact.WEIGHTS_FILE),
    }
    return readers.get(name, lambda: datasets.read_dataset(folder))()


def draw_files(count: int, seed: int) -> Iterator[tuple[int, str, dict[str, bytes]]]:
    """Yields number, kind and files of folders in which the first file is damaged."""
    samples = make_samples()
    for number in range(count):
        kind = list(samples)[number % len(samples)]
        damaged, *_ = files = samples[kind]
        contents = {name: text.encode() for name, text in files.items()}
        contents[damaged] = damage(files[damaged], np.random.default_rng((seed, number)))
        yield number, kind, contents


def judge(folder: Path, contents: dict[str, bytes]) -> tuple[str, str]:
    """Writes files into a folder, reads the first and returns what became of it, in a word, and the reason."""
    name, photos = next(iter(contents)), folder / "Images"
    photos.mkdir()
    for image_id in _IDS:
        (photos / image_id).touch()
    for other, content in contents.items():
        (folder / other).write_bytes(content)
    if "config.json" in contents and name != "manifest.json":
        manifest.write_manifest(folder)
    try:
        read(folder, name)
    except (ValueError, OSError) as error:
        message = str(error)
        # A decoder's own error says nothing of the file and of what to do.
        own = type(error) in (ValueError, FileNotFoundError)
        plain = message.isprintable() and len(message) <= _MAX_SENTENCE
        return ("refused", message) if own and plain else ("failed", f"no sentence: {error!r:.300}")
    except Exception as error:  # What must not happen is counted, and the others are tried too.
        return "failed", f"{error!r:.300}"
    return "read", ""


def run(count: int, seed: int) -> dict:
    """Tries many files and returns what became of them, by kind."""
    found, failures, start = collections.defaultdict(collections.Counter), [], time.perf_counter()
    for number, kind, contents in tqdm.tqdm(draw_files(count, seed), total=count, unit=" files", mininterval=10):
        with tempfile.TemporaryDirectory() as folder:
            outcome, reason = judge(Path(folder), contents)
        found[kind][outcome] += 1
        failures += [{"number": number, "kind": kind, "reason": reason}] if outcome == "failed" else []
    return {
        **{"files": count, "seed": seed, "failures": len(failures), "first_failures": failures[:_MAX_KEPT]},
        "by_kind": {kind: dict(sorted(counts.items())) for kind, counts in found.items()},
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=8000, metavar="N", help="default: 8,000")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    options = parser.parse_args()
    result = run(options.count, options.seed)
    page_server.write_result("fuzz_files", result)
    if result["failures"]:
        raise SystemExit(f"{result['failures']} files gave neither a result nor a sentence.")


def _replace_value(value: object, random: np.random.Generator) -> object:
    """Returns a copy of a JSON value in which one of its parts is another."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.2:
        return _nest(500) if random.random() < 0.02 else _VALUES[random.integers(len(_VALUES))]
    value = copy.copy(value)
    key = list(value)[random.integers(len(value))] if isinstance(value, dict) else int(random.integers(len(value)))
    if random.random() < 0.1:
        del value[key]
    else:
        value[key] = _replace_value(value[key], random)
    return value


def _nest(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


if __name__ == "__main__":
    main()
