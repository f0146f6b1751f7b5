"""Training on captions, beside the popular recipe at equal widths."""

import os
import tempfile
from pathlib import Path

from benchmarks.speed import counting, measuring, popular_recipe
from captioner import config
from captioner.artifacts import saving
from captioner.data import datasets
from captioner.data.drawings import dataset as drawings
from captioner.data.vocabulary import SPECIAL_WORDS
from captioner.decoder.batches import CaptionBatches
from captioner.decoder.network import CaptionDecoder
from captioner.encoders import features
from captioner.training import teacher_forcing

_PHOTOS_OF_A_BATCH = 32  # Of the popular recipe, each with all its captions and all their prefixes.


def measure(*, small: bool = False) -> measuring.Report:
    """Measures training in captions a second."""
    photos, steps, rounds = (40, 1, 1) if small else (320, 8, 3)
    captioner = saving.load_captioner(config.SHIPPED_DIR / "compact")
    with tempfile.TemporaryDirectory() as folder:
        dataset = _find_dataset(Path(folder, "drawings"))
        paths = dict(list(dataset.photo_paths("train").items())[:photos])
        store = features.extract_features(captioner.encoder, paths, Path(folder, "features"), progress=False)
        references = {image_id: dataset.references[image_id] for image_id in store.image_ids}
        return compare(captioner, references, store, steps=steps, rounds=rounds, small=small)


def compare(captioner, references, store, *, steps: int, rounds: int, small: bool = False) -> measuring.Report:
    """Trains a fresh decoder and the popular recipe's model in turns on the same captions."""
    vocabulary, shape = captioner.vocabulary, captioner.decoder.settings
    settings = config.TrainingConfig()
    pairs = [(image_id, text) for image_id, texts in references.items() for text in texts]
    batches = CaptionBatches(pairs, store, vocabulary, batch_size=settings.batch_size, seed=measuring.SEED)
    decoder = CaptionDecoder(**captioner.decoder.sizes, decoder_config=shape)
    teacher_forcing.compile_decoder(decoder, settings, batches.num_batches)
    ours = batches.dataset()
    indices = popular_recipe.number_words(vocabulary.words[len(SPECIAL_WORDS) :])
    model = popular_recipe.build_model(store.pooled.shape[1], len(indices) + 1, shape.units, shape.embedding_size)
    vectors = {image_id: store.rows([image_id])[0].astype("float32") for image_id in store.image_ids}
    size = min(_PHOTOS_OF_A_BATCH, len(references))
    popular = popular_recipe.generate_batches(references, vectors, indices, size)
    steps = min(steps, batches.num_batches)
    product, gflop = measuring.build_product(small=small)
    seconds = measuring.take_turns(
        {
            "ours": lambda: decoder.fit(ours, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0),
            "popular": lambda: model.fit(popular, steps_per_epoch=1, epochs=1, shuffle=False, verbose=0),
            "product": product,
        },
        rounds,
    )
    each = len(pairs) / len(references)
    counts = {"ours": steps * min(settings.batch_size, len(pairs)), "popular": size * each, "product": gflop}
    rates = measuring.median_rates(seconds, counts)
    words = sum(len(text.split()) + 1 for _, text in pairs)
    # Theirs has a sample for each word and the end.
    merge = counting.count_merge_training(model, shape.units, shape.embedding_size, popular_recipe.MAX_LENGTH)
    work = {
        "ours": counting.count_training(decoder, words, len(pairs)) / len(pairs) / 1e9,
        "popular": merge * words / len(pairs) / 1e9,
    }
    names = {
        "ours": "ours: a caption in one pass, with attention over regions",
        "popular": "the popular recipe: a sample for each prefix, no attention",
    }
    rows = [
        [text, rates[name], rates[name] / rates["popular"], 100 * rates[name] * work[name] / rates["product"]]
        for name, text in names.items()
    ]
    return measuring.Report(
        "training",
        "Training the decoder",
        ["on cached features of `compact`", "captions/s", "times the popular recipe", "% of the limit"],
        rows,
        [
            f"{shape.units} units, {shape.embedding_size} for a word, {len(vocabulary):,} words on both sides. Both "
            "include making their batches.",
            f"The limit is arithmetic alone, at the {rates['product']:.0f} GFLOP/s that the largest product of "
            f"matrices made in this run: {work['ours']:.2f} GFLOP for a caption of ours, {work['popular']:.2f} of "
            "theirs, gradients included. With both at it ours would train "
            f"{work['popular'] / work['ours']:.1f} times as many captions. More than that is no matter of speed: at "
            "equal widths, it takes another network.",
            "What keeps ours from it: tanh of what attention compares and its gradient, arrays of 6.5 MB that are read "
            "and written some ten times for each word, no products at all; products of 128 rows for the LSTM; random "
            "numbers for dropout.",
            f"A batch of ours holds {settings.batch_size} captions, one of theirs all prefixes of all captions of "
            f"{size} photos.",
        ],
        {"captions": len(pairs), "steps": steps, "rounds": rounds},
    )


def _find_dataset(folder: Path) -> datasets.CaptionDataset:
    """Reads Flickr8k, or where it is not at hand, draws a data set."""
    source = os.environ.get(datasets.DATA_VARIABLE)
    return datasets.read_dataset(Path(source) if source else drawings.draw_dataset(folder, num_photos=60))
