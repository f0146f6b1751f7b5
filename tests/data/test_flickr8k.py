"""Fetching Flickr8k, from a server on this machine that serves small zip files of the same layout."""

import errno
import http.server
import io
import re
import shutil
import threading
import urllib.error
import zipfile

import pytest
from PIL import Image

from captioner.data import datasets, flickr8k

TEXT, PHOTOS = flickr8k.ZIP_FILES
# Two photos for train and one for each other split, two captions each.
COUNTS = flickr8k.Counts(train=2, validation=1, test=1, captions=8)
SPLITS = {"train": ("a.jpg", "b.jpg"), "validation": ("c.jpg",), "test": ("d.jpg",)}


class _Server(http.server.ThreadingHTTPServer):
    """Serves `files`, notes each request, and misbehaves as told.

    Attributes:
        files: Name -> bytes.
        requests: Name and `Range` header of each request.
        cuts: Name -> how many more times to close the connection half way through what was asked for.
        knows_range: Whether `Range` is answered.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.requests, self.cuts, self.knows_range = {}, [], {}, True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name, wanted = self.path.lstrip("/"), self.headers.get("Range")
        self.server.requests.append((name, wanted))
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.knows_range else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        rest = content[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.server.cuts.get(name, 0) > 0:
            self.server.cuts[name] -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *args):
        pass


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
def server(monkeypatch):
    monkeypatch.setattr(flickr8k, "_FIRST_WAIT_SECONDS", 0.0)
    server = _Server()
    server.files = {TEXT: _text_zip(), PHOTOS: _photo_zip()}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


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


def test_a_resumed_file_has_the_same_bytes(server, tmp_path):
    server.cuts = {PHOTOS: 1}
    flickr8k._fetch(f"{server.url}/{PHOTOS}", tmp_path / PHOTOS, False)
    assert (tmp_path / PHOTOS).read_bytes() == server.files[PHOTOS]
    assert [path.name for path in tmp_path.iterdir()] == [PHOTOS]


def test_a_killed_download_is_resumed_by_the_next_call(server, tmp_path):
    workshop = tmp_path / ".flickr8k.download"
    workshop.mkdir()
    (workshop / TEXT).write_bytes(server.files[TEXT])
    (workshop / f"{PHOTOS}.part").write_bytes(server.files[PHOTOS][:1000])
    _fetch(server, tmp_path / "flickr8k")
    assert server.requests == [(PHOTOS, "bytes=1000-")]


def test_a_part_that_was_complete_already_is_used(server, tmp_path):
    (tmp_path / f"{PHOTOS}.part").write_bytes(server.files[PHOTOS])
    flickr8k._fetch(f"{server.url}/{PHOTOS}", tmp_path / PHOTOS, False)
    assert (tmp_path / PHOTOS).read_bytes() == server.files[PHOTOS]


def test_a_part_longer_than_the_file_is_fetched_anew(server, tmp_path):
    (tmp_path / f"{PHOTOS}.part").write_bytes(server.files[PHOTOS] + b"more")
    flickr8k._fetch(f"{server.url}/{PHOTOS}", tmp_path / PHOTOS, False)
    assert (tmp_path / PHOTOS).read_bytes() == server.files[PHOTOS]


def test_a_server_that_ignores_range_sends_all_of_it_again(server, tmp_path):
    server.knows_range, server.cuts = False, {PHOTOS: 1}
    flickr8k._fetch(f"{server.url}/{PHOTOS}", tmp_path / PHOTOS, False)
    assert [bool(wanted) for _, wanted in server.requests] == [False, True]
    assert (tmp_path / PHOTOS).read_bytes() == server.files[PHOTOS]


def test_a_connection_cut_again_and_again_is_given_up(server, tmp_path):
    server.knows_range, server.cuts = False, {TEXT: 100}
    with pytest.raises(flickr8k.DownloadError, match=r"broke off again and again .*goes on where it stopped"):
        _fetch(server, tmp_path / "flickr8k")
    # The first try got new bytes, the others none.
    assert len(server.requests) == flickr8k._ATTEMPTS
    assert not (tmp_path / "flickr8k").exists()


def test_a_missing_file_is_named_with_what_to_do(server, tmp_path):
    del server.files[PHOTOS]
    with pytest.raises(flickr8k.DownloadError, match=f"{PHOTOS} answers 404 .*the mirror may have moved.*by hand"):
        _fetch(server, tmp_path / "flickr8k")
    assert [name for name, _ in server.requests] == [TEXT, PHOTOS]


def test_without_network_one_sentence_says_so(tmp_path, server, monkeypatch):
    def fail(*args, **kwargs):
        raise urllib.error.URLError(flickr8k.socket.gaierror(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr(flickr8k.urllib.request, "urlopen", fail)
    with pytest.raises(flickr8k.DownloadError, match="cannot be reached .*name resolution.*Check the network"):
        _fetch(server, tmp_path / "flickr8k")


def test_a_server_that_refuses_connections_is_reported(server, tmp_path):
    # Nothing listens on port 1.
    with pytest.raises(flickr8k.DownloadError, match="http://127.0.0.1:1/.* cannot be reached"):
        _fetch(server, tmp_path / "flickr8k", base_url="http://127.0.0.1:1")


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
        monkeypatch.setattr(flickr8k, "_fetch_rest", fail)
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
