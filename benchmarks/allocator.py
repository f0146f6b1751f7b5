"""Measures what `captioner.startup.keep_freed_memory` is worth: the same training steps with and without it.

    python benchmarks/allocator.py [--steps N] [--write]

Batches are random numbers of the shapes that Flickr8k gives with `mobilenet_v2`. With `--write` the result goes to
`artifacts/results/allocator.json`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent
RESULT = PROJECT_DIR / "artifacts" / "results" / "allocator.json"
BATCH, WORDS, VOCABULARY, POOLED, REGIONS, REGION_SIZE = 128, 12, 2_500, 1_280, 49, 1_280


def measure_steps(num_steps: int, keep: bool) -> list[float]:
    """Returns the seconds of each training step, the first two, which trace and warm up, left out."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from captioner import config, startup

    if keep and not startup.keep_freed_memory():
        raise OSError("This C library cannot be told to keep freed memory, so there is nothing to compare.")
    import keras
    import numpy as np

    from captioner import decoder, training

    keras.utils.set_random_seed(0)
    network = decoder.CaptionDecoder(VOCABULARY, POOLED, REGIONS, REGION_SIZE)
    training.compile_decoder(network, config.TrainingConfig(), 100)
    random = np.random.default_rng(0)
    inputs = {
        "pooled": random.random((BATCH, POOLED), np.float32).astype(np.float16),
        "regions": random.random((BATCH, REGIONS, REGION_SIZE), np.float32).astype(np.float16),
        "input_ids": random.integers(4, VOCABULARY, (BATCH, WORDS), np.int32),
    }
    targets = random.integers(4, VOCABULARY, (BATCH, WORDS), np.int32)
    seconds = []
    for _ in range(num_steps + 2):
        started = time.perf_counter()
        network.train_on_batch(inputs, targets)
        seconds.append(time.perf_counter() - started)
    return seconds[2:]


def main() -> None:
    """Runs both processes one after the other and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--child", choices=("with", "without"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure_steps(options.steps, options.child == "with")))
        return
    medians = {}
    for state in ("without", "with"):
        command = [sys.executable, __file__, "--child", state, "--steps", str(options.steps)]
        environment = os.environ | {"PYTHONPATH": str(PROJECT_DIR)}
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        medians[state] = statistics.median(json.loads(output.splitlines()[-1]))
        print(f"{state:<8} {medians[state]:.2f} s a training step of {BATCH} captions")
    if options.write:
        sys.path.insert(0, str(PROJECT_DIR))
        from captioner import evaluation

        report = {"seconds_per_step": medians, "steps": options.steps, "batch": BATCH, "words": WORDS, "seed": 0}
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(json.dumps(report | evaluation.describe_machine(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
