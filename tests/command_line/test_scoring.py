"""The command `score`: the forms in which captions come, and what is said of those that cannot be scored."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers import check_sentence, run

from captioner import config, output
from captioner.command_line import scoring
from captioner.data import datasets
from captioner.data.drawings import dataset as drawings
from captioner.scoring import metrics


def test_score_gives_a_report_of_evaluate_the_same_numbers(loaded, data, tmp_path, capsys):
    arguments = ("--data", data, "--split", "test")
    assert run("evaluate", "--captioner", "x", *arguments, "--output", tmp_path / "report.json") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    capsys.readouterr()
    assert run("score", tmp_path / "report.json", *arguments) == 0
    printed = capsys.readouterr()
    assert printed.err.count("METEOR was not measured: METEOR is left out of tests") == 1
    again = json.loads(printed.out)
    assert again["meteor"] is None and again["meteor_missing"] in printed.err
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
    assert "1 of 6 test photos could not be read and were left out." in printed
    assert f"{broken}: {broken} is not a picture that can be read" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["num_photos"], report["unreadable_photos"]) == (5, 1)
    assert run("score", tmp_path / "report.json", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["cider_d"] == report["cider_d"]
    # Captions that simply lack a photo are not scored as if that were all.
    (tmp_path / "captions.json").write_text(json.dumps(report["captions"]))
    assert run("score", tmp_path / "captions.json", *arguments) == 1
    assert f"1 of 6 photos have no caption, for example '{broken}'" in capsys.readouterr().err


def test_a_report_is_not_written_over_what_is_there(data, tmp_path, capsys):
    captions = dict.fromkeys(datasets.read_dataset(data, ("test",)).image_ids("test"), "a dog")
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    arguments = ("score", tmp_path / "captions.json", "--data", data, "--split", "test")
    assert run(*arguments, "--output", tmp_path / "captions.json") == 0
    assert "captions.json was there already: it is captions.json~1 now." in capsys.readouterr().err
    assert json.loads((tmp_path / "captions.json~1").read_text()) == captions
    assert json.loads((tmp_path / "captions.json").read_text())["captions"] == captions


def test_without_train_captions_score_counts_no_copies(data, tmp_path, capsys):
    (data / datasets.SPLIT_FILES["train"]).unlink()
    references = datasets.read_dataset(data, ("validation",)).references_of("validation")
    captions = {image_id: texts[0] for image_id, texts in references.items()}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    assert run("score", tmp_path / "captions.json", "--data", data, "--split", "validation") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["copied_from_train"] is None
    assert report["bleu_1"] == metrics.score_captions(captions, references)["bleu_1"] == 100.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "error: There is no file .*captions.json: expected image id -> caption or "),
        ("", r"error: .*captions.json holds no caption: expected image id -> caption or \[caption\] as JSON, COCO"),
        ("{", 'error: .*captions.json: expected image id -> caption .* Received: "{"'),
        ('{"a.jpg": ' + "1" * 5000, "error: .*captions.json: expected image id -> caption .* Received: "),
        ("my notes\nof a day", "error: .*captions.json: expected image id -> caption .* Received: "),
        ("7", "error: .*captions.json: expected image id -> caption .* Received: 7"),
        ('["a dog"]', 'error: .*captions.json: expected image id -> caption .* Received: "a dog"'),
        ('[{"image_id": 1}]', "error: .*captions.json: expected image id -> caption .* Received: "),
        ("[]", "error: .*captions.json holds no caption: expected image id -> caption"),
        ('{"captions": {}}', "error: .*captions.json holds no caption: expected image id -> caption"),
        ("[" * 100_000, "error: .*captions.json: expected image id -> caption .* Received: "),
        (
            '{"captions": {"a.jpg": "a dog"}, "unreadable_photos": "x"}',
            "error: .*captions.json: unreadable_photos is to be a whole number. Received: 'x'",
        ),
        ('{"a.jpg": ["a dog", "a cat"]}', "error: .*captions.json has 2 captions for 'a.jpg': one is scored, so leave"),
        (
            '[{"image_id": "a", "caption": "b"}, {"image_id": "a", "caption": "b"}]',
            "error: .* several captions for 'a'",
        ),
        ('{"a.jpg": "a dog", "a.jpg": "a cat"}', "error: .* several captions for 'a.jpg'"),
        ("image,caption\na.jpg,a dog, and a cat\n", "error: .*json, line 2: expected as many columns as in line 1"),
        ("image,caption\na.jpg,a dog\nb.jpg\n", "error: .*json, line 3: expected as many columns as in line 1"),
        # Up to the next quote, or to the end, other rows would be part of the caption.
        ('image,caption\na.jpg,"a dog\nb.jpg,a cat\nc.jpg,"a cow"\n', "error: .*json, line 4: expected as many"),
        ('image,caption\na.jpg,"a dog\nb.jpg,a cat\n', "error: .*json, line 3: expected as many columns"),
        ("image,caption,caption\na.jpg,a dog,a cat\n", "error: .*json, line 1: expected each column once"),
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


CAPTIONS = {"one.jpg": "a dog, runs", "cafe\u0301.jpg": "a café"}
PAIRS = list(CAPTIONS.items())
ROWS = [output.Row(f"/photos/{i}", [SimpleNamespace(text=text, confidence="", log_prob=-1.0)]) for i, text in PAIRS]


def write_own(form, alternatives=0):
    return output.write_bytes(ROWS, output.choose_layout(form, alternatives)).decode("utf-8-sig")


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(CAPTIONS),
        json.dumps({i: [text] for i, text in PAIRS}),
        json.dumps({i: [{"caption": text}] for i, text in PAIRS}),
        json.dumps({i.removesuffix(".jpg"): text for i, text in PAIRS}),
        json.dumps([{"image_id": i, "caption": text} for i, text in PAIRS]),
        json.dumps([{"image_id": f"Images/{i}", "id": 7, "caption": text} for i, text in PAIRS], indent=1),
        json.dumps([{"photo": f"C:\\Images\\{i}", "caption": text} for i, text in PAIRS]),
        json.dumps({"captions": CAPTIONS, "cider_d": 50.0}),
        "\n".join(json.dumps({"image": i, "caption": text}) for i, text in PAIRS),
        "image,caption\n" + "".join(f'{i},"{text}"\n' for i, text in PAIRS),
        "Image_ID\tCaption\r\n" + "".join(f"{i}\t{text}\r\n" for i, text in PAIRS),
        # What this command wrote before it wrote sentences.
        "photo,caption,confidence,error\n" + "".join(f'{i},"{text}",sure,\n' for i, text in PAIRS),
        *(write_own(form, more) for form in ("csv", "json", "jsonl") for more in (0, 2)),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_captions_are_read_in_the_forms_that_people_have_them(tmp_path, content, encoding):
    (tmp_path / "captions").write_bytes(content.encode(encoding))
    captions, num_unreadable = scoring.read_captions(tmp_path / "captions", ("caf\u00e9.jpg", "one.jpg", "other.jpg"))
    assert captions == {"one.jpg": "a dog, runs", "caf\u00e9.jpg": "a café"}
    assert num_unreadable == 0


def test_cocos_numbers_name_its_photos_and_no_others(tmp_path):
    results = [{"image_id": number, "caption": "a dog"} for number in (391895, 42)]
    (tmp_path / "captions.json").write_text(json.dumps(results))
    for coco in ("COCO_val2014_000000391895.jpg", "000000391895.jpg"):
        captions, _ = scoring.read_captions(tmp_path / "captions.json", (coco, "test42.jpg", "00042.jpg"))
        assert captions == {coco: "a dog", "42": "a dog"}


def test_a_name_that_fits_two_photos_names_neither(tmp_path):
    (tmp_path / "captions.json").write_text('{"1": "a", "1.png": "b", "dogs/1.jpg": "c"}')
    captions, _ = scoring.read_captions(tmp_path / "captions.json", ("1.png", "cats/1.jpg", "dogs/1.jpg"))
    assert captions == {"1": "a", "1.png": "b", "dogs/1.jpg": "c"}


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_what_caption_wrote_is_scored_without_the_photos_that_it_could_not_read(loaded, data, tmp_path, capsys, form):
    dataset = datasets.read_dataset(data, ("test",))
    broken, *_ = dataset.image_ids("test")
    dataset.photo_path(broken).write_bytes(b"no picture")
    written = tmp_path / f"captions.{form}"
    assert run("caption", *dataset.photo_paths().values(), "--captioner", "x", "--output", written) == 1
    capsys.readouterr()
    assert run("score", written, "--data", data, "--split", "test") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["num_photos"] == len(dataset.image_ids("test")) - 1
    said, _ = printed.err.splitlines()
    assert said == "Left out, since they could not be read when they were captioned: 1 of the photos."


def test_a_caption_that_is_no_text_is_named(data, tmp_path, capsys):
    ids = datasets.read_dataset(data, ("test",)).image_ids("test")
    (tmp_path / "captions.json").write_text(json.dumps(dict.fromkeys(ids, 7)))
    assert run("score", tmp_path / "captions.json", "--data", data, "--split", "test") == 1
    check_sentence(capsys, f"error: Expected a string for the caption of '{ids[0]}'. Received: 7")


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


def test_the_drawings_can_be_named_as_data(loaded, drawn_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(config, "FEATURES_DIR", tmp_path / "cache")
    monkeypatch.setattr(drawings, "draw_dataset", lambda: drawn_dir)
    output = tmp_path / "report.json"
    assert run("evaluate", "--captioner", "x", "--data", "drawn", "--split", "validation", "--output", output) == 0
    assert json.loads(output.read_text())["data"] == "drawings"
