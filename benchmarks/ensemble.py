"""What several captioners write together: at each word, the mean of their probabilities.

    python -m benchmarks.ensemble artifacts/NAME artifacts/OTHER ... [--test]

It is the upper bound for one decoder that would learn from them all, and is kept as a result. Each captioner encodes
the photos by its own encoder; all need the same vocabulary. The length penalty is chosen on validation; everything is
said once, and claims are not held back, so that nothing but the captioners is measured.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from captioner import config, files, startup
from captioner.artifacts import results


def search_together(
    captioners: Sequence,
    features: Sequence,
    image_ids: Sequence[str],
    settings: Sequence[config.DecodingConfig],
) -> list[dict[str, str]]:
    """Captions photos by several captioners at once.

    Args:
        captioners: The captioners, `M` of one vocabulary.
        features: Of each captioner the feature store of these photos.
        image_ids: The photos.
        settings: Ways to search.

    Returns:
        For each of them image id -> caption.

    Raises:
        ValueError: If their vocabularies differ.
    """
    import tensorflow as tf

    from captioner.decoder import beam_search
    from captioner.decoder.careful import CarefulClaims
    from captioner.decoder.rarity import measure_rarity
    from captioner.decoder.steps import DecoderStep

    words = captioners[0].vocabulary
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
        rarity=measure_rarity(words),
        weigh=CarefulClaims(words.words),
    )
    return [_write(steps, features, image_ids, search, one, words) for one in settings]


def _write(steps, features, image_ids, search, settings, words) -> dict[str, str]:
    captions = {}
    for start in range(0, len(image_ids), 100):
        batch = image_ids[start : start + 100]
        pairs = zip(steps, features, strict=True)
        states = tuple(one.start(*store.rows(batch), settings.num_beams) for one, store in pairs)
        found = search.search(states, settings)
        for image_id, (best, *_) in zip(batch, found, strict=True):
            captions[image_id] = " ".join(words.words[token_id] for token_id in best.token_ids)
    return captions


def measure(folders: Sequence[Path], data: str, splits: Sequence[str]) -> dict:
    """Returns the report on validation, with those on other splits, which come after it, under their names."""
    from captioner.artifacts import saving
    from captioner.data import sources
    from captioner.encoders.splits import encode_split
    from captioner.scoring import claims, evaluation, metrics

    captioners = [saving.load_captioner(folder) for folder in folders]
    dataset, _ = sources.obtain_dataset(data, splits=splits)
    base = dataclasses.replace(captioners[0].settings, say_once=True, careful=False, rarity=0.0, detector_weight=0.0)
    tried = [dataclasses.replace(base, length_penalty=penalty) for penalty in evaluation.LENGTH_PENALTIES]
    reports = {}
    for name in splits:
        encoded = [encode_split(captioner.encoder, dataset, name) for captioner in captioners]
        references = encoded[0].references
        found = search_together(captioners, [split.features for split in encoded], list(references), tried)
        scores = [metrics.score_captions(captions, references) for captions in found]
        # Validation comes first and chooses; then one search is left.
        best = max(range(len(tried)), key=lambda number: scores[number]["cider_d"])
        captions, tried = found[best], [tried[best]]
        reports[name] = (
            {"captioner": "ensemble", "members": [captioner.name for captioner in captioners]}
            | {"data": dataset.name, "split": name, **dataclasses.asdict(tried[0])}
            | scores[best]
            | metrics.score_meteor(captions, references)
            | {"claims": claims.measure_claims(captions, references)}
            | evaluation.describe_machine()
        )
    return reports["validation"] | {name: report for name, report in reports.items() if name != "validation"}


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
