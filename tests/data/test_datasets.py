"""Photos, captions and splits: both layouts, no photo on two splits, and what is said when one is missing."""

import json
import re

import pytest

from captioner import config
from captioner.data import datasets

SPLITS = {"train": ("a.jpg", "b.jpg", "c.jpg"), "validation": ("d.jpg",), "test": ("e.jpg",)}


def _write_splits(folder, splits=SPLITS):
    for split, ids in splits.items():
        (folder / datasets.SPLIT_FILES[split]).write_text("".join(f"{i}\n" for i in ids))


def _write_official(folder, splits=SPLITS):
    (folder / "Images").mkdir()
    ids = [image_id for split in SPLITS.values() for image_id in split]
    lines = [f"{i}#{n}\tA Dog, number {n} .\n" for i in [*ids, "unlisted.jpg"] for n in range(2)]
    (folder / datasets.TOKEN_FILE).write_text("".join(lines))
    _write_splits(folder, splits)
    return folder


def _write_kaggle(folder, ids=("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")):
    (folder / "Images").mkdir()
    rows = [f'{i},"A Dog, number {n} ."\n' for i in ids for n in range(2)]
    (folder / datasets.KAGGLE_FILE).write_text("image,caption\n" + "".join(rows))
    return folder


@pytest.fixture
def official(tmp_path):
    return _write_official(tmp_path)


def test_the_official_layout_is_read(official):
    dataset = datasets.read_dataset(official)
    assert dataset.splits == SPLITS
    assert dataset.references["a.jpg"] == ("a dog number 0", "a dog number 1")
    assert "unlisted.jpg" not in dataset.references
    assert (dataset.name, dataset.folder, dataset.image_dir) == (official.name, official, official / "Images")


def test_the_kaggle_layout_with_own_splits_reads_the_same(official, tmp_path_factory):
    kaggle = _write_kaggle(tmp_path_factory.mktemp("kaggle"))
    _write_splits(kaggle)
    dataset, other = datasets.read_dataset(kaggle), datasets.read_dataset(official)
    assert (dataset.splits, dataset.references) == (other.splits, other.references)


def test_the_kaggle_layout_without_splits_takes_the_official_ones(tmp_path, monkeypatch):
    (tmp_path / "shipped.json").write_text(json.dumps(SPLITS))
    monkeypatch.setattr(datasets, "_SHIPPED_SPLITS", tmp_path / "shipped.json")
    dataset = datasets.read_dataset(_write_kaggle(tmp_path))
    assert (dataset.splits, dataset.name) == (SPLITS, "flickr8k")


def test_own_photos_without_splits_are_told_what_to_add(tmp_path):
    with pytest.raises(ValueError, match="None of the photos .* is on a split. .*add Flickr_8k.trainImages.txt, .*"):
        datasets.read_dataset(_write_kaggle(tmp_path, ("mine.jpg",)))


def test_split_files_may_come_from_windows(official):
    (official / datasets.SPLIT_FILES["train"]).write_bytes(b"\xef\xbb\xbfa.jpg\r\n\r\nb.jpg \r\n")
    assert datasets.read_dataset(official).splits["train"] == ("a.jpg", "b.jpg")


def test_only_the_splits_asked_for_are_read(official):
    for split in ("validation", "test"):
        (official / datasets.SPLIT_FILES[split]).unlink()
    dataset = datasets.read_dataset(official, ["train"])
    assert dataset.splits == {"train": SPLITS["train"]}
    assert set(dataset.references) == set(SPLITS["train"])
    with pytest.raises(ValueError, match=r"split must be one of \('train',\). Received: split='test'"):
        dataset.image_ids("test")


def test_views_of_one_split_keep_its_order(official):
    dataset = datasets.read_dataset(official)
    assert dataset.captions("validation") == [("d.jpg", "a dog number 0"), ("d.jpg", "a dog number 1")]
    assert list(dataset.references_of("train")) == list(SPLITS["train"])
    assert dataset.photo_paths("test") == {"e.jpg": official / "Images" / "e.jpg"}
    assert len(dataset.photo_paths()) == 5
    assert len(dataset.photo_paths("train", "test")) == 4


def test_a_subset_takes_the_first_photos_and_leaves_other_splits(official):
    dataset = datasets.read_dataset(official)
    small = dataset.subset(2)
    assert small.splits == SPLITS | {"train": ("a.jpg", "b.jpg")}
    assert set(small.references) == {"a.jpg", "b.jpg", "d.jpg", "e.jpg"}
    assert dataset.splits == SPLITS
    assert dataset.subset(0, "test").image_ids("test") == ()
    assert dataset.subset(99).splits == SPLITS


