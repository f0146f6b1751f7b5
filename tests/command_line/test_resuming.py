"""Going on with a file of captions: one cut at any byte, one with failures, and those that are of another layout."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from captioner import output
from captioner.command_line import resuming
from captioner.output import Row

NAMES = [
    *("b.jpg", 'a, "quoted" dog.jpg', "two\nlines.jpg", "Hündin 犬.jpg"),
    os.fsdecode(b"\xff.jpg"),
    "=1+1.jpg",
    "b.jpg",
]


def make_captions(*texts):
    return [SimpleNamespace(text=text, log_prob=-1.5, confidence="sure") for text in texts]


ROWS = [Row(name, make_captions(f"a dog {number}", "one dog", "dogs")) for number, name in enumerate(NAMES)]
HEADER = b"photo,caption,words,confidence,error\r\n"
JSON_ROW = (
    b'{"photo": "b.jpg", "caption": "A dog.", "words": "a dog", "confidence": null, "log_prob": -1, "error": null}\n'
)


def write(path, layout, rows, **options):
    with output.open_writer(path, layout, **options) as writer:
        for row in rows:
            writer.write([row])
    return path.read_bytes()


def as_written(name):
    return name.encode(errors="backslashreplace").decode()


def resume(path, layout, rows):
    """Goes on with a file as the command does."""
    paths = [Path(row.name) for row in rows]
    left, done = resuming.leave_out(paths, resuming.read_finished(path, layout))
    resuming.drop_unfinished(path, layout)
    assert [path for path, _ in done] == paths[: len(done)]
    assert [row.caption for _, row in done] == [row.sentences[0] for row in rows[: len(done)]]
    assert [row.words for _, row in done] == [row.captions[0].text for row in rows[: len(done)]]
    # Of a name that is there twice, the last one is left.
    rows = rows[len(rows) - len(left) :]
    assert [str(path) for path in left] == [row.name for row in rows]
    return write(path, layout, rows, resume=True)


@pytest.mark.parametrize("alternatives", [0, 2])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_cut_at_any_byte_is_gone_on_with_as_if_nothing_had_happened(tmp_path, form, alternatives):
    path, layout = tmp_path / "out", output.choose_layout(form, alternatives)
    whole = write(path, layout, ROWS)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert resume(path, layout, ROWS) == whole, size


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_failures_are_taken_out_and_tried_again(tmp_path, form):
    path, layout = tmp_path / "out", output.choose_layout(form)
    broken = [Row(name, problem=f'"{name}" is =empty,\nor so') for name in ("x.jpg", "b.jpg", "-y.jpg")]
    whole = write(path, layout, [broken[0], *ROWS[:2], broken[1], *ROWS[2:], broken[2]])
    captions = {as_written(name): [f"A dog {number}."] for number, name in enumerate(NAMES)}
    finished = {name: [row.caption for row in rows] for name, rows in resuming.read_finished(path, layout).items()}
    assert finished == captions | {"b.jpg": ["A dog 0.", "A dog 6."]}
    # To read it changes nothing.
    assert path.read_bytes() == whole
    resuming.drop_unfinished(path, layout)
    assert path.read_bytes() == write(tmp_path / "other", layout, ROWS)


def test_a_file_without_failures_is_not_touched(tmp_path):
    path, layout = tmp_path / "out", output.choose_layout("csv")
    write(path, layout, ROWS)
    before = path.stat()
    resuming.drop_unfinished(path, layout)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_that_is_missing_is_begun(tmp_path):
    layout = output.choose_layout("csv")
    assert resuming.read_finished(tmp_path / "out.csv", layout) == {}
    resuming.drop_unfinished(tmp_path / "out.csv", layout)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    "text",
    [
        "photo,caption,words,confidence,error\nb.jpg,A dog.,a dog,sure,\n",
        '\ufeff"photo","caption","words","confidence","error"\r\n"b.jpg","A dog.","a dog","",""\r\n\r\n',
    ],
)
def test_csv_that_a_spreadsheet_saved_again_is_gone_on_with(tmp_path, text):
    (tmp_path / "out.csv").write_text(text, newline="", encoding="utf-8")
    layout = output.choose_layout("csv")
    assert resuming.read_finished(tmp_path / "out.csv", layout) == {"b.jpg": [("b.jpg", "A dog.", "a dog", "")]}
    resuming.drop_unfinished(tmp_path / "out.csv", layout)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").rstrip() == text.replace("\r\n", "\n").rstrip()


@pytest.mark.parametrize(
    ("form", "alternatives", "content", "received"),
    [
        ("csv", 1, HEADER + b"b.jpg,A dog.,a dog,sure,\r\n", "'photo,caption"),
        ("csv", 0, b"photo,caption,confidence,error\r\nb.jpg,a dog,sure,\r\n", "'photo,caption,confidence"),
        ("csv", 0, b"name,text,x,y\r\nb.jpg,a dog,,\r\n", "'name,text"),
        ("csv", 0, b"b.jpg,a dog,,\r\n", "'b.jpg,a dog"),
        ("csv", 0, b"photo;caption;words;confidence;error\r\nb.jpg;A dog.;a dog;;\r\n", "'photo;caption"),
        ("csv", 0, HEADER + b"b.jpg,A dog.,a dog,7,8,9\r\n", "'b.jpg,A dog.,a dog,7"),
        ("csv", 0, HEADER + b"H\xfcndin.jpg,A dog.,a dog,,\r\n", ".*codec can't decode"),
        ("csv", 0, HEADER + b"a\rb.jpg,A dog.,a dog,,\r\n", ".*new-line character"),
        ("csv", 0, b"my notes", "'my notes'"),
        ("csv", 0, b'{"photo": "b.jpg", "caption": "a dog"}\n', "'{"),
        ("jsonl", 0, HEADER, "'photo,caption"),
        ("jsonl", 0, b"[\n  {\n", r"'\["),
        ("jsonl", 0, b"[" * 60_000 + b"\n", r"'\["),
        ("jsonl", 0, b"my notes", "'my notes'"),
        ("jsonl", 1, JSON_ROW, "'{"),
        ("jsonl", 0, JSON_ROW.replace(b'"b.jpg"', b"7"), "'{"),
    ],
)
def test_a_file_of_another_layout_is_refused_in_one_sentence(tmp_path, form, alternatives, content, received):
    (tmp_path / "out").write_bytes(content)
    layout = output.choose_layout(form, alternatives)
    with pytest.raises(
        ValueError, match=f"out cannot be resumed: give .*Expected: rows of photo, .*Received: {received}"
    ):
        resuming.read_finished(tmp_path / "out", layout)
    assert (tmp_path / "out").read_bytes() == content


def test_a_quote_that_is_never_closed_does_not_cost_the_rows_behind_it(tmp_path):
    rows = b"".join(b"%d.jpg,A dog.,a dog,,\r\n" % number for number in range(5000))
    (tmp_path / "out").write_bytes(HEADER + b'"b.jpg,A dog.,a dog,,\r\n' + rows)
    with pytest.raises(ValueError, match="out cannot be resumed"):
        resuming.read_finished(tmp_path / "out", output.choose_layout("csv"))
