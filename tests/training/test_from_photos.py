"""From photos to weights, with drawn pictures and a toy encoder, and from these to a captioner."""

import dataclasses
import json
import re
import shutil

import keras
import numpy as np
import pytest

from benchmarks.measure import measure_again
from captioner import config
from captioner.artifacts import manifest, parts, saving
from captioner.data import datasets
from captioner.data.drawings import dataset as drawings
from captioner.data.vocabulary import Vocabulary
from captioner.decoder.sight import build_sight
from captioner.encoders import augmentation, specs
from captioner.scoring import evaluation, machine
from captioner.training import from_photos, live_views, recipe, tuned, tuning

SETTINGS = tuning.TuningConfig(
    config.DecoderConfig(units=8, embedding_size=4, attention_size=4, memory_size=8, dropout=0.0),
    tuning.EndToEndConfig(epochs=2, frozen_epochs=1, photos_per_batch=8, warmup_steps=2, view_share=0.0),
    config.SelfCriticalConfig(rounds=1, photos_per_round=8, batch_size=4, num_samples=2, max_length=5),
    mirrored=False,
)


def build_network():
    photo = keras.Input((32, 32, 3))
    grid = keras.layers.Conv2D(5, 8, strides=8, activation="relu", name="grid")(photo)  # (B, 4, 4, 5)
    return keras.Model(photo, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(grid)))


@pytest.fixture(autouse=True)
def _toy(monkeypatch, tmp_path):
    keras.utils.set_random_seed(0)
    build_network().save_weights(tmp_path / "toy_imagenet.weights.h5")
    spec = specs.EncoderSpec(
        build=build_network,
        preprocess=lambda pixels: pixels / 127.5 - 1,
        pooled_layer=None,
        regions_layers=("grid",),
        url="http://127.0.0.1:9/toy.h5",
        image_size=32,
    )
    monkeypatch.setitem(specs.ENCODERS, "toy", spec)
    monkeypatch.setenv("CAPTIONER_WEIGHTS", str(tmp_path))


@pytest.fixture
def dataset(project, drawn_dir):
    return datasets.read_dataset(drawn_dir, ("train", "validation"))


def tune(dataset, folder, *, teachers=(), settings=SETTINGS):
    splits = from_photos.read_photo_splits(dataset, progress=False)
    return from_photos.tune(splits, "toy", folder, settings=settings, teachers=teachers, progress=False)


def suggest(dataset, *, is_drawn=False, seed=0, num_epochs=2):
    counts = len(dataset.image_ids("train")), len(dataset.captions("train"))
    return tuning.suggest_tuning("tiny", *counts, is_drawn=is_drawn, seed=seed, num_epochs=num_epochs, rounds=1)


def measure(dataset, folder, **more):
    plan = recipe.plan_training(config.RecipeConfig(data=str(dataset.folder), encoder="toy", **more))
    captioner, materials = tuned.load_tuned(plan, folder, name="toy", progress=False)
    return tuned.measure_tuned(captioner, materials, progress=False)


def test_what_was_trained_becomes_a_captioner_that_can_teach(dataset, tmp_path):
    facts = tune(dataset, tmp_path / "run")
    assert facts == from_photos.read_facts(tmp_path / "run")
    assert (facts["encoder"], facts["data"], facts["teachers"]) == ("toy", "drawings", [])
    assert [row["epoch"] for row in facts["fine_tuning"]] == [0, 1, 2]
    assert [row["round"] for row in facts["refinement"]] == [0, 1]

    shape = dataclasses.asdict(SETTINGS.decoder)
    trained = measure(dataset, tmp_path / "run", mirrored=False, decoder=shape)
    assert trained.captioner.encoder.changed_layers == ("grid",)
    assert trained.report["taught_by"] == [] and trained.report["fine_tuning"] == facts["fine_tuning"]
    assert trained.report["trained_with"].endswith(", tensorflow") and trained.report["cider_d"] >= 0
    folder = saving.save_captioner(trained.captioner, tmp_path / "artifacts" / "toy", trained.report)
    assert "together with its encoder, from photos" in (folder / "README.md").read_text()

    teacher = parts.load_teacher(folder)
    assert (teacher.name, teacher.words) == ("toy", trained.captioner.vocabulary.words)
    photo = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    inputs = {"photos": photo, "boxes": augmentation.WHOLE[None], "factors": np.ones((1, 3), np.float32)}
    ids = np.array([[[teacher.words.index("<start>"), 5, 6, 7]]], np.int32)
    expected = trained.captioner.decoder.call(
        dict(zip(("pooled", "regions"), trained.captioner.encoder.encode(photo), strict=True))
        | {"input_ids": ids[0, :, :-1]}
    )
    read = teacher.sight.read(teacher.sight.start(inputs, False), ids, False)
    np.testing.assert_allclose(read, expected, rtol=1e-3, atol=1e-4)

    taught = tune(dataset, tmp_path / "taught", teachers=[teacher])
    assert taught["teachers"] == [{"name": "toy", "version": teacher.version}]
    other = dataclasses.replace(teacher, words=(*teacher.words, "owl"))
    with pytest.raises(ValueError, match=r"toy cannot teach: it was trained on other captions"):
        tune(dataset, tmp_path / "other", teachers=[other])


