"""The command `caption`: what it writes where, how it goes on, and one sentence for each thing that can go wrong."""

import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers import captions_of, check_sentence, run

from captioner import config, files
from captioner.artifacts import catalogue
from captioner.command_line import captioning, steps
from captioner.data import photo_files

COLUMNS = ["photo", "caption", "words", "confidence", "log_prob", "alternatives", "error"]


def test_captions_are_printed_beside_the_photos_those_of_a_folder_by_name(loaded, album, capsys):
    assert run("caption", album, "--captioner", "x") == 0
    files = [album / "a.JPG", album / "b.jpg", album / "within" / "c.jpg"]
    expected = [f"{file}: {found[0]}" for file, found in zip(files, captions_of(loaded, *files), strict=True)]
    assert capsys.readouterr().out.splitlines() == expected


def test_alternatives_follow_each_caption(loaded, album, capsys):
    assert run("caption", album / "b.jpg", "--captioner", "x", "--alternatives", 3) == 0
    [found] = captions_of(loaded, album / "b.jpg", num_beams=4)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{album / 'b.jpg'}: {found[0]}"
    assert [line.strip() for line in lines[1:]] == [f"or: {text}" for text in found[1:]]
    assert len(lines) >= 3


def test_json_holds_photo_caption_and_its_probability(loaded, album, capsys):
    assert run("caption", album, "--captioner", "x", "--format", "json", "--alternatives", 1) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["photo"] for row in content] == [str(f) for f in photo_files.list_photos([album]).photos]
    assert all(list(row) == COLUMNS for row in content)
    found = captions_of(loaded, *photo_files.list_photos([album]).photos)
    assert [[row["caption"], *row["alternatives"]] for row in content] == found
    assert all(row["log_prob"] < 0 for row in content)


def test_json_without_alternatives_has_no_such_key(loaded, album, capsys):
    assert run("caption", album / "b.jpg", "--captioner", "x", "--format", "json", "--num-beams", 1) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert list(row) == [name for name in COLUMNS if name != "alternatives"]
    assert row["caption"] == captions_of(loaded, album / "b.jpg", num_beams=1)[0][0]


def test_csv_with_commas_quotes_and_umlauts_in_names_reads_back(loaded, album, tmp_path):
    names = ['a, "quoted" dog.jpg', "Hündin am Fluß 犬.jpg", "two\nlines.jpg"]
    for name in names:
        shutil.copy(album / "b.jpg", tmp_path / name)
    output = tmp_path / "captions.csv"
    files = [tmp_path / name for name in names]
    assert run("caption", *files, "--captioner", "x", "--format", "csv", "--alternatives", 1, "--output", output) == 0
    with open(output, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == [str(file) for file in files]
    assert [[row["caption"], row["alternative_1"]] for row in rows] == captions_of(loaded, *files)


def test_csv_has_a_cell_for_every_alternative_even_where_there_are_fewer(loaded, album, capsys):
    assert run("caption", album / "b.jpg", "--captioner", "x", "--format", "csv", "--alternatives", 9) == 0
    header, row = csv.reader(capsys.readouterr().out.splitlines())
    assert len(header) == len(row) == 14
    assert header[1:5] == ["caption", "words", "confidence", "alternative_1"]


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_a_file_name_that_is_no_unicode_loses_nothing(loaded, album, tmp_path, form):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    shutil.copy(album / "b.jpg", odd)
    output = tmp_path / "out"
    assert run("caption", odd, album / "a.JPG", "--captioner", "x", "--format", form, "--output", output) == 0
    text = output.read_text(encoding="utf-8")
    assert "dcff.jpg" in text and "a.JPG" in text


def test_a_photo_named_twice_is_answered_twice(loaded, album, capsys):
    files = [album / "b.jpg", album / "a.JPG", album / "b.jpg"]
    assert run("caption", *files, "--captioner", "x", "--format", "json") == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["photo"] for row in content] == [str(file) for file in files]
    assert content[0] == content[2]


def test_more_photos_than_a_batch_keep_their_order(loaded, album, capsys):
    files = [album / "b.jpg", album / "a.JPG"] * 20
    assert run("caption", *files, "--captioner", "x", "--format", "json", "--num-beams", 1) == 0
    assert [row["photo"] for row in json.loads(capsys.readouterr().out)] == [str(file) for file in files]


