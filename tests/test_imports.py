"""Which way imports run, read from the source, and what may be imported without TensorFlow and the like."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from captioner import config

PACKAGE = config.PROJECT_DIR / "captioner"
# Each floor may import from the floors before it; a folder may import from itself.
FLOORS = (
    {"config", "startup"},
    {"files"},
    {"fetch", "float16"},
    {"data"},
    {"encoders"},
    {"decoder"},
    {"inference"},
    {"scoring", "artifacts", "output"},
    {"training", "page", "plots"},
    {"command_line"},
    {"__main__"},
)
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
# `captioner` itself hands out what the rooms hold, and imports it only when it is asked for.
ANYWHERE = {"__init__"}


def read_imports(file: Path) -> set[str]:
    """Returns the dotted names of all modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide which way they run"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str:
    return module.split(".")[1]


FILES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file for file in sorted(PACKAGE.rglob("*.py"))
}


@pytest.mark.parametrize("module", [name for name in FILES if room_of(name) not in ANYWHERE])
def test_imports_run_from_the_ground_up(module):
    room = room_of(module)
    for imported in read_imports(FILES[module]):
        if not imported.startswith("captioner.") or imported == "captioner.__version__":
            continue
        other = room_of(imported)
        assert other == room or FLOOR_OF[other] < FLOOR_OF[room], f"{module} imports {imported}"


def test_training_saves_no_captioner():
    # What is trained is given to who asked for it: where it goes, and whether it may, is not for training to say.
    for module in FILES:
        if room_of(module) == "training":
            assert not any(name.startswith("captioner.artifacts") for name in read_imports(FILES[module])), module


# What the page shows is Streamlit's; what it says, keeps and refuses is not.
WIDGETS = {f"captioner.page.{name}" for name in ("card", "components", "intake", "results", "settings")}


def test_only_widgets_of_the_page_know_streamlit_and_app_knows_the_page_alone():
    knowing = {
        module
        for module, file in FILES.items()
        if any(name.partition(".")[0] == "streamlit" for name in read_imports(file))
    }
    assert knowing == WIDGETS
    own = {name for name in read_imports(config.PROJECT_DIR / "app.py") if name.startswith("captioner")}
    assert {room_of(name) for name in own} == {"page"}


def test_folders_run_nothing_when_they_are_imported():
    for file in PACKAGE.rglob("*/__init__.py"):
        assert not file.read_text(encoding="utf-8"), f"{file} must stay empty, else one part pulls in the others"


def test_tuning_needs_keras_alone_so_that_any_backend_will_do():
    # What it imports of this package, and what that imports, names TensorFlow nowhere at its top.
    waiting, seen = ["captioner.training.from_photos", "captioner.artifacts.parts"], set()
    while waiting:
        seen.add(name := waiting.pop())
        for node in ast.parse(FILES[name].read_text(encoding="utf-8")).body:
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import | ast.ImportFrom) else set()
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{one}" for one in names} | {node.module}
            assert not any(one.partition(".")[0] == "tensorflow" for one in names), name
            waiting += (names & FILES.keys()) - seen
    assert {"captioner.encoders.specs", "captioner.encoders.weights", "captioner.data.photos"} <= seen


@pytest.mark.parametrize(
    "name",
    [
        *("captioner", "captioner.artifacts.catalogue", "captioner.data.photos", "captioner.data.sources"),
        *("captioner.output", "captioner.page.markup", "captioner.page.uploads"),
        *("captioner.scoring.metrics", "captioner.command_line.commands", "captioner.command_line.bulk"),
    ],
)
def test_what_needs_no_network_imports_no_tensorflow(name):
    # A fresh interpreter, since other tests have TensorFlow loaded.
    heavy = {"tensorflow", "keras", "matplotlib", "streamlit"}
    code = f"import sys, {name}; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")
