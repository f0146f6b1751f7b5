"""What a visitor takes along is what stands on the page."""

import csv
import io
import json
import types
import zipfile

import pytest

from captioner import output
from captioner.command_line import sidecars
from captioner.page import downloads
from captioner.page.uploads import CaptionedPhoto


def caption(text: str):
    return types.SimpleNamespace(text=text, words=text.split(), log_prob=-1.0, confidence="sure")


DONE = [
    CaptionedPhoto('é, "1".jpg', [caption("a dog"), caption("a cat"), caption("a cow")]),
    CaptionedPhoto("bad.jpg", problem="bad.jpg is empty."),
    CaptionedPhoto("chosen.jpg", [caption("a man"), caption("a boy"), caption("a girl")], chosen=1),
    CaptionedPhoto("edited.jpg", [caption("a man"), caption("a boy")], edited="My son."),
]
SENTENCES = ["A dog.", "A boy.", "My son."]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_downloads_are_the_very_files_that_the_command_writes(tmp_path, kind):
    layout = output.choose_layout(kind, 1)
    with output.open_writer(tmp_path / "out", layout) as writer:
        writer.write(photo.row for photo in DONE)
    content = downloads.write_file(DONE, kind, 1)
    assert content == (tmp_path / "out").read_bytes()
    assert content.decode().count("bad.jpg is empty.") == 1


def test_downloads_hold_the_captions_that_were_chosen_and_written():
    rows = list(csv.DictReader(io.StringIO(downloads.write_file(DONE, "csv", 2).decode("utf-8-sig"))))
    assert [row["caption"] for row in rows] == ["A dog.", "", "A boy.", "My son."]
    assert [row["words"] for row in rows] == ["a dog", "", "a boy", "a man"]
    assert [row["alternative_1"] for row in rows] == ["A cat.", "", "A man.", "A boy."]
    rows = json.loads(downloads.write_file(DONE, "json", 0))
    assert [row["caption"] for row in rows] == ["A dog.", None, "A boy.", "My son."]


def test_copied_together_captions_have_a_line_for_each_photo():
    assert downloads.list_captions(DONE) == 'é, "1".jpg: A dog.\nchosen.jpg: A boy.\nedited.jpg: My son.'


def read_zip(done) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(downloads.write_file(done, "zip", 0))) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_zip_has_a_text_for_each_photo_and_one_for_those_without_a_caption():
    assert read_zip(DONE) == {
        "é, _1_.jpg.txt": "A dog.\n",
        "chosen.jpg.txt": "A boy.\n",
        "edited.jpg.txt": "My son.\n",
        "not captioned.txt": "bad.jpg: bad.jpg is empty.\n",
    }
    assert "not captioned.txt" not in read_zip(DONE[:1])


def test_photos_of_one_name_get_texts_of_their_own_and_none_leaves_the_folder():
    names = ["a.jpg", "A.JPG", "a.png", "a.jpg", "../../b.jpg", ".jpg", "not captioned", ""]
    texts = read_zip([CaptionedPhoto(name, [caption(name or "none")]) for name in names] + [DONE[1]])
    assert list(texts) == [
        *("not captioned.txt", "a.jpg.txt", "A.JPG 2.txt", "a.png.txt", "a.jpg 3.txt", "_.._b.jpg.txt", "jpg.txt"),
        *("not captioned 2.txt", "photo.txt"),
    ]


def test_texts_are_named_as_the_command_names_sidecars(tmp_path):
    sidecars.SidecarWriter().write(tmp_path / "chosen.jpg", DONE[2].sentence)
    assert read_zip(DONE[2:3]) == {"chosen.jpg.txt": (tmp_path / "chosen.jpg.txt").read_text(encoding="utf-8")}
