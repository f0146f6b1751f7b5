"""Files of captions: what each layout writes, to a file, to the screen and to the page."""

import csv
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from captioner import output
from captioner.output import Row

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
    return [
        SimpleNamespace(text=text, log_prob=-1.5 - number, confidence="sure" if number == 0 else "guessing")
        for number, text in enumerate(texts)
    ]


ROWS = [Row(name, make_captions(f"a dog {number}", "one dog", "dogs")) for number, name in enumerate(NAMES)]
ROWS.insert(2, Row("broken.jpg", problem="broken.jpg is empty."))


def write(path, layout, rows, **options):
    with output.open_writer(path, layout, **options) as writer:
        for row in rows:
            writer.write([row])
    return path.read_bytes()


def test_a_caption_is_a_sentence_of_the_same_words_and_nothing_stays_nothing():
    assert output.as_sentence("a dog and its t shirt") == "A dog and its t shirt."
    assert output.as_sentence("éclairs") == "Éclairs."
    assert output.as_sentence("") == ""


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_a_person_wrote_stands_in_place_of_the_caption_beside_the_words_of_the_captioner(form):
    row = Row("a.jpg", make_captions("a dog", "dogs"), edited="This is Rex!")
    content = output.write_bytes([row], output.choose_layout(form, 1)).decode("utf-8-sig")
    if form == "csv":
        assert content.splitlines()[1] == "a.jpg,This is Rex!,a dog,sure,Dogs.,"
    else:
        found = json.loads(content)
        assert (found["caption"], found["words"], found["confidence"]) == ("This is Rex!", "a dog", "sure")
        assert found["alternatives"] == ["Dogs."]


def test_text_is_a_line_for_each_caption_and_nothing_that_steers_a_terminal(tmp_path):
    rows = [Row("a\nb\x1b[2J.jpg", make_captions("a dog", "dogs", "no")), Row("b.jpg", problem="b.jpg is empty.")]
    rows.append(Row("\u202egpj.exe", [SimpleNamespace(text="a\x9bcat", confidence="")]))
    assert write(tmp_path / "out.txt", output.choose_layout("text", 1), rows).decode().splitlines() == [
        "a\\nb\\x1b[2J.jpg: A dog. (sure)",
        "  or: Dogs.",
        "\\u202egpj.exe: A\\x9bcat.",
    ]


def test_json_is_one_array_of_objects_with_the_same_keys_failures_among_them(tmp_path):
    numbers = iter([number for number in range(len(NAMES)) for _ in ("caption", "words")])
    content = [
        {
            "photo": row.name,
            "caption": None,
            "words": None,
            "confidence": None,
            "log_prob": None,
            "alternatives": [],
            "error": row.problem,
        }
        if row.problem
        else {"photo": row.name, "caption": f"A dog {next(numbers)}.", "words": f"a dog {next(numbers)}"}
        | {"confidence": "sure", "log_prob": -1.5, "alternatives": ["One dog."], "error": None}
        for row in ROWS
    ]
    written = write(tmp_path / "out.json", output.choose_layout("json", 1), ROWS)
    # A name that is no Unicode is spelled out, as JSON may do with any letter.
    assert written == (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    assert json.loads(written) == content


def test_a_captioner_that_was_never_calibrated_says_nothing_of_how_sure_it_is(tmp_path):
    rows = [Row("a.jpg", [SimpleNamespace(text="a dog", log_prob=-1.0, confidence="")])]
    [row] = json.loads(write(tmp_path / "out.json", output.choose_layout("json"), rows))
    assert row["words"] == "a dog" and row["confidence"] is None


def test_json_without_rows_is_an_empty_array(tmp_path):
    assert json.loads(write(tmp_path / "out.json", output.choose_layout("json"), [])) == []


def test_json_lines_hold_the_objects_of_json(tmp_path):
    lines = write(tmp_path / "out.jsonl", output.choose_layout("jsonl", 1), ROWS).decode().split("\n")
    array = json.loads(write(tmp_path / "out.json", output.choose_layout("json", 1), ROWS))
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == array


def test_json_holds_no_sign_that_steers_a_terminal_and_reads_back_the_same():
    text = "".join(map(chr, range(0x3000)))
    for options in ({}, {"indent": 2}, {"ascii_only": True}):
        dumped = output.dump_json([text], **options)
        assert json.loads(dumped) == [text]
        assert not set(dumped) & {*map(chr, range(10)), "\x1b", "\x7f", "\x9b", "\u202e", "\u2028"}
    assert "é" in output.dump_json("é") and output.dump_json("é", ascii_only=True).isascii()


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


def test_csv_begins_with_the_mark_that_excel_needs_and_has_a_row_for_every_photo(tmp_path):
    written = write(tmp_path / "out.csv", output.choose_layout("csv", 3), ROWS)
    assert written.startswith(b"\xef\xbb\xbfphoto,caption,")
    header, *rows = csv.reader(io.StringIO(written.decode("utf-8-sig"), newline=""))
    alternatives = ["alternative_1", "alternative_2", "alternative_3"]
    assert header == ["photo", "caption", "words", "confidence", *alternatives, "error"]
    assert rows.pop(2) == ["broken.jpg", "", "", "", "", "", "", "broken.jpg is empty."]
    # As they are, but for what is no Unicode and for what is a formula.
    names = [*NAMES[:4], "\\udcff.jpg", "'=1+1.jpg", NAMES[6]]
    assert rows == [
        [name, f"A dog {number}.", f"a dog {number}", "sure", "One dog.", "Dogs.", "", ""]
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "'=", "''@"])
def test_no_cell_of_csv_is_a_formula_and_each_is_read_back(sign):
    row = Row(f"{sign}cmd", [SimpleNamespace(text=f"{sign}1", confidence=sign, log_prob=0.0)], sign)
    content = output.write_bytes([row], output.choose_layout("csv")).decode("utf-8-sig")
    _, cells = csv.reader(io.StringIO(content, newline=""))
    texts = [row.name, f"{sign}1.", f"{sign}1", sign, sign]
    assert cells == [f"'{text}" for text in texts]
    assert [output.read_cell(cell) for cell in cells] == texts


