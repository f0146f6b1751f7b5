"""The report on reliability says what the results say."""

from benchmarks import reliability_report


def test_the_report_that_is_kept_is_that_of_the_kept_results():
    assert reliability_report.REPORT.read_text(encoding="utf-8") == reliability_report.build_report(
        reliability_report.read_results()
    )


def test_what_was_not_measured_is_said_to_be_so():
    report = reliability_report.build_report({})
    assert report.count("Not measured yet.") == 8 and "## Not promised" in report
