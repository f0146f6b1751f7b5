"""Fetching Flickr8k, from a server on this machine that serves small zip files of the same layout."""

import errno
import io
import shutil
import zipfile

import pytest
from PIL import Image

from captioner import files
from captioner.data import datasets, flickr8k

TEXT, PHOTOS = flickr8k.ZIP_FILES
# Two photos for train and one for each other split, two captions each.
COUNTS = flickr8k.Counts(train=2, validation=1, test=1, captions=8)
SPLITS = {"train": ("a.jpg", "b.jpg"), "validation": ("c.jpg",), "test": ("d.jpg",)}


def _zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _text_zip(**changes):
    lines = [f"{i}#{n}\tA dog number {n} .\n" for ids in SPLITS.values() for i in ids for n in range(2)]
    # The official file speaks of a photo that is not in the data set.
    lines.append("2258277193_586949ec62.jpg.1#0\tSome people .\n")
    files = {datasets.TOKEN_FILE: "".join(lines), "readme.txt": "Terms.", "__MACOSX/._readme.txt": "junk"}
    files |= {datasets.SPLIT_FILES[split]: "".join(f"{i}\n" for i in ids) for split, ids in SPLITS.items()}
    return _zip(files | changes)


def _photo_zip(image_ids=("a.jpg", "b.jpg", "c.jpg", "d.jpg")):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(buffer, "JPEG", quality=95)
    files = {"Flicker8k_Dataset/": b"", "Flicker8k_Dataset/.DS_Store": b"junk"}
    return _zip(files | {f"Flicker8k_Dataset/{image_id}": buffer.getvalue() for image_id in image_ids})


@pytest.fixture
def server(file_server):
    file_server.files = {TEXT: _text_zip(), PHOTOS: _photo_zip()}
    return file_server


def _fetch(server, folder, **options):
    return flickr8k.download_flickr8k(
        folder, **{"base_url": server.url, "progress": False, "expected": COUNTS} | options
    )


def test_a_download_is_unpacked_checked_and_read(server, tmp_path):
    folder = _fetch(server, tmp_path / "data" / "flickr8k")
    dataset = datasets.read_dataset(folder)
    assert dataset.splits == SPLITS
    assert dataset.references["d.jpg"] == ("a dog number 0", "a dog number 1")
    assert all(path.is_file() for path in dataset.photo_paths().values())
    assert server.requests == [(TEXT, None), (PHOTOS, None)]


def test_hidden_files_and_the_workshop_are_gone_afterwards(server, tmp_path):
    folder = _fetch(server, tmp_path / "flickr8k")
    assert [path.name for path in tmp_path.iterdir()] == ["flickr8k"]
    expected = {"Flicker8k_Dataset", datasets.TOKEN_FILE, "readme.txt", *datasets.SPLIT_FILES.values()}
    assert {path.name for path in folder.iterdir()} == expected
    assert sorted(path.name for path in (folder / "Flicker8k_Dataset").iterdir()) == sorted(sum(SPLITS.values(), ()))


def test_a_download_under_way_is_left_alone_and_says_who_is_at_it(server, tmp_path):
    workshop = tmp_path / ".flickr8k.download"
    (workshop / "unpacked").mkdir(parents=True)
    message = r"flickr8k is in use: process \d+ on .* has been downloading Flickr8k since"
    with files.hold(tmp_path / "flickr8k", "downloading Flickr8k"), pytest.raises(BlockingIOError, match=message):
        _fetch(server, tmp_path / "flickr8k")
    assert (workshop / "unpacked").is_dir() and not server.requests


def test_a_second_call_asks_the_server_for_nothing(server, tmp_path):
    folder = _fetch(server, tmp_path / "flickr8k")
    server.requests.clear()
    assert _fetch(server, folder) == folder
    assert server.requests == []


def test_an_empty_folder_is_filled(server, tmp_path):
    (tmp_path / "flickr8k").mkdir()
    assert datasets.read_dataset(_fetch(server, tmp_path / "flickr8k")).splits == SPLITS


def test_a_cut_connection_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = {PHOTOS: 2}
    folder = _fetch(server, tmp_path / "flickr8k")
    size = len(server.files[PHOTOS])
    # Half of the file, then half of the rest, then what is left.
    half = size // 2
    three_quarters = half + (size - half) // 2
    ranges = [wanted for name, wanted in server.requests if name == PHOTOS]
    assert ranges == [None, f"bytes={half}-", f"bytes={three_quarters}-"]
    with zipfile.ZipFile(io.BytesIO(server.files[PHOTOS])) as archive:
        for image_id in sum(SPLITS.values(), ()):
            member = f"Flicker8k_Dataset/{image_id}"
            assert (folder / member).read_bytes() == archive.read(member)


