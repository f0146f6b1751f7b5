"""Photos, captions and splits: every layout, no photo on two splits, and what is said of what is missing."""

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
    (folder / "captions.txt").write_text("image,caption\n" + "".join(rows))
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
    dataset = datasets.read_dataset(official)
    assert len(dataset.references["a.jpg"]) == 2
    assert dataset.notes[-1] == "1 of 11 captions hold no word and were left out."


def test_a_photo_on_two_splits_is_refused(tmp_path):
    _write_official(tmp_path, SPLITS | {"test": ("e.jpg", "b.jpg")})
    with pytest.raises(ValueError, match="'b.jpg' is listed for train and again for test. List each photo once"):
        datasets.read_dataset(tmp_path)


@pytest.mark.parametrize("other", ["B.JPG", "cafe\u0301.jpg"])
def test_a_photo_on_two_splits_is_refused_however_they_spell_it(tmp_path, other):
    _write_splits(tmp_path, SPLITS | {"train": ("b.jpg", "caf\u00e9.jpg"), "test": (other,)})
    _write_kaggle(tmp_path, ["b.jpg", "c.jpg", "d.jpg", "caf\u00e9.jpg"])
    with pytest.raises(ValueError, match=f"'{other}' is listed for train and again for test. List each photo once"):
        datasets.read_dataset(tmp_path)


def test_lists_that_name_no_photo_with_captions_are_told_so(tmp_path):
    _write_splits(tmp_path, {split: [name.removesuffix(".jpg") for name in ids] for split, ids in SPLITS.items()})
    _write_kaggle(tmp_path, ["a.jpg", "b.jpg"])
    with pytest.raises(ValueError, match="5 of 5 photos in .* have no caption, for .* Add their captions to captions"):
        datasets.read_dataset(tmp_path)


def test_captions_that_are_there_but_not_read_are_named(official):
    (official / "captions.txt").write_text("image,caption\na.jpg,A cat\n")
    note = "Captions are read from Flickr8k.token.txt, not from captions.txt."
    assert note in datasets.read_dataset(official, ("test",)).notes


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


def _move(folder, name, target):
    (folder / target).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).rename(folder / target)


def test_the_official_zip_files_may_be_unpacked_anyhow(official):
    before = datasets.read_dataset(official)
    for name in (
        "__MACOSX/._Flickr8k.token.txt",
        "Flickr8k_text/Flickr8k.lemma.token.txt",
        "Images/a.jpg",
        "Images/e.jpg",
    ):
        (official / name).parent.mkdir(exist_ok=True)
        (official / name).write_text("junk")
    _move(official, "Images", "Flickr8k_Dataset/Flicker8k_Dataset")
    _move(official, datasets.TOKEN_FILE, "Flickr8k_text/flickr8k.token.txt")
    for name in datasets.SPLIT_FILES.values():
        _move(official, name, f"Flickr8k_text/{name.lower()}")
    dataset = datasets.read_dataset(official)
    assert (dataset.splits, dataset.references) == (before.splits, before.references)
    assert dataset.photo_path("e.jpg").read_text() == "junk"
    assert dataset.image_dir == official / "Flickr8k_Dataset" / "Flicker8k_Dataset"


def test_a_part_of_kaggles_copy_has_the_official_splits_of_what_is_there(tmp_path):
    shipped = json.loads(datasets._SHIPPED_SPLITS.read_text(encoding="utf-8"))
    ids = [
        image_id
        for split, count in (("train", 6), ("validation", 3), ("test", 2))
        for image_id in shipped[split][:count]
    ]
    _write_kaggle(tmp_path, [*ids, "another.jpg"])
    for image_id in ids[1:]:
        (tmp_path / "Images" / image_id).touch()
    dataset = datasets.read_dataset(tmp_path)
    assert list(dataset.references) == ids[1:]
    assert {split: len(part) for split, part in dataset.splits.items()} == {"train": 5, "validation": 3, "test": 2}
    assert dataset.notes == (
        "No split files: of the 8,000 photos on Flickr8k's official splits, 10 are there and count.",
        f"2 of 12 photos with captions are on no split and were left out, for example '{ids[0]}'.",
    )
    assert datasets.read_dataset(tmp_path, ["test"]).notes == (
        "No split files: of the 1,000 photos on Flickr8k's official splits, 2 are there and count.",
    )


