"""Millions of photos: `caption` and `extract` on a Ray cluster, with Ray Data.

Photos are dealt into parts, and each part becomes a file; see `parts` and `jobs` beside this. Through Ray go the names
of a part's photos, or the row group of Parquet that holds them; back come counts. Pixels, captions and features stay
with the worker, an actor with a captioner of its own, that has two parts in hand and two batches of pixels in memory at
most: nothing can pile up. A file gets its name when it is complete, and a part that is done twice gives the same file.
So every photo is there once, whoever dies meanwhile, and a run can go on after the files that are there.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from captioner import config, files, startup
from captioner.command_line import captioning, jobs, parts, steps

# A whole number of batches; what was in hand of a worker that dies, two parts at most, is done again.
_PHOTOS_PER_FILE = 1024
# Names and counts are small. By default a third of the memory would be set aside for them.
_STORE_BYTES = 100_000_000
# Of a worker without a GPU; a machine with more has several workers.
_MAX_CPUS = 4
# Of parts, which Ray's process here keeps in its memory.
_MAX_BLOCKS = 10_000
_MAX_FAILED_SHOWN = 20
_SECONDS_TO_CONNECT = 5
# How HTTP/2 begins, on both sides, and with it what Ray speaks: here the preface of a client and its empty SETTINGS.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
_PLAN_FILE = "_plan.json"


def run_caption(options: argparse.Namespace) -> int:
    """Captions photos on Ray; see `run`."""
    from captioner.artifacts import catalogue

    folder = catalogue.choose_captioner(options.captioner).resolve()
    catalogue.read_config(folder)
    choices = (options.num_beams, options.length_penalty, options.alternatives, options.format)
    return run(jobs.CaptionJob(folder, catalogue.version_of(folder), *choices), options)


def run_extract(options: argparse.Namespace) -> int:
    """Encodes photos on Ray; see `run`."""
    steps.start_tensorflow()
    from captioner.encoders import weights
    from captioner.encoders.encoder import load_encoder

    name, why = weights.choose_encoder(options.encoder)
    steps.say(why)
    path = str(options.encoder_weights.resolve()) if options.encoder_weights else "imagenet"
    mirrored = config.is_mirrored(name, options.mirrored)
    fingerprint = load_encoder(name, weights=path, mirrored=mirrored).fingerprint
    return run(jobs.ExtractJob(name, path, mirrored, fingerprint), options)


def run(job: jobs.CaptionJob | jobs.ExtractJob, options: argparse.Namespace) -> int:
    """Does a job for the photos that were asked for with what `--ray` names, and returns the exit code.

    Raises:
        OSError: If there are no photos, or files that are not to be replaced.
        ValueError: If Ray is not installed or does not answer, or if a worker cannot do its work.
    """
    _check_ray(options.ray)
    paths = captioning.read_paths(options.paths)
    dealt, passed_over = parts.deal(paths, options.photos_per_file or _PHOTOS_PER_FILE, job.format)
    run = _Run(job, dealt, options)
    if passed_over:
        run.say(passed_over)
    with files.hold(run.folder, "writing what is made of photos"):
        run.find_missing()
        if not run.missing:
            return 0
        run.say(f"{'Starting' if options.ray == 'local' else 'Joining'} Ray ...")
        with _connect(options.ray) as ray:
            run.open_folder()
            return run.work(ray)


class _Run:
    """What has been done of a job, and what is left."""

    def __init__(self, job: jobs.CaptionJob | jobs.ExtractJob, dealt: list[dict], options: argparse.Namespace):
        self.job, self.options, self.folder = job, options, options.output.resolve()
        digest = hashlib.sha256(repr((job, dealt)).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.num_asked = sum(part["num_photos"] for part in dealt)
        self.plan = {"photos": self.num_asked, "files": len(dealt), "digest": digest}
        self.missing, self.num_done, self.is_resumed = dealt, 0, False
        self.num_failed, self.failed = 0, list[str]()

    def say(self, text: str) -> None:
        if not self.options.quiet:
            steps.say(text)

    def find_missing(self) -> None:
        """Finds what is left to do in the folder, or refuses one that is not to be replaced."""
        named, plan = self.options.output, self.folder / _PLAN_FILE
        self.is_resumed = self.options.resume and plan.exists()
        if self.is_resumed:
            if files.read_json(plan, "Choose another folder.") != self.plan:
                raise ValueError(f"{named} is of other photos or options: give those of the run that wrote it.")
            self.leave_out_done()
            self.say(f"{self.num_done:,} of {self.num_asked:,} photos are in {named} already.")
        elif self.is_taken() and not self.options.replace:
            raise FileExistsError(
                f"{named} is there already. Go on with it by --resume, or ask for a new one by --replace: what is "
                f"there is then kept as {files.free_name(self.folder).name}."
            )

    def leave_out_done(self) -> None:
        there = {path.name for path in self.folder.iterdir()}
        self.missing = [part for part in self.missing if part["file"] not in there]
        self.num_done = self.num_asked - sum(part["num_photos"] for part in self.missing)

    def is_taken(self) -> bool:
        return self.folder.exists() and not (self.folder.is_dir() and not any(self.folder.iterdir()))

    def open_folder(self) -> None:
        """Makes the folder, and sets another aside."""
        if self.is_resumed:
            return
        if self.is_taken():
            kept = files.free_name(self.folder)
            os.replace(self.folder, kept)
            steps.say(f"{self.options.output} was there already: it is {kept.name} now.")
        self.folder.mkdir(parents=True, exist_ok=True)
        with files.replace_file(self.folder / _PLAN_FILE) as new:
            new.write_text(json.dumps(self.plan), encoding="utf-8")

    def work(self, ray: Any) -> int:
        """Has the missing files made, and returns the exit code."""
        try:
            workers = _choose_workers(ray.nodes(), self.options.workers)
            size = min(workers.pop("size"), len(self.missing))
            self.say(f"{size} worker{'s' * (size > 1)} for {len(self.missing):,} files; each begins by loading ...")
            self.follow(self.make_parts(ray, size, workers))
        except KeyboardInterrupt:
            self.leave_out_done()
            done = f"{self.num_done:,} of {self.num_asked:,} photos are in {self.options.output}"
            steps.say(f"Stopped: {done}, and the same command with --resume goes on after them.")
            return 130
        except ray.exceptions.RayError as error:
            reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "")
            raise ValueError(f"A worker cannot go on: {reason or type(error).__name__}") from None
        finally:
            for torn in self.folder.glob(".new-*"):
                torn.unlink(missing_ok=True)
        if self.num_failed:
            steps.say(f"{self.num_failed:,} of {self.num_asked:,} photos failed; their rows say why:")
            for line in self.failed:
                steps.say(f"  {line}")
        return 1 if self.num_failed else 0

    def make_parts(self, ray: Any, size: int, resources: dict) -> Iterator[dict]:
        """Yields the counts of each part when its file is there."""
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        # What is read by Ray's tasks waits for cores, which the workers have: items are there already.
        items = ray.data.from_items(self.missing, override_num_blocks=min(len(self.missing), _MAX_BLOCKS))
        # Unless told otherwise, Ray does again what a dead worker had in hand, and raises what a worker raises.
        made = items.map_batches(
            _Worker,
            fn_constructor_args=(self.job, self.folder, resources["num_cpus"]),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
            **resources,
        )
        # With one batch ahead, as by default, what is done would be told when the next is.
        for counts in made.iter_batches(prefetch_batches=0, batch_size=None, batch_format="pyarrow"):
            yield from counts.to_pylist()

    def follow(self, made: Iterator[dict]) -> None:
        with captioning.show_progress(self.num_asked, self.num_done, disable=self.options.quiet) as bar:
            for part in made:
                self.num_done += part["num_photos"]
                self.num_failed += part["num_failed"]
                self.failed += part["failed"][: _MAX_FAILED_SHOWN - len(self.failed)]
                bar.update(part["num_photos"])


class _Worker:
    """An actor: loads a captioner or encoder once, and makes one part after the other."""

    def __init__(self, job: jobs.CaptionJob | jobs.ExtractJob, folder: Path, num_cpus: int):
        # TensorFlow would take all cores, and other workers have theirs on this machine.
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(num_cpus)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        self._folder, self._write = folder, job.start()

    def __call__(self, batch):
        [part] = batch.to_pylist()
        # A worker that Ray has given up may be alive, and at the same part.
        with files.replace_file(self._folder / part["file"], token=uuid.uuid4().hex) as new:
            failed = self._write(parts.open_part(part), new)
        shown = [f"{row.name}: {row.problem}" for row in failed[:_MAX_FAILED_SHOWN]]
        return {"num_photos": [part["num_photos"]], "num_failed": [len(failed)], "failed": [shown]}


def _check_ray(address: str) -> None:
    """Checks at once what would come out late or never: that Ray is installed, and that a cluster answers."""
    if not importlib.util.find_spec("ray"):
        what = "'image-caption-generator[ray]'" if config.IS_INSTALLED else "-r requirements-ray.txt"
        raise ValueError(f"--ray needs Ray, which is not installed: pip install {what}.")
    if address == "local":
        return
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_SECONDS_TO_CONNECT) as connection:
            connection.sendall(_GREETING)
            is_ray = connection.recv(9)[3:4] == _GREETING[-6:-5]
    except (OSError, ValueError, OverflowError):
        is_ray = False
    if not is_ray:
        raise ValueError(
            f"No Ray cluster answers at {address!r}: expected local, or HOST:PORT as `ray start --head` prints it, on "
            "a machine that has joined that cluster."
        )


@contextlib.contextmanager
def _connect(address: str) -> Iterator[Any]:
    """Starts Ray on this computer, or joins a cluster; gives the library. What Ray says is not for the screen."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    # What it says of lost machines goes to standard output, whatever its log may say.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            _start(ray, address)
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            yield ray
        finally:
            ray.shutdown()


def _start(ray: Any, address: str) -> None:
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        with startup.without_errors():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own if address == "local" else {})
    # Where Ray is late, for one, it raises no more than an `Exception` that says so.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"Ray cannot be started or joined at {address!r}. Received: {reason}") from error


def _choose_workers(nodes: Sequence[dict], asked: int | None) -> dict:
    """Returns how many workers there are, and the cores and GPUs of each: one for each GPU, else for some cores."""
    machines = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if with_gpu := [machine for machine in machines if machine.get("GPU", 0) >= 1]:
        cpus = max(1, min(int(machine["CPU"] // machine["GPU"]) for machine in with_gpu))
        size = sum(int(min(machine["GPU"], machine["CPU"] // cpus)) for machine in with_gpu)
    else:
        cpus = min([_MAX_CPUS, *(int(machine["CPU"]) for machine in machines)])
        size = sum(int(machine["CPU"]) // cpus for machine in machines)
    if not size:
        raise ValueError("The Ray cluster has no core to give. Expected: a machine with CPU among its resources.")
    return {"size": min(asked or size, size), "num_cpus": cpus, "num_gpus": int(bool(with_gpu))}