def test_one_broken_photo_does_not_stop_the_others(loaded, album, tmp_path, capsys):
    (album / "broken.jpg").write_bytes((album / "b.jpg").read_bytes()[:300])
    (album / "empty.png").write_bytes(b"")
    note = tmp_path / "note.txt"
    note.write_text("no picture")
    assert run("caption", album, note, note, "--captioner", "x", "--format", "json") == 1
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    names = ("a.JPG", "b.jpg", "broken.jpg", "empty.png", "within/c.jpg")
    assert [row["photo"] for row in rows] == [*(str(album / name) for name in names), str(note), str(note)]
    assert [bool(row["caption"]) for row in rows] == [True, True, False, False, True, False, False]
    assert "4 of 7 photos could not be captioned:" in printed.err
    for path, reason in (
        (album / "broken.jpg", "broken.jpg is damaged or cut short"),
        (album / "empty.png", "empty.png is "),
        (note, "note.txt is not a picture that can be read"),
    ):
        assert f"  {path}: {reason}" in printed.err
        assert next(row["error"] for row in rows if row["photo"] == str(path)).startswith(reason)
    assert "Traceback" not in printed.err


def test_a_file_of_captions_among_the_photos_is_not_said_to_be_no_photo(loaded, album, capsys):
    output = album / "captions.csv"
    for passed_over in ("", "Passed over: 6 beside their photos (a.JPG.txt, a.JPG.xmp, b.jpg.txt, ...).\n"):
        assert run("caption", album, "--captioner", "x", "--output", output, "--sidecar") == 0
        errors = capsys.readouterr().err
        assert errors.startswith(passed_over) and "no photo" not in errors
    assert (album / "captions.csv~1").is_file()


