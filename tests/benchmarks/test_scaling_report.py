"""What 100 million photos cost, reckoned by hand."""

import pytest

from benchmarks import scaling_report


def test_costs_are_reckoned_from_the_work_of_each_stage():
    # 0.0036 s x 1e8 / 3600 = 100 hours of a core; 7.2 ms 200 and 1.8 ms 50. 50 kB x 1e8 = 5e12 bytes.
    cost = scaling_report.reckon({"reading_ms": 3.6, "encoding_ms": 7.2, "search_ms": 1.8, "kilobytes": 50.0})
    hours = {"reading": 100, "encoding": 200, "search": 50, "together": 350}
    assert {key: cost[key] for key in hours} == pytest.approx(hours)
    assert cost["terabytes"] == pytest.approx(5)
    # 16 cores read 16 / 0.0036 photos a second, and all of them in a sixteenth of 100 hours.
    assert cost["gpu_machine_reads_per_s"] == pytest.approx(16 / 0.0036)
    assert cost["gpu_machine"] == pytest.approx(6.25)
    # 10 Gbit/s are 1.25e9 bytes and so 25,000 photos a second; a core captions 1 / 0.0126.
    assert cost["gpu_machines_on_network"] == pytest.approx(25_000 * 0.0036 / 16)
    assert cost["cores_on_network"] == pytest.approx(25_000 * 0.0126)
