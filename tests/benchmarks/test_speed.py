"""The benchmarks of speed at toy size: what they count, their tables and files. How fast anything is, no test asks."""

import json
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from benchmarks.speed import __main__ as command
from benchmarks.speed import (
    cider,
    counting,
    decoding,
    extraction,
    measuring,
    photo,
    popular_recipe,
    readme,
    start,
    training,
)
from captioner import config
from captioner.data import datasets
from captioner.decoder.network import CaptionDecoder

REPORT = measuring.Report(
    "toy",
    "A toy",
    ["what", "photos/s", "share"],
    [["ours", 1234.5, 0.51234], ["theirs", 12, None]],
    ["Made up."],
    {"photos": 3},
)
MACHINE = {
    "machine": {"cpu": "Abacus", "cores": 2, "memory_mb": 8000, "load_average": 0.04},
    "versions": {"python": "3.11.7", "tensorflow": "2.21.0", "keras": "3.15.1"},
    "git_commit": "abc1234",
    "date": "2026-11-26",
    "seed": 0,
}


def test_works_take_turns_and_the_first_turn_does_not_count():
    done = []
    seconds = measuring.take_turns({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, rounds=2)
    assert done == ["a", "b"] * 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_a_rate_is_that_of_the_median_round():
    # Medians 2 and 0.5 seconds.
    rates = measuring.median_rates({"ours": [1.0, 9.0, 2.0], "theirs": [0.5]}, {"ours": 10, "theirs": 10})
    assert rates == {"ours": 5.0, "theirs": 20.0}


def test_a_product_of_matrices_takes_two_operations_for_each_of_its_terms():
    work, gflop = measuring.build_product(small=True)
    assert gflop == pytest.approx(2 * 512**3 / 1e9)
    assert 0 < work() < 512


def test_a_table_has_a_line_for_each_row_and_its_notes_below():
    content = {"columns": REPORT.columns, "rows": REPORT.rows, "notes": REPORT.notes}
    assert measuring.build_table(content) == (
        "| what | photos/s | share |\n| --- | --- | --- |\n| ours | 1,234 | 0.512 |\n| theirs | 12 | - |\n\n- Made up."
    )


def test_a_report_is_printed_and_written_with_the_machine(tmp_path, capsys):
    measuring.publish(REPORT, tmp_path)
    content = json.loads((tmp_path / "speed_toy.json").read_text(encoding="utf-8"))
    assert content["rows"] == [["ours", 1234.5, 0.51234], ["theirs", 12, None]]
    assert content["machine"].keys() == {"cpu", "cores", "memory_mb", "load_average"}
    assert content["versions"]["tensorflow"] and content["seed"] == 0
    assert "## A toy\n\n| what |" in capsys.readouterr().out
    assert readme.read_reports(tmp_path) == {"toy": content}


def test_a_try_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "RESULTS_DIR", tmp_path)
    monkeypatch.chdir(tmp_path)
    measuring.publish(REPORT, None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "is_written"), [(["photo", "--out", "."], False), (["photo"], True), (["readme"], True)]
)
def test_results_that_go_elsewhere_leave_the_readme_as_it_is(tmp_path, monkeypatch, arguments, is_written):
    monkeypatch.setattr(measuring, "RESULTS_DIR", tmp_path)
    monkeypatch.setattr(photo, "measure", lambda *, small: REPORT)
    monkeypatch.setattr(sys, "argv", ["speed", *arguments])
    written = []
    monkeypatch.setattr(readme, "write_readme", written.append)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    command.main()
    assert written == [tmp_path] * is_written


