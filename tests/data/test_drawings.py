"""The drawn data set: the same bytes from the same seed, splits that hold combinations out, and its truth."""

import collections
import dataclasses
import hashlib
import itertools
import shutil

import numpy as np
import pytest

from captioner import files
from captioner.data import captions, datasets, photos
from captioner.data.drawings import captions as scene_captions
from captioner.data.drawings import dataset as drawings
from captioner.data.drawings import pictures as scene_pictures
from captioner.data.drawings import scenes


@pytest.fixture(scope="module")
def planned():
    return scenes.plan_scenes()


@pytest.fixture(scope="module")
def written(planned):
    return {scene.image_id: scene_captions.write_captions(scene) for scene in planned}


def _hash_files(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _scene(*pairs, split="train"):
    groups = tuple(scenes.Group(1, colour, noun, "medium") for colour, noun in pairs)
    return scenes.Scene("scene_0001.jpg", split, "white", "left", groups)


def test_the_same_seed_draws_the_same_bytes(drawn_dir, tmp_path):
    again = drawings.draw_dataset(tmp_path / "again", num_photos=40)
    assert _hash_files(again) == _hash_files(drawn_dir)


def test_another_seed_draws_other_scenes_captions_and_pixels(planned):
    other = scenes.plan_scenes(seed=1)
    assert planned != other
    scene = planned[0]
    assert scene_captions.write_captions(scene, 0) != scene_captions.write_captions(scene, 1)
    first, second = (np.asarray(scene_pictures.draw_scene(scene, seed)) for seed in (0, 1))
    assert (first != second).any()


def test_the_loader_reads_it_in_official_layout(drawn_dir):
    dataset = datasets.read_dataset(drawn_dir)
    assert {split: len(ids) for split, ids in dataset.splits.items()} == {
        "train": 28,
        "validation": 6,
        "test": 6,
    }
    assert {len(texts) for texts in dataset.references.values()} == {5}
    assert sorted(dataset.photo_paths().values()) == sorted((drawn_dir / "Images").iterdir())


def test_pictures_have_the_size_that_encoders_take(drawn_dir):
    for path in sorted((drawn_dir / "Images").iterdir())[:5]:
        assert photos.open_photo(path).size == (scene_pictures.IMAGE_SIZE, scene_pictures.IMAGE_SIZE)


def test_five_hundred_photos_are_360_70_and_70(planned):
    assert len({scene.image_id for scene in planned}) == 500
    counts = collections.Counter(scene.split for scene in planned)
    assert counts == {"train": 360, "validation": 70, "test": 70}


def test_held_out_combinations_are_on_their_own_split_only(planned, written):
    held_out = {split: set(scenes.held_out_combinations(split)) for split in ("train", "validation", "test")}
    assert held_out["train"] == set()
    assert not held_out["validation"] & held_out["test"]
    for scene in planned:
        named = {pair for text in written[scene.image_id] for pair in scene_captions.named_combinations(text)}
        assert named == scene.combinations
        foreign = set().union(*(pairs for split, pairs in held_out.items() if split != scene.split))
        assert not named & foreign
        assert scene.split == "train" or named & held_out[scene.split]


def test_every_combination_is_drawn_on_the_splits_that_may_show_it(planned):
    drawn = collections.defaultdict(collections.Counter)
    for scene in planned:
        drawn[scene.split].update(scene.combinations)
    assert set(drawn["train"]) == set(scenes.shared_combinations())
    assert min(drawn["train"].values()) >= 7
    for split in ("validation", "test"):
        assert all(drawn[split][pair] >= 8 for pair in scenes.held_out_combinations(split))


def test_combinations_are_shared_or_held_out():
    held_out = scenes.held_out_combinations("validation") + scenes.held_out_combinations("test")
    every = itertools.product(scenes.COLOURS, scenes.NOUNS)
    assert sorted(scenes.shared_combinations() + held_out) == sorted(every)


def test_every_word_is_often_in_train(planned, written):
    train, others = collections.Counter(), set()
    for scene in planned:
        for text in written[scene.image_id]:
            words = captions.clean_caption(text).split()
            if scene.split == "train":
                train.update(words)
            else:
                others.update(words)
    assert others <= set(train)
    assert min(train.values()) >= 10
    assert 60 <= len(train) <= 90


def test_each_scene_has_five_captions_that_differ(written):
    assert all(len({captions.clean_caption(text) for text in texts}) == 5 for texts in written.values())
    lengths = [len(captions.clean_caption(text).split()) for texts in written.values() for text in texts]
    assert (min(lengths), max(lengths)) == (3, 18)


def test_captions_name_their_own_scene_right_and_no_other(planned, written):
    for scene, other in itertools.pairwise(planned):
        named = {scene_captions.named_combinations(text) for text in written[scene.image_id]}
        assert named == {scene.combinations}
        assert (named == {other.combinations}) == (scene.combinations == other.combinations)


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("A red circle .", {("red", "circle")}),
        ("two blue ships over tiny yellow boxes", {("blue", "boat"), ("yellow", "square")}),
        ("black fish", {("black", "fish")}),
        ("RED discs, red circle", {("red", "circle")}),
        ("a red small circle", set()),
        ("a circle on red paper", set()),
        ("a brown circle and a red dog", set()),
        ("", set()),
    ],
)
def test_a_colour_right_before_a_noun_is_a_named_combination(caption, named):
    assert scene_captions.named_combinations(caption) == named