def test_what_a_folder_passes_over_is_counted_and_what_cannot_be_reached_is_a_row(loaded, album, tmp_path, capsys):
    (album / "notes.txt").write_text("no picture")
    (album / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    arguments = ("caption", album, "--captioner", "x", "--output", tmp_path / "o.jsonl")
    for more in ((), ("--resume",)):
        assert run(*arguments, *more) == 1
        errors = capsys.readouterr().err
        assert errors.startswith("Passed over: 1 no photo (notes.txt).\n")
        assert "1 of 4 photos could not be captioned:\n" in errors
        assert f"  {album / 'gone.jpg'}: is a link to nothing" in errors
        rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
        assert [row["photo"] for row in rows if row["error"]] == [str(album / "gone.jpg")]
        assert len(rows) == 4


def test_a_terminal_shows_the_beginning_of_a_long_list_of_failures_and_a_log_all_of_it(
    loaded, album, capsys, monkeypatch
):
    for number in range(30):
        (album / f"broken_{number:02}.jpg").write_bytes(b"no picture")
    assert run("caption", album, "--captioner", "x") == 1
    errors = capsys.readouterr().err
    assert "30 of 33 photos could not be captioned:" in errors
    assert errors.count("is not a picture") == 30
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("caption", album, "--captioner", "x") == 1
    errors = capsys.readouterr().err
    assert "30 of 33 photos could not be captioned:" in errors
    assert errors.count("is not a picture") == 20
    assert errors.endswith("  and 10 more: 2> FILE keeps the whole list.\n")


@pytest.mark.usefixtures("nothing_is_loaded")
def test_photos_that_all_fail_are_rows_and_cost_no_captioner(tmp_path, capsys):
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert run("caption", tmp_path / "empty.jpg", "--captioner", "x", "--format", "json") == 1
    printed = capsys.readouterr()
    [row] = json.loads(printed.out)
    assert (row["photo"], row["caption"]) == (str(tmp_path / "empty.jpg"), None)
    assert row["error"].startswith("empty.jpg is empty")
    assert printed.err.startswith("1 of 1 photos could not be captioned:")


@pytest.fixture
def gallery(album):
    """Folder of 100 photos, three batches and a few, with two broken ones between them."""
    for number in range(97):
        shutil.copy(album / ("a.JPG" if number % 3 else "b.jpg"), album / f"d{number:02}.jpg")
    for name in ("c.jpg", "d40_broken.jpg"):
        (album / name).write_bytes(b"no picture")
    return album


def stop_at_batch(monkeypatch, captioner, number):
    """Presses Ctrl-C while that batch is captioned."""
    caption, batches = captioner.caption_photos, []

    def stop(pixels, search):
        batches.append(len(pixels))
        if len(batches) == number:
            raise KeyboardInterrupt
        return caption(pixels, search)

    monkeypatch.setattr(captioner, "caption_photos", stop)
    return batches


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_run_that_was_stopped_is_gone_on_with_and_ends_with_the_same_file(
    loaded, gallery, tmp_path, capsys, monkeypatch, form
):
    output, whole = tmp_path / "captions", tmp_path / "whole"
    arguments = ("caption", gallery, "--captioner", "x", "--format", form, "--alternatives", 1)
    assert run(*arguments, "--output", whole) == 1
    with monkeypatch.context() as patch:
        stop_at_batch(patch, loaded, 2)
        assert run(*arguments, "--output", output) == 130
    sentence = f"Stopped: 32 of 102 photos are in {output}, and the same command with --resume goes on after them.\n"
    assert capsys.readouterr().err.endswith(sentence)
    assert len(output.read_bytes()) > 32 * len("d00.jpg") and whole.read_bytes().startswith(output.read_bytes())
    assert run(*arguments, "--output", output, "--resume") == 1
    errors = capsys.readouterr().err
    assert f"32 of 102 photos are in {output} already." in errors
    assert "2 of 102 photos could not be captioned:" in errors
    # The broken photo among the first is tried again, so its row stands further down.
    assert sorted(output.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())
    assert run(*arguments, "--output", output, "--resume") == 1
    assert sorted(output.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())


def test_a_row_torn_by_a_kill_is_captioned_again(loaded, gallery, tmp_path):
    output, arguments = tmp_path / "captions.csv", ("caption", gallery, "--captioner", "x", "--format", "csv")
    run(*arguments, "--output", output)
    whole = output.read_bytes()
    # Five bytes into a row.
    output.write_bytes(whole[: whole.index(b"\n", len(whole) // 2) + 6])
    assert run(*arguments, "--output", output, "--resume") == 1
    assert sorted(output.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_photo_that_was_mended_is_added_by_resume(loaded, album, tmp_path):
    output, photo = tmp_path / "captions.jsonl", album / "a.JPG"
    arguments = ("caption", album, "--captioner", "x", "--format", "jsonl", "--output", output, "--resume")
    content = photo.read_bytes()
    photo.write_bytes(content[:300])
    assert run(*arguments) == 1
    photo.write_bytes(content)
    assert run(*arguments) == 0
    names = [json.loads(line)["photo"] for line in output.read_text().splitlines()]
    assert names == [str(album / name) for name in ("b.jpg", "within/c.jpg", "a.JPG")]


def test_rows_of_another_captioner_or_search_are_not_gone_on_with(loaded, gallery, tmp_path, capsys):
    output, arguments = tmp_path / "captions.csv", ("caption", gallery, "--captioner", "x", "--format", "csv")
    assert run(*arguments, "--output", output) == 1
    header, *rows = csv.reader(output.open(encoding="utf-8-sig"))
    assert any(row[-1] for row in rows[:60])
    # As far as a kill let it come. One row in four is as this captioner writes it.
    others = [row if number % 4 == 0 else [*row[:2], "others", *row[3:]] for number, row in enumerate(rows[:60])]
    with output.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *others])
    content = output.read_bytes()
    capsys.readouterr()
    assert run(*arguments, "--output", output, "--resume", "--sidecar") == 1
    assert re.search(
        r"captions.csv cannot be resumed: another captioner or search wrote it. Give the options of the run that did, "
        "or name another file. Expected: rows like '.*' of x. Received: 'others'\n$",
        capsys.readouterr().err,
    )
    # A command that is refused has done nothing.
    assert output.read_bytes() == content and not list(gallery.glob("*.txt"))


def test_captions_that_people_edited_are_gone_on_with(loaded, album, tmp_path):
    output, arguments = tmp_path / "captions.csv", ("caption", album, "--captioner", "x", "--format", "csv")
    assert run(*arguments, "--output", output) == 0
    header, first, second, third = csv.reader(output.open(encoding="utf-8-sig"))
    with output.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, [first[0], "Mine.", *first[2:]], [second[0], "Too.", *second[2:]]])
    assert run(*arguments, "--output", output, "--resume") == 0
    captions = [row["caption"] for row in csv.DictReader(output.open(encoding="utf-8-sig"))]
    assert captions == ["Mine.", "Too.", third[1]]


def test_finished_photos_that_are_gone_or_broken_are_no_reason_to_refuse(loaded, album, tmp_path):
    output, arguments = tmp_path / "captions.csv", ("caption", album, "--captioner", "x", "--format", "csv")
    assert run(*arguments, "--output", output) == 0
    rows = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join(rows[:3]))
    for name in ("a.JPG", "b.jpg"):
        (album / name).write_bytes(b"no photo")
    assert run(*arguments, "--output", output, "--resume") == 0
    assert output.read_bytes() == b"".join(rows)


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_file_that_holds_all_photos_is_left_as_it_is(album, tmp_path, capsys):
    output = tmp_path / "captions.csv"
    rows = "".join(f"{path},A dog.,a dog,,\n" for path in photo_files.list_photos([album]).photos)
    output.write_text("photo,caption,words,confidence,error\n" + rows)
    content = output.read_bytes()
    assert run("caption", album, "--captioner", "x", "--format", "csv", "--output", output, "--resume") == 0
    check_sentence(capsys, f"3 of 3 photos are in {output} already.")
    assert output.read_bytes() == content


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_file_with_other_columns_is_not_gone_on_with(album, tmp_path, capsys):
    (tmp_path / "captions.csv").write_text("photo,caption,alternative_1\r\n")
    arguments = ("--captioner", "x", "--format", "csv", "--output", tmp_path / "captions.csv", "--resume")
    assert run("caption", album, *arguments) == 1
    columns = "photo, caption, words, confidence, error"
    check_sentence(capsys, f"error: .*captions.csv cannot be resumed: .* Expected: rows of {columns}.")


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "csv"])
def test_a_forgotten_option_does_not_cost_the_captions_that_are_there(loaded, album, tmp_path, capsys, form):
    (tmp_path / "out").write_text("the work of hours")
    (tmp_path / "empty").touch()
    arguments = ("caption", album, "--captioner", "x", "--quiet", "--format", form, "--output")
    assert run(*arguments, tmp_path / "out") == 0
    assert "out was there already: it is out~1 now." in capsys.readouterr().err
    assert (tmp_path / "out~1").read_text() == "the work of hours"
    assert run(*arguments, tmp_path / "empty") == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "empty").read_bytes()
    assert not (tmp_path / "empty~1").exists()


