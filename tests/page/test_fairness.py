"""One visitor who asks for the page without end does not keep another from a caption; with the real server."""

import statistics

import pytest

from benchmarks import page_fairness, page_server, page_visitor
from captioner import config


@pytest.mark.slow
def test_a_photo_waits_at_most_three_times_as_long_while_another_visitor_asks_two_thousand_times(tmp_path):
    contents = [path.read_bytes() for path in page_server.make_photos(tmp_path, 4, None, megapixels=0.5)]
    with page_server.run_page(config.PROJECT_DIR / "artifacts" / "compact") as (url, _):
        visitor = page_visitor.Visitor(url)
        page_fairness.time_photo(visitor, contents[0])
        quiet = [page_fairness.time_photo(visitor, content) for content in contents]
        # It ends when the other one has been sent away.
        with page_fairness.disturb(url, page_fairness.ask_often, contents):
            disturbed = [page_fairness.time_photo(visitor, content) for content in 2 * contents]
    assert statistics.median(disturbed) <= 3 * statistics.median(quiet)
