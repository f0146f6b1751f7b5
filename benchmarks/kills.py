"""Kills work at random moments and checks that it then ends with the same bytes as if nobody had.

    python -m benchmarks.kills [--kills 20] [--seed 0]

Extraction, captions, training, self-critical training and saving, on drawings. Each trial kills a work one to four
times in a row, lets it end, and compares what it left with what it leaves undisturbed. Writes
`artifacts/results/kills.json`; exits with 1 if anything differs.
"""

import argparse
import functools
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import page_server
from captioner import config, files, startup
from captioner.data.drawings import dataset as drawings

_CAPTIONER = config.PROJECT_DIR / "artifacts" / "compact"
_NUM_PHOTOS = 140
_MAX_IN_A_ROW = 4
_WORKER = "import sys; from benchmarks import kills; kills.serve(*sys.argv[1:])"


def extract(folder: Path) -> str:
    """Extracts features."""
    from captioner.encoders import features

    encoder, paths = _load().encoder, dict(_photos(folder))
    features.extract_features(encoder, paths, folder / "cache", batch_size=8, progress=False)
    return _digest_folder(folder / "cache")


def caption(folder: Path) -> str:
    """Captions photos into a file, going on with what is there."""
    from captioner.command_line import commands

    output, album = folder / "captions.csv", folder.parent / "drawings" / "Images"
    arguments = ["caption", album, "--captioner", _CAPTIONER, "--output", output, "--resume"]
    if commands.main([str(argument) for argument in arguments]):
        raise SystemExit("The command failed.")
    return files.digest_file(output)


def train(folder: Path) -> str:
    """Trains a decoder."""
    captioner, _, history = _fit(folder, folder)
    return _digest_training(captioner, history)


def refine(folder: Path) -> str:
    """Trains a decoder on by its own captions."""
    from captioner.training import recipe

    kept = folder.parent / "trained"
    if not (folder / "runs").exists():
        with files.replace_folder(folder / "runs") as new:
            shutil.copytree(kept / "runs", new, dirs_exist_ok=True)
    captioner, materials, _ = _fit(kept, folder)
    return _digest_training(captioner, recipe.refine_captioner(captioner, materials, progress=False))


def save(folder: Path) -> str:
    """Saves a captioner over and over; what is there can be loaded at any time."""
    from captioner.artifacts import manifest, parts, saving

    captioner, saved = _load(), folder / "saved"
    files.heal_folder(saved)
    for _ in range(8):
        if saved.exists():
            saving.load_captioner(saved, encoder=captioner.encoder)
        saving.save_captioner(captioner, saved, {"run": "kills"}, replace=True)
    # Keras writes the time into its file, so that its weights are compared, and not the manifest that has its digest.
    kept = _digest_folder(saved, without=(parts.DECODER_FILE, manifest.MANIFEST_FILE))
    return _digest_training(saving.load_captioner(saved, encoder=captioner.encoder), [{"files": kept}])


WORK: dict[str, Callable[[Path], str]] = {
    "extract": extract,
    "caption": caption,
    "train": train,
    "self-critical": refine,
    "save": save,
}


def serve(work: str, folder: str) -> None:
    """Runs a work in this process, once it is told to, and prints what it left, in a word."""
    startup.import_keras()
    _load()
    print("ready", flush=True)
    sys.stdin.readline()
    print(WORK[work](Path(folder)), flush=True)


def run(work: str, num_kills: int, seed: int, shared: Path) -> dict:
    """Kills a work so many times and returns how often it ended otherwise than undisturbed.

    Args:
        work: A name in `WORK`.
        num_kills: How many kills.
        seed: Decides the moments, as shares of the time that the work takes.
        shared: A folder for all that is made; see `prepare`.
    """
    choice, folder = random.Random(f"{seed} {work}"), shared / work
    expected, seconds = _run_to_end(work, _fresh(folder))
    kills = trials = different = 0
    while kills < num_kills:
        _fresh(folder)
        for _ in range(min(choice.randint(1, _MAX_IN_A_ROW), num_kills - kills)):
            kills += _kill(work, folder, choice.random() * seconds)
        trials += 1
        different += _run_to_end(work, folder)[0] != expected
    return {"kills": kills, "trials": trials, "different": different, "seconds_undisturbed": round(seconds, 1)}


def prepare(shared: Path) -> None:
    """Makes what the works need: drawings, and a decoder that was trained."""
    drawings.draw_dataset(shared / "drawings", num_photos=_NUM_PHOTOS)
    _run_to_end("train", _fresh(shared / "trained"))


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="of each work (default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        found = {work: run(work, options.kills, options.seed, Path(folder)) for work in WORK}
    result = {"seed": options.seed, "work": found, "minutes": round((time.perf_counter() - start) / 60, 1)}
    page_server.write_result("kills", result)
    if any(work["different"] for work in found.values()):
        raise SystemExit("Not everything ended with the same bytes.")


def _start(work: str, folder: Path) -> subprocess.Popen:
    """Starts a process for a work and has it begin when it is ready."""
    command = [sys.executable, "-c", _WORKER, work, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=page_server.PROJECT_DIR, text=True, **pipes)
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"{work} does not start: {process.communicate()[1][-2000:]}")
    process.stdin.write("\n")
    process.stdin.flush()
    return process


def _run_to_end(work: str, folder: Path) -> tuple[str, float]:
    """Returns what a work left, in a word, and the seconds that it took."""
    process, start = _start(work, folder), time.perf_counter()
    printed, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{work} does not end: {errors[-2000:]}")
    return printed.splitlines()[-1], time.perf_counter() - start


def _kill(work: str, folder: Path, seconds: float) -> bool:
    """Begins a work and kills it after so many seconds; says whether it had not ended by then."""
    process = _start(work, folder)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode < 0


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@functools.cache
def _load():
    from captioner.artifacts import saving

    return saving.load_captioner(_CAPTIONER)


def _photos(folder: Path) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in sorted((folder.parent / "drawings" / "Images").iterdir())]


def _fit(run: Path, features: Path) -> tuple:
    """Returns a captioner trained in a folder of runs, what it was trained on, and its history."""
    from captioner.training import recipe

    config.RUNS_DIR, config.FEATURES_DIR = run / "runs", features.parent / "features"
    settings = config.RecipeConfig(
        data=str(features.parent / "drawings"),
        encoder="compact",
        decoder={"units": 32},
        training={"epochs": 3, "num_crops": 0},
        fine_tuning={"epochs": 0},
        self_critical={"rounds": 2, "photos_per_round": 64},
    )
    materials = recipe.encode_photos(recipe.plan_training(settings), progress=False)
    captioner = recipe.build_captioner(materials.plan, recipe.build_vocabulary(materials))
    return captioner, materials, recipe.fit_captioner(captioner, materials, verbose=0)


def _digest_training(captioner, history: list[dict]) -> str:
    """Tells weights and history from others; seconds are never the same."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history]
    found = hashlib.sha256(json.dumps(rows).encode())
    for weight in captioner.decoder.get_weights():
        found.update(weight.tobytes())
    return found.hexdigest()


def _digest_folder(folder: Path, without: tuple[str, ...] = ()) -> str:
    found = [path for path in folder.rglob("*") if path.is_file() and path.name not in without]
    digests = {str(path.relative_to(folder)): files.digest_file(path) for path in found}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    main()
