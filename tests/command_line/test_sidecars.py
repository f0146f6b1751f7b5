"""Captions beside their photos: read back by other programs, never in the way of what is there."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pyexiv2
import pytest
from helpers import captions_of, check_sentence, run

from captioner.command_line import sidecars

ODD = 'Tom & Jerry\'s <b>"größte" 犬</b> ]]> &amp;.'


def read_tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_exiv2_with_which_darktable_and_digikam_read_finds_description_and_alt_text(tmp_path):
    sidecars.SidecarWriter().write(tmp_path / "a.jpg", ODD)
    with pyexiv2.Image(str(tmp_path / "a.jpg.xmp")) as image:
        found = image.read_xmp()
    assert found == {
        "Xmp.dc.description": {'lang="x-default"': ODD},
        "Xmp.iptc.AltTextAccessibility": {'lang="x-default"': ODD},
    }
    assert (tmp_path / "a.jpg.txt").read_text(encoding="utf-8") == f"{ODD}\n"


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
def test_exiftool_reads_them_and_puts_them_into_photos(album):
    sidecars.SidecarWriter().write(album / "b.jpg", ODD)
    tags = ["-j", "-XMP-dc:Description", "-XMP-iptcCore:AltTextAccessibility"]
    expected = {"Description": ODD, "AltTextAccessibility": ODD}

    def ask(*arguments):
        command = ["exiftool", "-charset", "filename=utf8", *arguments]
        return subprocess.run(command, capture_output=True, check=True, cwd=album, timeout=60).stdout

    assert json.loads(ask(*tags, "b.jpg.xmp")) == [{"SourceFile": "b.jpg.xmp", **expected}]
    # As the help says.
    ask("-ext", "jpg", "-tagsFromFile", "%d%F.xmp", "-XMP:all", album)
    assert json.loads(ask(*tags, "b.jpg")) == [{"SourceFile": "b.jpg", **expected}]


def test_each_photo_with_a_caption_gets_both_and_stays_as_it_is(loaded, album, capsys):
    (album / "broken.jpg").write_bytes(b"no picture")
    before = read_tree(album)
    assert run("caption", album, "--captioner", "x", "--sidecar") == 1
    photos = [album / "a.JPG", album / "b.jpg", album / "within" / "c.jpg"]
    for photo, [sentence, *_] in zip(photos, captions_of(loaded, *photos), strict=True):
        assert photo.with_name(f"{photo.name}.txt").read_text() == f"{sentence}\n"
        assert sentence in photo.with_name(f"{photo.name}.xmp").read_text()
    after = read_tree(album)
    assert after.keys() - before.keys() == {f"{photo.name}{suffix}" for photo in photos for suffix in (".txt", ".xmp")}
    assert before.items() <= after.items()
    assert "Sidecars written beside the photos: 6.\n" in capsys.readouterr().err


def test_the_edits_of_others_stay_unless_somebody_asks_and_are_kept_then(loaded, album, capsys):
    edited, gone = album / "b.jpg.xmp", album / "a.JPG.xmp"
    edited.write_text("hours of edits")
    gone.symlink_to("nowhere")
    arguments = ("caption", album / "a.JPG", album / "b.jpg", "--captioner", "x", "--sidecar", "--quiet")
    assert run(*arguments) == 1
    assert edited.read_text() == "hours of edits" and gone.is_symlink()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Sidecars not written: 2. With --replace, what is there is kept as NAME~1.",
        f"  {gone}: It was there already and stays as it is.",
        f"  {edited}: It was there already and stays as it is.",
    ]
    # The others were written, and finding them again is no conflict.
    assert len(list(album.glob("*.txt"))) == 2
    assert run(*arguments, "--replace") == 0
    assert (album / "b.jpg.xmp~1").read_text() == "hours of edits" and (album / "a.JPG.xmp~1").is_symlink()
    assert "dc:description" in edited.read_text() and "dc:description" in gone.read_text()
    kept = read_tree(album)
    assert run(*arguments, "--replace") == run(*arguments) == 0
    assert read_tree(album) == kept


def test_a_disk_that_refuses_one_sidecar_does_not_stop_the_others(tmp_path):
    longest = tmp_path / f"{'a' * 251}.jpg"
    writer = sidecars.SidecarWriter()
    writer.write(longest, "A dog.")
    writer.write(tmp_path / "b.jpg", "A dog.")
    assert writer.num_written == 2
    assert set(writer.refused.values()) == {"It cannot be written (File name too long)."}
    assert {path.name for path in tmp_path.iterdir()} == {"b.jpg.txt", "b.jpg.xmp"}


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_folder_that_cannot_be_written_to_is_told_before_the_captioner_is_loaded(album, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, mode: (folder, mode) != (album / "within", os.W_OK))
    assert run("caption", album, "--captioner", "x", "--sidecar") == 1
    check_sentence(capsys, "error: No sidecars can be written in .*within. Give yourself the right to write there, or")


def test_replace_alone_is_wrong_usage(capsys):
    with pytest.raises(SystemExit, match="2"):
        run("caption", "a.jpg", "--replace")
    assert "--replace needs --sidecar: a FILE that exists is kept as FILE~1" in capsys.readouterr().err


def test_a_run_goes_on_with_its_sidecars_as_with_its_rows(loaded, album, tmp_path):
    arguments = ("caption", album, "--captioner", "x", "--sidecar", "--output", tmp_path / "o.csv")
    assert run(*arguments) == 0
    whole, rows = read_tree(album), (tmp_path / "o.csv").read_bytes()
    # Killed after the sidecars of the last photo and before its row, and others lost.
    (tmp_path / "o.csv").write_bytes(rows[:-40])
    assert run(*arguments, "--resume") == 0
    assert (tmp_path / "o.csv").read_bytes() == rows and read_tree(album) == whole


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_photos_that_were_finished_without_sidecars_get_them_when_the_run_goes_on(loaded, album, tmp_path, form):
    arguments = ("caption", album, "--captioner", "x", "--output", tmp_path / f"o.{form}")
    assert run(*arguments, "--sidecar") == 0
    whole, rows = read_tree(album), (tmp_path / f"o.{form}").read_bytes()
    for sidecar in (*album.rglob("*.txt"), *album.rglob("*.xmp")):
        sidecar.unlink()
    assert run(*arguments, "--resume", "--sidecar") == 0
    assert read_tree(album) == whole and (tmp_path / f"o.{form}").read_bytes() == rows
    # The row is what counts, whoever wrote it, and what is there already stays.
    (tmp_path / f"o.{form}").write_bytes(rows.replace(b"b.jpg", b"c.jpg"))
    (album / "a.JPG.txt").write_text("Mine.")
    (album / "b.jpg.txt").unlink()
    assert run(*arguments, "--resume", "--sidecar") == 1
    assert read_tree(album) == whole | {"a.JPG.txt": b"Mine."}
