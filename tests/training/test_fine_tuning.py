"""Fine-tuning at toy size: two convolutions, of which the second learns, and drawn pictures."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from captioner import config
from captioner.artifacts import manifest, parts, saving
from captioner.data import datasets
from captioner.data.vocabulary import Vocabulary
from captioner.encoders import crops, features, kernels, specs, stages
from captioner.encoders.encoder import load_encoder
from captioner.training import epochs, fine_tuning, recipe

SETTINGS = config.FineTuningConfig(epochs=2, photos_per_batch=8, warmup_steps=2, learning_rate=3e-3, num_crops=1)
DECODER = config.DecoderConfig(units=8, embedding_size=4, attention_size=4, memory_size=8, dropout=0.3)


def build_network():
    photo = keras.Input((32, 32, 3))
    stem = keras.layers.Conv2D(6, 4, strides=4, activation="relu", name="stem")(photo)  # (B, 8, 8, 6)
    norm = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(5, 2, strides=2, name="late")(stem))
    grid = keras.layers.ReLU(name="grid")(norm)  # (B, 4, 4, 5)
    return keras.Model(photo, keras.layers.Dense(2, name="head")(keras.layers.GlobalAveragePooling2D()(grid)))


@pytest.fixture
def staged(monkeypatch, tmp_path):
    """Registers the encoder `staged`, whose weights lie in a file."""
    keras.utils.set_random_seed(0)
    file = tmp_path / "staged_imagenet.weights.h5"
    build_network().save_weights(file)
    spec = specs.EncoderSpec(
        build=build_network,
        preprocess=lambda pixels: pixels / 127.5 - 1,
        pooled_layer=None,
        regions_layers=("grid",),
        url="http://127.0.0.1:9/staged.h5",
        image_size=32,
        last_frozen_layer="stem",
        origin="a toy, CC0",
    )
    monkeypatch.setitem(specs.ENCODERS, "staged", spec)
    monkeypatch.setenv("CAPTIONER_WEIGHTS", str(tmp_path))
    return "staged"


@pytest.fixture
def dataset(project, drawn_dir):
    return datasets.read_dataset(drawn_dir, ("train", "validation"))


def make_captioner(dataset, *, mirrored=True):
    words = Vocabulary.from_captions(text for _, text in dataset.captions("train"))
    settings = config.RecipeConfig(seed=1, decoder=dataclasses.asdict(DECODER))
    plan = recipe.Plan(settings, dataset, load_encoder("staged", mirrored=mirrored))
    return recipe.build_captioner(plan, words, name="toy")


def tune(captioner, dataset, folder, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    return fine_tuning.fine_tune_captioner(captioner, dataset, folder, settings=settings, progress=False)


def set_scores(monkeypatch, *scores):
    """Has validation find these CIDEr-D, one after the other."""
    left = iter(scores)
    monkeypatch.setattr(
        fine_tuning.evaluation, "validation_scorer", lambda *_: lambda _decoder: {"cider_d": next(left)}
    )


def all_weights(captioner):
    network = captioner.encoder.network
    return {f"{layer.name} {n}": w for layer in network.layers for n, w in enumerate(layer.get_weights())} | {
        f"decoder {n}": w for n, w in enumerate(captioner.decoder.get_weights())
    }


def test_both_parts_of_an_encoder_together_are_the_encoder(staged, drawn_photos):
    encoder = load_encoder(staged)
    stem, late = stages.split_encoder(encoder)
    pooled, regions = stem.encode(drawn_photos)
    assert (stem.map_shape, stem.num_regions, stem.region_size) == ((8, 8, 6), 64, 6)
    np.testing.assert_allclose(pooled, regions.mean(axis=1))
    views = late(regions.reshape(-1, 8, 8, 6))
    expected = encoder.encode(drawn_photos)
    np.testing.assert_allclose(views["pooled"], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(views["regions"], expected[1], rtol=1e-5, atol=1e-6)


def test_an_encoder_is_not_split_behind_a_layer_it_has_not(staged, monkeypatch):
    early = dataclasses.replace(specs.ENCODERS[staged], last_frozen_layer="early")
    monkeypatch.setitem(specs.ENCODERS, staged, early)
    with pytest.raises(ValueError, match=r"staged cannot be split behind a layer it has not\. Received: 'early'"):
        stages.split_encoder(load_encoder(staged))


def test_every_encoder_can_be_split_where_its_spec_says():
    for name in ("mobilenet_v2", "efficientnet_lite2", "compact"):
        stem, late = stages.split_encoder(load_encoder(name, weights=None))
        assert len(kernels.find_kernels(late)) > 5, name
        assert late.input.shape[1:] == stem.map_shape


def test_the_decoder_and_late_kernels_learn_and_nothing_else(staged, dataset, tmp_path, monkeypatch):
    captioner = make_captioner(dataset)
    before = all_weights(captioner)
    set_scores(monkeypatch, 1.0, 2.0, 3.0)
    history = tune(captioner, dataset, tmp_path / "run")
    after = all_weights(captioner)
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert {name for name in changed if not name.startswith("decoder")} == {"late 0"}
    assert sum(name.startswith("decoder") for name in changed) > 10
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert history[0]["loss"] is None and history[2]["loss"] < history[1]["loss"]


def test_a_captioner_that_only_gets_worse_stays_as_it_came(staged, dataset, tmp_path, monkeypatch):
    captioner = make_captioner(dataset)
    before, fingerprint = all_weights(captioner), captioner.encoder.fingerprint
    set_scores(monkeypatch, 3.0, 2.0, 1.0)
    tune(captioner, dataset, tmp_path / "run")
    for name, value in all_weights(captioner).items():
        np.testing.assert_allclose(value, before[name], rtol=1e-3, err_msg=name)
    assert captioner.encoder.fingerprint == fingerprint and not captioner.encoder.changed_layers


def test_training_stops_when_patience_is_at_an_end(staged, dataset, tmp_path, monkeypatch):
    set_scores(monkeypatch, 1.0, 5.0, 4.0, 3.0)
    history = tune(make_captioner(dataset), dataset, tmp_path / "run", epochs=9, patience=2)
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]


def test_a_run_that_was_killed_goes_on_to_the_same_weights(staged, dataset, tmp_path, monkeypatch):
    set_scores(monkeypatch, 1.0, 2.0, 3.0)
    whole = make_captioner(dataset)
    history = tune(whole, dataset, tmp_path / "whole")

    set_scores(monkeypatch, 1.0, 2.0)
    with pytest.raises(StopIteration):  # at the end of epoch 2
        tune(make_captioner(dataset), dataset, tmp_path / "killed")
    set_scores(monkeypatch, 3.0)
    resumed = make_captioner(dataset)
    again = tune(resumed, dataset, tmp_path / "killed")
    expected = all_weights(whole)
    for name, value in all_weights(resumed).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in history]
    # Finished work is found again.
    set_scores(monkeypatch)
    assert tune(make_captioner(dataset), dataset, tmp_path / "whole") == history


def test_another_run_is_never_gone_on_with(staged, dataset, tmp_path, monkeypatch):
    set_scores(monkeypatch, 1.0, 2.0)
    tune(make_captioner(dataset), dataset, tmp_path / "run", epochs=1)
    with pytest.raises(ValueError, match="holds another training run"):
        tune(make_captioner(dataset), dataset, tmp_path / "run", epochs=1, seed=1)


def test_nothing_is_done_where_nothing_is_asked_for_or_can_learn(staged, dataset, tmp_path, monkeypatch):
    captioner = make_captioner(dataset)
    assert tune(captioner, dataset, tmp_path / "run", epochs=0) == []
    spec = dataclasses.replace(specs.ENCODERS[staged], last_frozen_layer=None)
    monkeypatch.setitem(specs.ENCODERS, staged, spec)
    assert tune(captioner, dataset, tmp_path / "run") == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mirrored", [False, True])
def test_validation_sees_what_the_finished_encoder_gives(staged, dataset, tmp_path, monkeypatch, mirrored):
    seen = {}

    def watch(captioner, split):
        image_ids, encoded = list(split.references)[:5], split.features

        def score(_decoder):
            seen[len(seen)] = encoded.rows(image_ids)
            return {"cider_d": float(len(seen))}

        return score

    monkeypatch.setattr(fine_tuning.evaluation, "validation_scorer", watch)
    captioner = make_captioner(dataset, mirrored=mirrored)
    tune(captioner, dataset, tmp_path / "run", encoder_learning_rate=0.05)
    paths = dataset.photo_paths("validation")
    store = features.extract_features(captioner.encoder, paths, tmp_path / "features", progress=False)
    pooled, regions = store.rows(list(paths)[:5])
    # Maps and features are kept in float16, and so are kernels at the end.
    np.testing.assert_allclose(seen[2][0], pooled, atol=0.01)
    np.testing.assert_allclose(seen[2][1], regions, atol=0.01)
    assert np.abs(seen[0][1] - regions).max() > 0.05


def test_what_was_tuned_is_saved_with_the_captioner_and_comes_back(
    staged, dataset, tmp_path, monkeypatch, drawn_photos
):
    captioner = make_captioner(dataset)
    released = captioner.encoder.fingerprint
    set_scores(monkeypatch, 1.0, 2.0, 3.0)
    tune(captioner, dataset, tmp_path / "run")
    folder = saving.save_captioner(captioner, tmp_path / "artifacts" / "toy", {})
    loaded = saving.load_captioner(folder)
    assert loaded.encoder.fingerprint == captioner.encoder.fingerprint != released
    for ours, theirs in zip(loaded.encoder.encode(drawn_photos), captioner.encoder.encode(drawn_photos), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    card = (folder / "README.md").read_text()
    assert "`, trained with the decoder" in card and "It is a toy, CC0." in card

    (folder / parts.KERNELS_FILE).write_bytes(b"damaged")
    manifest.write_manifest(folder)
    with pytest.raises(ValueError, match=r"does not hold fine-tuned weights of staged\. Received: "):
        saving.load_captioner(folder)
    (folder / parts.KERNELS_FILE).unlink()
    manifest.write_manifest(folder)
    with pytest.raises(ValueError, match="was trained on features of another encoder"):
        saving.load_captioner(folder)


def test_views_are_the_mirror_image_and_then_crops(staged, dataset):
    stem, _ = stages.split_encoder(load_encoder(staged))
    store = crops.extract_views(stem, dataset, "validation", num_crops=2, min_crop=0.5, progress=False)
    image_id = dataset.image_ids("validation")[0]
    assert store.image_ids[:3] == tuple(f"{image_id}#{number}" for number in range(3))
    whole = features.extract_features(stem, dataset.photo_paths("validation"), progress=False)
    _, [photo] = whole.rows([image_id])
    from captioner.data import photos

    pixels = photos.load_photo(dataset.photo_path(image_id), 32)
    np.testing.assert_allclose(store.rows([f"{image_id}#0"])[1], stem.encode(pixels[None, :, ::-1])[1], atol=2e-3)
    assert np.abs(store.rows([f"{image_id}#1"])[1][0] - photo).max() > 0.05


def test_the_rates_warm_up_and_fall_along_a_cosine():
    settings = config.FineTuningConfig(warmup_steps=10, final_learning_rate_fraction=0.1)
    shares = [epochs.learning_rate_share(settings, step, 110) for step in (0, 5, 10, 60, 110)]
    # 0.05 + 0.95 * 5 / 10, then from 1 to 0.1 with the middle at (1 + 0.1) / 2.
    assert shares == pytest.approx([0.05, 0.525, 1.0, 0.55, 0.1])


@pytest.mark.slow
def test_the_recipe_tunes_the_encoder_and_measures_with_what_it_became(staged, project, drawn_dir):
    # So fast that the captions of some epoch beat those before.
    tuning = dataclasses.replace(SETTINGS, epochs=3, learning_rate=0.02, averaging=0.5)
    settings = config.RecipeConfig(
        data=str(drawn_dir),
        encoder=staged,
        decoder={"units": 8, "embedding_size": 4, "attention_size": 4, "memory_size": 8},
        training={"epochs": 1, "batch_size": 32},
        fine_tuning={key: value for key, value in dataclasses.asdict(tuning).items() if key != "seed"},
    )
    materials = recipe.encode_photos(recipe.plan_training(settings))
    trained = recipe.train_captioner(materials)
    report = trained.report
    assert [row["epoch"] for row in report["fine_tuning"]] == [0, 1, 2, 3]
    assert report["length_penalty"] in [row["length_penalty"] for row in report["searches"]]
    assert max(report["fine_tuning"], key=lambda row: row["val_cider_d"])["epoch"]
    assert trained.captioner.encoder.changed_layers
    # What was measured last was measured on features of the encoder as it is saved.
    folder = saving.save_captioner(trained.captioner, project / "artifacts" / "toy", report)
    stores = [json.loads(file.read_text()) for file in (project / "features").glob("*/index.json")]
    assert saving.load_captioner(folder).encoder.fingerprint in [store["fingerprint"] for store in stores]