def test_an_array_is_valid_json_when_the_run_is_stopped(loaded, gallery, tmp_path, capsys, monkeypatch):
    stop_at_batch(monkeypatch, loaded, 3)
    arguments = ("caption", gallery, "--captioner", "x", "--format", "json")
    assert run(*arguments, "--output", tmp_path / "out.json") == 130
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [bool(row["error"]) for row in rows].count(False) == 64
    assert "With --format csv or jsonl, --resume could go on" in capsys.readouterr().err


def test_what_was_printed_before_a_stop_stays(loaded, gallery, capsys, monkeypatch):
    stop_at_batch(monkeypatch, loaded, 2)
    assert run("caption", gallery, "--captioner", "x") == 130
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 32
    assert printed.err.endswith("Stopped after 32 of 102 photos.\n")


def test_the_length_penalty_reaches_the_search(loaded, album, capsys, monkeypatch):
    seen, caption = [], loaded.caption_photos
    monkeypatch.setattr(loaded, "caption_photos", lambda pixels, search: seen.append(search) or caption(pixels))
    assert run("caption", album, "--captioner", "x", "--length-penalty", 0.5) == 0
    assert run("caption", album, "--captioner", "x", "--num-beams", 4) == 0
    asked = [dataclasses.replace(loaded.settings, **change) for change in ({"length_penalty": 0.5}, {"num_beams": 4})]
    assert seen == asked


def test_a_saved_captioner_is_loaded_by_its_folder(tiny_bundle, tiny_captioner, album, capsys):
    assert run("caption", album / "b.jpg", "--captioner", tiny_bundle) == 0
    assert capsys.readouterr().out == f"{album / 'b.jpg'}: {captions_of(tiny_captioner, album / 'b.jpg')[0][0]}\n"


def test_without_a_folder_the_preferred_captioner_answers(tiny_bundle, album, capsys, monkeypatch):
    monkeypatch.setattr(config, "ARTIFACTS_DIR", tiny_bundle.parent)
    monkeypatch.setattr(config, "SHIPPED_DIR", tiny_bundle.parent)
    assert run("caption", album / "b.jpg") == 0
    assert str(album / "b.jpg") in capsys.readouterr().out


def remove_vocabulary(folder):
    (folder / "vocabulary.json").unlink()


def cut_decoder(folder):
    (folder / "decoder.keras").write_bytes((folder / "decoder.keras").read_bytes()[:1000])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "error: No captioner at .*tiny. Name a folder, or one of those that there are: "),
        (remove_vocabulary, "error: The captioner at .*tiny lacks vocabulary.json. Run model.ipynb again to make it"),
        (
            cut_decoder,
            "error: .*decoder.keras is not the file this captioner was saved with. Put that one back, or run",
        ),
    ],
)
def test_a_broken_captioner_is_one_sentence(tiny_bundle, album, capsys, damage, message):
    damage(tiny_bundle)
    assert run("caption", album, "--captioner", tiny_bundle, "--quiet") == 1
    check_sentence(capsys, message)


