"""Kept results: complete, without captions, best first."""

import json

import pytest

from captioner.artifacts import manifest, results
from captioner.scoring import evaluation


def test_every_kept_result_says_how_it_was_made():
    for name, report in results.read_results().items():
        for key in ("split", "seed", "versions", "num_photos", "date", "device", "minutes"):
            assert key in report, (name, key)
        assert "captions" not in report and "captions" not in report["test"], name


def test_every_published_score_has_its_source():
    published = results.read_published()
    assert len(published) >= 3
    for row in published:
        assert row.keys() >= {"name", "split", "source", *evaluation.HEADLINE}
        assert row["source"].startswith("https://")


def test_a_result_is_kept_without_its_captions_and_the_best_comes_first(tmp_path):
    made = {}
    for name, score in (("lesser", 1.5), ("better", 9.5)):
        report = {"data": "flickr8k", "captioner": name, "cider_d": score}
        captions = {"captions": {"1.jpg": "a dog"}}
        (tmp_path / "metrics.json").write_text(json.dumps(report | captions | {"test": {"cider_d": 2.5} | captions}))
        manifest.write_manifest(tmp_path)
        file = results.keep_result(tmp_path, tmp_path / "results")
        assert file == tmp_path / "results" / f"flickr8k-{name}.json"
        made[name] = report | {"test": {"cider_d": 2.5}}
    assert results.read_results(tmp_path / "results") == made
    assert list(results.read_results(tmp_path / "results")) == ["better", "lesser"]


@pytest.mark.parametrize("name", ["../own", "own/own", "C:own", "own\\n"])
def test_a_result_stays_in_its_folder(tmp_path, name):
    (tmp_path / "metrics.json").write_text(json.dumps({"data": "flickr8k", "captioner": name}))
    manifest.write_manifest(tmp_path)
    with pytest.raises(ValueError, match="lead to another folder. Received: 'flickr8k-"):
        results.keep_result(tmp_path, tmp_path / "results")