@pytest.mark.parametrize(
    ("caption", "right"),
    [
        ("a red disc to the left of a blue box", True),
        ("two blue squares right of a red circle", True),
        ("a red circle on the left side", True),
        ("on the right two blue boxes and on the left a red disc", True),
        ("on the right a red circle and on the left a blue square", False),
        ("a red circle to the right of a blue square", False),
        ("a blue square on the left", False),
        # A thing that is half right is the one it shares most with.
        ("a red star on the left", True),
        ("a green circle right of a blue star", False),
        # What is not there at all, or could be either, is passed over, and the other thing decides.
        ("a green star left of a blue square", True),
        ("a red square right of a blue box", False),
        ("a green star left of a black moon", False),
        ("it is on the left", False),
        ("a red circle next to a blue square", None),
        ("two red circles side by side", None),
    ],
)
def test_a_side_is_right_if_what_is_named_there_is_there(caption, right):
    # The red circle is on the left.
    assert drawings.names_side_right(caption, _scene(("red", "circle"), ("blue", "square"))) is right


def test_sides_are_wrong_where_the_picture_has_none():
    scene = dataclasses.replace(_scene(("red", "circle"), ("blue", "square")), place="above")
    assert drawings.names_side_right("a red circle left of a blue square", scene) is False
    lone = dataclasses.replace(_scene(("red", "circle")), place="right")
    assert drawings.names_side_right("a red circle on the right", lone) is True
    assert drawings.names_side_right("a red circle on the right", dataclasses.replace(lone, place="middle")) is False


def test_the_share_of_right_sides_is_over_the_captions_that_name_one(monkeypatch):
    # The red circle is on the left of each.
    scene = _scene(("red", "circle"), ("blue", "square"))
    texts = ("a red circle on the left", "a red circle on the right", "a red circle", "a blue box right of a red disc")
    said = {str(number): text for number, text in enumerate(texts)}
    monkeypatch.setattr(drawings, "read_scenes", lambda folder: dict.fromkeys(said, scene))
    assert drawings.score_sides(said) == {"named": 3, "right": 2, "right_percent": pytest.approx(200 / 3)}


def test_every_side_that_the_data_set_names_is_that_of_the_scene(planned, written):
    said = [drawings.names_side_right(text, scene) for scene in planned for text in written[scene.image_id]]
    assert set(said) == {None, True}
    assert said.count(True) > 200


def test_held_out_combinations_named_are_counted():
    # Held out for test: a red circle and a yellow square, not a blue star.
    both = _scene(("red", "circle"), ("yellow", "square"), split="test")
    assert drawings.count_held_out("a red disc and a yellow star", both) == (1, 2)
    one = _scene(("red", "circle"), ("blue", "star"), split="test")
    assert drawings.count_held_out("a red circle with a blue star", one) == (1, 1)
    assert drawings.count_held_out("a blue star", one) == (0, 1)