def test_captions_alone_can_still_be_scored(tmp_path):
    shipped = json.loads(datasets._SHIPPED_SPLITS.read_text(encoding="utf-8"))
    dataset = datasets.read_dataset(_write_kaggle(tmp_path, shipped["test"][:2]), ["test"])
    assert dataset.image_ids("test") == tuple(shipped["test"][:2])
    assert dataset.notes[1].startswith("2 of 2 photos are missing in ")


def test_karpathys_file_brings_its_own_splits_and_photos_lie_where_they_are_found(tmp_path):
    rows = (("a.jpg", "train2014", "train"), ("b.jpg", "val2014", "restval"), ("c.jpg", "val2014", "val"))
    images = [
        {"filename": name, "filepath": place, "split": split, "sentences": [{"raw": f"A dog, {name}."}] * 3}
        for name, place, split in rows
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    for name, place, _ in rows:
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / name).touch()
    dataset = datasets.read_dataset(tmp_path)
    assert dataset.splits == {"train": ("a.jpg", "b.jpg"), "validation": ("c.jpg",), "test": ()}
    assert dataset.references["b.jpg"] == ("a dog b jpg",) * 3
    assert dataset.photo_paths() == {name: tmp_path / place / name for name, place, _ in rows}
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("image_id", "file"),
    [
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("d.jpg", "D.JPG"),
        ("d.jpg.1", "d.jpg"),
        ("within/d.jpg", "within/d.jpg"),
        ("within/d.jpg", "d.jpg"),
    ],
)
def test_a_photo_is_found_by_another_spelling_of_its_name(tmp_path, image_id, file):
    _write_splits(tmp_path, SPLITS | {"validation": (image_id,)})
    others = [name for split in ("train", "test") for name in SPLITS[split]]
    _write_kaggle(tmp_path, [*others, image_id])
    (tmp_path / "Images" / "within").mkdir()
    for name in [*others, file, "within/other.jpg"]:
        (tmp_path / "Images" / name).touch()
    dataset = datasets.read_dataset(tmp_path)
    assert dataset.photo_path(image_id) == tmp_path / "Images" / file
    assert dataset.notes == ()


def test_photos_of_one_name_in_two_folders_stay_two_photos(tmp_path):
    _write_splits(tmp_path, {"train": ("cats/1.jpg",), "validation": ("dogs/1.jpg",), "test": ("dogs/2.jpg",)})
    _write_kaggle(tmp_path, ["cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg"])
    for name in ("cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg"):
        (tmp_path / "Images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "Images" / name).touch()
    paths = datasets.read_dataset(tmp_path).photo_paths()
    assert paths == {name: tmp_path / "Images" / name for name in ("cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg")}


def test_split_files_may_spell_accents_otherwise_than_captions(tmp_path):
    _write_splits(tmp_path, SPLITS | {"test": ("cafe\u0301.jpg",)})
    _write_kaggle(tmp_path, ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "caf\u00e9.jpg"])
    dataset = datasets.read_dataset(tmp_path)
    assert dataset.references["cafe\u0301.jpg"] == ("a dog number 0", "a dog number 1")
    assert not any("no split" in note for note in dataset.notes)


def test_photos_that_are_missing_are_counted_and_named(official):
    for name in ("a.jpg", "c.jpg", "d.jpg"):
        (official / "Images" / name).touch()
    assert datasets.read_dataset(official).notes == (
        f"2 of 5 photos are missing in {official / 'Images'}, for example 'b.jpg'.",
        "1 of 6 photos with captions are on no split and were left out, for example 'unlisted.jpg'.",
    )
    assert datasets.read_dataset(official, ("validation",)).notes == ()


def test_captions_that_are_not_cut_into_words_are_refused(official):
    text = (official / datasets.TOKEN_FILE).read_text().replace("A Dog, number", "一只黑狗在草地上奔跑")
    (official / datasets.TOKEN_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="The captions in .* are Chinese or Japanese without blanks between words"):
        datasets.read_dataset(official)


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
        FileNotFoundError, match="No data set in .*neither Flickr8k.token.txt nor captions.txt, .*FLICKR8K_DIR"
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
