"""The command line: what it prints and writes, its exit codes, and one sentence for each thing that can go wrong."""

import csv
import dataclasses
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest

from captioner import config
from captioner.artifacts import catalogue, saving
from captioner.command_line import commands as command_line
from captioner.data import datasets, decoders, photo_files
from captioner.scoring import metrics


@pytest.fixture
def loaded(tiny_captioner, monkeypatch):
    """Spares a test the loading of a captioner; returns it."""
    monkeypatch.setattr(catalogue, "choose_captioner", lambda name: name)
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


def run(*arguments):
    return command_line.main([str(argument) for argument in arguments])


def captions_of(captioner, *paths, num_beams=2):
    """What the captioner says of each file, without the command line."""
    search = dataclasses.replace(captioner.settings, num_beams=num_beams)
    return [[caption.text for caption in captioner.caption(path, search)] for path in paths]


def test_captions_are_printed_beside_the_photos_those_of_a_folder_by_name(loaded, album, capsys):
    assert run("caption", album, "--captioner", "x") == 0
    files = [album / "a.JPG", album / "b.jpg", album / "within" / "c.jpg"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [str(file) for file in files]
    assert [" ".join(line.split()[1:]) for line in lines] == [found[0] for found in captions_of(loaded, *files)]


def test_alternatives_follow_each_caption(loaded, album, capsys):
    assert run("caption", album / "b.jpg", "--captioner", "x", "--alternatives", 3) == 0
    [found] = captions_of(loaded, album / "b.jpg", num_beams=4)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{album / 'b.jpg'}  {found[0]}"
    assert [line.strip() for line in lines[1:]] == [f"or: {text}" for text in found[1:]]
    assert len(lines) >= 3


def test_json_holds_photo_caption_and_its_probability(loaded, album, capsys):
    assert run("caption", album, "--captioner", "x", "--format", "json", "--alternatives", 1) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["photo"] for row in content] == [str(f) for f in photo_files.list_photos([album]).photos]
    assert all(row.keys() == {"photo", "caption", "log_prob", "alternatives"} for row in content)
    found = captions_of(loaded, *photo_files.list_photos([album]).photos)
    assert [[row["caption"], *row["alternatives"]] for row in content] == found
    assert all(row["log_prob"] < 0 for row in content)


def test_json_without_alternatives_has_no_such_key(loaded, album, capsys):
    assert run("caption", album / "b.jpg", "--captioner", "x", "--format", "json", "--num-beams", 1) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row.keys() == {"photo", "caption", "log_prob"}
    assert row["caption"] == captions_of(loaded, album / "b.jpg", num_beams=1)[0][0]


