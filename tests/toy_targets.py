"""Targets for the compact encoder that a toy can learn: the colour of each quarter of a photo."""

import json
from pathlib import Path

import numpy as np

from captioner import supervision


def write_toy_targets(folder: Path) -> supervision.Supervision:
    """Writes 8 train and 4 validation photos of 16 pixels, seen whole, with a grid of 4x4 cells and 3 components."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    maps = rng.uniform(-1, 1, (12, 2, 2, 3)).repeat(2, axis=1).repeat(2, axis=2)  # (12, 4, 4, 3)
    np.save(folder / "photos.npy", ((maps + 1) * 127.5).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8))
    np.save(folder / "maps.npy", maps.astype(np.float16))
    np.save(folder / "pooled.npy", maps.mean((1, 2)).astype(np.float32))
    # One word for each photo, by its strongest colour; nine words are never used.
    np.save(folder / "words.npy", np.eye(12, dtype=np.float32)[maps.mean((1, 2)).argmax(-1)])
    np.save(folder / "photo_rows.npy", np.arange(12))
    np.save(folder / "boxes.npy", np.tile(np.array([0, 0, 1, 1], np.float32), (12, 1)))
    identity = np.eye(3, dtype=np.float32)
    np.savez(folder / "matrices.npz", shift=identity / 2, classes=identity * 9, class_bias=np.zeros(3, np.float32))
    (folder / "index.json").write_text(json.dumps({"teacher": "toy", "num_views": 8}), encoding="utf-8")
    return supervision.Supervision(folder)
