"""Damaged text and JSON files through what reads them; `benchmarks.fuzz_files` tries many more."""

import json

import numpy as np
import pytest

from benchmarks import fuzz_files

SAMPLES = fuzz_files.make_samples()


@pytest.mark.parametrize("kind", SAMPLES)
def test_sound_samples_are_read(kind, tmp_path):
    contents = {name: text.encode() for name, text in SAMPLES[kind].items()}
    assert fuzz_files.judge(tmp_path, contents) == ("read", "")


def test_damaged_files_are_read_or_refused_in_one_sentence_and_nothing_else():
    found = fuzz_files.run(20 * len(SAMPLES), seed=1)
    assert (found["failures"], found["first_failures"]) == (0, [])
    assert set(found["by_kind"]) == set(SAMPLES)
    assert all(counts["refused"] for counts in found["by_kind"].values())


def test_a_file_has_its_number():
    first, second = (list(fuzz_files.draw_files(30, seed=3)) for _ in range(2))
    assert first == second and len({str(contents) for _, _, contents in first}) == 30


@pytest.mark.parametrize(
    "error", [KeyError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "x"), ValueError("two\nlines")]
)
def test_what_is_neither_a_result_nor_a_sentence_is_found(error, tmp_path, monkeypatch):
    def read(*_):
        raise error

    monkeypatch.setattr(fuzz_files, "read", read)
    contents = {name: text.encode() for name, text in SAMPLES["scores"].items()}
    assert fuzz_files.judge(tmp_path, contents)[0] == "failed"


def test_values_of_json_are_replaced_too():
    text = json.dumps({"a": [1, 2, 3], "b": {"c": "d"}})
    damaged = [fuzz_files.damage(text, np.random.default_rng(seed)) for seed in range(40)]
    sound = [content for content in damaged if _is_json(content)]
    assert len(sound) > 10 and all(content != text.encode() for content in sound)


def _is_json(content):
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
