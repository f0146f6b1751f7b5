"""Times all encoders side by side and draws what speed and size cost in captions.

    python -m benchmarks.encoder_speed [--rounds N] [--plot]

Writes `artifacts/results/encoder_speed.json`; with `--plot` times nothing and draws `encoder_tradeoff.png` from that
file and the kept results of Flickr8k (`python -m benchmarks.results_table --keep`) beside it, of captioners that are
named like their encoder. Weights are random: they do not change the time, and VGG16's need not be had.
"""

import argparse
import json
import statistics
import time

from captioner import config, startup
from captioner.artifacts import results

SPEED_FILE = results.RESULTS_DIR / "encoder_speed.json"
PLOT_FILE = results.RESULTS_DIR / "encoder_tradeoff.png"
BATCH_SIZES = (1, 32)


def time_encoders(rounds: int) -> dict[str, dict[str, float]]:
    """Returns for each encoder its size and the median milliseconds for a photo, alone and in a batch.

    Args:
        rounds: How often each is timed; they take turns, so that what else the machine does hits all alike.
    """
    import numpy as np

    from captioner.encoders import specs
    from captioner.encoders.encoder import load_encoder

    loaded = {name: load_encoder(name, weights=None) for name in specs.ENCODERS}
    random = np.random.default_rng(0)
    photos = {
        name: random.integers(0, 256, (max(BATCH_SIZES), encoder.image_size, encoder.image_size, 3), dtype=np.uint8)
        for name, encoder in loaded.items()
    }
    seconds = {(name, size): [] for name in loaded for size in BATCH_SIZES}
    for round_number in range(rounds + 1):
        for (name, size), times in seconds.items():
            started = time.perf_counter()
            loaded[name].encode(photos[name][:size])
            if round_number:  # The first round is for the compiler.
                times.append((time.perf_counter() - started) / size)
    return {
        name: {"megabytes": _megabytes(encoder), "image_size": encoder.image_size}
        | {f"ms_batch_{size}": round(1000 * statistics.median(seconds[name, size]), 3) for size in BATCH_SIZES}
        for name, encoder in loaded.items()
    }


def draw_tradeoff(speeds: dict[str, dict], scores: dict[str, float]):
    """Draws validation CIDEr-D against size and time.

    Args:
        speeds: From `time_encoders`.
        scores: Encoder -> CIDEr-D of its captioner.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    labels = {
        "megabytes": "weights of the encoder (MB, log)",
        "ms_batch_32": "one pass over a photo, batches of 32 (ms, log)",
    }
    for axis, (key, label) in zip(axes, labels.items(), strict=True):
        for place, name in enumerate(sorted(scores, key=lambda name: speeds[name][key])):
            point = speeds[name][key], scores[name]
            axis.plot(*point, "o")
            # The cheapest has room on its left; the others stand above and below by turns.
            offset, side = ((-7, -4), "right") if not place else ((7, -12 if place % 2 else 5), "left")
            axis.annotate(name, point, offset, textcoords="offset points", horizontalalignment=side)
        for name in speeds:
            if name not in scores:
                axis.axvline(speeds[name][key], linestyle=":", color="grey")
                axis.annotate(
                    f"{name}: no score yet", (speeds[name][key], 1), (-12, 6), "data", "offset points", rotation=90
                )
        axis.set(xscale="log", xlabel=label, ylim=(0, 1.15 * max(scores.values())))
        axis.margins(x=0.3)
    axes[0].set_ylabel("validation CIDEr-D")
    figure.suptitle("What a smaller encoder costs in captions, and what it saves")
    return figure


def choose_scores(reports: dict[str, dict]) -> dict[str, float]:
    """Returns encoder -> validation CIDEr-D of its captioner with the search that the captioners have in common.

    Args:
        reports: As for `benchmarks.results_table.group_seeds`.
    """
    return {
        name: reports.get(f"{name}-seed0", report)["cider_d"]
        for name, report in reports.items()
        if name in config.ENCODERS
    }


def _megabytes(encoder) -> float:
    """The size of the weights that are used, as their files hold them: those that ship float16, others float32."""
    return round(encoder.model.count_params() * (2 if encoder.ships else 4) / 1e6, 2)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--plot", action="store_true", help="time nothing, draw what is known")
    options = parser.parse_args()
    SPEED_FILE.parent.mkdir(parents=True, exist_ok=True)
    if options.plot:
        speeds = json.loads(SPEED_FILE.read_text(encoding="utf-8"))["encoders"]
        scores = choose_scores(results.read_results())
        if unknown := sorted(scores.keys() - speeds.keys()):
            parser.error(f"not timed yet: {', '.join(unknown)}; run this command without --plot first")
        draw_tradeoff(speeds, scores).savefig(PLOT_FILE, dpi=110)
        print(f"Drew {PLOT_FILE.name}.")
        return
    startup.keep_freed_memory()
    startup.import_keras()
    from captioner.scoring import evaluation

    speeds = time_encoders(options.rounds)
    for name, row in speeds.items():
        times = ", ".join(f"{row[f'ms_batch_{size}']:.1f} ms in batches of {size}" for size in BATCH_SIZES)
        print(f"{name}: {row['megabytes']:.1f} MB, {times}")
    report = {"rounds": options.rounds, **evaluation.describe_machine(), "encoders": speeds}
    SPEED_FILE.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
