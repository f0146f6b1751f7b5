"""Which files of a folder are captioned, and what is said of the others."""

import os
import re

import pytest
from PIL import Image

from captioner.data import photo_files

FORMATS = {
    **{"a.jpg": "JPEG", "b.jfif": "JPEG", "c.avif": "AVIF", "d.webp": "WEBP", "e.PNG": "PNG", "f.tif": "TIFF"},
    **{"g": "JPEG", "h": "BMP", "i.jpg.1": "GIF", "j": "AVIF", "k": "TIFF", "l": "WEBP", "m": "PNG"},
}


def test_a_folder_gives_every_photo_whatever_its_name(tmp_path):
    for name, kind in FORMATS.items():
        Image.new("RGB", (8, 8), "teal").save(tmp_path / name, kind)
    (tmp_path / "notes.txt").write_text("BM is how this text begins.")
    (tmp_path / "damaged.jpg").write_text("no picture")
    found = photo_files.list_photos([tmp_path])
    assert [path.name for path in found.photos] == sorted([*FORMATS, "damaged.jpg"])
    assert found.summary() == "Passed over: 1 no photo (notes.txt)."


def test_what_lies_beside_a_photo_is_named_as_that_and_what_is_being_written_not_at_all(tmp_path):
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "no suffix", "JPEG")
    beside = ("b.jpg.txt", "b.jpg.xmp", "b.jpg.xmp~1", "no suffix.TXT")
    written = ("captions.csv", "captions.csv~1", "captions.csv~22", ".lock-captions.csv")
    others = ("b.txt", "c.jpg.txt", "captions.csv.old", "notes.txt", "notes.txt.txt")
    for name in ("b.jpg", *beside, *written, *others):
        (tmp_path / name).touch()
    found = photo_files.list_photos([tmp_path], output=tmp_path / "captions.csv")
    assert [path.name for path in found.photos] == ["b.jpg", "no suffix"]
    assert {path.name: reason for path, reason in found.passed_over.items()} == {
        **dict.fromkeys(beside, "beside their photos"),
        **dict.fromkeys(others, "no photo"),
    }
    assert "4 beside their photos (b.jpg.txt, b.jpg.xmp, b.jpg.xmp~1, ...)" in found.summary()


def test_photos_are_listed_by_path_with_those_in_folders(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.JPG", "a.png", "notes.txt", "deep/c.webp"):
        (tmp_path / name).touch()
    found = photo_files.list_photos([str(tmp_path / "notes.txt"), tmp_path])
    # A file that is named outright is kept whatever it is.
    expected = ["notes.txt", "a.png", "b.JPG", "deep/c.webp"]
    assert [str(path.relative_to(tmp_path)) for path in found.photos] == expected


def test_what_is_hidden_is_passed_over_and_counted(tmp_path):
    hidden = ("._b.jpg", ".DS_Store", ".thumbnails/b.jpg", "__MACOSX/._b.jpg", "@eaDir/b.jpg/THUMB.jpg")
    for name in ("b.jpg", *hidden):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = photo_files.list_photos([tmp_path])
    assert found.photos == [tmp_path / "b.jpg"]
    assert found.summary() == "Passed over: 5 hidden (.DS_Store, ._b.jpg, .thumbnails, ...)."


def test_folders_behind_links_are_read_once_and_loops_end(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").touch()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "upwards").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    found = photo_files.list_photos([tmp_path / "in"])
    assert found.photos == [tmp_path / "in" / "linked" / "a.jpg"]
    assert found.passed_over == {tmp_path / "in" / "upwards": "read already"}
    assert {path.name: reason for path, reason in found.unreadable.items()} == {
        "itself.jpg": "is a link that leads back to itself",
        "gone.jpg": "is a link to nothing",
    }


def test_a_folder_without_rights_is_named_and_stops_no_other(tmp_path, monkeypatch):
    # The super-user may enter every folder, so the system's answer is played.
    (tmp_path / "a.jpg").touch()
    (tmp_path / "closed").mkdir()
    list_names = os.listdir

    def refuse(folder):
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return list_names(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    found = photo_files.list_photos([tmp_path])
    assert found.photos == [tmp_path / "a.jpg"]
    assert found.unreadable == {tmp_path / "closed": "may not be read: you have no right to it"}
    with pytest.raises(PermissionError, match="The folder .*closed may not be read: you have no right to it."):
        photo_files.list_photos([tmp_path / "closed"])


def test_a_path_that_cannot_be_found_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"There is no file or folder {tmp_path / 'gone'}.")):
        photo_files.list_photos([tmp_path / "gone"])
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop is a link that leads back to itself."):
        photo_files.list_photos([tmp_path / "loop"])


def test_a_folder_without_photos_is_named_with_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match="No photos in the folder .*: expected .* Passed over: 1 no photo"):
        photo_files.list_photos([tmp_path])