def test_what_was_trained_on_photos_gets_a_word_detector_and_keeps_it(project, drawn_dir, tmp_path, monkeypatch):
    album = shutil.copytree(drawn_dir, project / "album")
    (album / "scenes.json").unlink()
    monkeypatch.setattr(evaluation, "DETECTOR_WEIGHTS", (0.3,))
    # Whether it is of use to captioners of toy size is another matter.
    monkeypatch.setattr(evaluation, "_CAREFUL_COST", 1000.0)
    dataset = datasets.read_dataset(album, ("train", "validation"))
    tune(dataset, tmp_path / "run")
    trained = measure(dataset, tmp_path / "run", mirrored=False, decoder=dataclasses.asdict(SETTINGS.decoder))
    kernel = trained.captioner.detector.kernel
    folder = saving.save_captioner(trained.captioner, tmp_path / "artifacts" / "toy", trained.report)
    for gets_another in (False, True):
        if gets_another:
            trained.captioner.adopt_detector(None)
            trained.captioner.settings = dataclasses.replace(trained.captioner.settings, detector_weight=0.0)
            saving.save_captioner(trained.captioner, folder, trained.report, replace=True)
        assert measure_again(folder, str(album), with_test=False)["detector_weight"] == 0.3
        # Trained on the same photos from the same seed, it is the same.
        np.testing.assert_array_equal(saving.load_captioner(folder).detector.kernel, kernel)
    assert measure_again(folder, str(album), with_test=False, num_beams=2)["num_beams"] == 2
    assert saving.load_captioner(folder).settings.num_beams == 2


def test_a_detector_is_never_trained_on_other_photos_than_its_captioner(dataset, tiny_bundle, monkeypatch):
    monkeypatch.setattr(drawings, "is_drawn", lambda folder: False)
    metrics = tiny_bundle / "metrics.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"train_photos": 5}))
    manifest.write_manifest(tiny_bundle)
    with pytest.raises(ValueError, match="tiny was trained on 5 photos, of which the data set has 28: a word detector"):
        measure_again(tiny_bundle, str(dataset.folder), with_test=False)


def test_a_run_that_has_ended_is_found_again_and_another_is_not_taken_for_it(dataset, tmp_path, monkeypatch):
    facts = tune(dataset, tmp_path / "run")
    monkeypatch.setattr(from_photos, "train_from_photos", lambda *_, **__: pytest.fail("it trained again"))
    assert tune(dataset, tmp_path / "run") == facts
    with pytest.raises(ValueError, match="holds another training run"):
        tune(dataset, tmp_path / "run", settings=suggest(dataset, seed=1))
    with pytest.raises(FileNotFoundError, match="No tuning has ended in"):
        from_photos.read_facts(tmp_path / "nothing")


