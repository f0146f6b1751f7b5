"""What several captioners write together: at each word, the mean of their probabilities.

    python -m benchmarks.ensemble artifacts/NAME artifacts/OTHER ... [--test]

It is the upper bound for one decoder that would learn from them all, and is kept as a result. Each captioner encodes
the photos by its own encoder; the search is the first one's, and all need the same vocabulary.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from captioner import config, files, startup
from captioner.artifacts import results


def search_together(captioners: Sequence, features: Sequence[Sequence], image_ids: Sequence[str]) -> dict[str, str]:
    """Captions photos by several captioners at once.

    Args:
        captioners: The captioners, `M` of one vocabulary.
        features: Of each captioner the feature store of these photos.
        image_ids: The photos.

    Returns:
        Image id -> caption.

    Raises:
        ValueError: If their vocabularies differ.
    """
    import tensorflow as tf

    from captioner.decoder import beam_search
    from captioner.decoder.careful import CarefulClaims
    from captioner.decoder.network import DecoderStep

    words, settings = captioners[0].vocabulary, captioners[0].settings
    if strangers := [captioner.name for captioner in captioners if captioner.vocabulary.words != words.words]:
        raise ValueError(f"These captioners have other words than {captioners[0].name}: {', '.join(strangers)}.")
    steps = [DecoderStep(captioner.decoder) for captioner in captioners]

    def step(token_ids, parents, states):
        found = [one.step(token_ids, parents, state) for one, state in zip(steps, states, strict=True)]
        log_probs, attention_scores, states = zip(*found, strict=True)
        mean = tf.reduce_logsumexp(tf.stack(log_probs), axis=0) - tf.math.log(float(len(steps)))
        return mean, attention_scores[0], states

    search = beam_search.BeamSearch(
        step,
        start_id=words.start_id,
        end_id=words.end_id,
        forbidden_ids=(words.pad_id, words.start_id, words.unknown_id),
        said_once=words.said_once,
        weigh=CarefulClaims(words.words),
    )
    captions = {}
    for start in range(0, len(image_ids), 100):
        batch = image_ids[start : start + 100]
        pairs = zip(steps, features, strict=True)
        states = tuple(one.start(*store.rows(batch), settings.num_beams) for one, store in pairs)
        found = search.search(states, settings)
        captions |= {
            i: " ".join(words.words[t] for t in best.token_ids) for i, (best, *_) in zip(batch, found, strict=True)
        }
    return captions


def measure(folders: Sequence[Path], data: str, splits: Sequence[str]) -> dict:
    """Returns the report on the first split, with those on the others under their names."""
    from captioner.artifacts import saving
    from captioner.data import sources
    from captioner.inference import encode_split
    from captioner.scoring import claims, evaluation, metrics

    captioners = [saving.load_captioner(folder) for folder in folders]
    dataset, _ = sources.obtain_dataset(data, splits=splits)
    reports = {}
    for name in splits:
        encoded = [encode_split(captioner.encoder, dataset, name) for captioner in captioners]
        references = encoded[0].references
        captions = search_together(captioners, [split.features for split in encoded], list(references))
        reports[name] = (
            {"captioner": "ensemble", "members": [captioner.name for captioner in captioners]}
            | {"data": dataset.name, "split": name, "num_beams": captioners[0].settings.num_beams}
            | metrics.score_captions(captions, references)
            | {"meteor": metrics.score_meteor(captions, references)}
            | {"claims": claims.measure_claims(captions, references)}
            | evaluation.describe_machine()
        )
    first, *others = splits
    return reports[first] | {name: reports[name] for name in others}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captioners", type=Path, metavar="DIR", nargs="+")
    parser.add_argument("--data", default="auto", help="data set, as for train")
    parser.add_argument("--test", action="store_true", help="measure on the test split, too")
    options = parser.parse_args()
    startup.import_keras()
    report = measure(options.captioners, options.data, ("validation", "test") if options.test else ("validation",))
    file = results.RESULTS_DIR / "ensemble.json"
    with files.replace_file(file) as new:
        new.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{file.relative_to(config.PROJECT_DIR)}: CIDEr-D {report['cider_d']:.1f}, BLEU-4 {report['bleu_4']:.1f}")


if __name__ == "__main__":
    main()
