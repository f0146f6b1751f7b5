"""README and docs/ say what the result files say, and their links and badges are true."""

import json
import re
import tomllib

import pytest

from benchmarks import encoder_speed, results_table
from captioner import config
from captioner.artifacts import catalogue, results
from captioner.scoring import claims

PAGES = [f"docs/{file.name}" for file in sorted((config.PROJECT_DIR / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", results_table.PLACES)
def test_tables_are_those_that_the_result_files_give(name):
    text = results_table.PLACES[name].read_text(encoding="utf-8")
    assert results_table.replace_table(text, name, results_table.build_tables()[name]) == text


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "data/README.md", *PAGES])
def test_links_lead_to_files_that_are_there(page):
    text = (config.PROJECT_DIR / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    missing = [link for link in links if not (config.PROJECT_DIR / page).parent.joinpath(link).exists()]
    assert not missing


def test_badges_say_what_the_package_says():
    project = tomllib.loads((config.PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for badge, text in (("licence", project["license"]), ("python", project["requires-python"].lstrip(">=") + "+")):
        assert f">{text}</text>" in (config.PROJECT_DIR / "docs" / f"{badge}.svg").read_text(encoding="utf-8")


def test_how_captions_were_judged_is_counted_with_examples():
    photos = [
        {"caption": "A dog.", "judgement": "right", "instead": ""},
        {"caption": "A cat.", "judgement": "wrong", "instead": "a cow"},
        {"caption": "Two dogs.", "judgement": "wrong", "instead": "a goat"},
        {"caption": "No.", "judgement": "wrong", "instead": "three"},
    ]
    people = {"right": 3, "partly": 1, "wrong": 0}
    assert results_table.build_looked_table({"photos": photos, "people": people}).splitlines() == [
        "| of 4 photos | captions | for example |",
        "|---|---|---|",
        "| right | 1 (25 %) | “A dog.” |",
        "| partly | 0 (0 %) |  |",
        "| wrong | 3 (75 %) | “A cat.” (a cow) “Two dogs.” (a goat) |",
        "| captions by people, judged likewise | right 3, partly 1, wrong 0 | |",
    ]


def test_the_captions_that_were_judged_are_those_of_the_captioner_that_ships():
    looked = results.read_looked_at()
    folder = config.PROJECT_DIR / "artifacts" / looked["captioner"]
    assert looked["search"] == catalogue.read_config(folder)["decoding"]
    digests = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"]
    assert looked["sha256"] == {name: digests[name] for name in ("decoder.keras", "fine_tuned.h5", "word_detector.h5")}


def test_each_step_of_a_training_is_a_row_with_its_best_scores():
    def rows(*scores):
        return [{"val_cider_d": cider_d, "val_bleu_4": cider_d / 2} for cider_d in scores]

    plain = {"say_once": False, "careful": False, "bleu_4": 21.0}
    report = {
        "history": rows(30.0, 50.04, 48.0),
        # The first rows of these are of the captioner as it came.
        "fine_tuning": rows(60.0, 55.0),
        "refinement": [],
        "minutes": {"training": 11.6, "fine_tuning": 3.0},
        "searches": [
            plain | {"length_penalty": 1.0, "cider_d": 56.0},
            plain | {"length_penalty": 1.25, "cider_d": 57.0},
            plain | {"length_penalty": 1.25, "say_once": True, "cider_d": 58.0},
        ],
    }
    table = results_table.build_steps_table(
        {"toy": report, "toy-seed1": report, "frozen": {"fine_tuning": []}, "old": {"fine_tuning": rows(1.0)}}
    )
    assert table.splitlines()[2:] == [
        "| `toy`: decoder alone, 3 epochs | 50.0 | 25.0 | 12 |",
        "| `toy`: then with the encoder's last stages, 1 epochs | 55.0 | 27.5 | 3 |",
        "| `toy`: then the length penalty chosen: 1.25 | 57.0 | 21.0 |  |",
        "| `toy`: then each thing said once: 1.25 | 58.0 | 21.0 |  |",
    ]


def test_the_careful_rule_and_the_detector_are_one_step_with_the_search_that_was_taken():
    def row(cider_d, **rules):
        usual = {"say_once": True, "careful": True, "detector_weight": 0.3, "rarity": 0.0, "length_penalty": 1.0}
        return usual | {"bleu_4": 21.0, "cider_d": cider_d} | rules

    searches = [
        row(56.0, say_once=False, careful=False, detector_weight=0.0),
        row(57.0, careful=False, detector_weight=0.0),
        row(58.0, detector_weight=0.0),
        # Others were better, but were not taken.
        row(58.9, detector_weight=0.0, length_penalty=1.5),
        row(59.9, length_penalty=1.5),
        row(59.5),
        row(59.6, rarity=0.1),
    ]
    stages = {"history": [], "fine_tuning": [{}], "refinement": [], "minutes": {}, "searches": searches}
    taken = {"careful": True, "length_penalty": 1.0}

    def steps(**chosen):
        return [cells[:2] for cells in results_table._list_steps(stages | taken | chosen)]

    plain = [("then the length penalty chosen: 1", "56.0"), ("then each thing said once: 1", "57.0")]
    assert steps() == [*plain, ("then claims that are sure alone: 1", "58.0")]
    both = ("then claims that are sure alone, and a word detector heeded: 1", "59.5")
    assert steps(detector_weight=0.3) == [*plain, both]
    assert steps(detector_weight=0.3, rarity=0.1) == [*plain, both, ("then rare words favoured: 0.1", "59.6")]


def test_each_weight_of_the_detector_is_a_row_at_the_penalty_that_was_taken():
    row = {"careful": True, "rarity": 0.0, "bleu_4": 20.0, "mean_length": 9.0, "words_used": 300, "borne_out": 15.04}
    searches = [
        row | {"detector_weight": 0.0, "length_penalty": 1.25, "cider_d": 59.0},
        row | {"detector_weight": 0.3, "length_penalty": 1.25, "cider_d": 61.04},
        row | {"detector_weight": 0.3, "length_penalty": 1.5, "cider_d": 70.0},
        row | {"detector_weight": 0.3, "length_penalty": 1.25, "cider_d": 70.0, "rarity": 0.1},
        row | {"detector_weight": 0.0, "length_penalty": 1.25, "cider_d": 70.0, "careful": False},
    ]
    report = {"searches": searches, "length_penalty": 1.25, "detector_weight": 0.3}
    assert results_table.build_detector_table(report).splitlines()[2:] == [
        "| 0 | 59.0 | 20.0 | 9.0 | 300 | 15.0 |",
        "| 0.3, taken | 61.0 | 20.0 | 9.0 | 300 | 15.0 |",
    ]


def test_captioners_that_write_together_stand_below_those_that_write_alone():
    scores = dict.fromkeys(results_table.SCORES, 12.34)
    alone = {"toy": scores | {"split": "validation", "num_beams": 3}}
    ensemble = scores | {"members": ["toy", "other-seed0", "other-seed1"], "split": "validation", "meteor": None}
    ensemble["test"] = scores | {"split": "test"}
    rows = results_table.build_table(alone, [], ensemble).splitlines()[3:]
    assert rows == [
        "| ensemble of 3: 1 of toy, 2 of other | validation | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 | - |",
        "| ensemble of 3: 1 of toy, 2 of other | test | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 |",
    ]


def test_a_table_has_a_row_for_each_split_and_control_and_for_what_others_published():
    scores = dict.fromkeys(results_table.SCORES, 12.34)
    report = scores | {"split": "validation", "num_beams": 3, "controls": {"human": scores}}
    report["test"] = scores | {"split": "test", "num_beams": 3, "cider_d": 50.05}
    published = scores | {"name": "others", "split": "test", "source": "https://example.org"}
    # Controls stand below the best alone.
    rows = results_table.build_table({"toy": report, "lesser": report}, [published]).splitlines()[2:]
    assert rows[0] == "| **toy**, 3 beams | validation | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 |"
    assert rows[1] == "| **toy**, 3 beams | test | 12.3 | 12.3 | 12.3 | 12.3 | 50.0 | 12.3 | 12.3 |"
    assert rows[2].startswith("| people, each caption against the other four | validation |")
    assert [row.split(" |")[0] for row in rows[3:5]] == ["| **lesser**, 3 beams"] * 2
    assert rows[5].startswith("| published: [others](https://example.org) | test | 12.3 |")


def test_readme_shows_what_ships_means_controls_and_the_published_split_by_split():
    scores = dict.fromkeys(results_table.SCORES, 12.0)

    def report(cider_d, **more):
        return scores | {"cider_d": cider_d, "test": scores | {"cider_d": cider_d + 1}} | more

    reports = {
        # Another seed may be the better one: what ships is the one without a number.
        "toy-seed1": report(54.0),
        "toy": report(52.0, controls={"human": {"bleu_1": 64.0, "bleu_4": 21.0, "cider_d": 83.0}}),
        "small-seed1": report(41.0),
        "small": report(40.0),
        "earlier": report(39.0, controls={"human": {"bleu_1": 1.0}}),
    }
    together = report(60.0, members=["toy", "toy-seed1"])
    published = scores | {"name": "others", "split": "test", "source": "https://example.org", "meteor": None}
    rows = results_table.build_summary(reports, ["toy"], [published], together).splitlines()
    assert rows[0].startswith(
        "| | validation<br>BLEU-1 | validation<br>BLEU-4 | validation<br>CIDEr-D | test<br>BLEU-1 |"
    )
    small = "12.0 ± 0.0 | 12.0 ± 0.0 | 40.5 ± 0.7 | 12.0 ± 0.0 | 12.0 ± 0.0 | 41.5 ± 0.7 | 12.0 ± 0.0 | 12.0 ± 0.0 |"
    assert rows[2:] == [
        "| **toy**, which ships | 12.0 | 12.0 | 52.0 | 12.0 | 12.0 | 53.0 | 12.0 | 12.0 |",
        "| toy, mean of 2 seeds | " + small.replace("40.5 ± 0.7", "53.0 ± 1.4").replace("41.5 ± 0.7", "54.0 ± 1.4"),
        f"| small, mean of 2 seeds | {small}",
        "| ensemble of 2: 2 of toy | 12.0 | 12.0 | 60.0 | 12.0 | 12.0 | 61.0 | 12.0 | 12.0 |",
        "| people, each caption against the other four | 64.0 | 21.0 | 83.0 | - | - | - | - | - |",
        "| published: [others](https://example.org) | - | - | - | 12.0 | 12.0 | 12.0 | 12.0 | - |",
    ]


def test_the_captioners_that_ship_are_those_of_the_package():
    project = tomllib.loads((config.PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))
    packed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    shipped = {path for path in packed if path.startswith("artifacts/")}
    assert shipped == {f"artifacts/{name}" for name in (*results_table.SHIPPED, "drawings")}


def test_seeds_of_a_captioner_stand_as_one_mean_with_its_deviation():
    def report(cider_d, meteor=20.0):
        scores = dict.fromkeys(results_table.SCORES, 12.0) | {"cider_d": cider_d, "meteor": meteor}
        return scores | {"split": "validation", "num_beams": 3, "test": scores | {"split": "test", "num_beams": 3}}

    reports = {"toy-seed1": report(54.0), "toy": report(52.0), "toy-seed2": report(50.0, None), "x-seed1": report(1.0)}
    rows = results_table.build_table(reports, []).splitlines()[2:]
    assert [row.split(" |")[0] for row in rows] == [
        *["| **toy**, 3 beams"] * 2,
        *["| toy, mean of 3 seeds"] * 2,
        *["| **x-seed1**, 3 beams"] * 2,
    ]
    cells = "12.0 ± 0.0 | 12.0 ± 0.0 | 12.0 ± 0.0 | 12.0 ± 0.0 | 52.0 ± 2.0 | 12.0 ± 0.0 | - |"
    assert rows[2:4] == [f"| toy, mean of 3 seeds | {split} | {cells}" for split in ("validation", "test")]
    # The mean stays that of one search if one of the seeds is measured with another.
    rows = results_table.build_table(reports | {"toy": report(99.0), "toy-seed0": report(52.0)}, []).splitlines()[2:]
    assert rows[0].startswith("| **toy**, 3 beams | validation | 12.0 | 12.0 | 12.0 | 12.0 | 99.0 |")
    assert rows[2] == f"| toy, mean of 3 seeds, former search | validation | {cells}"


def test_claims_stand_beside_those_of_people_where_captions_were_asked_for_them():
    shares = {key: {"percent": 12.34} for key in claims.LABELS}
    ours = shares | {"numbers": {"percent": None}, "overused": [{"word": "shirt", "captions": 31.9, "references": 4.4}]}
    people = shares | {"overused": [{"word": "boy", "captions": 12.7, "references": 7.4}]}
    asked = {"claims": ours, "controls": {"human": {"claims": people}}}
    rows = results_table.build_claims_table({"toy": asked, "never asked": {"controls": {"human": {}}}}).splitlines()
    assert rows[0] == "| on validation, in percent | toy | people |"
    assert rows[2] == "| colours no reference names | 12.3 | 12.3 |"
    assert rows[3] == "| numbers no reference gives | - | 12.3 |"
    assert rows[-1].endswith("| shirt 32 (4) | boy 13 (7) |")


def test_results_that_were_asked_for_fewer_kinds_of_claims_have_dashes_and_no_say_for_people():
    overused = {"overused": [{"word": "shirt", "captions": 31.9, "references": 4.4}]}
    shares = {key: {"percent": 12.34} for key in claims.LABELS} | overused
    former = {key: {"percent": 56.78} for key in claims.LABELS if key != "actions"} | overused
    asked = {
        name: {"claims": found, "controls": {"human": {"claims": found}}}
        for name, found in {"toy": shares, "former": former}.items()
    }
    [row] = [row for row in results_table.build_claims_table(asked).splitlines() if "actions" in row]
    assert row == "| actions no reference names | 12.3 | - | 12.3 |"


def test_a_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="README.md must hold the lines"):
        results_table.replace_table("# Title", "looked", "| table |")


def test_encoders_are_compared_with_the_search_that_all_were_measured_with():
    reports = {name: {"cider_d": score} for name, score in {"compact": 55.0, "mobilenet_v2": 58.0, "toy": 1.0}.items()}
    assert encoder_speed.choose_scores(reports) == {"compact": 55.0, "mobilenet_v2": 58.0}
    assert encoder_speed.choose_scores(reports | {"compact-seed0": {"cider_d": 56.0}})["compact"] == 56.0


def test_a_captioner_stands_in_the_plot_by_the_speed_of_its_encoder():
    speeds = {name: {"megabytes": size, "ms_batch_32": size / 2} for name, size in (("compact", 8.0), ("vgg16", 2.0))}
    figure = encoder_speed.draw_tradeoff(speeds, {"compact": 48.5, "vgg16": 9.5})
    points = [[line.get_xydata().tolist()[0] for line in axis.lines] for axis in figure.axes]
    assert points == [[[2.0, 9.5], [8.0, 48.5]], [[1.0, 9.5], [4.0, 48.5]]]
