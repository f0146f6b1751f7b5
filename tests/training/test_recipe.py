"""From pictures to a saved captioner, on the drawn data set with the encoder `tiny`."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from captioner import config
from captioner.data import datasets, flickr8k, sources
from captioner.data.drawings import dataset as drawings
from captioner.scoring import evaluation, machine
from captioner.training import recipe, teacher_forcing

TINY = {"units": 8, "embedding_size": 4, "attention_size": 4, "memory_size": 8}


def configure(folder, **chosen):
    """A recipe of toy size."""
    training = {"epochs": 2, "batch_size": 32} | chosen.pop("training", {})
    chosen = {"self_critical": {"rounds": 0}, "seed": 7} | chosen
    return config.RecipeConfig(data=str(folder), encoder="tiny", decoder=TINY, training=training, **chosen)


def prepare(folder, *, with_test=False, **chosen):
    plan = recipe.plan_training(configure(folder, **chosen), with_test=with_test)
    return recipe.encode_photos(plan, progress=False)


@pytest.fixture
def album(project, drawn_dir, tiny_encoder_known):
    """Drawings that the test may change, in a folder that is not known for drawings; what is made goes elsewhere."""
    folder = shutil.copytree(drawn_dir, project / "album")
    (folder / "scenes.json").unlink()
    return folder


def test_a_captioner_is_trained_and_measured_in_one_call_that_prints_and_saves_nothing(
    project, drawn_dir, tiny_encoder_known, capsys
):
    trained = recipe.train_captioner(
        prepare(drawn_dir, self_critical={"rounds": 1, "photos_per_round": 8}), progress=False
    )
    assert capsys.readouterr() == ("", "")
    assert not config.ARTIFACTS_DIR.exists()
    report = trained.report
    assert (report["split"], report["seed"], report["epochs"]) == ("validation", 7, 2)
    assert report["best_epoch"] in (1, 2)
    assert [row["round"] for row in report["refinement"]] == [0, 1]
    assert report["controls"].keys() == {"most_common", "shuffled", "human"}
    assert report["calibration"]["reason"].startswith("Too few photos to say when the captioner is sure")
    assert report["held_out"].keys() == {"validation"}
    assert report["held_out"]["validation"].keys() == {"shown", "named", "named_percent", "sides"}
    assert [row["epoch"] for row in report["history"]] == [1, 2]
    assert report["minutes"].keys() == {"extraction", "training", "fine_tuning", "refinement"}
    assert "test" not in report
    train = datasets.read_dataset(drawn_dir, ("train",)).captions("train")
    assert set(trained.captioner.vocabulary.words[4:]) <= {word for _, text in train for word in text.split()}
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_features_of_photos_are_means_over_the_mirror_image_too_and_those_of_drawings_never(album, drawn_dir):
    assert recipe.plan_training(configure(album)).encoder.mirrored
    assert not recipe.plan_training(configure(drawn_dir)).encoder.mirrored
    assert not recipe.plan_training(configure(album, mirrored=False)).encoder.mirrored


def measure(materials):
    """The report on a captioner that has learnt nothing yet."""
    captioner = recipe.build_captioner(materials.plan, recipe.build_vocabulary(materials))
    return recipe.measure_captioner(captioner, materials, progress=False)


def test_photos_have_a_word_detector_and_drawings_have_none(album, drawn_dir, monkeypatch):
    # Whether it is of use to captioners of toy size is another matter.
    monkeypatch.setattr(evaluation, "DETECTOR_WEIGHTS", (0.3, 0.6))
    monkeypatch.setattr(evaluation, "_CAREFUL_COST", 1000.0)
    of_photos, of_drawings = (recipe.train_captioner(prepare(folder), progress=False) for folder in (album, drawn_dir))
    words = of_photos.captioner.vocabulary.words
    assert {"red", "left"} <= {words[word] for word in of_photos.captioner.detector.word_ids}
    assert {row["detector_weight"] for row in of_photos.report["searches"]} == {0.0, 0.3, 0.6}
    assert of_photos.report["detector_weight"] == of_photos.captioner.settings.detector_weight > 0
    assert of_drawings.captioner.detector is None
    assert {row["detector_weight"] for row in of_drawings.report["searches"]} == {0.0}


def test_a_word_detector_that_is_of_no_use_is_dropped(album, monkeypatch):
    monkeypatch.setattr(evaluation, "DETECTOR_WEIGHTS", (0.0,))
    trained = recipe.train_captioner(prepare(album), progress=False)
    assert trained.report["detector_weight"] == 0 and trained.captioner.detector is None


def test_photos_that_were_trained_on_are_encoded_where_words_are_to_be_detected_in_them(album, drawn_dir):
    def encoded(folder, **options):
        plan = recipe.plan_training(configure(folder))
        return set(recipe.encode_measured(plan, {}, progress=False, **options).splits)

    assert encoded(album) == {"validation"}
    assert encoded(album, with_train=True) == {"train", "validation"}
    assert encoded(drawn_dir, with_train=True) == {"validation"}


def test_training_cannot_begin_with_a_search_that_heeds_a_detector():
    with pytest.raises(ValueError, match="Training begins without a word detector, .* Received: detector_weight=0.3"):
        config.RecipeConfig(decoding=config.DecodingConfig(detector_weight=0.3))


def test_the_test_split_is_read_and_measured_only_if_asked(album):
    (album / datasets.SPLIT_FILES["test"]).rename(album / "kept")
    assert prepare(album).splits.keys() == {"train", "validation"}
    (album / "kept").rename(album / datasets.SPLIT_FILES["test"])
    materials = prepare(album, with_test=True)
    report = measure(materials)
    assert (report["split"], report["test"]["split"]) == ("validation", "test")
    assert report["calibration"]["test"] == []
    # What it is called by does not depend on that.
    assert materials.identity == prepare(album).identity


def test_photos_that_cannot_be_read_are_left_out_everywhere_counted_and_named(album, monkeypatch):
    broken = {}
    for split in config.SPLITS:
        broken[split] = datasets.read_dataset(album).image_ids(split)[0]
        (album / "Images" / broken[split]).write_bytes(b"")
    materials = prepare(album, with_test=True)
    assert len(materials.notes) == 3
    note = f"1 of 28 train photos could not be read and were left out. {broken['train']}: "
    assert materials.notes[0].startswith(note)
    report = measure(materials)
    assert (report["num_photos"], report["unreadable_photos"]) == (5, 1)
    assert (report["test"]["num_photos"], report["test"]["unreadable_photos"]) == (5, 1)
    assert not {*report["captions"], *report["test"]["captions"]} & set(broken.values())
    seen = []
    monkeypatch.setattr(teacher_forcing, "train_decoder", lambda _, *batches, **__: seen.extend(batches[:2]))
    captioner = recipe.build_captioner(materials.plan, recipe.build_vocabulary(materials))
    recipe.fit_captioner(captioner, materials)
    kernels = [variable.numpy() for variable in captioner.decoder.trainable_variables if len(variable.shape) > 1]
    assert all((kernel == kernel.astype(np.float16)).all() for kernel in kernels), "what is measured is what is saved"
    # Crops are of train photos, and for training alone.
    assert [batches._views._crops is not None for batches in seen] == [True, False]
    assert [sum(len(ids) for _, ids in batches.epoch(0)) for batches in seen] == [27 * 5, 5 * 5]
    facts = recipe.describe_training(materials, [{"epoch": 1, "val_cider_d": 1.0, "seconds": 60.0}], [], [])
    assert {split: list(found) for split, found in facts["unreadable"].items()} == {s: [i] for s, i in broken.items()}
    assert (facts["train_photos"], facts["minutes"]["training"]) == (27, 1.0)
    assert facts["trained_on"] == machine.name_device()


def test_crops_have_the_share_that_was_asked_for_in_self_critical_training_too(album, monkeypatch):
    seen = []
    monkeypatch.setattr(
        recipe.self_critical, "refine_decoder", lambda decoder, views, *_, **__: seen.append(views) or []
    )
    materials = prepare(album, training={"crop_share": 0.25})
    recipe.refine_captioner(recipe.build_captioner(materials.plan, recipe.build_vocabulary(materials)), materials)
    assert [views._crop_share for views in seen] == [0.25]


def test_one_caption_for_a_photo_stops_nothing(album):
    lines = (album / datasets.TOKEN_FILE).read_text().splitlines(keepends=True)
    (album / datasets.TOKEN_FILE).write_text("".join(line for line in lines if "#0\t" in line))
    report = measure(prepare(album, min_count=1))
    assert report["controls"].keys() == {"most_common", "shuffled"}
    assert "with several captions each are needed, here are 0" in report["calibration"]["reason"]


def test_a_run_is_known_by_its_content(album):
    materials = prepare(album)
    assert prepare(album).run_dir == materials.run_dir
    assert materials.run_dir.name.startswith("tiny-album-seed7-")
    others = {
        "epochs": prepare(album, training={"epochs": 3}),
        "seed": prepare(album, seed=8),
        "words": prepare(album, min_count=1),
        "beams": prepare(album, decoding=config.DecodingConfig(num_beams=2)),
        "photos": prepare(album, photos=20),
    }
    # Another last stage is another captioner, of the same first stage.
    assert prepare(album, self_critical={"rounds": 1}).run_dir == materials.run_dir
    assert prepare(album, self_critical={"rounds": 1}).identity != materials.identity
    text = (album / datasets.TOKEN_FILE).read_text()
    (album / datasets.TOKEN_FILE).write_text(text.replace("a small", "a wee"))
    others["captions"] = prepare(album)
    assert "wee" in recipe.build_vocabulary(others["captions"]).words
    assert len({made.run_dir for made in (materials, *others.values())}) == 1 + len(others)
    assert len({made.identity for made in (materials, *others.values())}) == 1 + len(others)


def test_the_search_of_the_recipe_is_the_captioners_and_that_of_its_scores(album):
    search = config.DecodingConfig(num_beams=2, max_length=5)
    report = measure(prepare(album, decoding=search))
    assert report["num_beams"] == 2
    assert report["mean_length"] <= 5


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({}, "tiny-drawings"),
        ({"photos": 32}, "tiny-drawings-32photos"),
        ({"seed": 1}, "tiny-drawings-seed1"),
        ({"photos": 32, "seed": 1}, "tiny-drawings-32photos-seed1"),
    ],
)
def test_a_name_says_encoder_data_photos_and_seed(dataset, tiny_captioner, chosen, name):
    plan = recipe.Plan(config.RecipeConfig(**chosen), dataset, tiny_captioner.encoder)
    assert plan.name == name
    flickr8k = dataclasses.replace(plan, dataset=dataclasses.replace(dataset, name="flickr8k"))
    assert flickr8k.name == name.replace("-drawings", "")


@pytest.fixture
def no_flickr8k(monkeypatch, drawn_dir, tmp_path):
    """A machine without Flickr8k and without a network."""

    def fail(*_, **__):
        raise ConnectionError("Flickr8k could not be downloaded.")

    monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(config, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(flickr8k, "download_flickr8k", fail)
    monkeypatch.setattr(drawings, "draw_dataset", lambda: drawn_dir)


def test_without_flickr8k_the_drawings_step_in_and_it_is_said(no_flickr8k):
    dataset, why = sources.obtain_dataset("auto")
    assert dataset.name == "drawings"
    assert why.startswith("Data: the drawn data set, since Flickr8k cannot be had.")
    assert "Flickr8k could not be downloaded." in why


def test_flickr8k_by_name_is_never_replaced(no_flickr8k):
    with pytest.raises(ConnectionError, match="Flickr8k could not be downloaded"):
        sources.obtain_dataset("flickr8k")


def test_a_mistyped_folder_is_an_error_and_no_download(no_flickr8k, monkeypatch, tmp_path):
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(tmp_path / "flikr8k"))
    for choice in ("auto", "flickr8k", str(tmp_path / "elsewhere")):
        with pytest.raises(FileNotFoundError, match="No data set in .*(flikr8k|elsewhere)"):
            sources.obtain_dataset(choice)


def test_a_folder_and_the_drawings_can_be_asked_for(no_flickr8k, drawn_dir):
    assert sources.obtain_dataset("drawn")[0].name == "drawings"
    dataset, why = sources.obtain_dataset(str(drawn_dir), num_photos=3)
    assert why == "Data: drawings, as asked for."
    assert {split: len(ids) for split, ids in dataset.splits.items()} == {"train": 3, "validation": 3, "test": 3}
