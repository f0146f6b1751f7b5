"""Saved captioners: whole or not there, and one sentence for each way they can be broken."""

import dataclasses
import io
import json
import os
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

from captioner import config, files
from captioner.artifacts import catalogue, manifest, parts, saving
from captioner.data import vocabulary
from captioner.decoder.network import CaptionDecoder
from captioner.decoder.word_detector import WordDetector
from captioner.encoders import specs
from captioner.encoders.encoder import load_encoder
from captioner.encoders.weights import WEIGHTS_VARIABLE
from captioner.page import markup

# A long run: CAPTIONER_FUZZ=1000 pytest -k mutated.
FUZZ_SEEDS = int(os.environ.get("CAPTIONER_FUZZ", "10"))


def read_all(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change_json(path, change):
    """Changes a file of a captioner, and its manifest with it."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    manifest.write_manifest(path.parent)


def test_a_reloaded_captioner_writes_the_same(tiny_captioner, tiny_bundle, drawn_photos):
    loaded = saving.load_captioner(tiny_bundle)
    pooled, regions = tiny_captioner.encoder.encode(drawn_photos)
    inputs = {"pooled": pooled, "regions": regions, "input_ids": np.full((len(pooled), 4), 5, np.int32)}
    np.testing.assert_array_equal(loaded.decoder(inputs), tiny_captioner.decoder(inputs))
    for before, after in zip(
        tiny_captioner.caption_photos(drawn_photos), loaded.caption_photos(drawn_photos), strict=True
    ):
        assert [c.text for c in before] == [c.text for c in after]
        assert [c.log_prob for c in before] == pytest.approx([c.log_prob for c in after])
    assert loaded.name == "tiny"
    assert loaded.settings == tiny_captioner.settings
    assert loaded.vocabulary.words == tiny_captioner.vocabulary.words
    assert loaded.encoder.fingerprint == tiny_captioner.encoder.fingerprint


def build_detector(captioner):
    size, count = captioner.encoder.pooled_size + captioner.encoder.region_size, len(captioner.vocabulary)
    word_ids = np.arange(4, count, dtype=np.int32)
    random, shapes = np.random.default_rng(0), ((size, 3), (3, len(word_ids)))
    matrices = (random.normal(size=shape).astype(np.float16).astype(np.float32) for shape in shapes)
    return WordDetector(word_ids, *matrices, np.zeros(len(word_ids), np.float32), count)


def test_a_word_detector_comes_back_with_its_captioner_and_tells_in_its_captions(
    build_captioner, tiny_captioner, tmp_path, drawn_photos
):
    captioner = build_captioner(tiny_captioner.encoder)
    captioner.adopt_detector(build_detector(captioner))
    captioner.settings = dataclasses.replace(captioner.settings, detector_weight=2.0)
    folder = saving.save_captioner(captioner, tmp_path / "grounded", {})
    loaded = saving.load_captioner(folder)
    expected = [[c.text for c in found] for found in captioner.caption_photos(drawn_photos)]
    assert [[c.text for c in found] for found in loaded.caption_photos(drawn_photos)] == expected
    plain = tiny_captioner.caption_photos(drawn_photos, dataclasses.replace(captioner.settings, detector_weight=0.0))
    assert [[c.text for c in found] for found in plain] != expected
    card = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
    assert f"how likely people are to use each of {len(captioner.vocabulary) - 4} words of a photo" in card
    (folder / "word_detector.h5").unlink()
    for _ in ("as it was saved", "with a manifest of what is there"):
        with pytest.raises(FileNotFoundError, match="lacks word_detector.h5"):
            saving.load_captioner(folder)
        manifest.write_manifest(folder)


@pytest.mark.parametrize("name", ["shared", "kernel"])
def test_a_detector_whose_weights_are_no_numbers_is_never_saved(build_captioner, tiny_captioner, tmp_path, name):
    captioner = build_captioner(tiny_captioner.encoder)
    captioner.adopt_detector(build_detector(captioner))
    getattr(captioner.detector, name)[0, 0] = 1e9
    with pytest.raises(ValueError, match="The word detector has weights that are no numbers"):
        saving.save_captioner(captioner, tmp_path / "broken", {})
    assert not (tmp_path / "broken").exists()


def test_a_detector_of_other_features_is_refused(build_captioner, tiny_captioner, tmp_path):
    captioner = build_captioner(tiny_captioner.encoder)
    detector = build_detector(captioner)
    detector.shared = detector.shared[1:]
    captioner.adopt_detector(detector)
    with pytest.raises(ValueError, match="word_detector.h5 is damaged. .* do not fit 10 features"):
        saving.load_captioner(saving.save_captioner(captioner, tmp_path / "other", {}))


def test_a_decoder_that_attends_to_slots_comes_back_as_one(build_captioner, tiny_captioner, tmp_path):
    captioner = build_captioner(tiny_captioner.encoder, attend_to="slots", attention="after")
    folder = saving.save_captioner(captioner, tmp_path / "slots", {})
    loaded = saving.load_captioner(folder, encoder=tiny_captioner.encoder)
    assert loaded.decoder.settings == captioner.decoder.settings
    assert not loaded.has_regions


def test_a_saved_captioner_is_six_files_of_json_text_and_arrays(tiny_bundle):
    assert sorted(path.name for path in tiny_bundle.iterdir()) == [
        "README.md", "config.json", "decoder.keras", "manifest.json", "metrics.json", "vocabulary.json",
    ]  # fmt: skip
    with zipfile.ZipFile(tiny_bundle / "decoder.keras") as archive:
        assert sorted(archive.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]
        json.loads(archive.read("config.json"))
        # HDF5's own signature; a pickle begins with another byte.
        assert archive.read("model.weights.h5").startswith(b"\x89HDF\r\n\x1a\n")
        # Python code is what a lambda layer would be saved as.
        assert b"__lambda__" not in archive.read("config.json")


def test_a_captioner_whose_encoder_ships_carries_all_of_its_weights(
    build_captioner, tiny_captioner, tiny_encoder_known, tmp_path, monkeypatch
):
    spec = dataclasses.replace(specs.ENCODERS["tiny"], shipped=tmp_path / "not there.h5")
    monkeypatch.setitem(specs.ENCODERS, "tiny", spec)
    weights = shutil.copy(tiny_captioner.encoder.weights_file, tmp_path / "tiny.weights.h5")
    (tmp_path / "encoder.json").write_text(json.dumps({"captioner": "owl", "version": "0123"}))
    encoder = load_encoder("tiny", weights=weights, mirrored=True)
    # What it learnt is among them.
    learnt = next(layer for layer in encoder.network.layers if layer.weights)
    learnt.set_weights([2 * weight for weight in learnt.get_weights()])
    encoder.adopt_changes((learnt.name,))
    folder = saving.save_captioner(build_captioner(encoder), tmp_path / "own", {"fine_tuning": []})
    facts = json.loads((folder / "encoder.json").read_text())
    assert (facts["captioner"], facts["version"], facts["bytes"]) == (
        "owl", "0123", (folder / "encoder.weights.h5").stat().st_size
    )  # fmt: skip
    card = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
    assert "`tiny`, trained with the decoder" in card and "It goes back to the captioner `owl`." in card
    assert not (folder / "fine_tuned.h5").exists()
    saving.save_captioner(build_captioner(encoder), tmp_path / "of drawings", {"data": "drawings"})
    assert "What its encoder knows it learnt from Flickr8k" in (tmp_path / "of drawings" / "README.md").read_text()
    loaded = saving.load_captioner(folder)
    assert parts.load_teacher(folder).sight.fingerprint == encoder.fingerprint
    assert (loaded.encoder.fingerprint, loaded.encoder.mirrored) == (encoder.fingerprint, True)
    # Saved once more in its own place, which is then moved aside, it still has them.
    saving.save_captioner(loaded, folder, {}, replace=True)
    assert saving.load_captioner(folder).encoder.fingerprint == encoder.fingerprint


def test_a_captioner_of_a_former_version_of_its_encoder_is_one_sentence(tiny_bundle):
    change_json(tiny_bundle / "config.json", lambda content: content["encoder"].update(regions_layer="former_grid"))
    for load in (saving.load_captioner, parts.load_teacher):
        with pytest.raises(ValueError, match="another version of this project, in which the encoder tiny was another"):
            load(tiny_bundle)


def test_a_card_says_that_an_encoder_was_trained_where_that_made_it_better(build_captioner, tiny_captioner, tmp_path):
    for number, best in enumerate((0, 1)):
        rows = [{"epoch": epoch, "val_cider_d": float(epoch == best)} for epoch in (0, 1)]
        saved = saving.save_captioner(
            build_captioner(tiny_captioner.encoder), tmp_path / str(number), {"fine_tuning": rows}
        )
        card = (saved / "README.md").read_text(encoding="utf-8")
        assert ("trained with the decoder" in card, "`tiny`, frozen" in card) == (bool(best), not best)


@pytest.mark.parametrize("thresholds", [(-0.5, -1.25), (None, None)], ids=["sure at times", "always guessing"])
def test_a_calibrated_captioner_comes_back_as_one(build_captioner, tiny_captioner, tmp_path, thresholds):
    captioner = build_captioner(tiny_captioner.encoder)
    captioner.calibration = config.Calibration(*thresholds)
    loaded = saving.load_captioner(saving.save_captioner(captioner, tmp_path / "sure", {}))
    assert loaded.calibration == captioner.calibration


@pytest.mark.parametrize("broken", [{"sure_from": "high"}, {"certain_from": 0.0}, [0.0]])
def test_a_damaged_calibration_is_refused(tiny_bundle, broken):
    change_json(tiny_bundle / "config.json", lambda content: content.update(calibration=broken))
    with pytest.raises(ValueError, match="config.json is damaged. Run model.ipynb again .* Received: calibration="):
        saving.load_captioner(tiny_bundle)


def test_the_optimizer_is_not_saved(build_captioner, tiny_captioner, tmp_path):
    captioner = build_captioner(tiny_captioner.encoder)
    captioner.decoder.compile(optimizer="adam", loss="mse")
    captioner.decoder.optimizer.build(captioner.decoder.trainable_variables)
    folder = saving.save_captioner(captioner, tmp_path / "trained", {})
    with zipfile.ZipFile(folder / "decoder.keras") as archive:
        assert b"optimizer" not in archive.read("model.weights.h5")
        assert json.loads(archive.read("config.json"))["compile_config"] == {}
    # The decoder that was saved goes on training.
    assert captioner.decoder.optimizer is not None


def test_scores_are_kept_and_stand_in_the_model_card(tiny_bundle):
    assert catalogue.read_metrics(tiny_bundle)["cider_d"] == 12.34
    card = (tiny_bundle / "README.md").read_text(encoding="utf-8")
    assert "# Captioner `tiny`" in card
    assert "| score on validation (6 drawings) | times 100 |" in card
    assert "| BLEU-1 | 50.1 |" in card
    assert "| CIDEr-D | 12.3 |" in card
    assert "ROUGE" not in card, "a score that was not measured is not shown"
    assert "16 words" in card and "2 beams" in card and "`grid`" in card
    assert "{" not in card


def test_nothing_is_replaced_unasked(tiny_captioner, tiny_bundle):
    before = read_all(tiny_bundle)
    message = (
        "tiny is there already, and nothing is replaced unasked. Choose another name, or ask for it with --replace, in "
        "Python replace=True: what is there is then kept as tiny~1."
    )
    with pytest.raises(FileExistsError, match=message):
        saving.save_captioner(tiny_captioner, tiny_bundle, {"cider_d": 99.0})
    assert read_all(tiny_bundle) == before
    assert [path.name for path in tiny_bundle.parent.iterdir()] == ["tiny"]


def test_what_is_replaced_is_kept_under_names_that_are_not_listed(tiny_captioner, tiny_bundle):
    before = read_all(tiny_bundle)
    for score in (98.0, 99.0):
        saving.save_captioner(tiny_captioner, tiny_bundle, {"cider_d": score}, replace=True)
    assert catalogue.read_metrics(tiny_bundle) == {"cider_d": 99.0}
    assert sorted(path.name for path in tiny_bundle.parent.iterdir()) == ["tiny", "tiny~1", "tiny~2"]
    assert read_all(tiny_bundle.with_name("tiny~1")) == before
    assert catalogue.read_metrics(tiny_bundle.with_name("tiny~2")) == {"cider_d": 98.0}
    assert catalogue.list_captioners(tiny_bundle.parent) == [tiny_bundle]


def test_two_cannot_save_one_captioner_at_once(tiny_captioner, tiny_bundle):
    with (
        files.hold(tiny_bundle, "saving a captioner"),
        pytest.raises(BlockingIOError, match=rf"tiny is in use: process {os.getpid()} on .* has been saving a captio"),
    ):
        saving.save_captioner(tiny_captioner, tiny_bundle, {}, replace=True)


@pytest.mark.parametrize("moment", ["decoder", "metrics"])
def test_a_failure_while_saving_leaves_the_old_captioner_alone(tiny_captioner, tiny_bundle, monkeypatch, moment):
    before = read_all(tiny_bundle)
    if moment == "decoder":
        monkeypatch.setattr(CaptionDecoder, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        metrics = {}
    else:
        metrics = {"not JSON": object()}
    with pytest.raises((OSError, TypeError), match="disk full|not JSON serializable"):
        saving.save_captioner(tiny_captioner, tiny_bundle, metrics, replace=True)
    assert read_all(tiny_bundle) == before
    assert [path.name for path in tiny_bundle.parent.iterdir()] == ["tiny"]


def test_a_failure_while_saving_the_first_time_leaves_nothing_that_is_listed(tiny_captioner, tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        saving.save_captioner(tiny_captioner, tmp_path / "first", {"not JSON": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reader", ["load", "list", "save"])
def test_a_kill_between_the_renames_is_healed(tiny_captioner, tiny_bundle, monkeypatch, reader):
    before, rename = read_all(tiny_bundle), os.replace

    with monkeypatch.context() as context:

        def kill(source, target):
            if target == tiny_bundle:
                # As after a kill, nothing is tidied up.
                context.setattr(files.shutil, "rmtree", lambda *_, **__: None)
                raise KeyboardInterrupt
            rename(source, target)

        context.setattr(files.os, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            saving.save_captioner(tiny_captioner, tiny_bundle, {}, replace=True)
    assert not tiny_bundle.exists()
    if reader == "load":
        catalogue.read_config(tiny_bundle)
    elif reader == "list":
        assert catalogue.list_captioners(tiny_bundle.parent) == [tiny_bundle]
    else:
        with pytest.raises(FileExistsError, match="tiny is there already"):
            saving.save_captioner(tiny_captioner, tiny_bundle, {})
    assert read_all(tiny_bundle) == before


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def cut(name, share):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return damage


def scribble(folder):
    """Overwrites the middle of the decoder, as a bad disk would; the zip's table of contents stays whole."""
    content = bytearray((folder / "decoder.keras").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    (folder / "decoder.keras").write_bytes(content)


def put_nan(folder):
    with zipfile.ZipFile(folder / "decoder.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(members["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        file["classifier/vars/1"][3] = np.nan
    with zipfile.ZipFile(folder / "decoder.keras", "w") as archive:
        for name, content in (members | {"model.weights.h5": weights.getvalue()}).items():
            archive.writestr(name, content)


def put_another_model(folder):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(folder / "decoder.keras")


def shorten_vocabulary(folder):
    words = vocabulary.Vocabulary.load(folder / "vocabulary.json").words
    vocabulary.Vocabulary(words[:-1]).save(folder / "vocabulary.json")


def leave_out(*keys):
    def damage(folder):
        def change(content):
            for key in keys[:-1]:
                content = content[key]
            del content[keys[-1]]

        change_json(folder / "config.json", change)

    return damage


def set_in_config(*keys, value):
    def damage(folder):
        def change(content):
            for key in keys[:-1]:
                content = content[key]
            content[keys[-1]] = value

        change_json(folder / "config.json", change)

    return damage


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (shutil.rmtree, FileNotFoundError, "No captioner at .*tiny. Run model.ipynb to the end to create one"),
        (cut("config.json", 0.5), ValueError, "config.json is damaged. Run model.ipynb again to make it anew"),
        (write("config.json", "[]"), ValueError, "config.json is damaged. Run model.ipynb again to make it anew"),
        (set_in_config("encoder", value="vgg16"), ValueError, "config.json is damaged.* Received: encoder='vgg16'"),
        (set_in_config("encoder", value={"name": "tiny"}), ValueError, "config.json is damaged.* Received: encoder="),
        (set_in_config("decoding", value={"beam": 3}), ValueError, "config.json is damaged.* Received: decoding="),
        (set_in_config("encoder", "mirrored", value="no"), ValueError, "config.json is damaged.* Received: encoder={"),
        (
            set_in_config("decoding", "num_beams", value=0),
            ValueError,
            "config.json is damaged.*num_beams must be at le",
        ),
        (
            set_in_config("decoding", "num_beams", value=10**9),
            ValueError,
            "config.json is damaged.*must be at most 1000",
        ),
        (
            set_in_config("decoding", "num_beams", value=3.5),
            ValueError,
            "config.json is damaged.*num_beams is of another",
        ),
        (
            set_in_config("decoding", "num_beams", value=True),
            ValueError,
            "config.json is damaged.*num_beams is of anoth",
        ),
        (
            set_in_config("decoding", "num_beams", value="3"),
            ValueError,
            "config.json is damaged.*num_beams is of another",
        ),
        (
            set_in_config("decoding", "length_penalty", value=float("nan")),
            ValueError,
            "config.json is damaged. Run model",
        ),
        (set_in_config("decoding", "length_penalty", value=10**400), ValueError, "config.json is damaged. Run model"),
        (leave_out("decoding", "no_repeat"), ValueError, "config.json is damaged.* Received: decoding={"),
        (leave_out("calibration"), ValueError, "config.json is damaged.* Received: calibration=None"),
        (write("config.json", "[" * 100_000), ValueError, "config.json is damaged. Run model.ipynb again to make it"),
        (
            write("config.json", '{"format": 1, "format": 1}'),
            ValueError,
            "config.json is damaged. Run model.ipynb again",
        ),
        (set_in_config("format", value=0), ValueError, "tiny was made by another version of this project. Run model"),
        (set_in_config("cleaning_version", value=0), ValueError, "tiny was made by another version of this project"),
        (cut("vocabulary.json", 0.5), ValueError, "vocabulary.json is damaged. Run model.ipynb again to make it anew"),
        (shorten_vocabulary, ValueError, "do not belong together. Run model.ipynb again. Received: 15 words for 16"),
        (cut("decoder.keras", 0.5), ValueError, r"decoder.keras is damaged. Run model.ipynb again .* Received: \S"),
        (cut("decoder.keras", 0.0), ValueError, r"decoder.keras is damaged. Run model.ipynb again .* Received: \S"),
        (scribble, ValueError, r"decoder.keras is damaged. Run model.ipynb again to make it anew. Received: \S"),
        (
            put_nan,
            ValueError,
            "decoder.keras is damaged.* Received: It has weights that are no numbers, in .*classifier",
        ),
        (put_another_model, ValueError, "decoder.keras is damaged.* Received: a Sequential in place of a CaptionDec"),
        (
            set_in_config("encoder", "fingerprint", value="0123"),
            ValueError,
            "trained on features of another encoder.* fingerprint '0123' is expected. Received: fingerprint='",
        ),
        (set_in_config("encoder", "name", value="resnet"), ValueError, "encoder must be one of .*Received: .*'resnet'"),
    ],
)
def test_a_broken_captioner_is_explained_in_one_line(tiny_bundle, damage, kind, message):
    damage(tiny_bundle)
    if tiny_bundle.exists():
        # Somebody has changed it on purpose, and the manifest with it.
        manifest.write_manifest(tiny_bundle)
    with pytest.raises(kind, match=message) as caught:
        saving.load_captioner(tiny_bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["README.md", "config.json", "decoder.keras", "metrics.json", "vocabulary.json"])
def test_a_file_that_is_another_or_missing_is_named(tiny_bundle, name):
    content = (tiny_bundle / name).read_bytes()
    (tiny_bundle / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    message = f"{name} is not the file this captioner was saved with. Put that one back, or run model.ipynb again to"
    with pytest.raises(ValueError, match=message):
        saving.load_captioner(tiny_bundle)
    (tiny_bundle / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"The captioner at .*tiny lacks {name}. Run model.ipynb again to make"):
        saving.load_captioner(tiny_bundle)


def test_files_that_do_not_belong_together_are_refused(build_captioner, tiny_captioner, tiny_bundle, tmp_path):
    words = tiny_captioner.vocabulary.words
    vocabulary.Vocabulary(words[:4] + words[:3:-1]).save(tiny_bundle / "vocabulary.json")
    with pytest.raises(ValueError, match="vocabulary.json is not the file this captioner was saved with"):
        saving.load_captioner(tiny_bundle)
    tiny_captioner.vocabulary.save(tiny_bundle / "vocabulary.json")
    saving.load_captioner(tiny_bundle)
    other = saving.save_captioner(build_captioner(tiny_captioner.encoder, seed=4), tmp_path / "other", {})
    shutil.copy(other / "decoder.keras", tiny_bundle)
    with pytest.raises(ValueError, match="decoder.keras is not the file this captioner was saved with"):
        saving.load_captioner(tiny_bundle)


def test_a_file_that_was_not_saved_is_not_read_and_what_is_no_captioners_is_not_minded(tiny_bundle):
    for name in ("notes.txt", ".DS_Store"):
        (tiny_bundle / name).touch()
    saving.load_captioner(tiny_bundle)
    (tiny_bundle / "encoder.weights.h5").touch()
    with pytest.raises(ValueError, match="encoder.weights.h5 is not the file this captioner was saved with"):
        saving.load_captioner(tiny_bundle)


def test_a_captioner_without_a_manifest_is_refused_in_one_sentence(tiny_bundle):
    (tiny_bundle / "manifest.json").unlink()
    with pytest.raises(
        FileNotFoundError, match="tiny lacks manifest.json: an earlier version of this project saved it"
    ):
        saving.load_captioner(tiny_bundle)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": {"../../secret": "00"}}', '{"sha256": {"": "00"}}'])
def test_a_damaged_manifest_is_refused(tiny_bundle, content):
    (tiny_bundle / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="manifest.json is damaged. Run model.ipynb again"):
        saving.load_captioner(tiny_bundle)


@pytest.mark.parametrize("part", ["decoder", "encoder"])
def test_weights_that_are_no_numbers_are_never_saved(build_captioner, tiny_encoder_known, tmp_path, part):
    captioner = build_captioner(load_encoder(tiny_encoder_known))
    network = captioner.decoder.classifier if part == "decoder" else captioner.encoder.model
    bias = network.weights[-1]
    bias.assign([np.inf, -np.inf, *bias.numpy()[2:]])
    with pytest.raises(
        ValueError, match=rf"The {part} has weights that are no numbers, in .*bias: its training has fai"
    ):
        saving.save_captioner(captioner, tmp_path / "failed", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(FUZZ_SEEDS))
def test_a_mutated_captioner_is_loaded_as_it_was_or_refused_in_one_sentence(tiny_bundle, tiny_captioner, mutate, seed):
    kept, random, refusals = read_all(tiny_bundle), np.random.default_rng(seed), []
    names = [name for name in kept if name.endswith(".json")]
    for number in range(20):
        name = names[random.integers(len(names))]
        (tiny_bundle / name).write_bytes(mutate(kept[name], random))
        if number % 4 and name != "manifest.json":
            # As by somebody who means it; else the sum of its bytes alone would give it away.
            manifest.write_manifest(tiny_bundle)
        try:
            loaded = saving.load_captioner(tiny_bundle, encoder=tiny_captioner.encoder)
            assert len(loaded.vocabulary) == len(tiny_captioner.vocabulary)
            markup.describe_captioner(tiny_bundle)
        except (ValueError, FileNotFoundError) as error:
            refusals.append(str(error))
        for name, content in kept.items():
            (tiny_bundle / name).write_bytes(content)
    assert refusals and not [refusal for refusal in refusals if "\n" in refusal]


def test_an_encoder_of_other_weights_is_refused(tiny_bundle, tiny_encoder_known):
    stranger = load_encoder(tiny_encoder_known, weights=None)
    with pytest.raises(
        ValueError, match=r"another encoder, so its captions would be nonsense: fingerprint .* is expect"
    ):
        saving.load_captioner(tiny_bundle, encoder=stranger)


def test_an_encoder_without_weights_is_explained(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="The ImageNet weights of tiny cannot be had. Tried: CAPTIONER_WEIGHTS"):
        saving.load_captioner(tiny_bundle)


@pytest.mark.parametrize(
    ("scores", "training"),
    [([], "by likelihood."), ([50.0, 49.0], "by likelihood."), ([50.0, 51.0], "by likelihood and then by the CIDEr-D")],
    ids=["none", "not kept", "kept"],
)
def test_the_card_says_whether_training_by_its_own_captions_was_kept(tiny_captioner, tmp_path, scores, training):
    rounds = [{"round": number, "val_cider_d": score} for number, score in enumerate(scores)]
    folder = saving.save_captioner(tiny_captioner, tmp_path / "told", {"refinement": rounds})
    assert f"on the train split of its data set, {training}" in (folder / "README.md").read_text(encoding="utf-8")
