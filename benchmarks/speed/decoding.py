"""Captions of a thousand photos from cached features, beside the popular recipe's greedy loop and the step's limit."""

import itertools
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.speed import counting, measuring, popular_recipe
from captioner import config
from captioner.artifacts import saving
from captioner.data.vocabulary import SPECIAL_WORDS
from captioner.encoders import features

_BEAMS = (1, 3, 5)


def measure(*, small: bool = False) -> measuring.Report:
    """Measures decoding in photos a second."""
    photos, others, rounds = (8, 1, 1) if small else (1000, 4, 3)
    captioner = saving.load_captioner(config.SHIPPED_DIR / "compact")
    with tempfile.TemporaryDirectory() as folder:
        paths = {path.name: path for path in measuring.find_photos(photos, Path(folder))}
        store = features.extract_features(captioner.encoder, paths, Path(folder, "features"), progress=False)
        return compare(captioner, store, others=others, rounds=rounds, small=small)


def compare(captioner, store, *, others: int, rounds: int, small: bool = False) -> measuring.Report:
    """Captions all photos of a cache with each number of beams, and `others` of them by the popular recipe."""
    found: dict[int, list] = {}
    works = {}
    for num_beams in _BEAMS:
        search = config.DecodingConfig(num_beams, length_penalty=captioner.settings.length_penalty)

        def caption(num_beams=num_beams, search=search):
            found[num_beams] = [captions for _, captions in captioner.caption_store(store, store.image_ids, search)]

        works[f"{num_beams}"] = caption
    shape, vocabulary = captioner.decoder.settings, captioner.vocabulary
    indices = popular_recipe.number_words(vocabulary.words[len(SPECIAL_WORDS) :])
    model = popular_recipe.build_model(store.pooled.shape[1], len(indices) + 1, shape.units, shape.embedding_size)
    rows = itertools.cycle(store.pooled[: max(others, 1)].astype("float32"))
    # Its weights are random, so it is told where to stop: each word costs it the same.
    words = 11
    works["popular"] = lambda: [
        popular_recipe.write_caption(model, indices, row[None], words) for row in itertools.islice(rows, others)
    ]
    works["product"], gflop = measuring.build_product(small=small)
    seconds = measuring.take_turns(works, rounds)
    counts = dict.fromkeys(works, len(store.image_ids)) | {"popular": others, "product": gflop}
    rates = measuring.median_rates(seconds, counts)
    table = []
    for num_beams in _BEAMS:
        work = counting.count_search(captioner.decoder, found[num_beams], num_beams) / 1e9 / len(store.image_ids)
        rate = rates[f"{num_beams}"]
        share = 100 * rate * work / rates["product"]
        table.append([f"ours, {num_beams} beams", rate, 1000 / rate, rate / rates["popular"], share])
    table.append(["the popular recipe, greedy", rates["popular"], 1000 / rates["popular"], 1.0, None])
    step = counting.count_search_step(captioner.decoder)
    bandwidth, size = measuring.measure_bandwidth(rounds=rounds), store.pooled[0].nbytes + store.regions[0].nbytes
    mean = np.mean([len(captions[0].words) for captions in found[3]])
    return measuring.Report(
        "decoding",
        "Captions from cached features",
        ["`compact`", "photos/s", "s for 1,000 photos", "times the popular recipe", "% of the step's limit"],
        table,
        [
            f"A step of a beam takes {step / 1e6:.1f} MFLOP in products of matrices; the largest product made "
            f"{rates['product']:.0f} GFLOP/s in this run. A photo is counted the steps of its longest caption. Beside "
            "the products a step computes tanh of each region's comparison, a softmax over all words and the best of "
            "them, which are no products and are not counted.",
            f"Features are {size / 1e3:.0f} kB for a photo. Memory is copied at {bandwidth:.1f} GB/s: enough for "
            f"{bandwidth * 1e9 / size:,.0f} photos/s, so reading them is not what limits.",
            f"Ours writes {mean:.1f} words (3 beams). The popular recipe's weights are random; it stops after {words} "
            f"words, and its time is that of {others} photos.",
        ],
        {"photos": len(store.image_ids), "photos_of_the_popular_recipe": others, "rounds": rounds},
    )
