"""How the tests call a command and read what it says."""

import dataclasses
import re

from captioner import output
from captioner.command_line import commands as command_line


def run(*arguments):
    return command_line.main([str(argument) for argument in arguments])


def captions_of(captioner, *paths, num_beams=2):
    """What the captioner says of each file, in sentences, without the command line."""
    search = dataclasses.replace(captioner.settings, num_beams=num_beams)
    return [[output.as_sentence(caption.text) for caption in captioner.caption(path, search)] for path in paths]


def check_sentence(capsys, message):
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    assert re.match(message, printed.err), printed.err
