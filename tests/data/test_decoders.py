"""Processes that decode photos: the same pixels as in this process, and nothing that happens to them happens here."""

import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from captioner import config
from captioner.data import decoder_process, decoders, photos
from tests.data.test_photos import HEIC

# Decoders with faults that do what the name of a photo says: a real fault is one of a release, and gets mended.
_PATCHED = """
import ctypes, os, sys, time
sys.path.append(sys.argv[1])
from captioner.data import decoder_process, photos
open_photo = photos.open_photo
def play(source, name, reduced):
    if name == "crash": ctypes.string_at(0)
    if name == "exit": os._exit(0)
    if name == "work":
        while True: pass
    if name == "sleep": time.sleep(60)
    if name == "print": print("ready" * 10, flush=True)
    if name == "memory": bytearray(2_000_000_000)
    if name == "file": open("written", "wb").write(b"x")
    if name == "raise": raise KeyError("a bug")
    return open_photo(source, name, reduced=reduced)
photos.open_photo = play
decoder_process.MAX_SECONDS = 0.5
decoder_process.serve()
"""


@pytest.fixture
def pool(monkeypatch):
    # Child processes are counted here, and other tests may have left theirs at work.
    decoders.shared_pool().close()
    pool = decoders.DecoderPool(2)
    yield pool
    pool.close()


@pytest.fixture
def faulty_pool(pool, monkeypatch):
    """A pool whose decoders fail by the names of photos."""
    monkeypatch.setattr(decoders, "_START", _PATCHED)
    return pool


@pytest.fixture
def photo(drawn_dir):
    return min((drawn_dir / "Images").iterdir())


def children():
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def test_pixels_are_those_of_this_process(pool, photo):
    for source in (photo, str(photo), photo.read_bytes(), HEIC):
        assert (pool.load_photo(source, 48) == photos.load_photo(source, 48)).all()
    box = (0.1, 0.9, 0.6, 0.2)
    assert (pool.load_photo(photo, 48, box=box) == photos.load_photo(photo, 48, box=box)).all()
    assert len(children()) == 1


def test_a_preview_comes_with_the_pixels_and_keeps_proportions(pool, tmp_path):
    Image.new("RGB", (1500, 1000), "teal").save(tmp_path / "a.png")
    pixels, preview = pool.load_with_preview(tmp_path / "a.png", 48, 300)
    assert (pixels == photos.load_photo(tmp_path / "a.png", 48)).all()
    assert preview == photos.encode_preview(photos.open_photo(tmp_path / "a.png", reduced=True), 300)
    (tmp_path / "b.jpg").write_bytes(preview)
    assert Image.open(tmp_path / "b.jpg").size == (300, 200)


