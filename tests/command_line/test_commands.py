"""The other commands: what they print and write, their exit codes, wrong usage, and help."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from helpers import check_sentence, run

from captioner import config, startup
from captioner.artifacts import catalogue
from captioner.command_line import commands as command_line
from captioner.data import datasets, decoders
from captioner.encoders import specs


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
        ([], "Captions photos and folders of photos"),
        (["paint"], "invalid choice: 'paint'"),
        (["caption"], "required: PATH"),
        (["caption", "a.jpg", "--num-beams", "0"], "--num-beams: must be a whole number from 1 to 10, not '0'"),
        (["caption", "a.jpg", "--alternatives", "-1"], "--alternatives"),
        (["caption", "a.jpg", "--alternatives", "x"], "--alternatives: must be a whole number from 0 to 9, not 'x'"),
        (["caption", "a.jpg", "--num-beams", "11"], "--num-beams: must be a whole number from 1 to 10, not '11'"),
        (["train", "--epochs", "0"], "--epochs: must be a whole number from 1 on, not '0'"),
        (["caption", "a.jpg", "--format", "xml"], "invalid choice: 'xml'"),
        (
            ["caption", "a.jpg", "--length-penalty", "-0.1"],
            "--length-penalty: must be a number from 0 to 3, not '-0.1'",
        ),
        (["caption", "a.jpg", "--length-penalty", "nan"], "--length-penalty: must be a number from 0 to 3, not 'nan'"),
        (["caption", "a.jpg", "--resume", "--format", "csv"], "--resume needs --output FILE and --format csv or jsonl"),
        (["caption", "a.jpg", "--resume", "--output", "a.txt"], "--resume needs --output FILE and --format csv or"),
        (["caption", "a.jpg", "--output", "a.xlsx"], "--output a.xlsx: end it with .txt, .json, .jsonl, .ndjson, .csv"),
        (["caption", "a.jpg", "--\x1b[31m"], "unrecognized arguments: --\\x1b[31m"),
        (["evaluate", "--captioner", "x"], "required: --split"),
        (["evaluate", "--split", "train"], "invalid choice: 'train'"),
        (["score", "--split", "test"], "required: CAPTIONS"),
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
    suggest = config.suggest_decoder
    tiny = {"units": 4, "embedding_size": 3, "attention_size": 3, "memory_size": 4}
    monkeypatch.setattr(config, "suggest_decoder", lambda count, **chosen: suggest(count, **chosen | tiny))
    (data / datasets.SPLIT_FILES["test"]).unlink()
    arguments = ["--data", data, "--encoder", "tiny", "--name", "mine", "--epochs", 1, "--rounds", 0]
    assert run("train", *arguments) == 0
    assert f"The captioner is in {tmp_path / 'artifacts' / 'mine'}." in capsys.readouterr().out
    report = catalogue.read_metrics(tmp_path / "artifacts" / "mine")
    assert (report["split"], report["best_epoch"], report["seed"]) == ("validation", 1, 0)
    photo = next((data / "Images").iterdir())
    assert run("caption", photo, "--captioner", tmp_path / "artifacts" / "mine") == 0
    assert str(photo) in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../compact", "a/b", "", "/tmp/x", ".hidden", ".."])
@pytest.mark.parametrize("command", [["train"], ["shrink", "x"]])
def test_a_name_is_of_one_folder(capsys, command, name):
    with pytest.raises(SystemExit, match="2"):
        run(*command, "--name", name)
    assert f"must be a name of one folder, not '{name}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "extract"])
def test_weights_need_the_name_of_their_network(capsys, command):
    with pytest.raises(SystemExit, match="2"):
        run(command, "--encoder-weights", "x.h5")
    assert "--encoder-weights needs --encoder, the network that they are of" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(command, "--encoder", "vgg16", "--encoder-weights", "nowhere.h5")
    assert "--encoder-weights: there is no file or folder nowhere.h5" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [("train", "--encoder", "owl"), ("extract", "--encoder", "owl")],
)
def test_an_encoder_that_cannot_be_used_is_refused_before_anything_is_loaded(arguments):
    code = (
        "import sys, captioner.command_line.commands as m\n"
        "try: m.main(sys.argv[1:])\n"
        "except SystemExit as e: print(e, sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert result.stdout == "2 []\n"
    assert re.search(r"invalid choice: 'owl' \(choose from '?vgg16'?, ", result.stderr), result.stderr


def test_the_encoders_that_can_be_named_are_those_that_there_are():
    assert sorted(config.ENCODERS) == sorted(specs.ENCODERS)


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


def test_ctrl_c_is_said_in_a_word_and_is_an_exit_code_of_its_own(capsys, monkeypatch):
    from captioner.data import flickr8k

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(flickr8k, "download_flickr8k", interrupt)
    assert run("download") == 130
    check_sentence(capsys, "Stopped.$")


def test_the_page_is_served_by_this_interpreter_and_its_exit_code_is_handed_on(monkeypatch):
    started = []
    monkeypatch.setattr(subprocess, "call", lambda command: started.append(command) or 3)
    assert run("page") == 3
    assert started == [[sys.executable, "-m", "streamlit", "run", str(config.PROJECT_DIR / "app.py")]]


@pytest.mark.usefixtures("nothing_is_loaded")
def test_without_standard_output_captions_need_a_file_and_errors_are_no_trace_back(album, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert run("caption", album) == 1
    check_sentence(capsys, "error: There is no standard output to write to: name a file with --output.$")
    monkeypatch.setattr(sys, "stderr", None)
    assert run("caption", album) == 1


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


def test_help_calls_the_program_by_its_name(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/captioner"])
    for arguments, line in (([], "captioner COMMAND --help"), (["caption"], "  captioner caption dog.jpg\n")):
        with pytest.raises(SystemExit, match="0"):
            command_line.main([*arguments, "--help"])
        printed = capsys.readouterr().out
        assert line in printed and "python -m" not in printed


def test_help_tells_the_default_of_every_option_and_gives_examples(capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(["caption", "--help"])
    assert caught.value.code == 0
    options, examples = capsys.readouterr().out.partition("  --captioner NAME")[2].split("examples:")
    # Whoever calls it by another name is told of that one.
    assert "python -m captioner caption holiday/ --output captions.csv --resume\n" in examples
    assert "exiftool -ext jpg -tagsFromFile %d%F.xmp -XMP:all DIR\n" in examples
    for option in ("--captioner DIR" + options).split("\n  --"):
        assert "default:" in option, option
    assert "--resume" in examples and "jsonl" in examples and "exit codes:" in examples


@pytest.mark.parametrize(
    ("arguments", "loading"),
    [
        (["evaluate", "--captioner", "x", "--split", "test"], "Loading x ..."),
        (["extract"], "Loading TensorFlow ..."),
        (["train"], "Loading TensorFlow ..."),
        (["tune", "--encoder", "compact"], "Loading Keras ..."),
    ],
)
def test_what_is_loading_is_said_before_seconds_of_silence(loaded, data, capsys, monkeypatch, arguments, loading):
    def stop(**_):
        raise OSError("So far.")

    monkeypatch.setattr(startup, "import_keras", stop)
    assert run(*arguments, "--data", data) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [loading, "error: So far."]


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_data_set_that_is_not_there_is_told_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(startup, "import_keras", lambda **_: pytest.fail("TensorFlow was loaded before the check."))
    evaluate, tune = ["evaluate", "--captioner", "x", "--split", "test"], ["tune", "--encoder", "compact"]
    for command in (["extract"], evaluate, ["train"], tune):
        assert run(*command, "--data", tmp_path) == 1
        check_sentence(capsys, "error: No data set in ")


@pytest.mark.parametrize(
    "shell, ask",
    [
        (
            "bash",
            """source "$0"; complete -p captioner > /dev/null || exit; COMP_WORDS=(captioner caption "$1"); COMP_CWORD=2
            _shtab_captioner; printf '%s\\n' "${COMPREPLY[@]}" """,
        ),
        ("fish", """source $argv[1]; complete -C "captioner caption $argv[2]" | string replace -r '\\t.*' '' """),
        ("zsh", None),
    ],
)
def test_a_shell_completes_options_and_files(shell, ask, tmp_path, capsys):
    assert run("completion", shell) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "dog.jpg").touch()
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    if ask is None:  # Its completion runs in a terminal alone.
        subprocess.run([shell, "-n", "./script"], cwd=tmp_path, check=True, timeout=60)
        return
    for typed, expected in (("--sid", "--sidecar"), ("do", "dog.jpg")):
        command = [shell, "-c", ask, "./script", typed]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert found.stdout.split() == [expected], found


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


def test_python_m_captioner_is_that_command_line(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "captioner", "caption", str(tmp_path / "nowhere.jpg")],
        cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"error: There is no file or folder {tmp_path / 'nowhere.jpg'}.\n"