def test_the_share_of_held_out_combinations_is_over_all_captions(drawn_dir):
    shown = {i: s for i, s in drawings.read_scenes(drawn_dir).items() if s.split == "test"}
    truth = {i: " and ".join(f"a {colour} {noun}" for colour, noun in s.combinations) for i, s in shown.items()}
    total = sum(len(s.combinations & set(scenes.held_out_combinations("test"))) for s in shown.values())
    assert drawings.score_held_out(truth, drawn_dir) == {"shown": total, "named": total, "named_percent": 100.0}
    first = dict.fromkeys(shown, "a dog") | {min(shown): truth[min(shown)]}
    assert 0 < drawings.score_held_out(first, drawn_dir)["named"] <= 2


def test_scenes_are_read_back(drawn_dir):
    assert list(drawings.read_scenes(drawn_dir).values()) == scenes.plan_scenes(40)


def test_things_are_where_the_scene_says():
    for relation in scenes.RELATIONS:
        scene = dataclasses.replace(_scene(("red", "circle"), ("blue", "square")), place=relation)
        pixels = np.asarray(scene_pictures.draw_scene(scene)).astype(int)
        red = np.argwhere(pixels[..., 0] - pixels[..., 2] > 90).mean(axis=0)
        blue = np.argwhere(pixels[..., 2] - pixels[..., 0] > 90).mean(axis=0)
        axis = 1 if relation in ("left", "right") else 0
        assert (red[axis] < blue[axis] - 50) == (relation in ("left", "above"))
        assert abs(red[1 - axis] - blue[1 - axis]) < 50


@pytest.mark.parametrize("noun", scenes.NOUNS)
def test_every_noun_fits_in_the_picture_in_every_count(noun):
    for count in (1, 2, 3):
        scene = dataclasses.replace(_scene(("red", noun)), groups=(scenes.Group(count, "red", noun, "big"),))
        pixels = np.asarray(scene_pictures.draw_scene(scene)).astype(int)
        rows, columns = np.nonzero(pixels[..., 0] - pixels[..., 2] > 90)
        assert min(rows.min(), columns.min()) > 0
        assert max(rows.max(), columns.max()) < scene_pictures.IMAGE_SIZE - 1


def test_a_finished_folder_is_left_as_it_is(drawn_dir):
    before = (drawn_dir / drawings.SCENES_FILE).stat().st_mtime_ns
    assert drawings.draw_dataset(drawn_dir, num_photos=40) == drawn_dir
    assert (drawn_dir / drawings.SCENES_FILE).stat().st_mtime_ns == before


def test_another_number_of_photos_is_drawn_anew_and_leaves_nothing_else(tmp_path):
    drawings.draw_dataset(tmp_path / "set", num_photos=12)
    drawings.draw_dataset(tmp_path / "set", num_photos=10)
    assert len(list((tmp_path / "set" / "Images").iterdir())) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_drawing_cut_short_leaves_no_folder_and_is_made_good(tmp_path, monkeypatch):
    def stop(scene, seed):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scene_captions, "write_captions", stop)
        drawings.draw_dataset(tmp_path / "set", num_photos=10)
    assert not (tmp_path / "set").exists()
    drawings.draw_dataset(tmp_path / "set", num_photos=10)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_data_set_that_another_process_draws_is_left_alone(tmp_path):
    message = "set is in use: .* has been drawing the data set since"
    with files.hold(tmp_path / "set", "drawing the data set"), pytest.raises(BlockingIOError, match=message):
        drawings.draw_dataset(tmp_path / "set", num_photos=10)
    drawings.draw_dataset(tmp_path / "set", num_photos=10)


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds something other than a drawn data set.*Name a new folder"):
        drawings.draw_dataset(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_too_few_photos_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_photos must be at least 10, for three splits. Received: num_photos=9"):
        drawings.draw_dataset(tmp_path / "set", num_photos=9)


def test_a_split_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="split must be one of .*Received: split='dev'"):
        scenes.held_out_combinations("dev")


def test_scenes_of_another_folder_are_refused(tmp_path, drawn_dir):
    with pytest.raises(FileNotFoundError, match="holds no drawn data set: scenes.json is missing"):
        drawings.read_scenes(tmp_path)
    damaged = shutil.copytree(drawn_dir, tmp_path / "damaged")
    (damaged / drawings.SCENES_FILE).write_text("{")
    with pytest.raises(ValueError, match="scenes.json is damaged. Delete the folder"):
        drawings.read_scenes(damaged)