def test_errors_are_those_of_this_process(pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("notes.jpg").write_text("no photo")
    for source in (b"", "gone.jpg", Path("notes.jpg"), HEIC[:200]):
        with pytest.raises(photos.PhotoError) as here:
            photos.load_photo(source, 48)
        with pytest.raises(photos.PhotoError) as there:
            pool.load_photo(source, 48)
        assert str(there.value) == str(here.value)
    with pytest.raises(photos.PhotoError, match="^cat is empty.$"):
        pool.load_photo(b"", 48, "cat")


@pytest.mark.parametrize("name", ["crash", "exit", "raise"])
def test_a_photo_that_ends_its_process_is_one_sentence_and_the_process_is_replaced(faulty_pool, photo, name):
    sentence = f"^{name} cannot be read: it breaks the program that decodes it. Save it anew.$"
    for _ in range(3):
        with pytest.raises(photos.PhotoError, match=sentence):
            faulty_pool.load_photo(photo, 48, name)
        assert (faulty_pool.load_photo(photo, 48) == photos.load_photo(photo, 48)).all()
    assert len(psutil.Process().children()) <= 2  # No zombies either.


def test_a_photo_that_takes_too_long_is_stopped(faulty_pool, photo, monkeypatch):
    with pytest.raises(photos.PhotoError, match="^work takes more than .* seconds to read: save it anew"):
        faulty_pool.load_photo(photo, 48, "work")
    monkeypatch.setattr(decoders, "_PATIENCE", 0.5)
    with pytest.raises(photos.PhotoError, match="^sleep takes more than .* seconds to read: save it anew"):
        faulty_pool.load_photo(photo, 48, "sleep")


@pytest.mark.skipif(sys.platform != "linux", reason="Memory is limited by Linux alone.")
def test_a_photo_that_takes_too_much_memory_is_refused_and_the_process_lives(faulty_pool, photo):
    faulty_pool.load_photo(photo, 48)
    (before,) = children()
    with pytest.raises(photos.PhotoError, match="^memory is too large: to read it takes more than 900 MB of memory."):
        faulty_pool.load_photo(photo, 48, "memory")
    assert children() == [before]


def test_what_a_decoder_prints_is_no_answer_and_it_writes_no_file(faulty_pool, photo, tmp_path, monkeypatch):
    expected = photos.load_photo(photo, 48)
    assert (faulty_pool.load_photo(photo, 48, "print") == expected).all()
    monkeypatch.chdir(tmp_path)
    faulty_pool.close()
    faulty_pool.load_photo(photo, 48, "file")
    assert (tmp_path / "written").read_bytes() == b""


def test_a_process_that_was_ended_while_it_waited_is_replaced_and_no_photo_blamed(pool, photo):
    pool.load_photo(photo, 48)
    (child,) = children()
    child.kill()
    child.wait()
    assert (pool.load_photo(photo, 48) == photos.load_photo(photo, 48)).all()


def test_threads_share_the_processes_and_each_gets_its_own_photo(pool, drawn_dir):
    paths = sorted((drawn_dir / "Images").iterdir())[:12]
    found = {}

    def read(path):
        found[path] = pool.load_photo(path, 48)

    threads = [threading.Thread(target=read, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[path] == photos.load_photo(path, 48)).all() for path in paths)
    assert len(children()) <= 2


def test_a_closed_pool_leaves_no_process_and_opens_again(pool, photo):
    pool.load_photo(photo, 48)
    pool.close()
    assert not psutil.Process().children()
    assert pool.load_photo(photo, 48).shape == (48, 48, 3)


def test_a_process_imports_no_tensorflow_and_no_streamlit():
    code = f"import sys; sys.argv[1:] = [{str(config.PROJECT_DIR)!r}]; {decoders._START}"
    code += "; print(sorted({'tensorflow', 'keras', 'streamlit'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-P", "-c", code], input=b"", capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (decoder_process.READY, b"[]\n")


def test_processes_end_with_the_one_that_started_them(photo):
    code = (
        "import sys, time; from captioner.data import decoders; pool = decoders.shared_pool()\n"
        "pool.load_photo(sys.argv[1], 8); print(*[p._process.pid for p in pool._started], flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, photo], stdout=subprocess.PIPE, cwd=config.PROJECT_DIR)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    child_is_gone = psutil.wait_procs([child], timeout=10)[0] == [child] or child.status() == psutil.STATUS_ZOMBIE
    assert child_is_gone


def test_a_python_that_cannot_start_is_said_to_be_so(pool, photo, monkeypatch):
    monkeypatch.setattr(decoders, "_START", "raise ImportError")
    with pytest.raises(RuntimeError, match="The process that reads photos does not start. Expected: `import captioner"):
        pool.load_photo(photo, 8)


def test_one_byte_of_a_heic_does_no_harm(pool, photo):
    # libheif 1.20 dies of some of these; others are read or refused.
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(HEIC)
        damaged[random.integers(len(damaged))] = random.integers(256)
        with contextlib.suppress(photos.PhotoError):
            assert pool.load_photo(bytes(damaged), 8).shape == (8, 8, 3)