def test_a_killed_download_is_resumed_by_the_next_call(server, tmp_path):
    workshop = tmp_path / ".flickr8k.download"
    workshop.mkdir()
    (workshop / TEXT).write_bytes(server.files[TEXT])
    (workshop / f"{PHOTOS}.part").write_bytes(server.files[PHOTOS][:1000])
    _fetch(server, tmp_path / "flickr8k")
    assert server.requests == [(PHOTOS, "bytes=1000-")]


@pytest.mark.parametrize("damage", ["no zip", "bad sum", "cut"])
def test_a_damaged_zip_is_deleted_and_fetched_again(server, tmp_path, damage):
    good = server.files[PHOTOS]
    middle = len(good) // 2
    server.files[PHOTOS] = {
        "no zip": b"<html>Sorry</html>",
        "bad sum": good[:middle] + bytes(byte ^ 255 for byte in good[middle : middle + 40]) + good[middle + 40 :],
        "cut": good[:middle],
    }[damage]
    with pytest.raises(flickr8k.DownloadError, match=f"{PHOTOS} is damaged .*It was deleted: run this again"):
        _fetch(server, tmp_path / "flickr8k")
    server.files[PHOTOS] = good
    server.requests.clear()
    assert datasets.read_dataset(_fetch(server, tmp_path / "flickr8k")).splits == SPLITS
    # The good one was kept.
    assert server.requests == [(PHOTOS, None)]


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "Flicker8k_Dataset/../../outside.txt", "C:\\x.txt"])
def test_a_zip_that_leads_outside_its_folder_is_refused(server, tmp_path, name):
    server.files[TEXT] = _text_zip(**{name: "mine"})
    with pytest.raises(flickr8k.DownloadError, match=r"was refused and deleted.*outside its folder.*Received: '"):
        _fetch(server, tmp_path / "flickr8k")
    assert not list(tmp_path.rglob("outside.txt"))
    assert not list(tmp_path.rglob(TEXT))


def test_counts_that_are_off_are_named_and_nothing_is_kept(server, tmp_path):
    with pytest.raises(flickr8k.DownloadError, match="expected 6000 train, found 2; .*40000 captions, found 8"):
        _fetch(server, tmp_path / "flickr8k", expected=None)
    assert list(tmp_path.iterdir()) == []


def test_a_photo_that_is_missing_is_named(server, tmp_path):
    server.files[PHOTOS] = _photo_zip(("a.jpg", "b.jpg", "c.jpg"))
    with pytest.raises(flickr8k.DownloadError, match="1 of 4 photos are missing in .* for example 'd.jpg'"):
        _fetch(server, tmp_path / "flickr8k")


def test_a_zip_of_something_else_is_named(server, tmp_path):
    server.files[TEXT] = _zip({"readme.txt": "Terms."})
    with pytest.raises(flickr8k.DownloadError, match="What was fetched is not Flickr8k: No data set in"):
        _fetch(server, tmp_path / "flickr8k")


def test_a_folder_with_something_else_is_kept(server, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(flickr8k.DownloadError, match="exists but does not hold Flickr8k. Move it away"):
        _fetch(server, tmp_path)
    assert (tmp_path / "thesis.txt").exists()
    assert server.requests == []


@pytest.mark.parametrize("step", ["fetch", "unpack"])
def test_a_full_disk_is_named(server, tmp_path, monkeypatch, step):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "fetch":
        monkeypatch.setattr(flickr8k, "fetch_file", fail)
    else:
        monkeypatch.setattr(flickr8k.shutil, "copyfileobj", fail)
    with pytest.raises(flickr8k.DownloadError, match="is full. Flickr8k needs 2.3 GB .*make room"):
        _fetch(server, tmp_path / "flickr8k")


def test_bars_are_shown_for_each_file(server, tmp_path, capsys):
    _fetch(server, tmp_path / "flickr8k", progress=True)
    shown = capsys.readouterr().err
    assert all(name in shown for name in (TEXT, PHOTOS))


def test_the_real_flickr8k_has_the_default_counts(flickr8k_dir):
    flickr8k.check_counts(flickr8k_dir)


def test_a_real_folder_without_its_photos_is_not_complete(flickr8k_dir, tmp_path):
    for name in (datasets.TOKEN_FILE, *datasets.SPLIT_FILES.values()):
        shutil.copy(flickr8k_dir / name, tmp_path)
    (tmp_path / "Images").mkdir()
    with pytest.raises(flickr8k.DownloadError, match="8000 of 8000 photos are missing"):
        flickr8k.check_counts(tmp_path)
