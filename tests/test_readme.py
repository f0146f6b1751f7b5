"""The README says what the result files say."""

import importlib.util
import json

import pytest

from captioner import config

SPEC = importlib.util.spec_from_file_location("results_table", config.PROJECT_DIR / "benchmarks" / "results_table.py")
results_table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(results_table)


def test_the_table_in_the_readme_is_the_one_that_the_result_files_give():
    readme = results_table.README.read_text(encoding="utf-8")
    assert results_table.replace_table(readme, results_table.build_table(results_table.read_results())) == readme


def test_a_table_has_a_row_for_each_split_and_control():
    scores = dict.fromkeys(results_table.SCORES, 12.34)
    report = scores | {"split": "validation", "num_beams": 3, "controls": {"human": scores}}
    report["test"] = scores | {"split": "test", "num_beams": 3, "cider_d": 50.05}
    rows = results_table.build_table({"toy": report}).splitlines()[2:]
    assert rows[0] == "| **toy**, 3 beams | validation | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 |"
    assert rows[1] == "| **toy**, 3 beams | test | 12.3 | 12.3 | 12.3 | 12.3 | 50.0 | 12.3 |"
    assert rows[2].startswith("| people, each caption against the other four | validation |")


def test_a_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="README.md must hold the lines"):
        results_table.replace_table("# Title", "| table |")


def test_every_result_says_how_it_was_made():
    for name, report in results_table.read_results().items():
        for key in ("split", "seed", "versions", "num_photos", "date", "device", "minutes"):
            assert key in report, (name, key)
        assert "captions" not in json.dumps(list(report)), name


def test_a_result_is_kept_without_its_captions(tmp_path, monkeypatch):
    monkeypatch.setattr(results_table, "RESULTS_DIR", tmp_path / "results")
    report = {"data": "flickr8k", "captioner": "toy", "cider_d": 1.5, "captions": {"1.jpg": "a dog"}}
    (tmp_path / "metrics.json").write_text(json.dumps(report | {"test": {"cider_d": 2.5, "captions": {}}}))
    file = results_table.keep_result(tmp_path)
    assert file == tmp_path / "results" / "flickr8k-toy.json"
    kept = {"data": "flickr8k", "captioner": "toy", "cider_d": 1.5, "test": {"cider_d": 2.5}}
    assert json.loads(file.read_text()) == kept
    assert results_table.read_results() == {"toy": kept}
