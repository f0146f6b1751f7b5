"""The notebook: what is committed is clean, and it runs from top to bottom."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from PIL import Image

from captioner import config
from captioner.data import datasets

NOTEBOOK = config.PROJECT_DIR / "model.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_executed_once_from_top_to_bottom_or_not_at_all(notebook):
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts in ([None] * len(counts), list(range(1, len(counts) + 1)))


def test_it_shows_no_paths_of_one_machine_no_errors_and_no_logs(notebook):
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert str(config.PROJECT_DIR) not in NOTEBOOK.read_text(encoding="utf-8")
    assert NOTEBOOK.stat().st_size < 1_000_000


def test_it_has_one_cell_of_parameters_and_defines_nothing_of_its_own(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "def " not in code
    assert "class " not in code
    assert code.count("CAPTIONER_") == tagged[0].source.count("CAPTIONER_")


def test_every_picture_has_a_text_alternative_and_a_sentence_below_it(notebook):
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        kinds = [
            next(kind for kind in output.data if kind != "text/plain") for output in cell.outputs if "data" in output
        ]
        for place, output in enumerate(output for output in cell.outputs if "image/jpeg" in output.get("data", {})):
            assert output.metadata["image/jpeg"]["alt"]
            assert kinds[2 * place : 2 * place + 2] == ["image/jpeg", "text/markdown"]


def test_its_run_on_drawings_names_what_it_never_saw_and_tells_the_sides_apart(notebook):
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    if "Data: the drawn data set" not in text:
        pytest.skip("The committed notebook was not run on drawings, or not at all.")
    named = re.findall(r"(\d+) of (\d+) held-out combinations named", text)
    sides = re.findall(r"(\d+) of (\d+) captions that name a side are right", text)
    assert len(named) == len(sides) == 2
    assert all(int(some) >= 0.6 * int(every) for some, every in named)
    assert all(int(some) >= 0.8 * int(every) for some, every in sides)
    there, mirrored = re.search(r"picture: (.*)\nits mirror image: (.*)", text).groups()
    assert {"left", "right"} == {
        word for text in (there, mirrored) for word in text.split() if word in ("left", "right")
    }


def _execute(project, artifacts, variables):
    """Executes a copy of the notebook in a folder of its own, with some artifacts, and returns the environment."""
    for package in ("captioner", "benchmarks"):
        shutil.copytree(config.PROJECT_DIR / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in artifacts:
        shutil.copytree(config.PROJECT_DIR / "artifacts" / name, project / "artifacts" / name)
    shutil.copy(NOTEBOOK, project)
    environment = os.environ | variables
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", "model.ipynb"]
    subprocess.run(command, cwd=project, env=environment, check=True)
    executed = nbformat.read(project / "model.ipynb", as_version=4)
    counts = [cell.execution_count for cell in executed.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    return environment


def _write_own_photos(folder, counts):
    """Writes a data set of one colour a photo: the first photo of each split has no pixels, the last one caption."""
    (folder / "Images").mkdir(parents=True)
    lines = []
    for split, count in counts.items():
        names = [f"{split}{number}.png" for number in range(count)]
        for number, name in enumerate(names):
            Image.new("RGB", (64, 64), ("red", "green", "blue")[number % 3]).save(folder / "Images" / name)
            lines += [f"{name}#{n}\ta colour" for n in range(1 if number == count - 1 else 3)]
        (folder / "Images" / names[0]).write_bytes(b"")
        (folder / datasets.SPLIT_FILES[split]).write_text("\n".join(names))
    (folder / datasets.TOKEN_FILE).write_text("\n".join(lines))


@pytest.mark.slow
def test_it_runs_on_few_own_photos_of_which_some_are_broken_and_some_have_one_caption(tmp_path):
    project, data = tmp_path / "project", tmp_path / "mine"
    _write_own_photos(data, {"train": 5, "validation": 2, "test": 2})
    variables = {"CAPTIONER_ENCODER": "compact", "CAPTIONER_EPOCHS": "1", "CAPTIONER_ROUNDS": "1"}
    _execute(project, ("results", "compact"), variables | {"CAPTIONER_DATA": str(data)})
    metrics = json.loads((project / "artifacts" / "compact-mine" / "metrics.json").read_text())
    assert metrics["num_photos"] == 1
    assert metrics["unreadable_photos"] == 1


@pytest.mark.slow
def test_it_runs_on_300_real_photos_and_its_captioner_captions_a_photo(flickr8k_dir, tmp_path):
    if "CAPTIONER_WEIGHTS" not in os.environ:
        pytest.skip("CAPTIONER_WEIGHTS is not set, so there are no ImageNet weights.")
    project = tmp_path / "project"
    variables = {
        "CAPTIONER_DATA": str(flickr8k_dir),
        "CAPTIONER_ENCODER": "mobilenet_v2",
        "CAPTIONER_TRAIN_PHOTOS": "300",
        "CAPTIONER_EPOCHS": "4",
        "CAPTIONER_ROUNDS": "2",
    }
    environment = _execute(project, ("results",), variables)

    folder = project / "artifacts" / "mobilenet_v2-300photos"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["split"] == "validation"
    assert metrics["num_photos"] == 300
    assert metrics["test"]["split"] == "test"
    assert metrics["cider_d"] > metrics["controls"]["shuffled"]["cider_d"]
    assert metrics["bleu_1"] > 20
    labels = ["sure", "fairly sure", "guessing"]
    assert [row["label"] for row in metrics["calibration"]["table"]] == labels
    assert [row["label"] for row in metrics["calibration"]["test"]] == labels
    train = {text for _, text in datasets.read_dataset(flickr8k_dir, ("train",)).subset(300).captions("train")}
    words = set(json.loads((folder / "vocabulary.json").read_text())["words"][4:])
    assert words <= {word for text in train for word in text.split()}

    photos = sorted((flickr8k_dir / "originals").glob("*.jpg"))[:5]
    answer = subprocess.run(
        [sys.executable, "-m", "captioner", "caption", *map(str, photos), "--format", "json"],
        cwd=project, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    captions = json.loads(answer.stdout)
    assert [row["photo"] for row in captions] == [str(path) for path in photos]
    assert all(len(row["caption"].split()) >= 2 for row in captions)
