"""Files of captions: what each layout writes, and that a file cut at any byte is gone on with."""

import csv
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from captioner import output

NAMES = [
    "b.jpg",
    'a, "quoted" dog.jpg',
    "two\nlines.jpg",
    "Hündin 犬.jpg",
    os.fsdecode(b"\xff.jpg"),
    "=1+1.jpg",
    "b.jpg",
]


def make_captions(*texts):
    return [SimpleNamespace(text=text, log_prob=-1.5 - number) for number, text in enumerate(texts)]


ROWS = [(name, make_captions(f"a dog {number}", "one dog", "dogs")) for number, name in enumerate(NAMES)]


def write(path, layout, rows, **options):
    with output.open_writer(path, layout, **options) as writer:
        for row in rows:
            writer.write([row])
    return path.read_bytes()


def resume(path, layout, rows):
    """Goes on with a file as the command does."""
    finished, kept_bytes = output.read_finished(path, layout)
    left = output.leave_out([Path(name) for name, _ in rows], finished)
    # Of a name that is there twice, the last one is left.
    rows = rows[len(rows) - len(left) :]
    assert [str(path) for path in left] == [name for name, _ in rows]
    return write(path, layout, rows, kept_bytes=kept_bytes)


def test_text_has_its_captions_in_one_column_on_a_terminal(tmp_path):
    # Columns: 7; 2 * 2 + 4 = 8; 8, since the accent takes none; 12, since what steers a terminal is spelled out.
    names = ["dog.jpg", "狗犬.jpg", "cafe\u0301.jpg", "a\nb\x1b.jpg"]
    layout = output.choose_layout("text", 1, photos=names)
    text = write(tmp_path / "out.txt", layout, [(name, make_captions("a dog", "dogs", "no")) for name in names])
    assert text.decode().splitlines() == [
        "dog.jpg" + 7 * " " + "a dog",
        14 * " " + "or: dogs",
        "狗犬.jpg" + 6 * " " + "a dog",
        14 * " " + "or: dogs",
        "cafe\u0301.jpg" + 6 * " " + "a dog",
        14 * " " + "or: dogs",
        "a\\nb\\x1b.jpg" + 2 * " " + "a dog",
        14 * " " + "or: dogs",
    ]


def test_json_is_one_array_as_the_json_module_writes_it(tmp_path):
    content = [
        {"photo": name, "caption": f"a dog {number}", "log_prob": -1.5, "alternatives": ["one dog"]}
        for number, name in enumerate(NAMES)
    ]
    written = write(tmp_path / "out.json", output.choose_layout("json", 1), ROWS)
    expected = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    assert written == expected.encode(errors="backslashreplace")
    assert json.loads(written) == content


def test_json_without_rows_is_an_empty_array(tmp_path):
    assert json.loads(write(tmp_path / "out.json", output.choose_layout("json"), [])) == []


def test_json_lines_hold_the_objects_of_json(tmp_path):
    lines = write(tmp_path / "out.jsonl", output.choose_layout("jsonl", 1), ROWS).decode().split("\n")
    array = json.loads(write(tmp_path / "out.json", output.choose_layout("json", 1), ROWS))
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == array


