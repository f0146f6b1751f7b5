"""Processes that decode photos: the same pixels as in this process, and nothing that happens to them happens here."""

import contextlib
import io
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
SIDE = 0
if SIDE: photos.square_photo = lambda *_: __import__("numpy").zeros((SIDE, SIDE, 3), "uint8")
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


def test_many_photos_come_in_their_order_with_their_boxes_and_errors(pool, drawn_dir, tmp_path):
    paths = sorted((drawn_dir / "Images").iterdir())[:20]
    paths[3], paths[17] = tmp_path / "gone.jpg", tmp_path / "empty.jpg"
    paths[17].touch()
    boxes = [(0.1, 0.2, 0.9, 0.8) if number % 2 else None for number in range(20)]
    wanted = [decoders.Request(path, box=box) for path, box in zip(paths, boxes, strict=True)]
    found = list(pool.load_photos(wanted, 48, num_ahead=8))
    assert [str(found[3]), str(found[17])] == ["gone.jpg does not exist.", "empty.jpg is empty."]
    for number in set(range(20)) - {3, 17}:
        assert (found[number] == photos.load_photo(paths[number], 48, box=boxes[number])).all()
    assert len(children()) <= 2 and list(pool.load_photos([], 48)) == []


def test_many_photos_that_are_sent_themselves_do_not_block_a_process_that_answers(pool):
    contents = []
    for _ in range(20):
        file = io.BytesIO()
        Image.effect_noise((600, 600), 99).save(file, "PNG")  # More than a pipe holds, all together.
        contents.append(file.getvalue())
    found = list(pool.load_photos([decoders.Request(content, f"{n}") for n, content in enumerate(contents)], 300))
    assert all((one == photos.load_photo(content, 300)).all() for one, content in zip(found, contents, strict=True))


def test_of_many_photos_those_that_end_their_process_get_their_sentence_and_all_others_their_pixels(
    faulty_pool, photo, tmp_path
):
    names = ["a", "crash", "b", "exit", "work", "c", "d", "e", "raise", "f", "memory", "g"]
    for name in names:
        (tmp_path / name).write_bytes(photo.read_bytes())
    found = dict(
        zip(names, faulty_pool.load_photos([decoders.Request(tmp_path / name) for name in names], 48), strict=True)
    )
    breaks = "cannot be read: it breaks the program that decodes it. Save it anew."
    assert [str(found[name]) for name in ("crash", "exit", "raise")] == [
        f"{name} {breaks}" for name in ("crash", "exit", "raise")
    ]
    assert str(found["work"]).startswith("work takes more than")
    assert sys.platform != "linux" or str(found["memory"]).startswith("memory is too large")
    assert all((found[name] == photos.load_photo(photo, 48)).all() for name in "abcdefg")


def test_photos_are_read_no_further_ahead_than_wanted_and_not_at_all_once_the_caller_leaves(pool, photo, monkeypatch):
    asked, threads = [], threading.active_count()
    monkeypatch.setattr(pool, "_read", lambda requests, _: asked.extend(requests) or [photos.PhotoError("x.")] * 8)
    loading = pool.load_photos([decoders.Request(photo)] * 800, 48, num_ahead=16)
    next(loading)
    loading.close()
    assert 8 <= len(asked) <= 24 and threading.active_count() == threads


def test_a_reply_of_another_size_than_asked_for_ends_its_process_and_is_no_photo(pool, photo, monkeypatch):
    monkeypatch.setattr(decoders, "_START", _PATCHED.replace("SIDE = 0", "SIDE = 9"))
    with pytest.raises(photos.PhotoError, match="breaks the program that decodes it"):
        pool.load_photo(photo, 48)


def test_after_ctrl_c_in_the_middle_of_an_answer_the_next_photo_gets_its_own_pixels(pool, drawn_dir, monkeypatch):
    first, second = sorted((drawn_dir / "Images").iterdir())[:2]
    receive = decoders._Process._receive

    def interrupt(process, image_size):
        monkeypatch.setattr(decoders._Process, "_receive", receive)
        process._read(decoder_process.REPLY.size)
        raise KeyboardInterrupt

    monkeypatch.setattr(decoders._Process, "_receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.load_photo(first, 48)
    np.testing.assert_array_equal(pool.load_photo(second, 48), photos.load_photo(second, 48))


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