def test_the_readme_has_every_table_with_its_command_and_machine():
    report = {"title": "A toy", "columns": REPORT.columns, "rows": REPORT.rows, "notes": [], "sizes": {"photos": 3}}
    text = readme.build_readme({"toy": report | MACHINE}, {"page_load": "Lets many people in."})
    assert "## A toy\n\n`python -m benchmarks.speed toy`\n\n| what | photos/s | share |" in text
    assert "*2 cores of Abacus, 8 GB; load 0.0 as it ended; python 3.11.7, tensorflow 2.21.0, keras 3.15.1; " in text
    assert "commit abc1234; 2026-11-26; seed 0; photos 3.*" in text
    assert "- `python -m benchmarks.page_load`: Lets many people in.\n" in text


def test_the_readme_lists_the_commands_of_the_folder():
    commands = readme.list_commands(config.PROJECT_DIR / "benchmarks")
    assert (
        commands["encoder_speed"] == "Times all encoders side by side and draws what speed and size cost in captions."
    )
    assert "page_server" not in commands


def test_the_readme_in_the_repository_is_the_one_that_is_generated(tmp_path):
    readme.write_readme(measuring.RESULTS_DIR, tmp_path / "README.md")
    written, kept = (file.read_text(encoding="utf-8") for file in (tmp_path / "README.md", readme.README))
    # Commands come and go beside the tables.
    assert written.partition("## Other commands")[0] == kept.partition("## Other commands")[0]


def test_operations_of_a_network_are_two_for_each_weight_at_each_place():
    pixels = keras.Input((8, 8, 3))
    grid = keras.layers.Conv2D(4, 3, padding="same")(pixels)  # 64 places x 4 x 27
    grid = keras.layers.DepthwiseConv2D(3, padding="same")(grid)  # 64 places x 4 x 9
    words = keras.layers.Dense(5)(keras.layers.Flatten()(grid))  # 256 x 5
    assert counting.count_network(keras.Model(pixels, words)) == 2 * (64 * 4 * 27 + 64 * 4 * 9 + 256 * 5)


@pytest.fixture(scope="module")
def decoder():
    sizes = {"units": 4, "embedding_size": 3, "attention_size": 7, "memory_size": 8}
    return CaptionDecoder(11, 6, 3, 5, config.DecoderConfig(**sizes))


def test_operations_of_a_step_are_those_of_its_products(decoder):
    # Query 4x7, comparison 4 tokens x 7, context 4 x 8, gate 4; LSTM (3 + 8 + 4) x 16; output 15 x 4 and 4 x 11.
    assert counting.count_step(decoder) == 2 * (28 + 28 + 32 + 4 + 240 + 60 + 44)


def test_a_step_of_a_search_multiplies_neither_words_nor_context_by_kernels(decoder):
    # Query 4x7, gate 4, LSTM 4 x 16, output 4 x 4 and 4 x 11.
    assert counting.count_search_weights(decoder) == 28 + 4 + 64 + 16 + 44
    # Comparison 4 tokens x 7, and the mean of 4 tokens times the kernels, 16 and 4 numbers.
    assert counting.count_search_step(decoder) == 2 * (156 + 28 + 80)


def test_operations_of_a_start_are_those_of_its_projections(decoder):
    # Pooled 6 x (8 + 4 + 4), regions 3 x 5 x 8, keys 4 tokens x 8 x 7.
    assert counting.count_start(decoder) == 2 * (96 + 120 + 224)


def test_training_takes_each_product_three_times_but_no_gradient_of_features(decoder):
    # Of the projections of features, pooled 96 and regions 120, the third product is left out, for each of 2 captions.
    forward = 7 * counting.count_step(decoder) + 2 * counting.count_start(decoder)
    assert counting.count_training(decoder, 7, 2) == 3 * forward - 2 * 2 * (96 + 120)


def test_a_sample_of_the_recipe_takes_the_lstm_over_all_places_and_three_dense_layers():
    model = popular_recipe.build_model(6, 11, 4, 3)
    # LSTM 34 places x (3 + 4) x 16; photo 6 x 4, which gets no gradient, merged 4 x 4, words 4 x 11.
    assert counting.count_merge_training(model, 4, 3, 34) == 3 * 2 * (34 * 7 * 16 + 24 + 16 + 44) - 2 * 24


