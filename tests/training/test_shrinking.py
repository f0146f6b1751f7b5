"""Captioners on smaller photos: the same network and decoder, measured anew."""

import json
import shutil

import keras
import numpy as np
import pytest

from captioner.artifacts import catalogue, manifest, saving
from captioner.command_line import commands
from captioner.data import datasets
from captioner.decoder.network import CaptionDecoder
from captioner.decoder.word_detector import WordDetector
from captioner.encoders import kernels, specs
from captioner.encoders.encoder import load_encoder
from captioner.inference import Captioner
from captioner.training import shrinking


def run(*arguments):
    return commands.main([str(argument) for argument in arguments])


def build_captioner(encoder, vocabulary, **shape):
    shape = {"units": 4, "embedding_size": 3, "attention_size": 3, "memory_size": 4} | shape
    sizes = len(vocabulary), encoder.pooled_size, encoder.num_regions, encoder.region_size
    return Captioner(CaptionDecoder(*sizes, shape), vocabulary, encoder, name="tiny")


@pytest.fixture
def learnt(tiny_captioner, tmp_path, monkeypatch):
    """A captioner on MobileNetV2, one kernel of which was fine-tuned."""
    keras.utils.set_random_seed(0)
    monkeypatch.setenv("CAPTIONER_WEIGHTS", str(tmp_path))
    network = specs.ENCODERS["mobilenet_v2"].build()
    network.save_weights(tmp_path / "mobilenet_v2_imagenet.weights.h5")
    encoder = load_encoder("mobilenet_v2", mirrored=True)
    kernel = encoder.network.get_layer("Conv1").kernel
    kernel.assign(2 * kernel)
    kernels.round_kernels([kernel])
    encoder.adopt_changes(("Conv1",))
    return build_captioner(encoder, tiny_captioner.vocabulary)


@pytest.fixture
def saved(learnt, tmp_path):
    known = {"data": "drawings", "seed": 4, "minutes": {"fine_tuning": 2.0}, "cider_d": 99.0, "run": "0123"}
    return saving.save_captioner(learnt, tmp_path / "mobilenet_v2-toy", known)


def test_network_and_decoder_stay_and_photos_get_smaller(learnt):
    shrunk = shrinking.shrink_captioner(learnt, version="tiny 0123")
    encoder = shrunk.encoder
    assert (encoder.name, encoder.image_size, encoder.mirrored) == ("compact", 192, False)
    assert encoder.facts == {"captioner": "tiny", "version": "tiny 0123"}
    for layer in (layer for layer in encoder.network.layers if layer.weights):
        expected = learnt.encoder.network.get_layer(layer.name).get_weights()
        for kept, weight in zip(layer.get_weights(), expected, strict=True):
            # Kernels are rounded as they will be saved.
            np.testing.assert_array_equal(kept, weight.astype(np.float16) if weight.ndim > 1 else weight)
    assert learnt.encoder.image_size == 224 and learnt.decoder.sizes["num_regions"] == 49
    # Of 36 regions it says what the other says of the same 36.
    random = np.random.default_rng(0)
    views = random.normal(size=(2, 1280)), random.normal(size=(2, 36, 1280))
    found, expected = (one.decoder.step(np.array([5, 6]), *one.decoder.start(*views)) for one in (shrunk, learnt))
    for one, other in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_words_stay_detected_by_the_same_weights(learnt):
    size, count = 2 * 1280, len(learnt.vocabulary)
    shared, kernel = np.ones((size, 2), np.float32), np.ones((2, 1), np.float32)
    learnt.adopt_detector(WordDetector(np.array([4], np.int32), shared, kernel, np.zeros(1, np.float32), count))
    assert shrinking.shrink_captioner(learnt).detector is learnt.detector


def test_only_captioners_on_mobilenet_v2_can_be_shrunk(tiny_captioner):
    with pytest.raises(ValueError, match="Only captioners on mobilenet_v2 can be shrunk. Received: tiny, on tiny"):
        shrinking.shrink_captioner(tiny_captioner)