@pytest.mark.parametrize("text", ["", "a dog", "'t Hooft.jpg", "''", "a=b", " =1"])
def test_other_cells_stay_as_they_are(text):
    content = output.write_bytes([Row(text)], output.choose_layout("csv")).decode("utf-8-sig")
    assert next(csv.reader(io.StringIO(content.split("\r\n", 1)[1])))[0] == text == output.read_cell(text)


def test_rows_are_in_the_file_before_it_is_closed(tmp_path):
    with output.open_writer(tmp_path / "out.csv", output.choose_layout("csv")) as writer:
        writer.write(ROWS[:1])
        content = (tmp_path / "out.csv").read_text(encoding="utf-8-sig")
        assert content.splitlines() == ["photo,caption,words,confidence,error", "b.jpg,A dog 0.,a dog 0,sure,"]


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "text"])
def test_bytes_for_the_page_are_those_of_a_file(tmp_path, form):
    layout = output.choose_layout(form, 1)
    assert output.write_bytes(ROWS, layout) == write(tmp_path / "out", layout, ROWS)


def print_rows(monkeypatch, form, *, encoding, is_terminal=False):
    """Returns the bytes that standard output gets."""
    raw = io.BytesIO()
    screen = io.TextIOWrapper(raw, encoding=encoding)
    screen.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stdout", screen)
    with output.open_writer(None, output.choose_layout(form, for_screen=True)) as writer:
        writer.write([Row("Hündin 犬\x1b[2J\x9b.jpg", make_captions("a dog"))])
    screen.flush()
    return raw.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "utf-16"])
def test_json_is_json_on_a_screen_of_any_encoding(monkeypatch, encoding):
    for form in ("json", "jsonl"):
        content = json.loads(print_rows(monkeypatch, form, encoding=encoding))
        assert (content[0] if form == "json" else content)["photo"] == "Hündin 犬\x1b[2J\x9b.jpg"


def test_csv_in_a_pipe_is_the_file_whatever_the_encoding(monkeypatch):
    printed = print_rows(monkeypatch, "csv", encoding="cp1252")
    assert printed == output.write_bytes(
        [Row("Hündin 犬\x1b[2J\x9b.jpg", make_captions("a dog"))], output.choose_layout("csv")
    )


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "text"])
def test_nothing_steers_a_terminal(monkeypatch, form):
    printed = print_rows(monkeypatch, form, encoding="utf-8", is_terminal=True).decode()
    assert "Hündin 犬" in printed and "[2J" in printed
    assert not set(printed) & {"\x1b", "\x9b", "\ufeff", "\r"}


def test_without_standard_output_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match="There is no standard output to write to. Name a file with --output."):
        output.open_text(None)