def test_captions_without_a_word_are_left_out(official):
    with (official / datasets.TOKEN_FILE).open("a") as file:
        file.write("a.jpg#2\t...\n")
    assert len(datasets.read_dataset(official).references["a.jpg"]) == 2


def test_a_photo_on_two_splits_is_refused(tmp_path):
    _write_official(tmp_path, SPLITS | {"test": ("e.jpg", "b.jpg")})
    with pytest.raises(ValueError, match="'b.jpg' is listed for train and for test. List each photo once, else"):
        datasets.read_dataset(tmp_path)


def test_photos_without_captions_are_counted_and_named(tmp_path):
    _write_official(tmp_path, SPLITS | {"test": ("e.jpg", "bare.jpg")})
    with pytest.raises(ValueError, match="1 of 6 photos in .* have no caption, for example 'bare.jpg'. Add their"):
        datasets.read_dataset(tmp_path)


def test_a_mangled_line_is_named_by_file_and_line(official):
    with (official / datasets.TOKEN_FILE).open("a") as file:
        file.write("no tab\n")
    with pytest.raises(ValueError, match="Flickr8k.token.txt, line 13: expected"):
        datasets.read_dataset(official)


def test_a_missing_split_file_is_named(official):
    (official / datasets.SPLIT_FILES["validation"]).unlink()
    with pytest.raises(FileNotFoundError, match="Flickr_8k.devImages.txt is missing in .*one image id a line"):
        datasets.read_dataset(official)


def test_an_unknown_split_is_refused(official):
    expected = re.escape("splits must be among ('train', 'validation', 'test'). Received: splits=['dev']")
    with pytest.raises(ValueError, match=expected):
        datasets.read_dataset(official, ["train", "dev"])


@pytest.mark.parametrize("name", datasets.IMAGE_FOLDERS)
def test_the_photo_folder_may_have_each_official_name(official, name):
    (official / "Images").rename(official / name)
    assert datasets.read_dataset(official).photo_path("a.jpg") == official / name / "a.jpg"


def test_a_missing_photo_folder_is_named(official):
    (official / "Images").rmdir()
    with pytest.raises(FileNotFoundError, match="No photos in .*expected a folder Images or Flicker8k_Dataset or"):
        datasets.read_dataset(official)


def test_a_folder_without_captions_says_how_to_get_them(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="No data set in .*neither Flickr8k.token.txt nor captions.txt .*FLICKR8K_DIR"
    ):
        datasets.find_dataset(tmp_path / "nowhere")


def test_the_folder_is_the_argument_then_the_variable_then_the_default(official, tmp_path_factory, monkeypatch):
    other = _write_official(tmp_path_factory.mktemp("other"))
    data = tmp_path_factory.mktemp("data")
    (data / "flickr8k").mkdir()
    _write_official(data / "flickr8k")
    monkeypatch.setattr(config, "DATA_DIR", data)
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(other))
    assert datasets.find_dataset(official) == official
    assert datasets.find_dataset() == other
    monkeypatch.delenv(datasets.DATA_VARIABLE)
    assert datasets.find_dataset() == data / "flickr8k"


def test_the_shipped_splits_are_6000_1000_and_1000_photos_that_do_not_overlap():
    shipped = json.loads(datasets._SHIPPED_SPLITS.read_text(encoding="utf-8"))
    assert {split: len(ids) for split, ids in shipped.items()} == {
        "train": 6000,
        "validation": 1000,
        "test": 1000,
    }
    assert len({image_id for ids in shipped.values() for image_id in ids}) == 8000


def test_the_shipped_splits_are_the_official_ones(flickr8k_dir):
    shipped = json.loads(datasets._SHIPPED_SPLITS.read_text(encoding="utf-8"))
    for split, name in datasets.SPLIT_FILES.items():
        assert shipped[split] == (flickr8k_dir / name).read_text().split()


def test_no_real_photo_is_on_two_splits_and_each_has_five_captions(flickr8k_dir):
    dataset = datasets.read_dataset(flickr8k_dir)
    ids = [image_id for split in config.SPLITS for image_id in dataset.image_ids(split)]
    assert len(ids) == len(set(ids)) == len(dataset.references) == 8000
    assert {len(texts) for texts in dataset.references.values()} == {5}