def test_a_decoder_that_knows_the_places_of_another_grid_cannot_be_shrunk(learnt):
    bound = build_captioner(learnt.encoder, learnt.vocabulary, positions=True)
    with pytest.raises(ValueError, match="tiny cannot be shrunk: its decoder knows regions by their row and column."):
        shrinking.shrink_captioner(bound)


@pytest.mark.parametrize(
    ("name", "shrunk"),
    [("mobilenet_v2", "compact"), ("mobilenet_v2-taught", "compact-taught"), ("mine", "compact-mine")],
)
def test_it_is_called_after_what_it_was_made_of(learnt, name, shrunk):
    learnt.name = name
    assert shrinking.shrink_captioner(learnt).name == shrunk


def test_shrink_makes_a_measured_captioner_whose_report_says_how_it_was_trained(saved, drawn_dir, project, capsys):
    assert run("shrink", saved, "--data", drawn_dir) == 0
    folder = project / "artifacts" / "compact-toy"
    assert f"The captioner is in {folder}.\n" in capsys.readouterr().out
    report = catalogue.read_metrics(folder)
    assert (report["split"], report["num_photos"], report["seed"], report["minutes"]) == (
        "validation", 6, 4, {"fine_tuning": 2.0}
    )  # fmt: skip
    assert report["cider_d"] < 99 and report["run"] != "0123" and "test" not in report
    assert report["shrunk_from"] == {"captioner": "mobilenet_v2-toy", "version": catalogue.version_of(saved)}
    assert json.loads((folder / "encoder.json").read_text())["captioner"] == "mobilenet_v2-toy"
    assert "It goes back to the captioner `mobilenet_v2-toy`." in (folder / "README.md").read_text(encoding="utf-8")
    assert (folder / "encoder.weights.h5").stat().st_size < 5.5e6
    made = shrinking.shrink_captioner(saving.load_captioner(saved)).encoder
    assert saving.load_captioner(folder).encoder.fingerprint == made.fingerprint
    # Once more is the same captioner; one that was made of another goes elsewhere and is called by that.
    assert run("shrink", saved, "--data", drawn_dir) == 0
    (saved / "metrics.json").write_text(json.dumps({"data": "drawings"}))
    manifest.write_manifest(saved)
    assert run("shrink", saved, "--data", drawn_dir) == 0
    [other] = folder.parent.glob("compact-toy-*")
    assert {path.name for path in folder.parent.iterdir()} == {"compact-toy", "compact-toy~1", other.name}
    assert catalogue.read_metrics(other)["captioner"] == other.name
    assert run("shrink", saved, "--data", drawn_dir, "--name", "compact-toy") == 1
    assert "compact-toy is there already" in capsys.readouterr().err


def test_shrink_leaves_nothing_out_in_silence(saved, drawn_dir, project, tmp_path, capsys):
    album = shutil.copytree(drawn_dir, tmp_path / "drawings")
    broken = datasets.read_dataset(album, ("validation",)).image_ids("validation")[0]
    (album / "Images" / broken).write_bytes(b"no picture")
    assert run("shrink", saved, "--data", album) == 0
    assert "1 of 6 validation photos could not be read" in capsys.readouterr().err
    assert list(catalogue.read_metrics(project / "artifacts" / "compact-toy")["unreadable"]["validation"]) == [broken]


def test_shrink_measures_on_what_the_captioner_was_trained_on(saved, drawn_dir, project, capsys):
    (saved / "metrics.json").write_text(json.dumps({"data": "flickr8k"}))
    manifest.write_manifest(saved)
    assert run("shrink", saved, "--data", drawn_dir) == 1
    message = "error: mobilenet_v2-toy was trained on the data set flickr8k: name its folder with --data. Received: dra"
    assert message in capsys.readouterr().err


def test_shrink_of_another_captioner_is_one_sentence(tiny_bundle, drawn_dir, project, capsys):
    assert run("shrink", tiny_bundle, "--data", drawn_dir) == 1
    assert "error: Only captioners on mobilenet_v2 can be shrunk. Received: tiny, on tiny\n" in capsys.readouterr().err
