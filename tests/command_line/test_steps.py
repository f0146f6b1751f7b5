"""What several commands share: signs of life, checks of the output, and errors in sentences."""

import os
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from captioner.command_line import steps


@pytest.fixture
def read_screen(monkeypatch):
    """A terminal, with a dot every hundredth of a second, in the place of standard error; reads what came to it."""
    screen, terminal = os.openpty()
    os.set_blocking(screen, False)
    stream = os.fdopen(terminal, "w", encoding="utf-8")
    monkeypatch.setattr(steps, "sys", SimpleNamespace(stderr=stream))
    monkeypatch.setattr(steps, "_DOT_SECONDS", 0.01)

    def read():
        try:
            return os.read(screen, 100_000).decode()
        except BlockingIOError:
            return ""

    yield read
    stream.close()
    os.close(screen)


def test_on_a_terminal_dots_are_added_until_it_is_done(read_screen):
    said = ""
    with steps.waiting("Loading a\x1b[31mb"):
        while "..." not in said:
            time.sleep(0.001)
            said += read_screen()
    time.sleep(0.05)
    said += read_screen()
    assert said.strip(".\r\n") == r"Loading a\x1b[31mb" and said.endswith(".\r\n")
    time.sleep(0.05)
    assert not read_screen()


def test_an_error_meanwhile_begins_its_own_line(read_screen):
    with pytest.raises(ValueError, match="damaged"), steps.waiting("Loading ..."):
        raise ValueError("damaged")
    said = ""
    # A terminal hands on what was written bit by bit.
    for _ in range(1000):
        said += read_screen()
        if said.endswith("\n"):
            break
        time.sleep(0.001)
    assert re.fullmatch(r"Loading \.{3,}\r\n", said)


def test_elsewhere_it_is_said_once(capsys, monkeypatch):
    monkeypatch.setattr(steps, "_DOT_SECONDS", 0.01)
    with steps.waiting("Loading ..."):
        time.sleep(0.05)
    assert capsys.readouterr().err == "Loading ...\n"


@pytest.mark.parametrize("closed", ["", "captions.csv"])
def test_output_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch, closed):
    output = tmp_path / "captions.csv"
    output.write_text("photo")
    steps.check_output(output)
    # The super-user may write everywhere, so the system's answer is played.
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != tmp_path / closed)
    message = f"^Cannot write {output}: you have no right to write to {tmp_path / closed}. Name another file.$"
    with pytest.raises(PermissionError, match=message):
        steps.check_output(output)
    steps.check_output(Path(os.devnull))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "Permission denied", "a/x.json"), "a/x.json cannot be used: you have no right to it."),
        (OSError(28, "No space left on device"), "Reading or writing failed: no space left on device."),
        (OSError(5, "Input/output error", "a/x.json"), "a/x.json cannot be used: input/output error."),
        (PermissionError("Our own sentence."), "Our own sentence."),
        (ValueError("Our own sentence."), "Our own sentence."),
    ],
)
def test_errors_of_the_system_are_told_in_a_sentence(error, sentence):
    assert steps.explain(error) == sentence
