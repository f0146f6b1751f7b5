"""The command line: `python -m captioner COMMAND`.

Exit codes: 0 done, 1 something failed (what could be done is done), 2 wrong usage.
"""

import argparse
import contextlib
import csv
import json
import os
import sys
from pathlib import Path

from captioner import config, startup

SPLIT_CHOICES = ("validation", "test")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = _build_parser().parse_args(arguments)
    # TensorFlow reads this when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return options.run(options)
    except (OSError, ValueError) as error:
        # Expected failures explain themselves in one sentence; anything else is a bug and keeps its trace-back.
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def run_caption(options: argparse.Namespace) -> int:
    """Captions photos and folders of photos."""
    from captioner import photos

    _check_output(options.output)
    files = photos.list_photos(options.paths)
    captioner = _load_captioner(options.captioner)
    rows, failed = [], []
    for path, result in _caption_files(captioner, files, options):
        if isinstance(result, photos.PhotoError):
            failed.append((path, result))
        else:
            rows.append((str(path), result))
    _write_captions(rows, options)
    if failed:
        print(f"{len(failed)} of {len(files)} photos could not be captioned:", file=sys.stderr)
        for path, reason in failed:
            print(f"  {path}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def run_evaluate(options: argparse.Namespace) -> int:
    """Captions one split and scores the captions."""
    _check_output(options.output)
    dataset = _read_split(options.data, options.split)
    captioner = _load_captioner(options.captioner)
    from captioner import evaluation, features

    store = features.extract_features(captioner.encoder, dataset.photo_paths(options.split))
    report = evaluation.evaluate_captioner(captioner, dataset, store, options.split, num_beams=options.num_beams)
    if store.failed:
        print(f"{len(store.failed)} photos could not be read and were left out:", file=sys.stderr)
        for image_id, reason in store.failed.items():
            print(f"  {image_id}: {reason}", file=sys.stderr)
    _write_report(report, options.output)
    return 0


def run_score(options: argparse.Namespace) -> int:
    """Scores captions from any source."""
    from captioner import metrics

    _check_output(options.output)
    dataset = _read_split(options.data, options.split)
    train = {text for _, text in dataset.captions("train")} if "train" in dataset.splits else ()
    captions, num_unreadable = _read_captions(options.captions)
    references = dataset.references_of(options.split)
    captioned = {image_id: texts for image_id, texts in references.items() if image_id in captions}
    if len(references) - len(captioned) == num_unreadable:
        # A report of evaluate that left out photos which cannot be read is scored as it was.
        references = captioned
    scores = metrics.score_captions(captions, references, train_captions=train)
    _write_report({"data": dataset.name, "split": options.split, **scores, "captions": captions}, options.output)
    return 0


def run_extract(options: argparse.Namespace) -> int:
    """Encodes the photos of a data set into the feature cache."""
    _start_tensorflow()
    from captioner import datasets, encoders, features

    name, why = encoders.choose_encoder(options.encoder)
    print(why)
    dataset = datasets.read_dataset(options.data, options.splits)
    encoder = encoders.load_encoder(name, regions_layer=options.regions_layer)
    failed = {}
    for split in options.splits:
        failed |= features.extract_features(encoder, dataset.photo_paths(split)).failed
    for image_id, reason in failed.items():
        print(f"  {image_id}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def run_train(options: argparse.Namespace) -> int:
    """Trains a captioner from photos to `artifacts/<name>`, as the notebook does."""
    _start_tensorflow()
    from captioner import pipeline

    decoder = config.DecoderConfig(attend_to=options.attend_to, attention=options.attention)
    training = config.TrainingConfig(epochs=options.epochs, seed=options.seed)
    folder = pipeline.train_captioner(
        options.data, options.encoder, name=options.name, decoder_settings=decoder, training_settings=training
    )
    print(f"The captioner is in {folder}.")
    return 0


def run_distill(options: argparse.Namespace) -> int:
    """Trains the encoder `compact` to see what a larger encoder sees, or goes on with that."""
    _start_tensorflow()
    from captioner import datasets, distillation, supervision, targets

    dataset = datasets.read_dataset(options.data, ("train", "validation"))
    taught = supervision.Supervision(targets.prepare_targets(options.work / "targets", dataset, options.teacher))
    views = {} if options.views is None else {"views": options.views}
    settings = distillation.DistillationConfig(seed=options.seed, **views)
    run = distillation.Distillation(options.work, taught, settings)
    run.train(progress=True)
    print(f"The encoder is in {run.export(options.output)}.")
    return 0


def run_download(options: argparse.Namespace) -> int:
    """Fetches Flickr8k."""
    from captioner import download

    print(f"Flickr8k is in {download.download_flickr8k(options.folder)}.")
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m captioner", description="Caption photos; train and score captioners."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    caption = _add_command(commands, "caption", run_caption)
    caption.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="photos, or folders of photos")
    caption.add_argument(
        "--captioner", type=Path, metavar="DIR", help="folder of a captioner (default: the best in artifacts/)"
    )
    caption.add_argument(
        "--num-beams", type=_positive, default=None, metavar="N", help="width of the search (default: 3)"
    )
    caption.add_argument(
        "--alternatives", type=_not_negative, default=0, metavar="N", help="further captions of each photo"
    )
    caption.add_argument("--format", choices=("text", "json", "csv"), default="text", help="default: text")
    caption.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to the screen")

    evaluate = _add_command(commands, "evaluate", run_evaluate)
    evaluate.add_argument(
        "--captioner", type=Path, metavar="DIR", help="folder of a captioner (default: the best in artifacts/)"
    )
    _add_split_options(evaluate)
    evaluate.add_argument("--num-beams", type=_positive, default=None, metavar="N", help="width of the search")

    score = _add_command(commands, "score", run_score)
    score.add_argument(
        "captions", type=Path, metavar="CAPTIONS.json", help="image id -> caption, or a report of evaluate"
    )
    _add_split_options(score)

    extract = _add_command(commands, "extract", run_extract)
    _add_data_option(extract)
    extract.add_argument("--encoder", default="auto", help="vgg16, mobilenet_v2, compact or auto (default)")
    extract.add_argument("--regions-layer", metavar="LAYER", help="VGG16 also has block5_conv3")
    extract.add_argument("--splits", nargs="+", choices=config.SPLITS, default=list(config.SPLITS), help="default: all")

    train = _add_command(commands, "train", run_train)
    _add_data_option(train)
    train.add_argument("--encoder", default="auto", help="vgg16, mobilenet_v2, compact or auto (default)")
    train.add_argument("--name", help="name in artifacts/ (default: the encoder's, and that of other data)")
    train.add_argument("--epochs", type=_positive, default=config.TrainingConfig.epochs, metavar="N")
    train.add_argument("--seed", type=_not_negative, default=config.TrainingConfig.seed, metavar="N")
    train.add_argument("--attend-to", choices=("regions", "slots"), default=config.DecoderConfig.attend_to)
    train.add_argument("--attention", choices=("inside", "after"), default=config.DecoderConfig.attention)

    distill = _add_command(commands, "distill", run_distill)
    _add_data_option(distill)
    distill.add_argument("--teacher", default="mobilenet_v2", help="encoder to learn from (default: mobilenet_v2)")
    distill.add_argument("--views", type=_positive, metavar="N", help="how many photos it sees in all")
    distill.add_argument("--seed", type=_not_negative, default=0, metavar="N")
    distill.add_argument(
        "--work", type=Path, default=config.DATA_DIR / "distillation", metavar="DIR", help="targets and checkpoints"
    )
    distill.add_argument(
        "--output",
        type=Path,
        default=config.ARTIFACTS_DIR / "compact",
        metavar="DIR",
        help="default: artifacts/compact",
    )

    download = _add_command(commands, "download", run_download)
    download.add_argument("--folder", type=Path, metavar="DIR", help="default: data/flickr8k")
    return parser


def _add_command(commands, name: str, run) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=run.__doc__.rstrip("."), description=run.__doc__)
    command.set_defaults(run=run)
    return command


