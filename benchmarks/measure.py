"""Measures a saved captioner again, and gives it the search and the calibration that suit it today.

    python -m benchmarks.measure artifacts/NAME [--beams N] [--test]

What `train` does in its last step, without training: for a captioner that was made before a rule of the search was
there, or that is to search with more beams. It gets a word detector if it has none. How it was trained stays in its
metrics; the folder that was there is kept as NAME~1.
"""

import argparse
import dataclasses
from pathlib import Path

from captioner import config, startup


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captioner", type=Path, metavar="DIR")
    parser.add_argument("--data", default="auto", help="data set, as for train")
    parser.add_argument("--beams", type=int, metavar="N", help="width of its search from now on")
    parser.add_argument("--test", action="store_true", help="measure it on the test split, too, in the end")
    options = parser.parse_args()
    startup.import_keras()
    measure_again(options.captioner, options.data, with_test=options.test, num_beams=options.beams)


def measure_again(folder: Path, data: str, *, with_test: bool, num_beams: int | None = None) -> dict:
    """Measures the captioner in a folder, saves it there, and returns its new metrics."""
    from captioner.artifacts import catalogue, saving
    from captioner.data import sources
    from captioner.training import recipe

    captioner, before = saving.load_captioner(folder), catalogue.read_metrics(folder)
    num_beams = captioner.settings.num_beams if num_beams is None else num_beams
    captioner.settings = dataclasses.replace(captioner.settings, num_beams=num_beams)
    names = ("validation", "test") if with_test else ("validation",)
    dataset, _ = sources.obtain_dataset(data, splits=("train", *names))
    plan = recipe.Plan(config.RecipeConfig(data=data, seed=before.get("seed", 0)), dataset, captioner.encoder)
    materials = recipe.encode_measured(plan, {}, with_train=captioner.detector is None)
    if captioner.detector is None:
        _check_train_photos(captioner.name, materials, before)
        recipe.detect_words(captioner, materials)
    report = recipe.measure_captioner(captioner, materials)
    # Scores on the test split are of the search that was; those of another would not belong to this captioner.
    kept = {key: value for key, value in before.items() if key != "test"}
    saving.save_captioner(captioner, folder, kept | report, replace=True)
    return kept | report


def _check_train_photos(name: str, materials, before: dict) -> None:
    """Checks that a word detector would learn from the photos that its captioner learnt from."""
    if "train" in materials.splits:
        count = len(materials.splits["train"].references)
        if before.get("train_photos", count) != count:
            raise ValueError(
                f"{name} was trained on {before['train_photos']:,} photos, of which the data set has {count:,}: a word "
                "detector would learn from others. Name with --data what it was trained on."
            )


if __name__ == "__main__":
    main()
