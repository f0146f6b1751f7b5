"""README's first command as on a fresh machine: a bare copy, a new environment, no weights."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from captioner import config
from captioner.encoders import specs

pytestmark = pytest.mark.slow


@pytest.fixture
def bare_copy(tmp_path):
    """What a clone holds, with nothing that was made since."""
    if not shutil.which("git") or not (config.PROJECT_DIR / ".git").exists():
        pytest.skip("this is no git checkout, so what a clone would hold is not known")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=config.PROJECT_DIR, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    project = tmp_path / "project"
    for name in filter(None, listed):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(config.PROJECT_DIR / name, project / name)
    return project


@pytest.fixture
def fresh_environment(tmp_path):
    """Nothing of this project's variables, and a Keras cache whose files are damaged."""
    models = tmp_path / "keras" / "models"
    models.mkdir(parents=True)
    for spec in specs.ENCODERS.values():
        if spec.url:
            (models / spec.url.rpartition("/")[2]).write_bytes(b"no weights")
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("PIP_")}
    return kept | {"HOME": str(tmp_path), "KERAS_HOME": str(models.parent)}


def read_command(readme: Path) -> str:
    """Returns what follows the clone in the first shell commands under "Start"."""
    text = readme.read_text(encoding="utf-8")
    return re.search(r"^## Start\n.*?```bash\ngit clone [^\n]*\n([^\n]*)\n```", text, re.DOTALL | re.MULTILINE)[1]


def test_the_first_command_of_the_readme_ends_with_the_page_answering(
    bare_copy, fresh_environment, drawn_dir, wait_for_page
):
    command = read_command(bare_copy / "README.md")
    assert command.endswith("streamlit run app.py")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    server = {"STREAMLIT_SERVER_HEADLESS": "true", "STREAMLIT_SERVER_PORT": str(port)}
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=bare_copy, env=fresh_environment | server, start_new_session=True
    )
    try:
        wait_for_page(f"http://localhost:{port}", process, seconds=900)
        # The page and the command caption by the same code.
        photos = sorted((drawn_dir / "Images").iterdir())[:2]
        result = subprocess.run(
            [bare_copy / ".venv" / "bin" / "python", "-m", "captioner", "caption", *photos],
            cwd=bare_copy,
            env=fresh_environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        assert len(lines) == 2 and all(re.search(r"\.jpg: +\w", line) for line in lines), result.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
