"""METEOR 1.5 by its authors' program, which runs on Java.

pycocoevalcap's own wrapper waits for ever where Java does not run, so of it only the program is used.

References:
    M. Denkowski, A. Lavie, "Meteor Universal", 2014. https://aclanthology.org/W14-3348/
"""

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from pycocoevalcap.meteor import meteor

# Seconds after which Java is taken for hung: many times what it takes to start, and for each photo.
_SECONDS, _SECONDS_A_PHOTO = 60.0, 0.2


def run_meteor(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> float:
    """Returns METEOR, 0 to 1, of cleaned captions against cleaned references; Java is ended where it gives no answer.

    Raises:
        OSError: If there is no score; the message says why.
    """
    if (java := shutil.which("java")) is None:
        raise OSError("it runs on Java, which is not on the PATH. Install Java to have it.")
    program = Path(meteor.__file__).with_name(meteor.METEOR_JAR)
    command = [java, "-Xmx2G", "-jar", str(program), "-", "-", "-stdio", "-l", "en", "-norm"]
    limit = _SECONDS + _SECONDS_A_PHOTO * len(captions)
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        # The machine's own Java with the package's program; the captions are what it reads, not what is run.
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=complaints, encoding="utf-8")  # noqa: S603
        watch = threading.Timer(limit, process.kill)
        watch.start()
        try:
            return float(_ask(process, captions, references))
        # What stands in Java's place may start and not run: then it takes nothing, or what it answers is no number.
        except (OSError, ValueError):
            if not watch.is_alive():
                raise OSError(f"{java} gave no answer within {limit:.0f} seconds.") from None
            complaints.seek(0)
            reason = complaints.readline().strip() or "nothing"
            raise OSError(f"{java} does not run METEOR. Reinstall Java. Received: {reason[:200]}") from None
        finally:
            watch.cancel()


def _ask(process: subprocess.Popen[str], captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> str:
    """Asks the program for its counts of each photo and returns what it says of all of them."""
    with process, cast(IO[str], process.stdin) as questions, cast(IO[str], process.stdout) as answers:

        def ask(*parts: str) -> str:
            questions.write(" ||| ".join(parts) + "\n")
            questions.flush()
            return answers.readline().strip()

        counts = [ask("SCORE", *references[image_id], caption) for image_id, caption in captions.items()]
        # It answers with a score for each photo, and last with that of all.
        scores = [ask("EVAL", *counts), *(answers.readline().strip() for _ in counts)]
    return scores[-1]
