"""The command line: `python -m captioner COMMAND`.

Exit codes: 0 done, 1 something failed (what could be done is done), 2 wrong usage.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from captioner import startup
from captioner.command_line.arguments import parse_arguments
from captioner.output import (
    RESUMABLE,
    choose_layout,
    escape_unprintable,
    leave_out,
    open_text,
    open_writer,
    read_finished,
)

# Of a long list, what a terminal shows.
_MAX_FAILED_SHOWN = 20


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = parse_arguments(arguments, COMMANDS)
    # TensorFlow reads this when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return options.run(options)
    except BrokenPipeError:
        # Whoever reads the output, for example `head`, has enough. Python would complain when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, ValueError) as error:
        # Expected failures explain themselves in one sentence; anything else is a bug and keeps its trace-back.
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def run_caption(options: argparse.Namespace) -> int:
    """Captions photos and folders of photos."""
    from captioner.command_line import bulk
    from captioner.data import photo_files

    _check_output(options.output)
    listed = photo_files.list_photos(options.paths)
    files = listed.photos
    if summary := listed.summary():
        print(summary, file=sys.stderr)
    layout = choose_layout(options.format, options.alternatives, photos=map(str, files), bom=options.bom)
    finished, kept_bytes = read_finished(options.output, layout) if options.resume else ({}, 0)
    missing = leave_out(files, finished)
    num_done = len(files) - len(missing)
    failed, num_asked = list(listed.unreadable.items()), len(files) + len(listed.unreadable)
    if options.resume:
        print(f"{num_done:,} of {len(files):,} photos are in {options.output} already.", file=sys.stderr)
    if not missing:
        _list_failed(failed, num_asked)
        return 1 if failed else 0
    # Rows that come to a terminal show the progress themselves.
    hidden = len(missing) < 2 or (options.output is None and sys.stdout.isatty())
    try:
        captioner = _load_captioner(options.captioner)
        num_beams = max(options.num_beams or captioner.settings.num_beams, options.alternatives + 1)
        search = _choose_search(captioner, num_beams=num_beams, length_penalty=options.length_penalty)
        if not options.resume:
            _set_aside(options.output)
        with (
            open_writer(options.output, layout, kept_bytes=kept_bytes) as writer,
            bulk.show_progress(len(files), num_done, hidden=hidden) as bar,
            contextlib.closing(bulk.caption_paths(captioner, missing, search)) as batches,
        ):
            for results in batches:
                rows = [(str(path), found) for path, found in results if not isinstance(found, Exception)]
                writer.write(rows)
                num_done += len(rows)
                failed += [(path, found) for path, found in results if isinstance(found, Exception)]
                bar.update(len(results))
    except KeyboardInterrupt:
        print(_explain_stop(options, num_done, len(files)), file=sys.stderr)
        return 130
    _list_failed(failed, num_asked)
    return 1 if failed else 0


def run_evaluate(options: argparse.Namespace) -> int:
    """Captions one split and scores the captions."""
    _check_output(options.output)
    dataset = _read_split(options.data, options.split)
    captioner = _load_captioner(options.captioner)
    from captioner.encoders import features
    from captioner.scoring import evaluation

    store = features.extract_features(captioner.encoder, dataset.photo_paths(options.split))
    search = _choose_search(captioner, num_beams=options.num_beams)
    report = evaluation.evaluate_captioner(captioner, dataset, store, options.split, search=search)
    if store.failed:
        print(f"{len(store.failed)} photos could not be read and were left out:", file=sys.stderr)
        for image_id, reason in store.failed.items():
            print(f"  {image_id}: {reason}", file=sys.stderr)
    _write_report(report, options.output)
    return 0


def run_score(options: argparse.Namespace) -> int:
    """Scores captions from any source."""
    from captioner.scoring import metrics

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
    from captioner.data import datasets
    from captioner.encoders import features, weights
    from captioner.encoders.encoder import load_encoder

    name, why = weights.choose_encoder(options.encoder)
    print(why)
    dataset = datasets.read_dataset(options.data, options.splits)
    encoder = load_encoder(
        name,
        regions_layer=options.regions_layer,
        weights=options.encoder_weights or "imagenet",
        mirrored=options.mirrored,
    )
    failed = {}
    for split in options.splits:
        failed |= features.extract_features(encoder, dataset.photo_paths(split)).failed
    for image_id, reason in failed.items():
        print(f"  {image_id}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def run_train(options: argparse.Namespace) -> int:
    """Trains a captioner from photos to `artifacts/<name>`, as the notebook does."""
    _start_tensorflow()
    from captioner.training import recipe

    choices = {"epochs": options.epochs, "seed": options.seed}
    folder = recipe.train_captioner(
        options.data,
        options.encoder,
        name=options.name,
        encoder_weights=options.encoder_weights or "imagenet",
        mirrored=options.mirrored,
        decoder_choices={"attend_to": options.attend_to, "attention": options.attention},
        training_choices=choices,
    )
    print(f"The captioner is in {folder}.")
    return 0


def run_distill(options: argparse.Namespace) -> int:
    """Trains the encoder `compact` to see what a larger encoder sees, or goes on with that."""
    startup.keep_freed_memory()
    # Keras imports the backend that it is told to use.
    startup.import_quietly("keras")
    from captioner import config
    from captioner.data import datasets
    from captioner.data.drawings import dataset as drawings
    from captioner.distillation import trainer
    from captioner.distillation.lessons import read_lessons
    from captioner.distillation.teacher import Teacher

    taught_by = "without-teacher" if options.without_teacher else options.teacher
    folder = config.DATA_DIR / "distillation" / (options.name or f"compact-{taught_by}")
    listed = [datasets.read_dataset(options.data, ("train", "validation"))]
    teacher = Teacher(options.teacher)
    if options.drawings and not drawings.is_drawn(listed[0].folder):
        # Of a seed that no notebook draws by itself, so that its pictures stay unseen.
        drawn = drawings.draw_dataset(folder / "drawings", num_photos=options.drawings, seed=1)
        listed.append(datasets.read_dataset(drawn, ("train", "validation")))
    lessons = read_lessons(listed, teacher.image_size, progress=True)
    for path, reason in lessons.failed.items():
        print(f"  left out {path}: {reason}", file=sys.stderr)
    chosen = {"seed": options.seed, "views": options.views, "batch_size": options.batch_size}
    if options.without_teacher:
        chosen["teacher_weight"] = 0.0
    settings = config.DistillationConfig(**{name: value for name, value in chosen.items() if value is not None})
    run = trainer.Distillation(folder, lessons, teacher, settings)
    run.train(progress=True)
    run.export(folder)
    print(f"The encoder is in {folder}. To use it: train --encoder compact --encoder-weights {folder}")
    return 0


def run_download(options: argparse.Namespace) -> int:
    """Fetches Flickr8k."""
    from captioner.data import flickr8k

    print(f"Flickr8k is in {flickr8k.download_flickr8k(options.folder)}.")
    return 0


def run_page(options: argparse.Namespace) -> int:
    """Opens the page in a browser."""
    from captioner import config

    page = config.PROJECT_DIR / ("captioner/page/app.py" if config.IS_INSTALLED else "app.py")
    command = [sys.executable, "-m", "streamlit", "run", str(page)]
    return subprocess.call(command)  # noqa: S603  It runs this interpreter on this project's page.


COMMANDS = {
    "caption": run_caption,
    "evaluate": run_evaluate,
    "score": run_score,
    "extract": run_extract,
    "train": run_train,
    "distill": run_distill,
    "download": run_download,
    "page": run_page,
}


def _start_tensorflow() -> None:
    # Not for every command: it takes seconds, and a mistake is better told at once.
    startup.keep_freed_memory()
    startup.import_quietly()


def _load_captioner(name_or_folder: str | None):
    _start_tensorflow()
    from captioner.artifacts import catalogue, saving

    return saving.load_captioner(catalogue.choose_captioner(name_or_folder))


def _choose_search(captioner, **choices):
    """Returns the captioner's own search, changed where somebody chose otherwise."""
    return dataclasses.replace(
        captioner.settings, **{name: value for name, value in choices.items() if value is not None}
    )