def test_a_search_is_counted_the_steps_of_the_longest_caption_of_each_photo(decoder):
    class Found:
        def __init__(self, count):
            self.words = ["word"] * count

    found = [[Found(2), Found(3)], [Found(1)]]
    # 4 tokens of 8 numbers are multiplied by the kernels, 16 and 4 columns.
    start = counting.count_start(decoder) + 2 * 4 * 8 * 20
    work = 2 * start + 2 * (4 + 2) * counting.count_search_step(decoder)
    assert counting.count_search(decoder, found, 2) == work


INDICES = popular_recipe.number_words(["a", "dog"])


def test_the_recipe_makes_a_sample_of_each_prefix_padded_on_the_left():
    assert INDICES == {"startseq": 1, "endseq": 2, "a": 3, "dog": 4}
    features = {"1.jpg": np.array([[7.0, 8.0]])}
    (pooled, inputs), targets = next(popular_recipe.generate_batches({"1.jpg": ["a dog"]}, features, INDICES, 1))
    assert inputs.shape == (3, 34) and not inputs[:, :31].any()
    assert inputs[:, 31:].tolist() == [[0, 0, 1], [0, 1, 3], [1, 3, 4]]
    assert targets.tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 1, 0, 0]]
    assert pooled.tolist() == [[7.0, 8.0]] * 3


def test_the_recipe_leaves_out_words_that_it_does_not_know_and_takes_all_captions_of_its_photos():
    features = {"1.jpg": np.ones((1, 2)), "2.jpg": np.zeros((1, 2))}
    captions = {"1.jpg": ["a zebra", "dog"], "2.jpg": ["a"]}
    batches = popular_recipe.generate_batches(captions, features, INDICES, 2)
    (pooled, _), targets = next(batches)
    assert targets.argmax(axis=1).tolist() == [3, 2, 4, 2, 3, 2]
    assert pooled[:, 0].tolist() == [1, 1, 1, 1, 0, 0]
    assert next(batches)[1].tolist() == targets.tolist()


def test_the_recipe_writes_the_likeliest_word_until_the_end_marker():
    class Model:
        """Says "a", "dog" and the end, by the number of words that it is given."""

        def predict(self, inputs, verbose):
            _, padded = inputs
            return np.eye(5)[[[3, 4, 2][np.count_nonzero(padded) - 1]]]

    assert popular_recipe.write_caption(Model(), INDICES, np.ones((1, 2))) == "a dog"
    assert popular_recipe.write_caption(Model(), INDICES, np.ones((1, 2)), 1) == "a"


def test_the_recipe_pickles_what_each_photo_gives(tmp_path, tiny_captioner, drawn_dir):
    paths = sorted((drawn_dir / "Images").iterdir())[:2]
    model = tiny_captioner.encoder.model
    found = popular_recipe.extract_features(model, lambda pixels: pixels / 255, paths, tmp_path / "features.pkl")
    assert {name: vector.shape for name, vector in found.items()} == {path.name: (1, 5) for path in paths}
    assert (tmp_path / "features.pkl").stat().st_size > 0


def numbers_of(report):
    """The numbers of a report, which must all be positive; a table's lines must be as long as its head."""
    assert all(len(row) == len(report.columns) for row in report.rows)
    numbers = [value for row in report.rows for value in row[1:] if value is not None]
    assert all(isinstance(value, float) and value > 0 for value in numbers)
    return numbers


def test_decoding_is_tabled_for_each_number_of_beams(tiny_captioner, stores):
    report = decoding.compare(tiny_captioner, stores["validation"], others=1, rounds=1, small=True)
    assert [row[0] for row in report.rows] == [f"ours, {n} beams" for n in (1, 3, 5)] + ["the popular recipe, greedy"]
    for _, rate, seconds, ratio, _ in report.rows:
        assert seconds == pytest.approx(1000 / rate) and ratio == pytest.approx(rate / report.rows[-1][1])
    numbers_of(report)


