"""Files and folders: the old or the new at every instant, and one sentence for who comes second."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from captioner import config, files


def write_folder(folder, text, *, keep=False):
    with files.replace_folder(folder, keep=keep) as new:
        (new / "inside").mkdir()
        for name in ("one", "inside/two"):
            (new / name).write_text(text)


def read_folder(folder):
    return [(folder / name).read_text() for name in ("one", "inside/two")]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_the_place_of_another(tmp_path):
    file = tmp_path / "a.weights.h5"
    for text in ("old", "new"):
        with files.replace_file(file) as beside:
            # Keras reads the format from the end of the name.
            assert beside.parent == tmp_path and beside.name.endswith("a.weights.h5")
            assert beside != file and not beside.exists()
            beside.write_text(text)
        assert file.read_text() == text
    assert names(tmp_path) == ["a.weights.h5"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_file_that_cannot_be_written_leaves_the_old_one_alone(tmp_path, error):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(type(error)), files.replace_file(file) as beside:
        beside.write_text("ne")
        raise error
    assert file.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    file, order = tmp_path / "a.txt", []
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: order.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    rename = os.replace
    monkeypatch.setattr(files.os, "replace", lambda *paths: (order.append("rename"), rename(*paths)))
    with files.replace_file(file) as beside:
        beside.write_text("new")
    assert order == [str(beside), "rename"]


def test_a_folder_takes_the_place_of_another_which_is_gone_or_kept(tmp_path):
    for text in ("first", "second"):
        write_folder(tmp_path / "a", text)
    assert read_folder(tmp_path / "a") == ["second", "second"] and names(tmp_path) == ["a"]
    for text in ("third", "fourth"):
        write_folder(tmp_path / "a", text, keep=True)
    assert names(tmp_path) == ["a", "a~1", "a~2"]
    assert [read_folder(tmp_path / name)[0] for name in names(tmp_path)] == ["fourth", "second", "third"]


def test_a_failure_within_leaves_the_old_folder_and_nothing_else(tmp_path):
    write_folder(tmp_path / "a", "old")
    with pytest.raises(OSError, match="disk full"), files.replace_folder(tmp_path / "a") as new:
        (new / "one").write_text("new")
        raise OSError("disk full")
    assert read_folder(tmp_path / "a") == ["old", "old"] and names(tmp_path) == ["a"]


def replace_and_be_killed(folder: Path, call: int) -> None:
    """Runs in another process, which kills itself at a call that changes the disk."""
    calls = []

    def count(function):
        def killing(*arguments, **named):
            calls.append(function)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return killing

    files.os.replace, files.os.fsync = count(os.replace), count(os.fsync)
    files.shutil.rmtree = count(files.shutil.rmtree)
    with files.hold(folder, "trying"):
        write_folder(folder, "new", keep=True)
    print(len(calls))


@pytest.mark.parametrize("call", range(1, 8))
def test_a_kill_at_any_step_leaves_the_old_or_the_new_and_is_healed(tmp_path, call):
    write_folder(tmp_path / "a", "old")
    code = (
        f"import pathlib, test_files; test_files.replace_and_be_killed(pathlib.Path({str(tmp_path / 'a')!r}), {call})"
    )
    path = f"{Path(__file__).parent}{os.pathsep}{config.PROJECT_DIR}"
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    # Two files and three renames after the removal of what an earlier try has left: six steps.
    assert (result.returncode, result.stdout) == ((-signal.SIGKILL, "") if call < 7 else (0, "6\n")), result.stderr
    files.heal_folders(tmp_path)
    kept = [
        read_folder(folder)[0] for folder in (tmp_path / "a", tmp_path / "a~1", tmp_path / ".old-a") if folder.exists()
    ]
    assert kept == (["old"] if call < 6 else ["new", "old"])
    # The next replacement tidies up and loses nothing that was whole.
    write_folder(tmp_path / "a", "newer", keep=True)
    assert names(tmp_path / "a") == ["inside", "one"]
    assert [read_folder(tmp_path / name)[0] for name in names(tmp_path) if "lock" not in name] == [
        "newer",
        *reversed(kept),
    ]


def hold_in_another_process(path):
    code = (
        "import time\n"
        "from captioner import files\n"
        f"with files.hold({str(path)!r}, 'training'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=config.PROJECT_DIR, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def test_the_second_is_told_who_is_first_and_a_killed_one_holds_nothing(tmp_path):
    run = tmp_path / "runs" / "a"
    process = hold_in_another_process(run)
    try:
        message = (
            rf"a is in use: process {process.pid} on \S+ has been training since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\. "
            "Wait until that has ended, or stop it."
        )
        with pytest.raises(BlockingIOError, match=message), files.hold(run, "looking"):
            pass
    finally:
        process.kill()
        process.wait()
    with files.hold(run, "looking"):
        assert (
            "looking" in (run.with_name(".lock-a")).read_text()
            and "training" not in run.with_name(".lock-a").read_text()
        )
    assert names(run.parent) == []


def test_a_lock_that_was_removed_when_it_was_got_is_got_again(tmp_path, monkeypatch):
    lock, tried = tmp_path / ".lock-a", []
    original = files._try_lock

    def remove_once(descriptor):
        tried.append(original(descriptor))
        if len(tried) == 1:
            # What another process does that had it until this moment.
            lock.unlink()
        return tried[-1]

    monkeypatch.setattr(files, "_try_lock", remove_once)
    with files.hold(tmp_path / "a", "trying"):
        assert tried == [True, True] and lock.exists()


def test_a_folder_that_is_being_replaced_is_not_healed(tmp_path):
    write_folder(tmp_path / "a", "old")
    (tmp_path / "a").rename(tmp_path / ".old-a")
    with files.hold(tmp_path / "a", "saving"):
        with pytest.raises(BlockingIOError, match="a is in use: .* has been saving since"):
            files.heal_folder(tmp_path / "a")
        files.heal_folders(tmp_path)
        assert not (tmp_path / "a").exists()
    files.heal_folder(tmp_path / "a")
    assert read_folder(tmp_path / "a") == ["old", "old"] and names(tmp_path) == ["a"]


def test_two_who_write_the_same_file_at_once_do_not_write_to_the_same_place(tmp_path):
    with files.replace_file(tmp_path / "part.csv", token="a") as first:
        first.write_text("whole")
        with files.replace_file(tmp_path / "part.csv", token="b") as second:
            second.write_text("whole")
        assert first.read_text() == "whole" and {first.suffix, second.suffix} == {".csv"}
    assert [path.name for path in tmp_path.iterdir()] == ["part.csv"]
