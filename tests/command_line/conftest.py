"""What the tests of the commands share."""

import shutil
from pathlib import Path

import pytest

from captioner import config
from captioner.artifacts import catalogue, saving


@pytest.fixture
def loaded(tiny_captioner, monkeypatch):
    """Spares a test the loading of a captioner; returns it."""
    monkeypatch.setattr(catalogue, "choose_captioner", Path)
    monkeypatch.setattr(catalogue, "read_config", lambda _: {})
    monkeypatch.setattr(catalogue, "read_metrics", lambda _: {})
    monkeypatch.setattr(saving, "load_captioner", lambda _: tiny_captioner)
    return tiny_captioner


@pytest.fixture
def data(drawn_dir, tmp_path, monkeypatch):
    """A drawn data set that the test may damage, and a folder of its own for features."""
    monkeypatch.setattr(config, "FEATURES_DIR", tmp_path / "cache")
    return shutil.copytree(drawn_dir, tmp_path / "drawings")


@pytest.fixture
def album(drawn_dir, tmp_path):
    """A folder with three photos, one of them in a folder within."""
    folder = tmp_path / "album"
    (folder / "within").mkdir(parents=True)
    pictures = sorted((drawn_dir / "Images").iterdir())
    for name, picture in zip(("b.jpg", "a.JPG", "within/c.jpg"), pictures, strict=False):
        shutil.copy(picture, folder / name)
    return folder


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    """Fails a test that begins the long work."""

    def load(_):
        raise AssertionError("The captioner was loaded before the check.")

    monkeypatch.setattr(catalogue, "choose_captioner", Path)
    monkeypatch.setattr(catalogue, "read_config", lambda _: {})
    monkeypatch.setattr(catalogue, "read_metrics", lambda _: {})
    monkeypatch.setattr(saving, "load_captioner", load)
