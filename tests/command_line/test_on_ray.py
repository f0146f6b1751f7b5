"""`--ray`: what is checked before Ray starts, how a run goes on, and a cluster that loses a machine on the way."""

import argparse
import contextlib
import importlib.util
import json
import os
import re
import shutil
import socket
import threading
import time

import pytest
from helpers import check_sentence, run
from pyarrow import parquet

from captioner import config
from captioner.command_line import on_ray


class Ray:
    """Stands for Ray, which is not needed to make the parts in this process."""

    @staticmethod
    def nodes():
        return [machine(CPU=1.0)]

    class exceptions:  # noqa: N801
        class RayError(Exception):
            """What Ray raises for what a worker raised."""


@pytest.fixture
def without_cluster(monkeypatch):
    """Makes parts in this process, one after the other; returns the names of their files."""
    made = []

    def make_parts(self, *_):
        worker = on_ray._Worker(self.job, self.folder, 1)
        for part in self.missing:
            batch = argparse.Namespace(to_pylist=lambda part=part: [part])
            [counts] = zip(*worker(batch).values(), strict=True)
            made.append(part["file"])
            yield dict(zip(("num_photos", "num_failed", "failed"), counts, strict=True))

    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setattr(on_ray, "_connect", lambda _: contextlib.nullcontext(Ray))
    monkeypatch.setattr(on_ray, "_check_ray", lambda _: None)
    monkeypatch.setattr(on_ray._Run, "make_parts", make_parts)
    return made


def caption(bundle, photos, output, *more):
    return run("caption", photos, "--captioner", bundle, "--ray", "local", "--output", output, *more)


def read_rows(folder):
    return [json.loads(line) for path in sorted(folder.glob("part-*")) for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("without_cluster")
def test_a_folder_becomes_files_and_what_failed_is_told(tiny_bundle, album, tmp_path, capsys):
    (album / "broken.jpg").write_bytes(b"no picture")
    arguments = ("--format", "jsonl", "--photos-per-file", 3)
    assert caption(tiny_bundle, album, tmp_path / "out", *arguments) == 1
    rows = read_rows(tmp_path / "out")
    assert [os.path.basename(row["photo"]) for row in rows] == ["a.JPG", "b.jpg", "broken.jpg", "c.jpg"]
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("_plan.json", "part-000000.jsonl", "part-000001.jsonl"),
    ]
    printed = capsys.readouterr()
    assert printed.out == "" and "4/4" in printed.err
    assert "1 of 4 photos failed; their rows say why:\n" in printed.err and "broken.jpg is not a picture" in printed.err


def test_a_run_goes_on_after_the_files_that_are_there(tiny_bundle, album, tmp_path, capsys, without_cluster):
    arguments = ("--photos-per-file", 1, "--quiet")
    assert caption(tiny_bundle, album, tmp_path / "out", *arguments) == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert parquet.read_table(tmp_path / "out").num_rows == 3
    (tmp_path / "out" / "part-000001.parquet").unlink()
    without_cluster.clear()
    assert caption(tiny_bundle, album, tmp_path / "out", *arguments[:2], "--resume") == 0
    assert without_cluster == ["part-000001.parquet"]
    assert f"2 of 3 photos are in {tmp_path / 'out'} already." in capsys.readouterr().err
    assert caption(tiny_bundle, album, tmp_path / "out", *arguments, "--resume") == 0
    assert without_cluster == ["part-000001.parquet"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == whole
    for other in (("--num-beams", 3), ("--alternatives", 1), ("--photos-per-file", 2)):
        assert caption(tiny_bundle, album, tmp_path / "out", *arguments, "--resume", *other) == 1
        check_sentence(capsys, "error: .*out is of other photos or options: give those of the run that wrote it.")


@pytest.mark.usefixtures("without_cluster")
def test_a_folder_that_is_there_is_kept(tiny_bundle, album, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert caption(tiny_bundle, album, tmp_path / "out", "--quiet") == 0
    before = (tmp_path / "out" / "part-000000.parquet").read_bytes()
    assert caption(tiny_bundle, album, tmp_path / "out", "--quiet") == 1
    check_sentence(
        capsys, "error: .*out is there already. Go on with it by --resume, .* by --replace: .* kept as out~1"
    )
    assert caption(tiny_bundle, album, tmp_path / "out", "--quiet", "--replace", "--num-beams", 1) == 0
    check_sentence(capsys, ".*out was there already: it is out~1 now.")
    assert (tmp_path / "out~1" / "part-000000.parquet").read_bytes() == before
    (tmp_path / "file").touch()
    assert caption(tiny_bundle, album, tmp_path / "file", "--quiet") == 1
    check_sentence(capsys, "error: .*file is there already.")


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (Ray.exceptions.RayError("x\n\nwhy\n"), 1)])
def test_a_run_that_ends_early_keeps_its_files_and_nothing_torn(
    tiny_bundle, album, tmp_path, capsys, without_cluster, monkeypatch, error, code
):
    make_parts = on_ray._Run.make_parts

    def stop(self, *given):
        # Its file is there, but Ray did not come to tell.
        next(make_parts(self, *given))
        (self.folder / ".new-0-part-000001.parquet").touch()
        yield from ()
        raise error

    monkeypatch.setattr(on_ray._Run, "make_parts", stop)
    assert caption(tiny_bundle, album, tmp_path / "out", "--quiet", "--photos-per-file", 2) == code
    stopped = "Stopped: 2 of 3 photos are in .*out, and the same command with --resume goes on after them."
    check_sentence(capsys, stopped if code == 130 else "error: A worker cannot go on: why\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_plan.json", "part-000000.parquet"]


