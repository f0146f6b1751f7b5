"""What a worker makes of photos: the captions of `caption` and the features of a cache, whatever file they come in."""

import csv
import json

import numpy as np
import pytest
from helpers import run
from pyarrow import parquet

from captioner.artifacts import catalogue
from captioner.command_line import bulk, jobs
from captioner.encoders import features


@pytest.fixture
def photos(album):
    """Two photos of a folder, one of Parquet, one that is broken and one that could not be reached."""
    return [
        album / "a.JPG",
        bulk.NamedPhoto("=odd", (album / "b.jpg").read_bytes()),
        bulk.NamedPhoto("broken", b"no picture"),
        album / "within" / "c.jpg",
        bulk.NamedPhoto("lost.jpg", problem="is a link to nothing"),
    ]


@pytest.fixture
def job(tiny_bundle):
    def make(form, alternatives=1):
        return jobs.CaptionJob(tiny_bundle, catalogue.version_of(tiny_bundle), 2, None, alternatives, form)

    return make


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_files_of_captions_are_those_that_caption_writes(job, photos, album, tmp_path, form):
    failed = job(form).start()([photos[0], photos[3]], tmp_path / "part")
    arguments = ("--captioner", job(form).captioner, "--num-beams", 2, "--alternatives", 1, "--format", form)
    assert run("caption", photos[0], photos[3], *arguments, "--output", tmp_path / "whole") == 0
    assert (tmp_path / "part").read_bytes() == (tmp_path / "whole").read_bytes()
    assert failed == []


def test_parquet_holds_the_same_columns_and_a_broken_photo_has_its_reason(job, photos, tmp_path):
    failed = job("parquet").start()(photos, tmp_path / "part.parquet")
    job("jsonl").start()(photos, tmp_path / "part.jsonl")
    rows = parquet.read_table(tmp_path / "part.parquet").to_pylist()
    assert rows == [json.loads(line) for line in (tmp_path / "part.jsonl").read_text().splitlines()]
    assert [row["photo"] for row in rows] == [str(photos[0]), "=odd", "broken", str(photos[3]), "lost.jpg"]
    assert [bool(row["caption"]) for row in rows] == [True, True, False, True, False]
    assert [row.name for row in failed] == ["broken", "lost.jpg"]
    assert rows[2]["error"].startswith("broken is not a picture") and rows[4]["error"] == "is a link to nothing"


def test_names_of_parquet_are_no_formulas_in_csv(job, photos, tmp_path):
    job("csv").start()(photos, tmp_path / "part.csv")
    with open(tmp_path / "part.csv", newline="", encoding="utf-8-sig") as file:
        assert [row["photo"] for row in csv.DictReader(file)][1] == "'=odd"


def test_another_captioner_in_the_same_folder_of_another_machine_is_refused(job):
    other = jobs.dataclasses.replace(job("csv"), version="tiny 0123")
    with pytest.raises(ValueError, match=r"tiny is another one here. Expected: tiny 0123. Received: tiny [0-9a-f]{64}"):
        other.start()


def test_features_are_those_of_the_cache_to_the_bit(tiny_captioner, photos, tmp_path):
    encoder = tiny_captioner.encoder
    given = {"a": photos[0], "c": photos[3]}
    store = features.extract_features(encoder, given, tmp_path / "cache", progress=False)
    failed = jobs.ExtractJob("tiny", "imagenet", False, encoder.fingerprint).start()(photos, tmp_path / "f.parquet")
    table = parquet.read_table(tmp_path / "f.parquet")
    assert [row.name for row in failed] == ["broken", "lost.jpg"]
    assert table["photo"].to_pylist() == [str(photo) for photo in photos]
    assert [bool(error) for error in table["error"].to_pylist()] == [False, False, True, False, True]
    assert table["regions"].null_count == table["pooled"].null_count == 2
    kept = table.filter(table["error"].is_null()).combine_chunks()
    for view, rows in zip(("pooled", "regions"), store.rows(["a", "c"]), strict=True):
        found = kept[view].chunk(0).to_numpy_ndarray()
        assert found.dtype == np.float16 and found.shape[1:] == rows.shape[1:]
        np.testing.assert_array_equal(found[[0, 2]], rows)
    assert table.schema.metadata[b"fingerprint"] == encoder.fingerprint.encode()


@pytest.mark.usefixtures("tiny_encoder_known")
def test_other_weights_on_another_machine_are_refused():
    with pytest.raises(ValueError, match=r"tiny has other weights here. Expected: 0123. Received: [0-9a-f]{16}"):
        jobs.ExtractJob("tiny", "imagenet", False, "0123").start()
