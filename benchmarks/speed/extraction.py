"""Features of photos by VGG16, the whole of `extract`, beside the popular recipe and the machine's limit."""

import statistics
import tempfile
from pathlib import Path

import psutil

from benchmarks.speed import counting, measuring, popular_recipe
from captioner.encoders import features, specs
from captioner.encoders.encoder import load_encoder

_RANDOM = "Weights are random, which does not change the time: VGG16's need not be had. Photos are not mirrored."


def measure(*, small: bool = False, encoder_name: str = "vgg16") -> measuring.Report:
    """Measures extraction in photos a second."""
    count, others, rounds = (4, 2, 1) if small else (128, 16, 3)
    encoder, preprocess = load_encoder(encoder_name, weights=None), specs.ENCODERS[encoder_name].preprocess
    product, gflop = measuring.build_product(small=small)
    process, peaks = psutil.Process(), []
    with tempfile.TemporaryDirectory() as folder:
        paths = measuring.find_photos(count, Path(folder))
        numbers = iter(range(rounds + 1))

        def extract():
            # A new folder each time, or the finished cache would be opened.
            place = Path(folder, f"cache-{next(numbers)}")
            named = {path.name: path for path in paths}
            features.extract_features(encoder, named, place, batch_size=min(count, 32), progress=False)
            peaks.append(process.memory_info().rss / 1e6)

        seconds = measuring.take_turns(
            {
                "ours": extract,
                "popular": lambda: popular_recipe.extract_features(
                    encoder.model, preprocess, paths[:others], Path(folder, "features.pkl")
                ),
                "product": product,
            },
            rounds,
        )
    rates = measuring.median_rates(seconds, {"ours": len(paths), "popular": len(paths[:others]), "product": gflop})
    limit = rates["product"] / (counting.count_network(encoder.model) / 1e9)
    rows = [
        ["ours: `extract`", rates["ours"], rates["ours"] / rates["popular"], 100 * rates["ours"] / limit],
        ["the popular recipe: `predict()` for each photo", rates["popular"], 1.0, 100 * rates["popular"] / limit],
        ["limit: all arithmetic at the speed of a matrix product", limit, limit / rates["popular"], 100.0],
    ]
    growth = f"{peaks[0]:,.0f} MB after the first run, {peaks[-1]:,.0f} MB after {len(peaks)}"
    return measuring.Report(
        "extraction",
        f"Features of photos, `{encoder_name}`",
        ["photo files to features on disk", "photos/s", "times the popular recipe", "% of the limit"],
        rows,
        [
            _RANDOM,
            f"One photo takes {counting.count_network(encoder.model) / 1e9:.1f} GFLOP; the largest product made "
            f"{rates['product']:.0f} GFLOP/s in this run (median), {gflop / min(seconds['product']):.0f} at its best.",
            f"Decoding of JPEG files, checksums and writing are included. Memory in use: {growth}.",
        ],
        {"photos": len(paths), "photos_of_the_popular_recipe": others, "rounds": rounds}
        | {"seconds_of_a_product": statistics.median(seconds["product"])},
    )
