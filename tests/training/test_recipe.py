"""From pictures to a saved captioner, on the drawn data set with the encoder `tiny`."""

import dataclasses
import json
import shutil

import pytest

from captioner import config
from captioner.artifacts import saving
from captioner.data import datasets, flickr8k, sources
from captioner.data.drawings import dataset as drawings
from captioner.training import recipe, teacher_forcing


def test_a_captioner_is_trained_and_saved_in_one_call(project, drawn_dir, tiny_encoder_known, capsys):
    folder = recipe.train_captioner(
        drawn_dir,
        tiny_encoder_known,
        name="toy",
        decoder_choices={"units": 8, "embedding_size": 4, "attention_size": 4, "memory_size": 8},
        training_choices={"epochs": 2, "batch_size": 32, "seed": 7},
    )
    printed = capsys.readouterr().out
    assert "Encoder: tiny, as asked for." in printed
    assert "Too few photos to say when the captioner is sure" in printed
    assert folder == project / "artifacts" / "toy"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["split"] == "validation"
    assert metrics["seed"] == 7
    assert metrics["best_epoch"] in (1, 2)
    assert metrics["calibration"]["reason"] in printed
    train = datasets.read_dataset(drawn_dir, ("train",)).captions("train")
    train_words = {word for _, text in train for word in text.split()}
    assert set(saving.load_captioner(folder).vocabulary.words[4:]) <= train_words


def test_photos_that_cannot_be_read_are_left_out_of_training(project, drawn_dir, tiny_encoder_known, monkeypatch):
    dataset = datasets.read_dataset(drawn_dir, ("train", "validation"))
    broken = dataset.image_ids("train")[0]
    stores = {}
    from captioner.data import vocabulary
    from captioner.encoders import features
    from captioner.encoders.encoder import load_encoder

    encoder = load_encoder(tiny_encoder_known)
    for split in dataset.splits:
        paths = dataset.photo_paths(split)
        if split == "train":
            paths[broken] = project / "missing.jpg"
        stores[split] = features.extract_features(encoder, paths, progress=False)
    assert list(stores["train"].failed) == [broken]
    seen = []
    monkeypatch.setattr(teacher_forcing, "train_decoder", lambda _, train, *__, **___: seen.append(train))
    words = vocabulary.Vocabulary.from_captions(text for _, text in dataset.captions("train"))
    captioner = recipe.build_captioner(encoder, words, name="toy", settings=config.DecoderConfig(units=4))
    recipe.fit_captioner(captioner, dataset, stores, project / "run", settings=config.TrainingConfig())
    [train] = seen
    captions = sum(len(target_ids) for _, target_ids in train.epoch(0))
    assert captions == len(dataset.captions("train")) - len(dataset.references[broken])


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


def test_a_captioner_is_named_after_its_encoder_and_data_other_than_flickr8k(drawn_dir):
    dataset = datasets.read_dataset(drawn_dir)
    assert recipe.name_captioner("compact", dataset) == f"compact-{dataset.name}"
    assert recipe.name_captioner("compact", dataclasses.replace(dataset, name="flickr8k")) == "compact"


def test_what_a_data_set_lacks_is_said_before_the_long_work(drawn_dir, tmp_path, capsys):
    folder = shutil.copytree(drawn_dir, tmp_path / "drawings")
    missing = datasets.read_dataset(folder).image_ids("train")[0]
    (folder / "Images" / missing).unlink()
    # Nothing is trained: the encoder that is asked for does not exist.
    with pytest.raises(ValueError, match="owl"):
        recipe.train_captioner(folder, "owl")
    assert f"photos are missing in {folder / 'Images'}, for example '{missing}'." in capsys.readouterr().out
