"""The container file: what a linter says of it, what goes into it, and that it runs where Docker is at hand."""

import json
import re
import shutil
import subprocess
import time
import urllib.request

import pytest

from captioner import config

DOCKERFILE = config.PROJECT_DIR / "Dockerfile"
IMAGE = "captioner-under-test"


def docker(*arguments: str, timeout: int = 120) -> str:
    result = subprocess.run(
        ["docker", *arguments], cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def daemon() -> None:
    """Skips a test where no Docker daemon answers soon."""
    if not shutil.which("docker"):
        pytest.skip("Docker is not installed.")
    try:
        found = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=10)
    except subprocess.TimeoutExpired:
        pytest.skip("The Docker daemon does not answer.")
    if found.returncode:
        pytest.skip("No Docker daemon runs.")


def test_a_linter_finds_nothing_in_the_container_file():
    found = subprocess.run(["hadolint", str(DOCKERFILE)], capture_output=True, text=True, check=False, timeout=60)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_the_container_has_no_rights_a_health_check_and_what_the_wheel_has():
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001"]
    assert "/_stcore/health" in text and "STREAMLIT_SERVER_ADDRESS=0.0.0.0" in text
    kept = (config.PROJECT_DIR / ".dockerignore").read_text(encoding="utf-8").split("\n")
    captioners = {f"artifacts/{name}" for name in ("compact", "drawings", "efficientnet_lite2")}
    code = {"requirements.txt", "app.py", ".streamlit", "captioner"}
    assert {line[1:] for line in kept if line.startswith("!")} == code | captioners
    assert kept[1] == "*"


@pytest.mark.slow
@pytest.mark.usefixtures("daemon")
def test_the_container_is_built_starts_without_rights_and_says_that_it_is_healthy():
    docker("build", "--tag", IMAGE, ".", timeout=1800)
    container = docker("run", "--detach", "--rm", "--publish", "127.0.0.1::8501", IMAGE)
    try:
        assert docker("exec", container, "id", "-u") == "10001"
        place = docker("port", container, "8501").splitlines()[0]
        deadline = time.monotonic() + 180
        while json.loads(docker("inspect", container))[0]["State"]["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline, docker("logs", container)
            time.sleep(2)
        with urllib.request.urlopen(f"http://{place}/", timeout=30) as answer:
            assert answer.status == 200
    finally:
        docker("rm", "--force", container)