@pytest.mark.usefixtures("nothing_is_loaded")
def test_an_empty_folder_is_one_sentence(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("caption", tmp_path / "empty", "--captioner", "x") == 1
    check_sentence(capsys, "error: No photos in the folder .*empty: expected files .jpg")


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_path_that_does_not_exist_is_one_sentence(tmp_path, capsys):
    assert run("caption", tmp_path / "nowhere.jpg", "--captioner", "x") == 1
    check_sentence(capsys, "error: There is no file or folder .*nowhere.jpg.")


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        *(("o.csv", "\ufeffphoto,"), ("o.JSON", "[\n"), ("o.jsonl", '{"photo"'), ("o.ndjson", '{"photo"')),
        *(("o", "/"), ("o.txt", "/")),
    ],
)
def test_the_ending_of_a_file_chooses_its_format_and_an_option_overrules_it(loaded, album, tmp_path, name, begins):
    arguments = ("caption", album / "b.jpg", "--captioner", "x", "--output", tmp_path / name)
    assert run(*arguments) == 0
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)
    assert run(*arguments, "--format", "csv") == 0
    assert (tmp_path / name).read_text(encoding="utf-8").startswith("\ufeffphoto,")


def test_a_dash_is_standard_output(loaded, album, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("caption", album / "b.jpg", "--captioner", "x", "--output", "-") == 0
    assert capsys.readouterr().out.startswith(f"{album / 'b.jpg'}: ")
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("divider", ["\n", "\r\n", "\0"])
def test_paths_come_from_standard_input_divided_by_lines_or_by_nul(loaded, album, capsys, monkeypatch, divider):
    names = [str(album / "b.jpg"), os.fsdecode(os.fsencode(album) + b"/\xff.jpg"), str(album / "within")]
    shutil.copy(album / "b.jpg", names[1])
    if divider == "\0":
        names.append(str(album / "two\nlines.jpg"))
        shutil.copy(album / "b.jpg", names[-1])
    stream = io.TextIOWrapper(io.BytesIO(os.fsencode(divider.join([*names, ""]))))
    monkeypatch.setattr(sys, "stdin", stream)
    assert run("caption", album / "a.JPG", "-", "--captioner", "x", "--format", "json") == 0
    found = [row["photo"] for row in json.loads(capsys.readouterr().out)]
    assert found == [str(album / "a.JPG"), *names[:2], str(album / "within" / "c.jpg"), *names[3:]]


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("stream", [None, io.TextIOWrapper(io.BytesIO(b"\n\n"))])
def test_standard_input_without_paths_is_one_sentence(capsys, monkeypatch, stream):
    monkeypatch.setattr(sys, "stdin", stream)
    assert run("caption", "-", "--captioner", "x") == 1
    check_sentence(capsys, "error: Standard input names no photo: expected a path a line, for example from find.")


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("link", ["https://example.org/dog.jpg", "HTTP://example.org/dog.jpg", "ftp://example.org/dog"])
def test_a_link_is_refused_by_its_name_with_what_to_do(capsys, link):
    assert run("caption", link, "--captioner", "x") == 1
    check_sentence(capsys, f"error: {link} is a link, and photos are read from this computer alone. Save the photo")


def test_what_is_loading_is_said_before_it_is_loaded_and_quiet_says_nothing(loaded, album, capsys, monkeypatch):
    said = []
    monkeypatch.setattr(steps, "start_tensorflow", lambda: said.append(capsys.readouterr().err))
    assert run("caption", album, "--captioner", "x") == 0
    assert said == ["Loading x for 3 photos ...\n"]
    progress = capsys.readouterr().err
    assert "3/3" in progress and "photo" in progress
    assert run("caption", album, "--captioner", "x", "--quiet") == 0
    assert said[1:] == [""] and capsys.readouterr().err == ""


def test_a_run_ends_by_saying_what_the_words_are_worth_that_it_said(loaded, album, capsys, monkeypatch):
    monkeypatch.setattr(loaded, "calibration", config.Calibration(sure_from=None, fairly_sure_from=-100.0))
    table = [{"label": label, "count": 20, "right": 0.6} for label in config.LABELS]
    monkeypatch.setattr(catalogue, "read_metrics", lambda _: {"calibration": {"test": table}})
    assert run("caption", album, "--captioner", "x") == 0
    printed = capsys.readouterr()
    assert all(line.endswith(" (fairly sure)") for line in printed.out.splitlines())
    sentence = "fairly sure: Of captions like this, about 6 in 10 are right on photos of the test split."
    assert [line for line in printed.err.splitlines() if "captions like this" in line] == [sentence]
    assert run("caption", album, "--captioner", "x", "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_a_bar_moves_on_a_terminal_and_a_log_gets_few_lines(loaded, gallery, tmp_path, capsys, monkeypatch):
    arguments = ("caption", gallery, "--captioner", "x", "--output", tmp_path / "o.csv")
    run(*arguments)
    assert capsys.readouterr().err.count("/102") <= 2
    monkeypatch.setattr(captioning, "_ON_TERMINAL", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(*arguments)
    assert capsys.readouterr().err.count("/102") >= 4


@pytest.mark.usefixtures("loaded")
def test_a_second_run_into_one_file_is_refused_while_the_first_one_writes(album, tmp_path, capsys):
    output = tmp_path / "o.csv"
    with files.hold(output, "writing captions"):
        for more in ((), ("--resume",)):
            assert run("caption", album, "--captioner", "x", "--output", output, *more) == 1
            check_sentence(capsys, "error: .*o.csv is in use: process .* has been writing captions since")
    assert run("caption", album, "--captioner", "x", "--output", output) == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["o.csv"]


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("name", ["b.jpg", "link"])
def test_a_photo_is_not_set_aside_for_captions(album, tmp_path, capsys, name):
    (tmp_path / "link").symlink_to(album / "b.jpg")
    output = {"b.jpg": album / "b.jpg", "link": tmp_path / "link"}[name]
    before = (album / "b.jpg").read_bytes()
    assert run("caption", album, "--captioner", "x", "--format", "csv", "--output", output) == 1
    check_sentence(capsys, f"error: {output} is one of the photos. Name another file for the captions.")
    assert (album / "b.jpg").read_bytes() == before


def test_what_a_killed_run_left_of_an_array_is_kept(loaded, album, tmp_path):
    (tmp_path / "captions.json.part").write_text("hours of captions")
    assert run("caption", album, "--captioner", "x", "--output", tmp_path / "captions.json") == 0
    assert (tmp_path / "captions.json.part~1").read_text() == "hours of captions"
    assert len(json.loads((tmp_path / "captions.json").read_text())) == 3


@pytest.mark.usefixtures("nothing_is_loaded")
def test_an_empty_path_is_not_taken_for_this_folder(album, capsys, monkeypatch):
    monkeypatch.chdir(album)
    assert run("caption", "", "--captioner", "x") == 1
    check_sentence(capsys, "error: A path is empty, perhaps a variable without a value.")


@pytest.mark.usefixtures("nothing_is_loaded")
def test_names_and_messages_steer_no_terminal(tmp_path, capsys):
    odd = tmp_path / "a\x1b[2J\x9b.jpg"
    odd.touch()
    assert run("caption", odd, "--captioner", "x", "--format", "csv") == 1
    printed = capsys.readouterr()
    assert "\\x1b[2J\\x9b.jpg" in printed.err and not set(printed.err) & {"\x1b", "\x9b"}
    assert run("caption", tmp_path / "\x1b[31m", "--captioner", "x") == 1
    check_sentence(capsys, r"error: There is no file or folder .*\\x1b\[31m")
    with pytest.raises(SystemExit):
        run("caption", "a.jpg", "--\x1b[31m")
    assert "\x1b" not in capsys.readouterr().err


def test_a_wrong_captioner_is_refused_and_the_others_listed_before_tensorflow(tiny_bundle, album):
    code = (
        "import sys, captioner.command_line.commands as m; code = m.main(sys.argv[1:])\n"
        "print(code, sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    environment = os.environ | {"CAPTIONER_ARTIFACTS": str(tiny_bundle.parent)}
    for arguments, sentence in (
        (["--captioner", "owl"], "error: No captioner at owl. Name a folder, or one of those that there are: tiny"),
        ([], "error: .*config.json is not the file"),
    ):
        result = subprocess.run(
            [sys.executable, "-c", code, "caption", str(album), *arguments],
            cwd=config.PROJECT_DIR, env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert result.stdout == "1 []\n"
        assert re.match(sentence, result.stderr)
        (tiny_bundle / "config.json").write_text("{")
