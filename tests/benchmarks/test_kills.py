"""Work that is killed ends as if it had not been; `benchmarks.kills` kills more often."""

import pytest

from benchmarks import kills
from captioner.data.drawings import dataset as drawings


@pytest.mark.slow
def test_an_extraction_that_is_killed_ends_with_the_same_bytes(tmp_path):
    drawings.draw_dataset(tmp_path / "drawings", num_photos=60)
    found = kills.run("extract", 2, 1, tmp_path)
    assert (found["kills"], found["different"]) == (2, 0)


def test_work_that_ends_before_its_time_was_not_killed(tmp_path, monkeypatch):
    worker = "import sys, time; print('ready', flush=True); sys.stdin.readline(); time.sleep(float(sys.argv[1]))"
    monkeypatch.setattr(kills, "_WORKER", f"{worker}; print('left')")
    assert kills._kill("60", tmp_path, 0.1)
    assert not kills._kill("0", tmp_path, 60)
    assert kills._run_to_end("0", tmp_path)[0] == "left"


def test_a_difference_is_counted(tmp_path, monkeypatch):
    left = iter(["a", "a", "b"])
    monkeypatch.setattr(kills, "_run_to_end", lambda *_: (next(left), 1.0))
    monkeypatch.setattr(kills, "_kill", lambda *_: True)
    monkeypatch.setattr(kills, "_MAX_IN_A_ROW", 1)
    found = kills.run("save", 2, 0, tmp_path)
    assert found == {"kills": 2, "trials": 2, "different": 1, "seconds_undisturbed": 1.0}
