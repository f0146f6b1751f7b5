"""The package as `pip install` leaves it: what a wheel holds, and that it captions where there is no clone."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import captioner
from captioner import config

PYPROJECT = tomllib.loads((config.PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))
INCLUDED = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]


def list_tracked(pattern: str) -> list[str]:
    """Returns the files that git knows."""
    if not shutil.which("git") or not (config.PROJECT_DIR / ".git").exists():
        pytest.skip("this is no git checkout, so what a clone would hold is not known")
    command = ["git", "ls-files", "-z", "--", pattern]
    listed = subprocess.run(command, cwd=config.PROJECT_DIR, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name]


def test_a_wheel_holds_every_captioner_that_a_clone_holds():
    folders = [str(Path(name).parent) for name in list_tracked("artifacts/*/config.json")]
    shipped = {source: place for source, place in INCLUDED.items() if source.startswith("artifacts/")}
    assert {folder: f"captioner/shipped/{Path(folder).name}" for folder in folders} == shipped
    assert folders


def test_the_version_to_cite_is_that_of_the_package():
    cited = (config.PROJECT_DIR / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", cited, re.MULTILINE)[1] == captioner.__version__


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A folder without a clone, and the variables of an environment in which the wheel is installed.

    What the wheel depends on is not installed again: the new environment sees the packages of this one.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    source, wheels = folder / "source", folder / "wheels"
    for name in list_tracked(":/"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(config.PROJECT_DIR / name, source / name)
    run = {"check": True, "cwd": folder, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", wheels, source], **run)
    shutil.rmtree(source)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], **run)
    [site_packages] = (folder / "venv" / "lib").glob("python3*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--no-deps", *wheels.iterdir()], **run)
    # What the wheel declares is all there, in the versions that it declares.
    subprocess.run([python, "-m", "pip", "check"], **run)
    (folder / "empty").mkdir()
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return folder / "empty", {"PATH": path, "HOME": str(folder / "home")}


def run_there(installed, *command) -> str:
    folder, variables = installed
    result = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_an_installed_package_captions_where_there_is_no_clone(installed, drawn_dir):
    photo = min((drawn_dir / "Images").iterdir())
    assert run_there(installed, "captioner", "--version") == f"captioner {captioner.__version__}\n"
    [row] = json.loads(run_there(installed, "captioner", "caption", photo, "--format", "json"))
    assert row["words"] == captioner.load().caption(photo)[0].text
    code = (
        "import sys, captioner; model = captioner.load('compact'); print(captioner.__file__);"
        "print([caption.text for caption in model.caption(sys.argv[1])])"
    )
    # There is no notebook to run.
    advice = (
        "from captioner.artifacts import catalogue\n"
        "try: catalogue.read_config('nowhere')\n"
        "except FileNotFoundError as error: print(error)"
    )
    assert "Run captioner train to the end to create one." in run_there(installed, "python", "-c", advice)
    file, texts = run_there(installed, "python", "-c", code, photo).splitlines()
    assert file.startswith(str(installed[0].parent / "venv"))
    assert texts == str([caption.text for caption in captioner.load("compact").caption(photo)])


@pytest.mark.slow
def test_an_installed_package_opens_the_page(installed, wait_for_page):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    folder, variables = installed
    server = {"STREAMLIT_SERVER_HEADLESS": "true", "STREAMLIT_SERVER_PORT": str(port)}
    process = subprocess.Popen(["captioner", "page"], cwd=folder, env=variables | server, start_new_session=True)
    try:
        wait_for_page(f"http://localhost:{port}", process, seconds=120)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.slow
def test_an_installed_package_writes_to_its_home_and_not_to_where_pip_put_it(installed):
    code = "from captioner import config; print(config.DATA_DIR, config.ARTIFACTS_DIR)"
    folder, variables = installed
    home = Path(variables["HOME"]) / ".captioner"
    assert run_there(installed, "python", "-c", code) == f"{home / 'data'} {home / 'artifacts'}\n"
    other = (folder, variables | {"CAPTIONER_HOME": "/srv/captioner"})
    assert run_there(other, "python", "-c", code) == "/srv/captioner/data /srv/captioner/artifacts\n"
    assert run_there(installed, "python", "-m", "captioner", "--version") == f"captioner {captioner.__version__}\n"
