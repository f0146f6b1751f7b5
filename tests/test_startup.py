"""What entry points do first, seen from outside, in processes of their own."""

import subprocess
import sys

import pytest

from captioner import config, startup

COUNT_FAULTS = """
import resource, sys
from captioner import startup
if sys.argv[1] == "keep" and not startup.keep_freed_memory():
    sys.exit("no glibc")
b"x" * 32_000_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    b"x" * 32_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(state: str) -> int:
    result = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, state], cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False
    )
    if "no glibc" in result.stderr:
        pytest.skip("This C library has no mallopt.")
    return int(result.stdout)


def test_an_array_of_the_size_of_a_freed_one_costs_no_page_faults():
    # 32 MB are 8,192 pages of 4 KiB, or 16 of 2 MiB.
    assert count_faults("default") >= 20 * 10
    assert count_faults("keep") < 20


def test_a_c_library_without_the_option_is_left_alone(monkeypatch):
    monkeypatch.setattr(startup.ctypes, "CDLL", lambda _: object())
    assert startup.keep_freed_memory() is False


def test_an_import_is_quiet_and_its_errors_are_not(tmp_path):
    (tmp_path / "loud.py").write_text("import os, sys; os.write(2, b'noise'); print('noise', file=sys.stderr)")
    (tmp_path / "broken.py").write_text("import os; os.write(2, b'noise'); 1 / 0")
    code = (
        "import sys; from captioner import startup; sys.path.insert(0, sys.argv[1])\n"
        "startup.import_quietly('loud'); print('loud' in sys.modules)\n"
        "try: startup.import_quietly('broken')\n"
        "except ZeroDivisionError: print('raised')\n"
        "print('heard', file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=config.PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("True\nraised\n", "heard\n")