def test_csv_with_commas_quotes_and_umlauts_in_names_reads_back(loaded, album, tmp_path):
    names = ['a, "quoted" dog.jpg', "Hündin am Fluß 犬.jpg", "two\nlines.jpg"]
    for name in names:
        shutil.copy(album / "b.jpg", tmp_path / name)
    output = tmp_path / "captions.csv"
    files = [tmp_path / name for name in names]
    assert run("caption", *files, "--captioner", "x", "--format", "csv", "--alternatives", 1, "--output", output) == 0
    with open(output, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == [str(file) for file in files]
    assert [[row["caption"], row["alternative_1"]] for row in rows] == captions_of(loaded, *files)


def test_csv_has_a_cell_for_every_alternative_even_where_there_are_fewer(loaded, album, capsys):
    assert run("caption", album / "b.jpg", "--captioner", "x", "--format", "csv", "--alternatives", 40) == 0
    header, row = csv.reader(capsys.readouterr().out.splitlines())
    assert len(header) == len(row) == 42
    assert header[:3] == ["photo", "caption", "alternative_1"]


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
    captioned = [row["photo"] for row in json.loads(printed.out)]
    assert captioned == [str(album / name) for name in ("a.JPG", "b.jpg", "within/c.jpg")]
    assert "4 of 7 photos could not be captioned:" in printed.err
    for path, reason in (
        (album / "broken.jpg", "broken.jpg is damaged or cut short"),
        (album / "empty.png", "empty.png is "),
        (note, "note.txt is not a picture that can be read"),
    ):
        assert f"  {path}: {reason}" in printed.err
    assert "Traceback" not in printed.err


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


def test_photos_that_all_fail_still_leave_valid_json(loaded, tmp_path, capsys):
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert run("caption", tmp_path / "empty.jpg", "--captioner", "x", "--format", "json") == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == []
    assert "1 of 1 photos could not be captioned:" in printed.err


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
    assert output.read_bytes() == whole.read_bytes()


def test_a_row_torn_by_a_kill_is_captioned_again(loaded, gallery, tmp_path):
    output, arguments = tmp_path / "captions.csv", ("caption", gallery, "--captioner", "x", "--format", "csv")
    run(*arguments, "--output", output)
    whole = output.read_bytes()
    # Five bytes into a row.
    output.write_bytes(whole[: whole.index(b"\n", len(whole) // 2) + 6])
    assert run(*arguments, "--output", output, "--resume") == 1
    assert output.read_bytes() == whole


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


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_file_that_holds_all_photos_is_left_as_it_is(album, tmp_path, capsys):
    output = tmp_path / "captions.csv"
    output.write_text(
        "photo,caption\n" + "".join(f"{path},a dog\n" for path in photo_files.list_photos([album]).photos)
    )
    content = output.read_bytes()
    assert run("caption", album, "--captioner", "x", "--format", "csv", "--output", output, "--resume") == 0
    check_sentence(capsys, f"3 of 3 photos are in {output} already.")
    assert output.read_bytes() == content


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_file_with_other_columns_is_not_gone_on_with(album, tmp_path, capsys):
    (tmp_path / "captions.csv").write_text("photo,caption,alternative_1\r\n")
    arguments = ("--captioner", "x", "--format", "csv", "--output", tmp_path / "captions.csv", "--resume")
    assert run("caption", album, *arguments) == 1
    check_sentence(
        capsys, "error: .*captions.csv cannot be resumed: .* Expected: rows of photo, caption. Received: 'ph"
    )


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "csv"])
def test_a_forgotten_option_does_not_cost_the_captions_that_are_there(loaded, album, tmp_path, capsys, form):
    (tmp_path / "out").write_text("the work of hours")
    (tmp_path / "empty").touch()
    arguments = ("caption", album, "--captioner", "x", "--format", form, "--output")
    assert run(*arguments, tmp_path / "out") == 0
    assert "out was there already: it is out~ now." in capsys.readouterr().err
    assert (tmp_path / "out~").read_text() == "the work of hours"
    assert run(*arguments, tmp_path / "empty") == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "empty").read_bytes()
    assert not (tmp_path / "empty~").exists()


def test_an_array_is_valid_json_when_the_run_is_stopped(loaded, gallery, tmp_path, capsys, monkeypatch):
    stop_at_batch(monkeypatch, loaded, 3)
    arguments = ("caption", gallery, "--captioner", "x", "--format", "json")
    assert run(*arguments, "--output", tmp_path / "out.json") == 130
    assert len(json.loads((tmp_path / "out.json").read_text())) == 64
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
    assert capsys.readouterr().out.split("  ")[1].strip() == captions_of(tiny_captioner, album / "b.jpg")[0][0]


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
    assert run("caption", album, "--captioner", tiny_bundle) == 1
    check_sentence(capsys, message)


def check_sentence(capsys, message):
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    assert re.match(message, printed.err), printed.err


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    """Fails a test that begins the long work."""

    def load(_):
        raise AssertionError("The captioner was loaded before the check.")

    monkeypatch.setattr(saving, "load_captioner", load)


@pytest.mark.usefixtures("nothing_is_loaded")
def test_an_empty_folder_is_one_sentence(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("caption", tmp_path / "empty", "--captioner", "x") == 1
    check_sentence(capsys, "error: No photos in the folder .*empty: expected files .jpg")


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_path_that_does_not_exist_is_one_sentence(tmp_path, capsys):
    assert run("caption", tmp_path / "nowhere.jpg", "--captioner", "x") == 1
    check_sentence(capsys, "error: There is no file or folder .*nowhere.jpg.")


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("output", ["missing/out.json", "."])
def test_an_output_that_cannot_be_written_fails_before_the_work(data, album, tmp_path, capsys, output):
    (tmp_path / "captions.json").write_text("{}")
    split = ("--data", data, "--split", "validation")
    for arguments in (
        ("caption", album, "--captioner", "x"),
        ("evaluate", "--captioner", "x", *split),
        ("score", tmp_path / "captions.json", *split),
    ):
        assert run(*arguments, "--output", tmp_path / output) == 1
        check_sentence(capsys, "error: Cannot write .*: name a file in a folder that exists.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND\n    caption   Captions photos and folders of photos"),
        (["paint"], "invalid choice: 'paint'"),
        (["caption"], "required: PATH"),
        (["caption", "a.jpg", "--num-beams", "0"], "--num-beams: must be a whole number from 1 on, not '0'"),
        (["caption", "a.jpg", "--alternatives", "-1"], "--alternatives"),
        (["caption", "a.jpg", "--alternatives", "x"], "--alternatives: must be a whole number from 0 on, not 'x'"),
        (["caption", "a.jpg", "--format", "xml"], "invalid choice: 'xml'"),
        (["caption", "a.jpg", "--length-penalty", "-0.1"], "--length-penalty: must be a number from 0 on, not '-0.1'"),
        (["caption", "a.jpg", "--length-penalty", "nan"], "--length-penalty: must be a number from 0 on, not 'nan'"),
        (["caption", "a.jpg", "--resume", "--format", "csv"], "--resume needs --output FILE and --format csv or jsonl"),
        (["caption", "a.jpg", "--resume", "--output", "a.txt"], "--resume needs --output FILE and --format csv or"),
        (["caption", "a.jpg", "--bom", "--format", "json"], "--bom needs --format csv"),
        (["evaluate", "--captioner", "x"], "required: --split"),
        (["evaluate", "--split", "train"], "invalid choice: 'train'"),
        (["score", "--split", "test"], "required: CAPTIONS.json"),
        (["train", "--attend-to", "words"], "invalid choice: 'words'"),
    ],
)
def test_wrong_usage_exits_with_two(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_evaluate_reads_the_split_it_is_asked_for_and_no_other(loaded, data, tmp_path, capsys):
    test_ids = datasets.read_dataset(data, ("test",)).image_ids("test")
    (data / datasets.SPLIT_FILES["test"]).unlink()
    for image_id in test_ids:
        (data / "Images" / image_id).unlink()
    output = tmp_path / "report.json"
    arguments = ("--captioner", "x", "--data", data, "--split", "validation")
    assert run("evaluate", *arguments, "--num-beams", 1, "--output", output) == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    dataset = datasets.read_dataset(data, ("train", "validation"))
    assert list(report["captions"]) == list(dataset.image_ids("validation"))
    assert (report["split"], report["num_photos"], report["num_beams"]) == ("validation", 6, 1)
    assert report.keys() >= {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider_d", "rouge_l", "distinct_captions"}
    assert report.keys() >= {"words_used", "copied_from_train", "perplexity"}
    assert report["copied_from_train"] is not None
    assert capsys.readouterr().out == ""
    assert run("evaluate", *arguments[:-1], "test") == 1
    assert "Flickr_8k.testImages.txt is missing" in capsys.readouterr().err


def test_score_gives_a_report_of_evaluate_the_same_numbers(loaded, data, tmp_path, capsys):
    arguments = ("--data", data, "--split", "test")
    assert run("evaluate", "--captioner", "x", *arguments, "--output", tmp_path / "report.json") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    capsys.readouterr()
    assert run("score", tmp_path / "report.json", *arguments) == 0
    again = json.loads(capsys.readouterr().out)
    assert {key: report[key] for key in again} == again
    assert again.keys() >= {"split", "num_photos", "bleu_1", "bleu_4", "cider_d", "copied_from_train", "captions"}
    # Captions from any other source come without a report around them.
    (tmp_path / "captions.json").write_text(json.dumps(report["captions"]))
    assert run("score", tmp_path / "captions.json", *arguments, "--output", tmp_path / "scores.json") == 0
    assert json.loads((tmp_path / "scores.json").read_text()) == again


def test_unreadable_photos_of_a_split_are_named_and_the_report_can_still_be_scored(loaded, data, tmp_path, capsys):
    broken = datasets.read_dataset(data, ("test",)).image_ids("test")[0]
    (data / "Images" / broken).write_bytes(b"no picture")
    arguments = ("--data", data, "--split", "test")
    assert run("evaluate", "--captioner", "x", *arguments, "--output", tmp_path / "report.json") == 0
    printed = capsys.readouterr().err
    assert "1 photos could not be read and were left out:" in printed
    assert f"  {broken}: {broken} is not a picture that can be read" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["num_photos"], report["unreadable_photos"]) == (5, 1)
    assert run("score", tmp_path / "report.json", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["cider_d"] == report["cider_d"]
    # Captions that simply lack a photo are not scored as if that were all.
    (tmp_path / "captions.json").write_text(json.dumps(report["captions"]))
    assert run("score", tmp_path / "captions.json", *arguments) == 1
    assert f"1 of 6 photos have no caption, for example '{broken}'" in capsys.readouterr().err


def test_without_train_captions_score_counts_no_copies(data, tmp_path, capsys):
    (data / datasets.SPLIT_FILES["train"]).unlink()
    references = datasets.read_dataset(data, ("validation",)).references_of("validation")
    captions = {image_id: texts[0] for image_id, texts in references.items()}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    assert run("score", tmp_path / "captions.json", "--data", data, "--split", "validation") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["copied_from_train"] is None
    assert report["bleu_1"] == metrics.score_captions(captions, references)["bleu_1"] == 100.0


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("command", ["evaluate", "score"])
def test_a_mangled_caption_line_is_named_with_its_file_and_number(data, tmp_path, capsys, command):
    lines = (data / datasets.TOKEN_FILE).read_text().splitlines()
    lines[6] = lines[6].replace("\t", " ")
    (data / datasets.TOKEN_FILE).write_text("\n".join(lines))
    (tmp_path / "captions.json").write_text('{"a.jpg": "a dog"}')
    what = ("--captioner", "x") if command == "evaluate" else (tmp_path / "captions.json",)
    assert run(command, *what, "--data", data, "--split", "validation") == 1
    check_sentence(capsys, r"error: Flickr8k.token.txt, line 7: expected '<file>#<n><TAB><caption>'.* Received: '")


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_missing_data_set_is_one_sentence(tmp_path, capsys):
    assert run("evaluate", "--captioner", "x", "--data", tmp_path, "--split", "test") == 1
    check_sentence(capsys, "error: No data set in .*: neither Flickr8k.token.txt nor captions.txt, results.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "error: There is no file .*captions.json: name a JSON file of image id -> caption."),
        ("{", "error: .*captions.json must be a JSON object of image id -> caption, or a report of evaluate."),
        ("[]", "error: .*captions.json must be a JSON object of image id -> caption"),
        ('{"captions": {}}', "error: .*captions.json must be a JSON object of image id -> caption"),
        (
            '{"nobody.jpg": "a dog"}',
            "error: 1 of 1 captions are of photos without references, for example 'nobody.jpg'",
        ),
    ],
)
def test_captions_that_cannot_be_scored_are_one_sentence(data, tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "captions.json").write_text(content)
    assert run("score", tmp_path / "captions.json", "--data", data, "--split", "test") == 1
    check_sentence(capsys, message)


def test_a_caption_that_is_no_text_is_named(data, tmp_path, capsys):
    ids = datasets.read_dataset(data, ("test",)).image_ids("test")
    (tmp_path / "captions.json").write_text(json.dumps(dict.fromkeys(ids, 7)))
    assert run("score", tmp_path / "captions.json", "--data", data, "--split", "test") == 1
    check_sentence(capsys, f"error: Expected a string for the caption of '{ids[0]}'. Received: 7")


def test_extract_encodes_the_splits_and_names_what_it_cannot_read(tiny_encoder_known, data, capsys):
    broken = datasets.read_dataset(data, ("test",)).image_ids("test")[0]
    (data / "Images" / broken).write_bytes(b"no picture")
    assert run("extract", "--data", data, "--encoder", "tiny", "--splits", "validation") == 0
    assert len(list(config.FEATURES_DIR.glob("*/index.json"))) == 1
    assert "Encoder: tiny, as asked for." in capsys.readouterr().out
    assert run("extract", "--data", data, "--encoder", "tiny", "--splits", "test") == 1
    assert f"  {broken}: {broken} is not a picture" in capsys.readouterr().err


def test_train_makes_a_captioner_that_captions_without_reading_the_test_split(
    tiny_encoder_known, data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(config, "ARTIFACTS_DIR", tmp_path / "artifacts")
    monkeypatch.setattr(config, "RUNS_DIR", tmp_path / "runs")
    from captioner.training import recipe

    (data / datasets.SPLIT_FILES["test"]).unlink()
    train = recipe.train_captioner

    def train_tiny(*arguments, decoder_choices, **options):
        tiny = decoder_choices | {"units": 4, "embedding_size": 3, "attention_size": 3, "memory_size": 4}
        return train(*arguments, decoder_choices=tiny, **options)

    monkeypatch.setattr(recipe, "train_captioner", train_tiny)
    assert run("train", "--data", data, "--encoder", "tiny", "--name", "mine", "--epochs", 1) == 0
    assert f"The captioner is in {tmp_path / 'artifacts' / 'mine'}." in capsys.readouterr().out
    report = catalogue.read_metrics(tmp_path / "artifacts" / "mine")
    assert (report["split"], report["best_epoch"], report["seed"]) == ("validation", 1, 0)
    photo = next((data / "Images").iterdir())
    assert run("caption", photo, "--captioner", tmp_path / "artifacts" / "mine") == 0
    assert str(photo) in capsys.readouterr().out


def test_distill_trains_the_compact_encoder_and_leaves_the_shipped_one_alone(
    data, project, tiny_encoder_known, capsys, monkeypatch
):
    from captioner.encoders.encoder import load_encoder

    importlib.import_module("captioner.distillation.trainer")

    @dataclasses.dataclass(frozen=True)
    class Toy(config.CompactConfig):
        image_size: int = 16
        widths: Sequence[int] = (8,)
        depths: Sequence[int] = (1,)

    monkeypatch.setattr(config, "CompactConfig", Toy)
    # Photos, so that drawings are added.
    (data / "scenes.json").unlink()
    data = data.rename(data.with_name("album"))
    arguments = ["--data", data, "--teacher", "tiny", "--drawings", 20, "--views", 64, "--batch-size", 32]
    assert run("distill", *arguments) == 0
    folder = project / "data" / "distillation" / "compact-tiny"
    assert f"train --encoder compact --encoder-weights {folder}\n" in capsys.readouterr().out
    assert not config.ARTIFACTS_DIR.exists(), "what is shipped there would no longer fit its captioner"
    facts = json.loads((folder / "encoder.json").read_text())
    assert (facts["teacher"], facts["views"]) == ("tiny", 64)
    # The data set that was named and the one drawn for it.
    assert facts["data"] == ["album", "drawings"]
    assert all(0 <= scores["word_precision"] <= 1 for scores in facts["validation"].values())
    # Captioners can be trained on it from there.
    assert run("extract", "--data", data, "--encoder", "compact", "--encoder-weights", folder, "--splits", "test") == 0
    [index] = project.glob("features/compact-*/index.json")
    used = load_encoder("compact", weights=folder / "encoder.weights.h5")
    assert json.loads(index.read_text())["fingerprint"] == used.fingerprint
    assert run("distill", *arguments, "--name", "another") == 0
    assert (folder.with_name("another") / "encoder.weights.h5").is_file()


@pytest.mark.parametrize("name", ["../compact", "a/b", "", "/tmp/x", ".hidden", ".."])
@pytest.mark.parametrize("command", ["train", "distill"])
def test_a_name_is_of_one_folder(capsys, command, name):
    with pytest.raises(SystemExit, match="2"):
        run(command, "--name", name)
    assert f"must be a name of one folder, not '{name}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "extract"])
def test_weights_need_the_name_of_their_network(capsys, command):
    with pytest.raises(SystemExit, match="2"):
        run(command, "--encoder-weights", "x.h5")
    assert "--encoder-weights needs --encoder, the network that they are of" in capsys.readouterr().err


def test_download_says_where_the_data_set_is_and_why_it_failed(tmp_path, capsys, monkeypatch):
    from captioner.data import flickr8k

    monkeypatch.setattr(flickr8k, "download_flickr8k", lambda folder: folder)
    assert run("download", "--folder", tmp_path) == 0
    assert capsys.readouterr().out == f"Flickr8k is in {tmp_path}.\n"

    def fail(_):
        raise flickr8k.DownloadError("The mirror cannot be reached.")

    monkeypatch.setattr(flickr8k, "download_flickr8k", fail)
    assert run("download") == 1
    check_sentence(capsys, "error: The mirror cannot be reached.")


def test_a_bug_keeps_its_trace_back(loaded, album, monkeypatch):
    monkeypatch.setattr(decoders, "shared_pool", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("caption", album, "--captioner", "x")


def test_help_and_wrong_usage_are_quick_and_import_no_tensorflow(tmp_path):
    code = (
        "import sys, captioner.command_line.commands as m\n"
        "try: m.main(sys.argv[1:])\n"
        "except SystemExit as e: pass\n"
        "print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "caption", "--help"],
        cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert "usage: python -m captioner caption" in result.stdout
    assert (result.stdout.splitlines()[-1], result.stderr) == ("[]", "")


def test_help_tells_the_default_of_every_option_and_gives_examples(capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(["caption", "--help"])
    assert caught.value.code == 0
    options, examples = capsys.readouterr().out.partition("  --captioner NAME")[2].split("examples:")
    for option in ("--captioner DIR" + options).split("\n  --"):
        assert "default:" in option, option
    assert "--resume" in examples and "jsonl" in examples and "exit codes:" in examples


def test_a_reader_that_has_enough_ends_the_command_without_a_complaint():
    code = (
        "import sys, captioner.command_line.commands as m\n"
        "def talk(_):\n  'Talks.'\n  while True: print('words ' * 1000)\n"
        "m.COMMANDS['download'] = talk; sys.exit(m.main(['download']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=config.PROJECT_DIR, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert (process.wait(timeout=60), process.stderr.read()) == (141, b"")


def test_scores_are_given_without_tensorflow(data, tmp_path):
    references = datasets.read_dataset(data, ("test",)).references_of("test")
    (tmp_path / "captions.json").write_text(json.dumps({i: texts[0] for i, texts in references.items()}))
    code = (
        "import sys, captioner.command_line.commands as m; code = m.main(sys.argv[1:])\n"
        "print(code, sorted({'tensorflow', 'keras'} & set(sys.modules)), file=sys.stderr)"
    )
    arguments = ["score", str(tmp_path / "captions.json"), "--data", str(data), "--split", "test"]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert result.stderr == "0 []\n"
    assert json.loads(result.stdout)["bleu_1"] == 100.0


def test_python_m_captioner_is_that_command_line(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "captioner", "caption", str(tmp_path / "nowhere.jpg")],
        cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"error: There is no file or folder {tmp_path / 'nowhere.jpg'}.\n"