def test_weights_of_another_plan_or_encoder_are_refused(dataset, tmp_path):
    tune(dataset, tmp_path / "run")
    shape = dataclasses.asdict(SETTINGS.decoder)
    with pytest.raises(ValueError, match="holds weights of another plan: seed 1 is expected. Received: 0"):
        measure(dataset, tmp_path / "run", mirrored=False, decoder=shape, seed=1)
    trained = measure(dataset, tmp_path / "run", mirrored=False, decoder=shape)
    folder = saving.save_captioner(trained.captioner, tmp_path / "artifacts" / "toy", trained.report)
    # Another release of the encoder: its norms and biases are of other weights than the kernels that learnt.
    keras.utils.set_random_seed(1)
    network = build_network()
    network.get_layer("grid").bias.assign(np.ones(5))
    network.save_weights(tmp_path / "toy_imagenet.weights.h5")
    with pytest.raises(ValueError, match="fingerprint .* is expected"):
        measure(dataset, tmp_path / "run", mirrored=False, decoder=shape)
    with pytest.raises(ValueError, match=r"was trained with other weights of toy, so it cannot be used"):
        parts.load_teacher(folder)


def test_a_split_without_a_photo_that_can_be_read_is_one_sentence(dataset, monkeypatch):
    nothing = [], np.empty((0, 8, 8, 3), np.uint8), {"a": "a.jpg is empty."}
    monkeypatch.setattr(from_photos.photo_arrays, "read_photos", lambda *_, **__: nothing)
    with pytest.raises(
        ValueError, match=r"No train photo can be read, for example: a\.jpg is empty\. Mend the data set\."
    ):
        from_photos.read_photo_splits(dataset)