def test_features_are_encoded_with_what_was_asked_for(tiny_encoder_known, album, tmp_path, without_cluster):
    arguments = ("--encoder", "tiny", "--no-mirrored", "--ray", "local", "--output", tmp_path / "out", "--quiet")
    assert run("extract", album, *arguments) == 0
    table = parquet.read_table(tmp_path / "out")
    assert table.column_names == ["photo", "pooled", "regions", "error"] and table.num_rows == 3
    assert (table.schema.metadata[b"encoder"], table.schema.metadata[b"mirrored"]) == (b"tiny", b"False")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("caption", "x", "--workers", 2), "--workers: only with --ray ADDRESS"),
        (("caption", "x", "--format", "parquet", "--output", "x"), "--format parquet needs --ray"),
        (("caption", "x", "--ray", "local"), "--ray needs PATH and --output"),
        (("caption", "x", "--ray", "local", "--output", "x", "--format", "json"), "--ray writes .*, and no sidecars"),
        (("extract", "x", "--output", "x"), "PATH, --output: only with --ray ADDRESS"),
        (("extract", "--ray", "local", "--output", "x"), "--ray needs PATH and --output"),
        (("extract", "x", "--ray", "local", "--output", "x", "--data", "x"), "--ray takes photos by PATH, not --data"),
        (("extract", "x", "--ray", "local", "--output", "x", "--encoder-weights", "x"), "--encoder-weights needs"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    assert re.search(message, capsys.readouterr().err)


def test_without_ray_the_sentence_says_what_to_install(tiny_bundle, album, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert caption(tiny_bundle, album, tmp_path / "out") == 1
    check_sentence(capsys, "error: --ray needs Ray, which is not installed: pip install -r requirements-ray.txt.")
    monkeypatch.setattr(config, "IS_INSTALLED", True)
    assert caption(tiny_bundle, album, tmp_path / "out") == 1
    check_sentence(capsys, r"error: --ray needs Ray, .*: pip install 'image-caption-generator\[ray\]'.")


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "127.0.0.1:x", "127.0.0.1:99999", "a web server"])
def test_an_address_without_a_cluster_is_one_sentence_at_once(
    address, capsys, tmp_path, tiny_bundle, album, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        if address == "a web server":
            address = f"127.0.0.1:{server.getsockname()[1]}"
            monkeypatch.setattr(on_ray, "_SECONDS_TO_CONNECT", 0.2)
        arguments = ("--captioner", tiny_bundle, "--ray", address, "--output", tmp_path / "out")
        assert run("caption", album, *arguments) == 1
    check_sentence(capsys, f"error: No Ray cluster answers at '{address}': expected local, or HOST:PORT as `ray start")
    assert not (tmp_path / "out").exists()


def test_ray_that_does_not_start_is_one_sentence():
    def init(*_, **__):
        raise Exception("The current node timed out during startup.\nMore of it.")

    with pytest.raises(ValueError, match=r"Ray cannot be started or joined at 'local'. Received: .* startup.$"):
        on_ray._start(argparse.Namespace(init=init), "local")


def machine(alive=True, **resources):
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("machines", "asked", "expected"),
    [
        ([machine(CPU=2.0)], None, (1, 2, 0)),
        ([machine(CPU=16.0), machine(CPU=8.0), machine(False, CPU=8.0), machine()], None, (6, 4, 0)),
        ([machine(CPU=16.0), machine(CPU=1.0)], 3, (3, 1, 0)),
        ([machine(CPU=16.0, GPU=2.0), machine(CPU=4.0, GPU=1.0), machine(CPU=64.0)], None, (3, 4, 1)),
    ],
)
def test_each_worker_has_a_gpu_or_some_cores(machines, asked, expected):
    size, cpus, gpus = expected
    assert on_ray._choose_workers(machines, asked) == {"size": size, "num_cpus": cpus, "num_gpus": gpus}


def test_a_cluster_without_cores_is_refused():
    with pytest.raises(ValueError, match="The Ray cluster has no core to give."):
        on_ray._choose_workers([machine()], None)


@pytest.mark.slow
def test_a_machine_that_dies_on_the_way_costs_no_photo(drawn_dir, tmp_path, monkeypatch, capsys):
    pytest.importorskip("ray", reason="Ray is not installed, so no cluster can be tested.")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    photos = shutil.copytree(drawn_dir / "Images", tmp_path / "photos")
    for number, broken in enumerate((b"", b"no picture")):
        (photos / f"broken{number}.jpg").write_bytes(broken)
    bundle, output = config.PROJECT_DIR / "artifacts" / "compact", tmp_path / "out"
    small = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    try:
        lost = cluster.add_node(**small)

        def kill():
            while not list(output.glob("part-*")):
                time.sleep(0.1)
            cluster.remove_node(lost, allow_graceful=False)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        arguments = ("caption", photos, "--captioner", bundle, "--format", "jsonl")
        assert run(*arguments, "--ray", cluster.address, "--photos-per-file", 2, "--output", output) == 1
        killer.join()
    finally:
        cluster.shutdown()
    assert "2 of 42 photos failed" in capsys.readouterr().err
    assert run(*arguments, "--output", tmp_path / "alone.jsonl") == 1
    alone = [json.loads(line) for line in (tmp_path / "alone.jsonl").read_text().splitlines()]
    shown = ("photo", "caption", "words", "error")
    assert [[row[key] for key in shown] for row in read_rows(output)] == [[row[key] for key in shown] for row in alone]
