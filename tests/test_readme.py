"""The README says what the result files say."""

import pytest

from benchmarks import results_table
from captioner import results


def test_the_table_in_the_readme_is_the_one_that_the_result_files_give():
    readme = results_table.README.read_text(encoding="utf-8")
    table = results_table.build_table(results.read_results(), results.read_published())
    assert results_table.replace_table(readme, table) == readme


def test_a_table_has_a_row_for_each_split_and_control_and_for_what_others_published():
    scores = dict.fromkeys(results_table.SCORES, 12.34)
    report = scores | {"split": "validation", "num_beams": 3, "controls": {"human": scores}}
    report["test"] = scores | {"split": "test", "num_beams": 3, "cider_d": 50.05}
    published = scores | {"name": "others", "split": "test", "source": "https://example.org"}
    # Controls stand below the best alone.
    rows = results_table.build_table({"toy": report, "lesser": report}, [published]).splitlines()[2:]
    assert rows[0] == "| **toy**, 3 beams | validation | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 |"
    assert rows[1] == "| **toy**, 3 beams | test | 12.3 | 12.3 | 12.3 | 12.3 | 50.0 | 12.3 |"
    assert rows[2].startswith("| people, each caption against the other four | validation |")
    assert [row.split(" |")[0] for row in rows[3:5]] == ["| **lesser**, 3 beams"] * 2
    assert rows[5].startswith("| published: [others](https://example.org) | test | 12.3 |")


def test_a_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="README.md must hold the lines"):
        results_table.replace_table("# Title", "| table |")