def test_json_gets_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("former")
    with output.open_writer(path, output.choose_layout("json")) as writer:
        writer.write(ROWS[:1])
        assert path.read_text() == "former"
    assert [row["photo"] for row in json.loads(path.read_text())] == ["b.jpg"]
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_breaks_off_leaves_the_former_file(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("former")
    with pytest.raises(ZeroDivisionError), output.open_writer(path, output.choose_layout("json")):
        raise ZeroDivisionError
    assert path.read_text() == "former"


def test_json_through_a_link_or_to_a_device_leaves_both_in_place(tmp_path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(real)
    for path in (link, Path(os.devnull)):
        with output.open_writer(path, output.choose_layout("json")) as writer:
            writer.write(ROWS)
    assert link.is_symlink() and len(json.loads(real.read_text())) == len(ROWS)
    assert Path(os.devnull).is_char_device()


def test_a_stopped_writer_completes_its_file_and_stays_stopped(tmp_path):
    path = tmp_path / "out.json"
    with (
        pytest.raises(KeyboardInterrupt),
        output.open_writer(path, output.choose_layout("json")) as writer,
    ):
        writer.write(ROWS[:2])
        raise KeyboardInterrupt
    assert [row["photo"] for row in json.loads(path.read_text())] == NAMES[:2]


def test_csv_cells_are_what_was_captioned_names_like_formulas_too(tmp_path):
    write(tmp_path / "out.csv", output.choose_layout("csv", 3), ROWS)
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["photo", "caption", "alternative_1", "alternative_2", "alternative_3"]
    names = [*NAMES[:4], "\\udcff.jpg", *NAMES[5:]]
    assert rows == [[name, f"a dog {number}", "one dog", "dogs", ""] for number, name in enumerate(names)]


def test_csv_for_excel_begins_with_the_mark_and_is_else_the_same(tmp_path):
    plain, marked = (write(tmp_path / "out.csv", output.choose_layout("csv", bom=bom), ROWS) for bom in (False, True))
    assert marked == b"\xef\xbb\xbf" + plain


def test_rows_are_in_the_file_before_it_is_closed(tmp_path):
    with output.open_writer(tmp_path / "out.csv", output.choose_layout("csv")) as writer:
        writer.write(ROWS[:1])
        assert (tmp_path / "out.csv").read_bytes() == b"photo,caption\r\nb.jpg,a dog 0\r\n"


@pytest.mark.parametrize("alternatives", [0, 2])
@pytest.mark.parametrize("form", [{"name": "csv"}, {"name": "csv", "bom": True}, {"name": "jsonl"}])
def test_a_file_cut_at_any_byte_is_gone_on_with_as_if_nothing_had_happened(tmp_path, form, alternatives):
    path, layout = tmp_path / "out", output.choose_layout(alternatives=alternatives, **form)
    whole = write(path, layout, ROWS)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert resume(path, layout, ROWS) == whole, size


def test_a_file_that_is_missing_is_begun(tmp_path):
    layout = output.choose_layout("csv")
    assert output.read_finished(tmp_path / "out.csv", layout) == ({}, 0)


@pytest.mark.parametrize("text", ["photo,caption\nb.jpg,a dog\n", '\ufeff"photo","caption"\r\n"b.jpg","a dog"\r\n\r\n'])
def test_csv_that_a_spreadsheet_saved_again_is_gone_on_with(tmp_path, text):
    (tmp_path / "out.csv").write_text(text, newline="", encoding="utf-8")
    finished, kept_bytes = output.read_finished(tmp_path / "out.csv", output.choose_layout("csv"))
    assert (finished, kept_bytes) == ({"b.jpg": 1}, len(text.encode()))


@pytest.mark.parametrize(
    ("form", "alternatives", "content", "received"),
    [
        ("csv", 1, b"photo,caption\r\nb.jpg,a dog\r\n", "'photo,caption"),
        ("csv", 0, b"name,text\r\nb.jpg,a dog\r\n", "'name,text"),
        ("csv", 0, b"b.jpg,a dog\r\n", "'b.jpg,a dog"),
        ("csv", 0, b"photo;caption\r\nb.jpg;a dog\r\n", "'photo;caption"),
        ("csv", 0, b"photo,caption\r\nb.jpg,a dog,7\r\n", "'b.jpg,a dog,7"),
        ("csv", 0, b"photo,caption\r\nH\xfcndin.jpg,a dog\r\n", ".*codec can't decode"),
        ("csv", 0, b"photo,caption\r\na\rb.jpg,a dog\r\n", ".*new-line character"),
        ("csv", 0, b"my notes", "'my notes'"),
        ("csv", 0, b'{"photo": "b.jpg", "caption": "a dog", "log_prob": -1}\n', "'{"),
        ("jsonl", 0, b"photo,caption\r\n", "'photo,caption"),
        ("jsonl", 0, b"[\n  {\n", r"'\["),
        ("jsonl", 0, b"my notes", "'my notes'"),
        ("jsonl", 1, b'{"photo": "b.jpg", "caption": "a dog", "log_prob": -1}\n', "'{"),
        ("jsonl", 0, b'{"photo": 7, "caption": "a dog", "log_prob": -1}\n', "'{"),
    ],
)
def test_a_file_of_another_layout_is_refused_in_one_sentence(tmp_path, form, alternatives, content, received):
    (tmp_path / "out").write_bytes(content)
    layout = output.choose_layout(form, alternatives)
    with pytest.raises(
        ValueError, match=f"out cannot be resumed: give .*Expected: rows of photo, .*Received: {received}"
    ):
        output.read_finished(tmp_path / "out", layout)
    assert (tmp_path / "out").read_bytes() == content


def test_a_quote_that_is_never_closed_does_not_cost_the_rows_behind_it(tmp_path):
    rows = b"".join(b"%d.jpg,a dog\r\n" % number for number in range(5000))
    (tmp_path / "out").write_bytes(b'photo,caption\r\n"b.jpg,a dog\r\n' + rows)
    with pytest.raises(ValueError, match="out cannot be resumed"):
        output.read_finished(tmp_path / "out", output.choose_layout("csv"))