def _read_split(folder: Path | None, split: str):
    """Reads one split, and the train captions for counting copies where they are at hand; never the third split."""
    from captioner.data import datasets

    try:
        return datasets.read_dataset(folder, ("train", split))
    except FileNotFoundError:
        return datasets.read_dataset(folder, (split,))


def _explain_stop(options: argparse.Namespace, num_done: int, num_photos: int) -> str:
    done = f"{num_done:,} of {num_photos:,} photos"
    if options.output is None or not num_done:
        return f"Stopped after {done}."
    if options.format in RESUMABLE:
        return f"Stopped: {done} are in {options.output}, and the same command with --resume goes on after them."
    return f"Stopped: {done} are in {options.output}. With --format csv or jsonl, --resume could go on after them."


def _list_failed(failed, num_photos: int) -> None:
    if not failed:
        return
    print(f"{len(failed):,} of {num_photos:,} photos could not be captioned:", file=sys.stderr)
    # A log keeps all of them.
    shown = failed[:_MAX_FAILED_SHOWN] if sys.stderr.isatty() else failed
    for path, reason in shown:
        print(f"  {escape_unprintable(f'{path}: {reason}')}", file=sys.stderr)
    if len(shown) < len(failed):
        print(f"  and {len(failed) - len(shown):,} more: 2> FILE keeps the whole list.", file=sys.stderr)


def _write_report(report: dict, output: Path | None) -> None:
    with open_text(output) as file:
        file.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _check_output(path: Path | None) -> None:
    """Holds that the output can be written, before the long work and not after it."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise FileNotFoundError(f"Cannot write {path}: name a file in a folder that exists.")


def _set_aside(path: Path | None) -> None:
    """Renames captions that are in the way: they may have taken hours, and `--resume` may have been forgotten."""
    if path is not None and path.is_file() and path.stat().st_size:
        kept = path.with_name(f"{path.name}~")
        path.replace(kept)
        print(f"{path} was there already: it is {kept.name} now.", file=sys.stderr)


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