def _add_data_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data", type=Path, metavar="DIR", help="data set (default: FLICKR8K_DIR, else data/flickr8k)"
    )


def _add_split_options(command: argparse.ArgumentParser) -> None:
    _add_data_option(command)
    command.add_argument("--split", choices=SPLIT_CHOICES, required=True, help="the photos to score on")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the JSON there instead of to the screen")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return int(text)


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, not {text!r}")
    return int(text)


def _start_tensorflow() -> None:
    # Not for every command: it takes seconds, and a mistake is better told at once.
    startup.keep_freed_memory()
    startup.import_quietly()


def _load_captioner(folder: Path | None):
    _start_tensorflow()
    from captioner import bundle, catalogue

    # Keras prints to the screen when it fetches weights; there only captions and scores belong.
    with contextlib.redirect_stdout(sys.stderr):
        return bundle.load_captioner(catalogue.choose_captioner(folder))


def _read_split(folder: Path | None, split: str):
    """Reads one split, and the train captions for counting copies where they are at hand; never the third split."""
    from captioner import datasets

    try:
        return datasets.read_dataset(folder, ("train", split))
    except FileNotFoundError:
        return datasets.read_dataset(folder, (split,))


def _caption_files(captioner, files: list[Path], options: argparse.Namespace, batch_size: int = 32):
    """Yields each file with its captions, or with the error that says why it has none."""
    import numpy as np
    import tqdm

    from captioner import photos

    num_beams = max(options.num_beams or captioner.settings.num_beams, options.alternatives + 1)
    with tqdm.tqdm(total=len(files), unit="photo", disable=None if len(files) > 1 else True) as bar:
        for start in range(0, len(files), batch_size):
            batch = files[start : start + batch_size]
            readable, loaded = [], []
            for path in batch:
                try:
                    loaded.append(photos.load_photo(path, captioner.encoder.image_size))
                    readable.append(path)
                except photos.PhotoError as error:
                    yield path, error
            if loaded:
                captions = captioner.caption_photos(np.stack(loaded), num_beams=num_beams)
                yield from zip(readable, captions, strict=True)
            bar.update(len(batch))