def test_training_is_tabled_beside_the_recipe(tiny_captioner, splits):
    train = splits["train"]
    report = training.compare(tiny_captioner, train.references, train.features, steps=1, rounds=1, small=True)
    ours, theirs = report.rows
    assert ours[2] == pytest.approx(ours[1] / theirs[1]) and theirs[2] == 1
    assert ours[3] > 0 and theirs[3] > 0
    numbers_of(report)


def test_training_stops_when_captions_are_good_enough(tiny_captioner, splits, tmp_path):
    settings = config.TrainingConfig(epochs=3, batch_size=16, warmup_steps=1)
    weights = tiny_captioner.decoder.get_weights()
    histories = {
        target: cider.train_until(tiny_captioner, splits, settings, tmp_path / f"{target}", target)
        for target in (0.0, 1e9)
    }
    tiny_captioner.decoder.set_weights(weights)
    assert [len(history) for history in histories.values()] == [1, 3]
    for row in histories[1e9]:
        assert 0 < row["val_scoring"] < row["seconds"]


def test_seconds_until_a_score_are_added_up_over_the_epochs():
    rows = [(1, 10.0, 2.0, 30.5), (2, 8.0, 1.0, 46.0)]
    names = ("epoch", "seconds", "val_scoring", "val_cider_d")
    history = [dict(zip(names, row, strict=True)) for row in rows]
    report = cider.build_report("compact", 500, history)
    assert report.rows == [["1", 10.0, 2.0, 30.5], ["2", 18.0, 3.0, 46.0]]
    assert report.notes[0] == "Reached after 18 s."
    assert cider.build_report("compact", 500, history[:1]).notes[0] == "Not reached."


def test_a_photo_is_tabled_with_its_parts(tiny_captioner, drawn_dir):
    contents = [path.read_bytes() for path in sorted((drawn_dir / "Images").iterdir())[:3]]
    report = photo.compare({"tiny": tiny_captioner}, contents)
    [row] = report.rows
    assert row[0] == "tiny" and row[1] <= row[2] and row[6] == pytest.approx(row[1] / row[4])
    numbers_of(report)


def test_a_captioner_of_random_weights_writes_as_many_words_as_captions_have(tiny_captioner, drawn_photos):
    captioner = photo.build_random(tiny_captioner.encoder, tiny_captioner.vocabulary)
    assert {len(caption.words) for caption in captioner.caption_photos(drawn_photos[:1])[0]} == {12}


@pytest.mark.slow
def test_extraction_is_tabled_with_its_limit():
    report = extraction.measure(small=True, encoder_name="mobilenet_v2")
    ours, theirs, limit = report.rows
    assert limit[3] == 100 and ours[3] == pytest.approx(100 * ours[1] / limit[1])
    assert theirs[2] == 1
    numbers_of(report)


def test_a_silence_is_shorter_than_the_whole_of_a_command_that_says_something():
    # The whole takes a second and a half, in which it says two lines.
    code = "import sys, time\nfor s in (0.5, 1): time.sleep(s); print('line', file=sys.stderr, flush=True)"
    seconds, silence = start._time_output([sys.executable, "-c", code])
    assert 0 < silence < seconds and seconds >= 1.5


def test_a_command_that_fails_is_not_timed():
    with pytest.raises(RuntimeError, match="failed. Run it to see why"):
        start._time_output([sys.executable, "-c", "raise SystemExit(3)"])


def test_photos_are_made_where_flickr8k_is_not_at_hand(tmp_path, monkeypatch):
    monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)
    assert measuring.find_source() is None
    found = measuring.find_photos(2, tmp_path)
    assert [Image.open(path).size for path in found] == [(500, 375)] * 2