def test_few_photos_get_small_batches_and_averages_over_few_steps(dataset):
    few = suggest(dataset, num_epochs=3).end_to_end
    assert (few.photos_per_batch, few.frozen_epochs) == (8, 0)
    steps = 3 * (len(dataset.image_ids("train")) // 8)
    assert few.averaging == max(0.0, 1 - 8 / steps) < 0.995 and few.warmup_steps == steps // 10


def test_drawings_are_seen_whole_and_runs_named_by_what_they_are_of(dataset):
    suggested = suggest(dataset, is_drawn=True)
    assert suggested.end_to_end.view_share == 0 and not suggested.mirrored
    assert suggest(dataset).mirrored
    compact = tuning.suggest_tuning("compact", 100, 500, is_drawn=False, seed=0, num_epochs=2, rounds=1)
    assert not compact.mirrored
    settings = config.RecipeConfig(encoder="compact", seed=3)
    assert from_photos.name_run(dataset, settings, taught=True) == "compact-drawings-seed3-taught"
    flickr8k = dataclasses.replace(dataset, name="flickr8k")
    named = from_photos.name_run(flickr8k, config.RecipeConfig(encoder="vgg16"), taught=False)
    assert named == "vgg16-end-to-end"


def test_features_are_means_over_a_view_and_its_mirror_image(dataset):
    words = Vocabulary.from_captions(text for _, text in dataset.captions("train"))
    sight = build_sight("toy", words, SETTINGS.decoder)
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    viewer = live_views.Viewer(sight, mirrored=True)
    boxes, factors = np.tile(augmentation.WHOLE, (2, 1)), np.ones((2, 3), np.float32)
    seen = viewer.look(photos, boxes, factors)
    both = [sight.network(one / np.float32(127.5) - 1) for one in (photos, photos[:, :, ::-1])]
    alone = live_views.Viewer(sight, mirrored=False).look(photos, boxes, factors)
    np.testing.assert_allclose(alone["pooled"], both[0]["pooled"], rtol=1e-4, atol=1e-5)
    turned = np.array(both[1]["regions"]).reshape(2, 4, 4, 5)[:, :, ::-1].reshape(2, 16, 5)
    np.testing.assert_allclose(seen["regions"], (np.array(both[0]["regions"]) + turned) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        seen["pooled"], (np.array(both[0]["pooled"]) + np.array(both[1]["pooled"])) / 2, rtol=1e-4, atol=1e-5
    )


@pytest.fixture
def command(dataset, project, monkeypatch):
    """What runs `tune` on the toy with further words of the command line, and returns the exit code."""
    from captioner.command_line.commands import main

    monkeypatch.setattr(tuning, "suggest_tuning", lambda *_, **__: SETTINGS)
    monkeypatch.setattr(config, "suggest_decoder", lambda *_, **__: SETTINGS.decoder)
    monkeypatch.setattr(config, "ENCODERS", (*config.ENCODERS, "toy"))
    return lambda *more, data=dataset.folder: main(["tune", "--data", str(data), "--encoder", "toy", *more])


def test_the_command_trains_measures_and_keeps(command, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(machine, "name_device", lambda: "an abacus")
    assert command("--name", "toy") == 0
    folder = config.ARTIFACTS_DIR / "toy"
    assert f"The captioner is in {folder}." in capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["captioner"] == "toy" and metrics["refinement"]
    assert metrics["trained_on"] == "an abacus"
    assert "The training took 0 minutes on an abacus." in (folder / "README.md").read_text()
    assert command("--name", "toy2", "--teachers", str(tmp_path / "nobody")) == 1
    assert "nobody" in capsys.readouterr().err


def test_a_name_that_is_taken_is_refused_before_the_work_and_replaced_on_demand(command, monkeypatch, capsys):
    (config.ARTIFACTS_DIR / "mine").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(from_photos, "tune", lambda *_, **__: pytest.fail("it trained"))
        assert command("--name", "mine") == 1
    assert "mine is there already, and nothing is replaced unasked" in capsys.readouterr().err
    assert command("--name", "mine", "--replace") == 0
    assert {folder.name for folder in config.ARTIFACTS_DIR.iterdir()} == {"mine", "mine~1"}
    # Without a name nothing is in the way of the same run, nor it in the way of another's.
    (config.ARTIFACTS_DIR / "mine").rename(config.ARTIFACTS_DIR / "toy-drawings-end-to-end")
    assert command() == 0
    [made] = {folder.name for folder in config.ARTIFACTS_DIR.iterdir()} - {"toy-drawings-end-to-end", "mine~1"}
    metrics = json.loads((config.ARTIFACTS_DIR / made / "metrics.json").read_text())
    assert made == f"toy-drawings-end-to-end-{metrics['run']}" and metrics["captioner"] == made


def test_photos_that_cannot_be_read_are_told_before_the_training(command, drawn_dir, project, monkeypatch, capsys):
    album = shutil.copytree(drawn_dir, project / "album")
    broken = {split: datasets.read_dataset(album).image_ids(split)[0] for split in config.SPLITS}
    for image_id in broken.values():
        (album / "Images" / image_id).write_bytes(b"")
    said = []

    def train(*arguments, **more):
        said.append(capsys.readouterr().err)
        return genuine(*arguments, **more)

    genuine = from_photos.train_from_photos
    monkeypatch.setattr(from_photos, "train_from_photos", train)
    assert command("--test", data=album) == 0
    for split in ("train", "validation"):
        sentence = rf"1 of \d+ {split} photos could not be read and were left out\. {broken[split]}: "
        assert re.search(sentence, said[0]), said
    assert f"{broken['test']}: " in capsys.readouterr().err
    [folder] = config.ARTIFACTS_DIR.iterdir()
    unreadable = json.loads((folder / "metrics.json").read_text())["unreadable"]
    assert {split: list(found) for split, found in unreadable.items()} == {s: [i] for s, i in broken.items()}


def test_a_run_that_was_stopped_goes_on_with_the_backend_that_began_it_alone(command, monkeypatch, capsys):
    assert command("--name", "toy") == 0
    folder = config.DATA_DIR / "tuned" / "toy"
    described = json.loads((folder / "run.json").read_text())
    assert described["backend"] == "tensorflow"
    (folder / "run.json").write_text(json.dumps(described | {"backend": "jax"}))
    (config.ARTIFACTS_DIR / "toy").rename(config.ARTIFACTS_DIR / "first")
    # What another backend has finished becomes a captioner.
    assert command("--name", "toy") == 0
    (config.ARTIFACTS_DIR / "toy").rename(config.ARTIFACTS_DIR / "second")
    (folder / "tuned.json").unlink()
    monkeypatch.setattr(from_photos, "read_photo_splits", lambda *_: pytest.fail("photos were read"))
    capsys.readouterr()
    assert command("--name", "toy") == 1
    assert "was begun with jax, and tensorflow does not go on with it. Set KERAS_BACKEND=jax" in capsys.readouterr().err
