"""The command `caption`: photos and folders of photos to text, CSV or JSON, row by row, and to files beside them."""

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import tqdm

from captioner import files, output
from captioner.command_line import resuming, sidecars, steps
from captioner.output import Row

# Of a long list, what a terminal shows.
_MAX_SHOWN = 20
# Of about so many finished photos it is seen whether this captioner and search would have written their rows.
_NUM_COMPARED = 16
# Seconds between the states of a progress bar: one that moves on a terminal, one now and then in a log.
_ON_TERMINAL, _IN_LOG = 0.1, 30


def run_caption(options: argparse.Namespace) -> int:
    """Captions photos and folders of photos."""
    if options.ray:
        from captioner.command_line import on_ray

        return on_ray.run_caption(options)
    steps.check_output(options.output)
    with _hold(options.output):
        return _Run(options).caption()


class _Run:
    """What has been done of a command, and what is left."""

    def __init__(self, options: argparse.Namespace):
        from captioner.artifacts import catalogue, confidence
        from captioner.data import photo_files

        self.options = options
        self.folder = catalogue.choose_captioner(options.captioner)
        catalogue.read_config(self.folder)
        self.worth = confidence.explain_confidence(catalogue.read_metrics(self.folder))
        listed = photo_files.list_photos(read_paths(options.paths), output=options.output)
        self.passed_over, self.unreachable = listed.summary(), _as_results(listed.unreadable)
        self.layout = output.choose_layout(options.format, options.alternatives, for_screen=options.output is None)
        finished: Mapping[str, Sequence[output.KeptRow]] = {}
        if options.resume and isinstance(self.layout, output.ResumableLayout):
            finished = resuming.read_finished(options.output, self.layout)
        self.missing, self.finished = resuming.leave_out(listed.photos, finished)
        self.num_done = len(self.finished)
        self.failed: list[Row] = []
        self.said: set[str] = set()
        self.sidecars = sidecars.SidecarWriter(replace=options.replace) if options.sidecar else None
        if self.sidecars:
            sidecars.check_folders(listed.photos)
        self.num_asked = len(listed.photos) + len(self.unreachable)

    def say(self, text: str) -> None:
        if not self.options.quiet:
            steps.say(text)

    def caption(self) -> int:
        """Captions the photos that are missing and returns the exit code."""
        if self.passed_over:
            self.say(self.passed_over)
        if self.options.resume:
            self.say(f"{self.num_done:,} of {self.num_asked:,} photos are in {self.options.output} already.")
        try:
            # A captioner takes seconds to load: not for photos of which none can be read.
            problems = _find_problems(self.missing)
            if len(problems) < len(self.missing):
                self.load_and_write()
            elif problems or self.unreachable:
                self.write([problems])
            else:
                self.write_finished_sidecars()
        except KeyboardInterrupt:
            steps.say(self.explain_stop())
            return 130
        return self.report()

    def load_and_write(self) -> None:
        from captioner.command_line import bulk

        options = self.options
        num_photos = f"{len(self.missing):,} photo{'s' * (len(self.missing) > 1)}"
        text = f"Loading {self.folder.name} for {num_photos} ..."
        with contextlib.nullcontext() if options.quiet else steps.waiting(text):
            captioner = steps.load_captioner(self.folder)
            self.check_finished(captioner)
            batches = bulk.caption_paths(captioner, self.missing, search_of(captioner, options))
            # They belong to it: TensorFlow compiles what they run.
            first = next(batches, [])
        with contextlib.closing(batches):
            self.write(itertools.chain([first], batches))

    def check_finished(self, captioner) -> None:
        """Checks on some of the finished photos that this captioner and this search wrote their rows.

        Their own words are compared, since people edit captions. Photos that can no longer be read tell nothing.

        Raises:
            ValueError: If most rows hold other words than the photo gets now.
        """
        from captioner.command_line import bulk

        some = self.finished[:: max(len(self.finished) // _NUM_COMPARED, 1)]
        batches = bulk.caption_paths(captioner, [path for path, _ in some], search_of(captioner, self.options))
        results = [found for batch in batches for _, found in batch]
        read = [(found, row) for found, (_, row) in zip(results, some, strict=True) if isinstance(found, list)]
        others = [(found[0].text, row.words) for found, row in read if found[0].text != row.words]
        if len(others) > len(read) / 2:
            now, kept = others[0]
            raise ValueError(
                f"{self.options.output} cannot be resumed: another captioner or search wrote it. Give the options of "
                f"the run that did, or name another file. Expected: rows like {now!r} of {self.folder.name}. "
                f"Received: {kept!r}"
            )

    def write(self, batches) -> None:
        self.write_finished_sidecars()
        if self.options.resume and isinstance(self.layout, output.ResumableLayout):
            resuming.drop_unfinished(self.options.output, self.layout)
        else:
            steps.set_aside(self.options.output)
        with (
            output.open_writer(self.options.output, self.layout, resume=self.options.resume) as writer,
            self.show_progress() as bar,
        ):
            for results in itertools.chain(batches, [self.unreachable]):
                rows = [make_row(path, found) for path, found in results]
                self.write_sidecars(results, rows)
                writer.write(rows)
                self.said |= {row.captions[0].confidence for row in rows if row.captions}
                self.failed += [row for row in rows if row.problem]
                self.num_done += sum(not row.problem for row in rows)
                bar.update(len(rows))

    def show_progress(self) -> tqdm.tqdm:
        # Rows that come to a terminal show the progress themselves.
        on_screen = self.options.output is None and sys.stdout.isatty()
        disable = self.options.quiet or on_screen or len(self.missing) < 2
        return show_progress(self.num_asked, self.num_done, disable=disable)

    def explain_stop(self) -> str:
        done, target = f"{self.num_done:,} of {self.num_asked:,} photos", self.options.output
        if target is None or not self.num_done:
            return f"Stopped after {done}."
        if self.options.format in output.RESUMABLE:
            return f"Stopped: {done} are in {target}, and the same command with --resume goes on after them."
        return f"Stopped: {done} are in {target}. With --format csv or jsonl, --resume could go on after them."

    def write_finished_sidecars(self) -> None:
        """Writes sidecars of photos that were finished before, perhaps without any."""
        if self.sidecars:
            for path, row in self.finished:
                self.sidecars.write(path, row.caption)

    def write_sidecars(self, results, rows: Sequence[Row]) -> None:
        """Writes sidecars before the rows of their photos: whoever resumes takes a row for all that was asked."""
        for (path, _), row in zip(results, rows, strict=True):
            if self.sidecars and row.captions:
                self.sidecars.write(path, row.sentences[0])

    def report(self) -> int:
        """Says in the end what the captioner's words are worth and what could not be done; returns the exit code."""
        for word, sentence in self.worth.items():
            if word in self.said:
                self.say(f"{word}: {sentence}")
        if self.sidecars and self.sidecars.num_written:
            self.say(f"Sidecars written beside the photos: {self.sidecars.num_written:,}.")
        refused = self.sidecars.refused if self.sidecars else {}
        if refused:
            steps.say(f"Sidecars not written: {len(refused):,}. With --replace, what is there is kept as NAME~1.")
            _list_lines([f"{path}: {reason}" for path, reason in refused.items()])
        if self.failed:
            steps.say(f"{len(self.failed):,} of {self.num_asked:,} photos could not be captioned:")
            _list_lines([f"{row.name}: {row.problem}" for row in self.failed])
        return 1 if self.failed or refused else 0


def _list_lines(lines: Sequence[str]) -> None:
    # A log keeps all of them.
    shown = lines[:_MAX_SHOWN] if sys.stderr and sys.stderr.isatty() else lines
    for line in shown:
        steps.say(f"  {line}")
    if len(shown) < len(lines):
        steps.say(f"  and {len(lines) - len(shown):,} more: 2> FILE keeps the whole list.")


def search_of(captioner, options):
    """Returns the search for the options `num_beams`, `length_penalty` and `alternatives`."""
    num_beams = max(options.num_beams or captioner.settings.num_beams, options.alternatives + 1)
    return steps.change_search(captioner, num_beams=num_beams, length_penalty=options.length_penalty)


def show_progress(total: int, initial: int, *, disable: bool) -> tqdm.tqdm:
    """Returns a bar of photos: one that moves on a terminal, one now and then in a log."""
    return tqdm.tqdm(
        total=total,
        initial=initial,
        unit="photo",
        dynamic_ncols=True,
        mininterval=_ON_TERMINAL if sys.stderr and sys.stderr.isatty() else _IN_LOG,
        disable=disable or sys.stderr is None,
    )


def read_paths(paths: Sequence[str]) -> list[str]:
    """Returns the paths, in the place of `-` those on standard input, one a line or each before a NUL.

    Raises:
        ValueError: If standard input holds none, or if a path is empty or a link.
    """
    if "" in paths:
        raise ValueError("A path is empty, perhaps a variable without a value. Name a photo or folder, . for this one.")
    found = []
    for path in paths:
        found += _read_standard_input() if path == "-" else [path]
    links = [path for path in found if path.lower().startswith(("http://", "https://", "ftp://"))]
    if links:
        raise ValueError(
            f"{links[0]} is a link, and photos are read from this computer alone. Save the photo, for example with "
            "a browser or curl, and name its file."
        )
    return found


def _read_standard_input() -> list[str]:
    content = sys.stdin.buffer.read() if sys.stdin else b""
    paths = content.split(b"\0") if b"\0" in content else content.splitlines()
    found = [os.fsdecode(path) for path in paths if path.strip()]
    if not found:
        raise ValueError("Standard input names no photo: expected a path a line, for example from find. Received: ''")
    return found


def _hold(path: Path | None) -> contextlib.AbstractContextManager:
    """Keeps a second command from writing to the same file, but not to the screen or a device."""
    if path is None or (path.exists() and not path.is_file()):
        return contextlib.nullcontext()
    return files.hold(path.resolve(), "writing captions")


def _find_problems(paths: Sequence[Path]) -> list[tuple[Path, Exception]]:
    """Returns why photos cannot be read, as far as the first that can."""
    from captioner.data import decoders, photos

    found: list[tuple[Path, Exception]] = []
    for path in paths:
        try:
            decoders.shared_pool().load_photo(path, 1)
        except (photos.PhotoError, OSError) as error:
            found.append((path, error))
        else:
            break
    return found


def _as_results(unreadable: Mapping[Path, str]) -> list[tuple[Path, Exception]]:
    return [(path, OSError(reason)) for path, reason in unreadable.items()]


def make_row(path, found) -> Row:
    """Returns the row of a photo with its captions, or with the error that says why it has none."""
    return Row(str(path), problem=str(found)) if isinstance(found, Exception) else Row(str(path), found)
