"""One captioner for many visitors: each photo its own caption, and none of them written anywhere."""

import gc
import io
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from captioner import config
from captioner.data import decoders, photos
from captioner.page import uploads


def encode(picture, **options):
    file = io.BytesIO()
    picture.save(file, **({"format": "JPEG"} | options))
    return file.getvalue()


def test_a_photo_gets_the_captions_that_the_command_gives(tiny_captioner, drawn_photos):
    contents = [encode(Image.fromarray(photo).resize((1500, 1200)), quality=90) for photo in drawn_photos[:3]]
    files, search = [("a", contents[0]), ("b", b"no"), ("c", contents[2])], config.DecodingConfig(3)
    done = uploads.caption_uploads(tiny_captioner, files, search)
    assert [photo.name for photo in done] == ["a", "b", "c"]
    for photo, content in ((done[0], contents[0]), (done[2], contents[2])):
        expected = tiny_captioner.caption(content, search)
        assert [caption.text for caption in photo.captions] == [caption.text for caption in expected]
        assert uploads.decode_preview(photo).size == (960, 768)
    assert done[1].problem.startswith("b is not a picture") and not done[1].captions


def test_unreadable_photos_alone_ask_no_captioner():
    captioner = SimpleNamespace(encoder=SimpleNamespace(image_size=8))
    (photo,) = uploads.caption_uploads(captioner, [("empty.jpg", b"")])
    assert photo.problem == "empty.jpg is empty."


def test_a_woken_captioner_is_the_saved_one(tiny_bundle, tiny_captioner, drawn_photos):
    captioner = uploads.wake_captioner(tiny_bundle)
    found = captioner.caption_photos(np.asarray(drawn_photos[:2]))
    assert [c[0].text for c in found] == [c[0].text for c in tiny_captioner.caption_photos(drawn_photos[:2])]


def test_the_end_of_a_run_takes_nothing_of_keras_from_other_visitors(tiny_bundle, monkeypatch):
    import keras
    from streamlit.runtime.scriptrunner import script_runner

    monkeypatch.setattr(keras.backend, "clear_session", keras.backend.clear_session)
    uploads.wake_captioner(tiny_bundle)
    number = keras.backend.get_uid("visit")
    script_runner._clean_problem_modules()
    assert keras.backend.get_uid("visit") == number + 1


def test_a_captioner_that_is_not_there_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="No captioner at .*nowhere. Run model.ipynb"):
        uploads.wake_captioner(tmp_path / "nowhere")


def test_a_captioner_is_woken_once_for_all_and_the_one_that_was_used_least_recently_goes_to_sleep(monkeypatch):
    woken = []
    monkeypatch.setattr(uploads, "_AWAKE", {})
    monkeypatch.setattr(uploads, "wake_captioner", lambda folder: woken.append(folder) or object())
    first = uploads.share_captioner("a", "1")
    assert uploads.share_captioner("a", "1") is first and woken == ["a"]
    uploads.share_captioner("a", "2")  # It was saved anew.
    # The first is wanted again, so the second makes room.
    assert uploads.share_captioner("a", "1") is first
    uploads.share_captioner("b", "1")
    assert uploads.share_captioner("a", "1") is first and woken == ["a", "a", "b"]
    uploads.share_captioner("a", "2")
    assert uploads.share_captioner("a", "1") is first and woken == ["a", "a", "b", "a"]


def test_a_captioner_that_went_to_sleep_leaves_the_memory_though_its_parts_refer_to_each_other(monkeypatch):
    class Part:
        pass

    def wake(folder):
        captioner = Part()
        captioner.self = captioner
        return captioner

    monkeypatch.setattr(uploads, "_AWAKE", {})
    monkeypatch.setattr(uploads, "wake_captioner", wake)
    first = weakref.ref(uploads.share_captioner("a", "1"))
    for folder in ("b", "c"):
        uploads.share_captioner(folder, "1")
    assert first() is None
    assert gc.get_freeze_count() > 0
    gc.unfreeze()


def test_a_captioner_that_cannot_be_loaded_takes_the_place_of_no_other(monkeypatch):
    def wake(folder):
        raise ValueError(f"{folder} is damaged.")

    awake = {(name, "1"): uploads._Awake(name) for name in "ab"}
    monkeypatch.setattr(uploads, "_AWAKE", dict(awake))
    monkeypatch.setattr(uploads, "wake_captioner", wake)
    with pytest.raises(ValueError, match="c is damaged"):
        uploads.share_captioner("c", "1")
    assert awake == uploads._AWAKE


def test_who_wants_a_captioner_that_is_awake_does_not_wait_for_one_that_wakes(monkeypatch):
    monkeypatch.setattr(uploads, "_AWAKE", {("a", "1"): uploads._Awake("captioner")})
    with uploads._WAKING:
        thread = threading.Thread(target=uploads.share_captioner, args=("a", "1"), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()


def test_threads_get_their_turn_in_the_order_in_which_they_ask():
    turns, order, threads = uploads.Turns(), [], []

    def ask(name):
        with turns:
            order.append(name)

    with turns:
        for number in range(8):
            threads.append(threading.Thread(target=ask, args=(number,)))
            threads[-1].start()
            while len(turns._waiting) < number + 2:
                time.sleep(0.001)
        assert not order
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_a_turn_ends_with_an_error_too():
    turns = uploads.Turns()
    with pytest.raises(ValueError, match="none"), turns:
        raise ValueError("none")
    with turns:
        pass


def test_photos_are_decoded_before_the_turn_is_asked_for(monkeypatch):
    # Another visitor has the turn all the time.
    decoded = threading.Event()

    def decode(*_):
        decoded.set()
        raise photos.PhotoError("a is damaged.")

    captioner = SimpleNamespace(encoder=SimpleNamespace(image_size=8))
    monkeypatch.setattr(decoders, "shared_pool", lambda: SimpleNamespace(load_with_preview=decode))
    with uploads._TURNS:
        thread = threading.Thread(target=uploads.caption_uploads, args=(captioner, [("a", b"x")]))
        thread.start()
        assert decoded.wait(10)
    thread.join()