def _write_captions(rows, options: argparse.Namespace) -> None:
    """Writes captions as the person asked for."""
    kept = options.alternatives + 1
    with _open_output(options.output) as file:
        if options.format == "json":
            content = [
                {"photo": path, "caption": found[0].text, "log_prob": found[0].log_prob}
                | ({"alternatives": [c.text for c in found[1:kept]]} if options.alternatives else {})
                for path, found in rows
            ]
            file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        elif options.format == "csv":
            writer = csv.writer(file)
            writer.writerow(["photo", "caption", *(f"alternative_{n}" for n in range(1, kept))])
            for path, found in rows:
                texts = [caption.text for caption in found[:kept]]
                writer.writerow([path, *texts, *[""] * (kept - len(texts))])
        else:
            width = max((len(path) for path, _ in rows), default=0)
            for path, found in rows:
                file.write(f"{path:<{width}}  {found[0].text}\n")
                file.writelines(f"{'':<{width}}  or: {caption.text}\n" for caption in found[1:kept])


def _write_report(report: dict, output: Path | None) -> None:
    with _open_output(output) as file:
        file.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _open_output(path: Path | None):
    # A file name need not be Unicode; nothing is lost over a name that cannot be written.
    if path is None:
        sys.stdout.reconfigure(errors="backslashreplace")
        return contextlib.nullcontext(sys.stdout)
    return open(path, "w", encoding="utf-8", errors="backslashreplace", newline="")


def _check_output(path: Path | None) -> None:
    """Holds that the output can be written, before the long work and not after it."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise FileNotFoundError(f"Cannot write {path}: name a file in a folder that exists.")


def _read_captions(path: Path) -> tuple[dict[str, str], int]:
    """Reads image id -> caption, or the `captions` of a report, and how many photos the report could not read."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: name a JSON file of image id -> caption.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        content = None
    num_unreadable = 0
    if isinstance(content, dict) and isinstance(content.get("captions"), dict):
        num_unreadable, content = content.get("unreadable_photos", 0), content["captions"]
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} must be a JSON object of image id -> caption, or a report of evaluate.")
    return content, num_unreadable


if __name__ == "__main__":
    sys.exit(main())
