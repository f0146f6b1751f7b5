"""Which captioners there are, and what is read of them without TensorFlow."""

import dataclasses
import json

import pytest

from captioner import config
from captioner.artifacts import catalogue, manifest


def test_the_captioner_of_the_best_encoder_is_listed_first(tmp_path):
    for name in ("zebra", "compact", "mobilenet_v2", "apple", "vgg16", ".new-vgg16", "vgg16~1", "vgg16~12"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "no-captioner").mkdir()
    listed = [folder.name for folder in catalogue.list_captioners(tmp_path)]
    assert listed == ["vgg16", "mobilenet_v2", "compact", "apple", "zebra"]
    assert catalogue.list_captioners(tmp_path / "nowhere") == []


def put_captioner(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_without_a_name_the_first_of_the_list_is_chosen(project):
    with pytest.raises(FileNotFoundError, match=r"No captioner in .*\. Run model.ipynb to the end to create one\."):
        catalogue.choose_captioner()
    mine = put_captioner(project / "artifacts" / "mine")
    assert catalogue.choose_captioner() == mine


def test_a_captioner_is_chosen_by_name_or_folder(project):
    mine, elsewhere = put_captioner(project / "artifacts" / "mine"), put_captioner(project / "elsewhere" / "mine")
    assert catalogue.choose_captioner("mine") == mine
    assert catalogue.choose_captioner(str(elsewhere)) == catalogue.choose_captioner(elsewhere) == elsewhere


def test_a_name_that_is_none_lists_those_that_there_are(project):
    with pytest.raises(FileNotFoundError, match="No captioner at yours. .*one of those that there are: none."):
        catalogue.choose_captioner("yours")
    put_captioner(project / "artifacts" / "mine")
    put_captioner(project / "shipped" / "vgg16")
    with pytest.raises(FileNotFoundError, match="Name a folder, or one of those that there are: vgg16, mine."):
        catalogue.choose_captioner("yours")


def test_what_came_with_the_project_is_listed_unless_a_folder_is_named_or_a_namesake_was_made(project, monkeypatch):
    shipped = put_captioner(project / "shipped" / "compact")
    assert catalogue.list_captioners() == [shipped]
    retrained = put_captioner(project / "artifacts" / "compact")
    assert catalogue.list_captioners() == [retrained]
    put_captioner(project / "shipped" / "vgg16")
    monkeypatch.setenv(config.ARTIFACTS_VARIABLE, str(project / "artifacts"))
    assert catalogue.list_captioners() == [retrained]


def test_a_captioner_whose_encoder_comes_in_a_package_that_is_missing_is_listed_last(tmp_path, monkeypatch):
    for name in ("compact", "efficientnet_lite2"):
        put_captioner(tmp_path / name).joinpath("config.json").write_text(json.dumps({"encoder": {"name": name}}))
    for module, first in (("json", "efficientnet_lite2"), ("no_such_package", "compact")):
        monkeypatch.setitem(config.PACKAGED_ENCODERS, "efficientnet_lite2", module)
        assert catalogue.list_captioners(tmp_path)[0].name == first


@pytest.mark.parametrize("content", ['{"encoder": {"name": ["x"]}}', '{"encoder": "x"}', "[" * 100_000, "[]", ""])
def test_a_configuration_of_any_kind_hinders_no_list_of_captioners(tmp_path, content):
    for name in ("compact", "odd"):
        put_captioner(tmp_path / name).joinpath("config.json").write_text('{"encoder": {"name": "compact"}}')
    (tmp_path / "odd" / "config.json").write_text(content)
    assert {folder.name for folder in catalogue.list_captioners(tmp_path)} == {"compact", "odd"}


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


def test_a_captioner_that_was_saved_before_there_was_a_rule_searches_without_it(tiny_bundle, tiny_captioner):
    content = catalogue.read_config(tiny_bundle)
    del content["decoding"]["rarity"], content["decoding"]["detector_weight"]
    assert catalogue.read_search(content) == tiny_captioner.settings
    assert tiny_captioner.settings.rarity == tiny_captioner.settings.detector_weight == 0


def test_a_captioner_made_of_something_else_gets_another_name_and_its_own_run_may_be_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ARTIFACTS_DIR", tmp_path / "made")
    monkeypatch.setattr(config, "SHIPPED_DIR", tmp_path / "shipped")
    assert catalogue.choose_place("compact", "0123") == (tmp_path / "made" / "compact", False)
    for folder, run in (("shipped/compact", {}), ("made/mine", {"run": "0123"}), ("made/mine-4567", {"run": "4567"})):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / catalogue.CONFIG_FILE).write_text("{}")
        (tmp_path / folder / catalogue.METRICS_FILE).write_text(json.dumps(run))
    # What is damaged, as these files without a manifest are, or ships without a run, is something else.
    assert catalogue.choose_place("mine", "0123") == (tmp_path / "made" / "mine-0123", False)
    monkeypatch.setattr(catalogue, "read_metrics", lambda folder: json.loads((folder / "metrics.json").read_text()))
    assert catalogue.choose_place("compact", "0123") == (tmp_path / "made" / "compact-0123", False)
    assert catalogue.choose_place("mine", "0123") == (tmp_path / "made" / "mine", True)
    assert catalogue.choose_place("mine", "4567") == (tmp_path / "made" / "mine-4567", True)
    assert catalogue.choose_place("mine", "89ab") == (tmp_path / "made" / "mine-89ab", False)
    # A name that somebody gave stands, and so does what was said of replacing.
    assert catalogue.choose_place("new", "89ab", asked="mine") == (tmp_path / "made" / "mine", False)
    assert catalogue.choose_place("new", "89ab", asked="mine", replace=True) == (tmp_path / "made" / "mine", True)
    assert catalogue.choose_place("mine", "89ab", replace=True) == (tmp_path / "made" / "mine", True)


def test_where_nothing_can_be_saved_is_said_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "artifacts").write_text("a file in the way")
    monkeypatch.setattr(config, "ARTIFACTS_DIR", tmp_path / "artifacts")
    with pytest.raises(PermissionError, match="No captioner can be saved in .*artifacts .* set CAPTIONER_ARTIFACTS"):
        catalogue.check_writable()


def test_a_captioner_of_drawings_never_stands_above_one_of_photos(tmp_path):
    for name, data, score in (("compact", "drawings", 300.0), ("zebra", "flickr8k", 10.0), ("broken", None, None)):
        folder = put_captioner(tmp_path / name)
        (folder / "metrics.json").write_text(json.dumps({"data": data, "cider_d": score}) if data else "cut short")
        manifest.write_manifest(folder)
    assert [folder.name for folder in catalogue.list_captioners(tmp_path)] == ["broken", "zebra", "compact"]
