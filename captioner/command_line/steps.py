"""Steps that several commands share. TensorFlow is imported in them alone, since a mistake is better told at once."""

import argparse
import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from captioner import config, files, output, startup

# Between two signs of life.
_DOT_SECONDS = 0.5


def say(text: object) -> None:
    """Tells the person something that is no result."""
    if sys.stderr:
        print(output.escape_steering(str(text)), file=sys.stderr, flush=True)


def _is_at_terminal() -> bool:
    with contextlib.suppress(AttributeError, OSError):  # Nothing is there, or it is no file.
        return os.isatty(sys.stderr.fileno())
    return False


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Says what takes seconds and, on a terminal, adds a dot every now and then until it is done."""
    if not _is_at_terminal():
        say(text)
        yield
        return
    done = threading.Event()
    # A way to the terminal of its own: while TensorFlow is imported, what goes to standard error is thrown away.
    with open(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="replace") as screen:

        def add_dots() -> None:
            while not done.wait(_DOT_SECONDS):
                print(".", end="", file=screen, flush=True)

        thread = threading.Thread(target=add_dots, daemon=True)
        print(output.escape_steering(text), end="", file=screen, flush=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            print(file=screen)


def check_output(path: Path | None) -> None:
    """Checks that the output can be written, before the long work and not after it."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise FileNotFoundError(f"Cannot write {path}: name a file in a folder that exists.")
    # A file that is there is set aside, which takes the right to its folder, too; a device is not.
    needed = [path, *([] if path.exists() and not path.is_file() else [path.absolute().parent])] if path else []
    if closed := [place for place in needed if place.exists() and not os.access(place, os.W_OK)]:
        raise PermissionError(f"Cannot write {path}: you have no right to write to {closed[-1]}. Name another file.")
    if path is None and sys.stdout is None:
        raise OSError("There is no standard output to write to: name a file with --output.")


def explain(error: Exception) -> str:
    """Returns the sentence of an expected error; those of the system itself are made one."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    reason = "you have no right to it" if isinstance(error, PermissionError) else error.strerror.lower()
    return f"{f'{error.filename} cannot be used' if error.filename else 'Reading or writing failed'}: {reason}."


def set_aside(path: Path | None) -> None:
    """Renames a file that is in the way of another, since it may have taken hours to make, and says so."""
    if path is not None and path.is_file() and path.stat().st_size:
        kept = path.replace(files.free_name(path))
        say(f"{path} was there already: it is {kept.name} now.")


def start_tensorflow() -> None:
    """Imports TensorFlow, which takes seconds."""
    startup.keep_freed_memory()
    startup.import_keras(with_extras=False)


def load_captioner(folder: Path):
    """Loads a captioner; see `captioner.artifacts.catalogue.choose_captioner` for its folder."""
    start_tensorflow()
    from captioner.artifacts import saving

    # Keras prints to the screen when it fetches weights; there only captions and scores belong.
    with contextlib.redirect_stdout(sys.stderr):
        return saving.load_captioner(folder)


def change_search(captioner, **choices):
    """Returns the captioner's own search, changed where somebody chose otherwise."""
    return dataclasses.replace(
        captioner.settings, **{name: value for name, value in choices.items() if value is not None}
    )


def say_notes(dataset) -> None:
    """Tells what a data set lacks."""
    for note in dataset.notes:
        say(note)


def locate_data(folder: Path | None) -> Path | None:
    """Returns the folder of the data set that `--data` names: the drawings have none of their own to name."""
    from captioner.data.drawings import dataset as drawings

    return drawings.draw_dataset() if folder == Path("drawn") else folder


def read_split(folder: Path | None, split: str):
    """Reads one split, and the train captions for counting copies where they are at hand; never the third split."""
    from captioner.data import datasets

    folder = locate_data(folder)
    try:
        dataset = datasets.read_dataset(folder, ("train", split))
    except FileNotFoundError:
        dataset = datasets.read_dataset(folder, (split,))
    say_notes(dataset)
    return dataset


def train_captions(dataset) -> set[str]:
    """Returns the train captions, if the data set was read with them."""
    return {text for _, text in dataset.captions("train")} if "train" in dataset.splits else set()


def say_unreadable(split) -> None:
    """Tells which photos of a split could not be read, before the long work without them."""
    if sentence := split.explain_unreadable():
        say(sentence)


def check_place(options: argparse.Namespace) -> None:
    """Checks, before the long work, that a captioner can be saved, and that its `--name` is free or to be replaced."""
    from captioner.artifacts import catalogue

    catalogue.check_writable()
    if options.name:
        catalogue.check_place(config.ARTIFACTS_DIR / options.name, replace=options.replace)


def choose_place(options: argparse.Namespace, name: str, run: str) -> tuple[Path, bool]:
    """Returns where a captioner goes, see `captioner.artifacts.catalogue.choose_place`."""
    from captioner.artifacts import catalogue

    return catalogue.choose_place(name, run, asked=options.name, replace=options.replace)


def say_missing(report: dict) -> None:
    """Tells which score a report lacks, and why."""
    if report.get("meteor_missing"):
        say(report["meteor_missing"])


def write_report(report: dict, path: Path | None) -> None:
    """Writes a report as JSON to a file, or to the screen for `None`, and tells what it lacks."""
    say_missing(report)
    set_aside(path)
    with output.open_text(path) as file:
        file.write(output.dump_json(report, indent=2, ascii_only=path is None and output.knows_few_letters()) + "\n")
