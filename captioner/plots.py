"""Figures for the notebook. `show` puts one on the page; the others return a Matplotlib figure."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from IPython import display
from PIL import Image

from captioner.inference import Caption
from captioner.scoring import claims, reliability

# Pixels of an inch; pages show as many as `_DPI`, dense screens all of them.
_DPI, _DENSE_DPI = 72, 110


def show(figure: matplotlib.figure.Figure, conclusion: str) -> None:
    """Puts a figure on the notebook's page, as JPEG, and below it what it shows.

    The titles in the figure are its text alternative for those who cannot see it; Markdown is rendered everywhere, an
    alternative not everywhere, so the sentence has to say what matters.

    Args:
        figure: From one of the functions below.
        conclusion: One or two sentences with a number, Markdown.
    """
    content = io.BytesIO()
    # As PNG photos would make the notebook several times larger.
    figure.savefig(content, format="jpeg", dpi=_DENSE_DPI)
    titles = [" ".join(axes.get_title().split()) for axes in figure.axes]
    width = round(figure.get_figwidth() * _DPI)
    display.display(
        display.Image(content.getvalue(), format="jpeg", width=width, alt="; ".join(filter(None, titles))),
        display.Markdown(conclusion),
    )


def show_photos(
    photos: Sequence[Image.Image], captions: Sequence[str], *, columns: int = 4, wrap: int = 36
) -> matplotlib.figure.Figure:
    """Photos in a grid, each with text below.

    Args:
        photos: Any sizes.
        captions: A text for each; its line breaks are kept, longer lines are wrapped.
        columns: Photos in a row.
        wrap: Characters of a line.
    """
    rows = math.ceil(len(photos) / columns)
    figure = matplotlib.figure.Figure(figsize=(3.2 * columns, 4.1 * rows), layout="constrained")
    for number, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        axes.axis("off")
        if number < len(photos):
            axes.imshow(photos[number])
            text = "\n".join(textwrap.fill(line, wrap) for line in captions[number].splitlines())
            axes.set_title(text, fontsize=9, y=-0.02, va="top", parse_math=False)
    return figure


def plot_lengths(lengths: Mapping[str, Sequence[int]], cut: int) -> matplotlib.figure.Figure:
    """Histogram of caption lengths in words, and where training cuts.

    Args:
        lengths: Split -> number of words of each caption.
        cut: Most words that training reads.
    """
    figure, axes = _figure("Length of captions", "words in a caption", "share of captions (%)")
    longest = max(max(values) for values in lengths.values())
    bins = np.arange(0.5, longest + 1.5)
    for split, values in lengths.items():
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, bins=bins, weights=weights, histtype="step", linewidth=1.8, label=split)
    axes.axvline(cut + 0.5, color="grey", linestyle="--", label=f"cut after {cut} words")
    axes.legend()
    return figure


def plot_history(history: Sequence[Mapping[str, float]]) -> matplotlib.figure.Figure:
    """Learning curves: perplexity on both splits, and CIDEr-D of freely written validation captions."""
    figure = matplotlib.figure.Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    best = max(history, key=lambda row: row["val_cider_d"])
    for key, label in (("perplexity", "train, with dropout"), ("val_perplexity", "validation")):
        left.plot(epochs, [row[key] for row in history], marker="o", label=label)
    left.set(
        title="Perplexity of the captions of the data set", xlabel="epoch", ylabel="perplexity (per word)", yscale="log"
    )
    right.plot(epochs, [row["val_cider_d"] for row in history], marker="o", color="tab:green")
    right.scatter([best["epoch"]], [best["val_cider_d"]], s=120, facecolors="none", edgecolors="black", label="best")
    right.set(title="Freely written validation captions", xlabel="epoch", ylabel="CIDEr-D (%)")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def plot_stages(stages: Mapping[str, Sequence[Mapping]]) -> matplotlib.figure.Figure:
    """CIDEr-D of freely written validation captions through the stages of a training, one after the other.

    Args:
        stages: Name -> its rows, each an `epoch` from 1 or a `round` from 0, with `val_cider_d` where it was measured.
    """
    figure, axes = _figure("Freely written validation captions, stage by stage", "epochs and rounds", "CIDEr-D (%)")
    before = 0
    for name, rows in stages.items():
        places = [before + row.get("epoch", row.get("round", 0)) for row in rows]
        measured = [
            (place, row["val_cider_d"]) for place, row in zip(places, rows, strict=True) if "val_cider_d" in row
        ]
        axes.plot(*zip(*measured, strict=True), marker="o", label=name)
        before = places[-1]
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return figure


def plot_beams(scores: Mapping[int, Mapping[str, float]]) -> matplotlib.figure.Figure:
    """Scores against the width of the search, each on an axis of its own.

    Args:
        scores: Number of beams -> scores with `cider_d` and `bleu_4`.
    """
    figure = matplotlib.figure.Figure(figsize=(10, 3.6), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, 2), (("cider_d", "CIDEr-D"), ("bleu_4", "BLEU-4")), strict=True):
        axes.plot(list(scores), [row[key] for row in scores.values()], marker="o")
        axes.set(title=f"{label} by width of the search", xlabel="number of beams", ylabel=f"{label} on validation (%)")
        axes.set_xticks(list(scores))
        axes.grid(alpha=0.3)
    return figure


def plot_controls(rows: Mapping[str, Mapping[str, float]]) -> matplotlib.figure.Figure:
    """CIDEr-D of a captioner beside its controls.

    Args:
        rows: Name -> scores with `cider_d`.
    """
    figure, axes = _figure("What a score means", "CIDEr-D (%)", "")
    names = list(rows)[::-1]
    bars = axes.barh(names, [rows[name]["cider_d"] for name in names], color="tab:blue")
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_ylabel("captions of")
    axes.margins(x=0.12)
    return figure


def plot_claims(rows: Mapping[str, Mapping[str, Mapping]]) -> matplotlib.figure.Figure:
    """How often captions claim what no reference says.

    Args:
        rows: Name -> claims, from `captioner.scoring.claims.measure_claims`. Of what nobody claimed there is no bar.
    """
    figure, axes = _figure("What captions claim and no reference says", "share of the claims (%)", "claims")
    kinds = list(claims.LABELS)[::-1]
    height = 0.8 / len(rows)
    for number, (name, found) in enumerate(rows.items()):
        shares = [found[kind]["percent"] for kind in kinds]
        places = np.arange(len(kinds)) + (0.4 - height / 2) - number * height
        bars = axes.barh(places, [share or 0 for share in shares], height, label=name)
        axes.bar_label(bars, ["" if share is None else f"{share:.0f}" for share in shares], padding=3)
    axes.set_yticks(range(len(kinds)), [claims.LABELS[kind] for kind in kinds])
    axes.margins(x=0.12)
    axes.legend()
    return figure


def plot_reliability(report: Mapping) -> matplotlib.figure.Figure:
    """How often captions are right, from the least to the most confident.

    Args:
        report: From `captioner.scoring.calibration.calibrate`, of enough photos.
    """
    figure, axes = _figure(
        "Does confidence mean right?", "log-probability for each word", "captions that are right (%)"
    )
    bins, curve = report["bins"], reliability.ChanceCurve(**report["curve"])
    places = np.array([row["confidence"] for row in bins])
    right, low, high = 100 * np.array([(row["right"], *row["interval"]) for row in bins]).T
    axes.errorbar(places, right, (right - low, high - right), fmt="o", capsize=3, label="captions, 95% interval")
    line = np.linspace(places.min(), places.max(), 100)
    axes.plot(line, 100 * curve(line), color="tab:green", label="fitted chance")
    for key, style in (("fairly_sure_from", ":"), ("sure_from", "--")):
        if report[key] is not None:
            label = f'"{key.removesuffix("_from").replace("_", " ")}" from here on'
            axes.axvline(report[key], color="grey", linestyle=style, label=label)
    axes.set_ylim(0, 100)
    axes.legend()
    return figure


def show_attention(photo: Image.Image, caption: Caption, *, columns: int = 6) -> matplotlib.figure.Figure:
    """The photo, then for each word where the decoder looked before it wrote that word.

    Args:
        photo: The photo, any size.
        caption: A caption of a decoder that attends to regions.
        columns: Pictures in a row.
    """
    maps = caption.attention_maps()
    rows = math.ceil((len(maps) + 1) / columns)
    figure = matplotlib.figure.Figure(figsize=(2.1 * columns, 2.4 * rows), layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for one in axes:
        one.axis("off")
    axes[0].imshow(photo)
    axes[0].set_title("photo", fontsize=10)
    for number, word in enumerate(caption.words):
        one = axes[number + 1]
        one.imshow(caption.overlay(photo, number))
        one.set_title(f"{word} ({maps[number].sum():.0%})", fontsize=10)
    return figure


def _figure(title: str, xlabel: str, ylabel: str):
    figure = matplotlib.figure.Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    return figure, axes
