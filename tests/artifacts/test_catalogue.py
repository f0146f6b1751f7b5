"""Which captioners there are, and what is read of them without TensorFlow."""

import dataclasses

import pytest

from captioner import config
from captioner.artifacts import catalogue


def test_the_captioner_of_the_best_encoder_is_listed_first(tmp_path):
    for name in ("zebra", "compact", "mobilenet_v2", "apple", "vgg16", ".vgg16.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "no-captioner").mkdir()
    listed = [folder.name for folder in catalogue.list_captioners(tmp_path)]
    assert listed == ["vgg16", "mobilenet_v2", "compact", "apple", "zebra"]
    assert catalogue.list_captioners(tmp_path / "nowhere") == []


def test_without_a_name_the_first_of_the_list_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ARTIFACTS_DIR", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No captioner in .*\. Run model.ipynb to the end to create one\."):
        catalogue.choose_captioner()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    assert catalogue.choose_captioner() == tmp_path / "mine"
    assert catalogue.choose_captioner(tmp_path / "other") == tmp_path / "other"


def test_missing_metrics_are_explained(tiny_bundle):
    (tiny_bundle / "metrics.json").unlink()
    with pytest.raises(FileNotFoundError, match="lacks metrics.json. Run model.ipynb again"):
        catalogue.read_metrics(tiny_bundle)


def test_the_configuration_says_what_the_captioner_is(tiny_bundle, tiny_captioner):
    content = catalogue.read_config(tiny_bundle)
    assert content["encoder"] == {
        "name": "tiny", "regions_layer": "grid", "fingerprint": tiny_captioner.encoder.fingerprint, "mirrored": False,
    }  # fmt: skip
    assert content["decoding"] == dataclasses.asdict(tiny_captioner.settings)
    assert content["decoder"]["units"] == 4 and content["decoder"]["vocabulary_size"] == 16
