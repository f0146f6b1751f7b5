"""Freed memory is kept: seen from outside, in a process of its own."""

import subprocess
import sys

import pytest

from captioner import allocator, config

COUNT_FAULTS = """
import resource, sys
from captioner import allocator
if sys.argv[1] == "keep" and not allocator.keep_freed_memory():
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
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    assert allocator.keep_freed_memory() is False
