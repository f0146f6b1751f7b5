"""The door for other programs: `import captioner`, `load` and `caption`."""

import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import captioner
from captioner import config, startup
from captioner.data import photos


def run_python(code: str) -> str:
    """Runs code in a fresh interpreter, where no TensorFlow is loaded; returns what it prints. It may not complain."""
    variables = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=config.PROJECT_DIR,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.strip()


@pytest.fixture
def picture(drawn_photos):
    """A picture of the size that the encoder `tiny` takes."""
    return Image.fromarray(drawn_photos[0])


@pytest.fixture
def expected(tiny_captioner, drawn_photos):
    return texts(tiny_captioner.caption_photos(drawn_photos[:1])[0])


def texts(captions):
    return [caption.text for caption in captions]


def encode(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_the_package_alone_imports_nothing_heavy_and_knows_its_names():
    code = "import sys, captioner; print(dir(captioner) >= [], captioner.__version__, {} & set(sys.modules))"
    heavy = "{'tensorflow', 'keras', 'numpy', 'PIL', 'captioner.config'}"
    assert run_python(code.replace("{}", heavy)) == f"True {captioner.__version__} set()"


@pytest.mark.parametrize("name", ["DecodingConfig", "PhotoError"])
def test_small_names_come_without_tensorflow(name):
    assert run_python(f"import sys, captioner; captioner.{name}; print('tensorflow' in sys.modules)") == "False"


def test_tensorflow_is_loaded_without_a_word():
    assert run_python("import sys, captioner; captioner.Captioner; print('tensorflow' in sys.modules)") == "True"


@pytest.mark.parametrize(("num_threads", "hides"), [(1, True), (2, False)])
def test_nothing_is_hidden_while_another_thread_may_write(monkeypatch, num_threads, hides):
    calls = []
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(startup, "import_keras", lambda *, quietly: calls.append(quietly))
    monkeypatch.setattr(threading, "active_count", lambda: num_threads)
    startup.prepare_library()
    assert calls == [hides]


def test_every_public_name_is_there():
    assert {"load", "Captioner", "Caption", "DecodingConfig", "PhotoError", "__version__"} == set(captioner.__all__)
    assert set(captioner.__all__) <= set(dir(captioner))
    assert captioner.DecodingConfig is config.DecodingConfig and captioner.PhotoError is photos.PhotoError
    assert captioner.Captioner.__name__ == "Captioner" and captioner.Caption.__name__ == "Caption"
    with pytest.raises(AttributeError, match="module 'captioner' has no attribute 'Capitoner'"):
        captioner.Capitoner  # noqa: B018


def test_a_captioner_is_loaded_by_its_folder_by_its_name_and_as_the_only_one(
    tiny_bundle, monkeypatch, picture, expected
):
    monkeypatch.setenv(config.ARTIFACTS_VARIABLE, str(tiny_bundle.parent))
    monkeypatch.setattr(config, "ARTIFACTS_DIR", tiny_bundle.parent)
    for choice in ((tiny_bundle,), ("tiny",), ()):
        assert texts(captioner.load(*choice).caption(picture)) == expected
    with pytest.raises(FileNotFoundError, match="No captioner at tinny. Name a folder, or one .*there are: tiny."):
        captioner.load("tinny")


def test_a_photo_may_come_in_any_form(tiny_captioner, picture, expected, tmp_path):
    picture.save(tmp_path / "photo.png")
    pixels = np.asarray(picture)
    transparent = picture.copy()
    transparent.putalpha(255)
    forms = (str(tmp_path / "photo.png"), tmp_path / "photo.png", encode(picture), picture, pixels, transparent)
    for photo in (*forms, np.asarray(transparent)):
        assert texts(tiny_captioner.caption(photo)) == expected
    assert [texts(captions) for captions in tiny_captioner.caption(list(forms))] == [expected] * 6
    assert [texts(captions) for captions in tiny_captioner.caption(forms[:2])] == [expected] * 2
    assert tiny_captioner.caption([]) == []


def test_a_grey_photo_is_the_same_in_three_equal_colours(tiny_captioner, picture):
    grey = np.asarray(picture.convert("L"))
    expected = texts(tiny_captioner.caption(np.stack([grey] * 3, axis=-1)))
    assert texts(tiny_captioner.caption(grey)) == texts(tiny_captioner.caption(grey[::-1][::-1])) == expected


def test_a_list_longer_than_a_batch_keeps_its_order(tiny_captioner, drawn_photos):
    many = [*drawn_photos] * 3  # 36, and a batch is 32
    expected = [texts(captions) for captions in tiny_captioner.caption_photos(drawn_photos)] * 3
    assert [texts(captions) for captions in tiny_captioner.caption(many)] == expected
    assert len(set(map(str, expected))) > 1


def test_a_search_may_be_given(tiny_captioner, picture):
    assert len(tiny_captioner.caption(picture)) == 2
    found = tiny_captioner.caption(picture, search=captioner.DecodingConfig(num_beams=4, max_length=3))
    assert len(found) == 4 and max(len(caption.words) for caption in found) <= 3
    assert [len(captions) for captions in tiny_captioner.caption([picture], captioner.DecodingConfig(1))] == [1]


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        ("gone.jpg", "^gone.jpg does not exist.$"),
        (b"", "^The photo is empty.$"),
        (b"no picture", "^The photo is not a picture that can be read"),
        (np.zeros((8, 8, 3), np.float32), r"^The photo must be uint8 of shape \(H, W, 3\) .*Received: dtype=float32"),
        (np.zeros((8, 8, 2), np.uint8), r"\(H, W\) grey. Received: dtype=uint8, shape=\(8, 8, 2\)$"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"Received: dtype=uint8, shape=\(2, 8, 8, 3\)$"),
        (np.zeros((0, 8, 3), np.uint8), r"Received: dtype=uint8, shape=\(0, 8, 3\)$"),
        (7, "^The photo must be a path, bytes, a Pillow image or an array. Received: int$"),
    ],
)
def test_what_is_no_photo_is_one_sentence(tiny_captioner, photo, message):
    with pytest.raises(captioner.PhotoError, match=message):
        tiny_captioner.caption(photo)


def test_in_a_list_the_photo_that_cannot_be_used_is_named(tiny_captioner, picture, tmp_path):
    with pytest.raises(captioner.PhotoError, match=r"^photos\[33\] must be uint8"):
        tiny_captioner.caption([picture] * 33 + [np.zeros((8, 8))])
    with pytest.raises(captioner.PhotoError, match="^gone.jpg does not exist.$"):
        tiny_captioner.caption([picture, tmp_path / "gone.jpg"])


def test_a_cut_photo_that_pillow_opens_only_later_is_one_sentence_too(tiny_captioner):
    picture = Image.open(io.BytesIO(encode(Image.effect_noise((64, 64), 80))[:600]))
    with pytest.raises(captioner.PhotoError, match="^The photo is damaged or cut short"):
        tiny_captioner.caption(picture)


def test_a_picture_that_is_given_stays_as_it_was(tiny_captioner, picture):
    before = np.array(picture)
    tiny_captioner.caption(picture)
    np.testing.assert_array_equal(picture, before)
    assert picture.mode == "RGB"
