"""Photos dealt into parts: which, how many, under which names, and what a Parquet file of photos must hold."""

import os
import shutil

import pyarrow
import pytest
from pyarrow import parquet

from captioner.command_line import bulk, parts
from captioner.data import photo_files


def write_photos(path, table, **options):
    parquet.write_table(pyarrow.table(table), path, **options)
    return path


def test_photos_of_folders_are_dealt_in_the_order_and_by_the_rules_of_caption(album):
    (album / "note.txt").write_text("no picture")
    (album / ".hidden.jpg").touch()
    odd = os.fsdecode(os.fsencode(album) + b"/\xff.jpg")
    shutil.copy(album / "b.jpg", odd)
    dealt, said = parts.deal([album, album / "b.jpg"], 2, "csv")
    assert [part["file"] for part in dealt] == ["part-000000.csv", "part-000001.csv", "part-000002.csv"]
    assert [part["num_photos"] for part in dealt] == [2, 2, 1]
    photos = [photo for part in dealt for photo in parts.open_part(part)]
    assert photos == [*photo_files.list_photos([album]).photos, album / "b.jpg"]
    assert len(photos) == 5 and any(str(photo) == odd for photo in photos)
    assert said == "Passed over: 1 hidden (.hidden.jpg); 1 no photo (note.txt)."


def test_what_cannot_be_reached_is_a_part_with_the_reasons(album):
    (album / "lost.jpg").symlink_to(album / "nowhere.jpg")
    dealt, _ = parts.deal([album], 10, "csv")
    assert [part["num_photos"] for part in dealt] == [3, 1]
    assert list(parts.open_part(dealt[1])) == [bulk.NamedPhoto(str(album / "lost.jpg"), problem="is a link to nothing")]


def test_row_groups_of_parquet_are_parts_whatever_they_hold(tmp_path):
    table = {"more": [1, 2, 3], "path": ["a", "b", "c"], "bytes": [b"1", None, b"3"]}
    path = write_photos(tmp_path / "photos.parquet", table, row_group_size=2)
    dealt, said = parts.deal([path], 1, "jsonl")
    assert [part["num_photos"] for part in dealt] == [2, 1] and said == ""
    photos = [list(parts.open_part(part)) for part in dealt]
    named = [bulk.NamedPhoto("a", b"1"), bulk.NamedPhoto("b", b""), bulk.NamedPhoto("c", b"3")]
    assert photos == [named[:2], named[2:]]


def test_numbers_name_photos_too_and_a_folder_of_parquet_tells_what_else_is_in_it(album, tmp_path):
    write_photos(album / "z.parquet", {"id": [7], "bytes": [b"x"]})
    dealt, said = parts.deal([album], 10, "csv")
    assert [list(parts.open_part(part)) for part in dealt] == [[bulk.NamedPhoto("7", b"x")]]
    assert said == "Passed over: 3 beside Parquet files (a.JPG, b.jpg, within)."


@pytest.mark.parametrize(("column", "kind"), [(["/etc/passwd"], "string"), ([1], "int64"), ([[1]], "list<.*>")])
def test_what_is_no_content_of_a_file_is_never_taken_for_its_path(tmp_path, column, kind):
    path = write_photos(tmp_path / "photos.parquet", {"path": ["a.jpg"], "bytes": column})
    with pytest.raises(ValueError, match=rf"column bytes of .*photos.parquet must hold the bytes .* Received: {kind}"):
        parts.deal([path], 1, "csv")


@pytest.mark.parametrize(
    ("table", "received"), [({"path": ["a"]}, "path"), ({"bytes": [b""], "name": ["a"]}, "bytes, name")]
)
def test_a_column_that_is_missing_is_named_with_those_that_are_there(tmp_path, table, received):
    path = write_photos(tmp_path / "photos.parquet", table)
    with pytest.raises(ValueError, match=f"photos.parquet needs a column bytes, .* and path or id, .*: {received}$"):
        parts.deal([path], 10, "csv")


def test_parquet_that_is_damaged_or_missing_is_one_sentence(tmp_path):
    (tmp_path / "photos.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="photos.parquet is damaged. Make it anew, or leave it out."):
        parts.deal([tmp_path / "photos.parquet"], 10, "csv")
    with pytest.raises(FileNotFoundError, match="There is no file .*lost.parquet."):
        parts.deal([tmp_path / "lost.parquet"], 10, "csv")
    with pytest.raises(FileNotFoundError, match="There is no file or folder .*nowhere."):
        parts.deal([tmp_path / "nowhere"], 10, "csv")
