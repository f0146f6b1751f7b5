"""A file from an address, from a server on this machine that misbehaves as told."""

import hashlib
import random
import socket
import urllib.error
import urllib.request

import pytest

from captioner import fetch, files

CONTENT = random.Random(0).randbytes(10_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(file_server):
    file_server.files = {"file.bin": CONTENT}
    return file_server


@pytest.fixture
def get(server, tmp_path):
    """Fetches the file to a folder of the test."""
    return lambda **options: fetch.fetch_file(f"{server.url}/file.bin", tmp_path / "file.bin", **options)


@pytest.fixture
def part(tmp_path):
    """Where an earlier try left what it got."""
    return tmp_path / "file.bin.part"


def test_a_file_is_fetched_once(get, server, tmp_path):
    assert get() == get() == tmp_path / "file.bin"
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests == [("file.bin", None)]
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_two_downloads_of_one_file_do_not_share_what_they_got(get, server, part, tmp_path):
    part.write_bytes(CONTENT[:1000])
    with (
        files.hold(tmp_path / "file.bin", "downloading it"),
        pytest.raises(BlockingIOError, match=r"file.bin is in use: process \d+ on .* has been downloading it since"),
    ):
        get()
    assert part.read_bytes() == CONTENT[:1000] and not server.requests
    assert get().read_bytes() == CONTENT


def test_a_cut_connection_goes_on_where_it_stopped(get, server):
    server.cuts = {"file.bin": 2}
    assert get().read_bytes() == CONTENT
    # Half of the file, then half of the rest, then what is left.
    assert [wanted for _, wanted in server.requests] == [None, "bytes=5000-", "bytes=7500-"]


def test_what_an_earlier_run_got_is_kept(get, server, part):
    part.write_bytes(CONTENT[:1000])
    assert get(md5=MD5).read_bytes() == CONTENT
    assert server.requests == [("file.bin", "bytes=1000-")]


def test_a_part_that_was_complete_already_is_used(get, part):
    part.write_bytes(CONTENT)
    assert get().read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_fetched_anew(get, part):
    part.write_bytes(CONTENT + b"more")
    assert get().read_bytes() == CONTENT


def test_a_server_that_ignores_range_sends_all_of_it_again(get, server):
    server.knows_range, server.cuts = False, {"file.bin": 1}
    assert get().read_bytes() == CONTENT
    assert [bool(wanted) for _, wanted in server.requests] == [False, True]


def test_another_part_than_was_asked_for_is_not_put_behind_what_is_there(get, server, part):
    part.write_bytes(CONTENT[:4000])
    server.shifts = {"file.bin": 5}
    assert get().read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == ["bytes=4000-", None]


def test_a_file_that_hashes_to_something_else_is_deleted_and_fetched_anew(get, server, part, tmp_path):
    part.write_bytes(b"of another file")
    with pytest.raises(fetch.DownloadError, match=rf"is not file.bin: its MD5 is \w+ and not {MD5}. Run this again"):
        get(md5=MD5)
    assert list(tmp_path.iterdir()) == []
    assert get(md5=MD5).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(get, server):
    server.refusals = {"file.bin": [503, 429]}
    assert get().read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_a_connection_cut_again_and_again_is_given_up(get, server, tmp_path):
    server.knows_range, server.cuts = False, {"file.bin": 100}
    message = r"broke off again and again \(the connection was cut after 5000 of 10000 bytes\). .*on where it stopped"
    with pytest.raises(fetch.DownloadError, match=message):
        get()
    # The first try got new bytes, the others none.
    assert len(server.requests) == fetch._ATTEMPTS
    assert not (tmp_path / "file.bin").exists()


def test_a_missing_file_is_named_with_what_to_do(get, server, tmp_path):
    server.files = {}
    message = f"file.bin answers 404 Not Found: it may have moved. Or put file.bin into {tmp_path} by hand"
    with pytest.raises(fetch.DownloadError, match=message) as caught:
        get()
    assert caught.value.reason == "Not Found"
    assert len(server.requests) == 1


def test_an_address_on_this_disk_is_refused(tmp_path):
    with pytest.raises(ValueError, match="begins with https:// or http://. Received: 'file:///etc/passwd'"):
        fetch.fetch_file("file:///etc/passwd", tmp_path / "x")


def test_without_network_one_sentence_says_so_at_once(get, server, monkeypatch):
    asked = []

    def fail(*args, **kwargs):
        asked.append(args)
        raise urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(fetch.DownloadError, match="cannot be reached .*name resolution.*Check the network"):
        get()
    assert len(asked) == 1


def test_a_server_that_refuses_connections_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # Nothing listens on port 1.
    with pytest.raises(fetch.DownloadError, match="http://127.0.0.1:1/x cannot be reached .*refused"):
        fetch.fetch_file("http://127.0.0.1:1/x", tmp_path / "x")


def test_a_server_that_never_answers_is_given_up_after_one_try(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(fetch, "_FIRST_WAIT_SECONDS", 600)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(fetch.DownloadError, match=r"cannot be reached \(timed out\)"):
            fetch.fetch_file(url, tmp_path / "x")


@pytest.mark.parametrize(("progress", "shown"), [(True, "file.bin"), (False, ""), (None, "")])
def test_a_bar_is_shown_where_it_is_asked_for_or_on_a_terminal(get, capsys, progress, shown):
    get(progress=progress)
    printed = capsys.readouterr()
    assert printed.out == "" and (shown in printed.err) and bool(printed.err) == bool(shown)
