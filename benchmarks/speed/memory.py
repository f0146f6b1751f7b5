"""Memory and time with 8,000, 80,000 and 800,000 photos, whose features are made up and on disk.

Each size runs in a process of its own: `python -m benchmarks.speed.memory FOLDER`, with what `write_cache` made.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.speed import measuring
from captioner import config, files, startup
from captioner.encoders import cache

# Small, so that 800,000 fit on any disk: what grows in memory with the photos is what is known of each.
_POOLED, _REGIONS, _DEPTH = 64, 4, 64
_COUNTS = (8_000, 80_000, 800_000)
_CAPTIONED, _STEPS = 2_000, 40
_WORDS = ("a", "dog", "runs", "through", "the", "grass", "man", "on", "red", "water")


def measure(*, small: bool = False) -> measuring.Report:
    """Measures resident memory and time for a photo."""
    counts = (500, 1_000) if small else _COUNTS
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_cache(Path(folder), count)
            command = [sys.executable, "-m", "benchmarks.speed.memory", folder]
            done = subprocess.run(command, cwd=config.PROJECT_DIR, stdout=subprocess.PIPE, check=True)
        rows.append([f"{count:,}", *json.loads(done.stdout)])
    more = counts[-1] - counts[0]
    captioning, training = ((rows[-1][column] - rows[0][column]) * 1e6 / more for column in (2, 4))
    return measuring.Report(
        "memory",
        "Memory and number of photos",
        [
            *("photos in the cache", "before it is opened, MB", "captioning, MB", "ms for a photo"),
            *("training, MB", "ms for a caption"),
        ],
        rows,
        [
            "What the process holds for itself (`RssAnon`). The maps of the features come on top: they are read from "
            "disk, and the system takes them back when it likes.",
            f"What grows is what is known of each photo: {captioning:.0f} bytes for its name and its row, "
            f"{training:.0f} with a caption to train on.",
            f"Made up: {_POOLED} + {_REGIONS} x {_DEPTH} numbers and one caption for each photo. {_CAPTIONED:,} photos "
            f"from all over the cache are captioned, and {_STEPS} batches trained.",
        ],
        {"photos": list(counts)},
    )


def write_cache(folder: Path, count: int) -> None:
    """Writes features of so many photos as `extract_features` would leave them."""
    shapes = {"pooled": [count, _POOLED], "regions": [count, _REGIONS, _DEPTH]}
    index = {"shapes": shapes, "failed": {}, "checksums": {}}
    cache.create(folder, index, [f"photo-{n:07d}.jpg" for n in range(count)])
    random = np.random.default_rng(measuring.SEED)
    for view, shape in shapes.items():
        block = random.normal(size=(1_000, *shape[1:])).astype(np.float16)
        with (folder / f"{view}.npy").open("r+b") as file:
            file.seek(cache.open_array(folder, view, index).offset)
            for start in range(0, count, len(block)):
                file.write(block[: count - start].tobytes())
            # Else the disk is busy with it while captions are timed.
            os.fsync(file.fileno())


def run(folder: Path) -> list[float]:
    """Captions and trains; returns memory before, while captioning, its time, memory while training and its time."""
    startup.keep_freed_memory()
    startup.import_keras()
    from captioner import inference
    from captioner.data.vocabulary import SPECIAL_WORDS, Vocabulary
    from captioner.decoder.batches import CaptionBatches
    from captioner.decoder.network import CaptionDecoder
    from captioner.encoders import features
    from captioner.training import teacher_forcing

    vocabulary = Vocabulary(SPECIAL_WORDS + _WORDS)
    decoder = CaptionDecoder(len(vocabulary), _POOLED, _REGIONS, _DEPTH)
    captioner = inference.Captioner(decoder, vocabulary, None, settings=config.DecodingConfig(max_length=8))
    random = np.random.default_rng(measuring.SEED)
    warm = np.zeros((100, _POOLED), np.float16), np.zeros((100, _REGIONS, _DEPTH), np.float16)
    captioner.caption_features(*warm)
    captioner.caption_features(*(view[:50] for view in warm))
    before = private_megabytes()
    store = features.FeatureStore(folder, files.read_json(folder / "index.json"))
    count = len(store.image_ids)
    chosen = [store.image_ids[i] for i in np.sort(random.choice(count, min(count, _CAPTIONED), replace=False))]
    started = time.perf_counter()
    for _ in captioner.caption_store(store, chosen):
        pass
    caption_ms = 1000 * (time.perf_counter() - started) / len(chosen)
    captioning = private_megabytes()
    captions = ((image_id, "a dog runs through the red grass") for image_id in store.image_ids)
    batches = CaptionBatches(captions, store, vocabulary, seed=measuring.SEED)
    teacher_forcing.compile_decoder(decoder, config.TrainingConfig(), batches.num_batches)
    dataset, steps = batches.dataset(), min(_STEPS, batches.num_batches)
    decoder.fit(dataset, steps_per_epoch=1, verbose=0, shuffle=False)
    started = time.perf_counter()
    decoder.fit(dataset, steps_per_epoch=steps, verbose=0, shuffle=False)
    train_ms = 1000 * (time.perf_counter() - started) / steps / batches.batch_size
    return [before, captioning, caption_ms, private_megabytes(), train_ms]


def private_megabytes() -> float:
    """Returns the memory that this process holds for itself, without what it maps from files."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("Memory is measured on Linux alone.")


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]))))
