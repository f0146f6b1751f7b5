"""Sets the environment of all tests and gives them data."""

import os

# Before anything imports Keras or TensorFlow.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import contextlib
import http.server
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from captioner import config
from captioner.data import datasets
from captioner.data.drawings import dataset as drawings

# Read once: tests change the variable.
_FLICKR8K_DIR = os.environ.get(datasets.DATA_VARIABLE)


@pytest.fixture(scope="session", autouse=True)
def _without_meteor():
    """Leaves METEOR out of reports, as where there is no Java: its program takes seconds to start, each time."""

    def run_nothing(*_):
        raise OSError("METEOR is left out of tests")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioner.scoring.meteor.run_meteor", run_nothing)
        yield


@pytest.fixture(scope="session")
def flickr8k_dir() -> Path:
    """The real Flickr8k, for tests that only read it."""
    if not _FLICKR8K_DIR:
        pytest.skip(f"{datasets.DATA_VARIABLE} is not set, so the real Flickr8k cannot be tested.")
    if not Path(_FLICKR8K_DIR).is_dir():
        pytest.skip(f"{datasets.DATA_VARIABLE}={_FLICKR8K_DIR} is no folder, so the real Flickr8k cannot be tested.")
    return Path(_FLICKR8K_DIR)


@pytest.fixture(scope="session")
def drawn_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small drawn data set, for tests that only read it."""
    return drawings.draw_dataset(tmp_path_factory.mktemp("drawn") / "drawings", num_photos=40)


class _Server(http.server.ThreadingHTTPServer):
    """Serves `files`, notes each request, and misbehaves as told.

    Attributes:
        files: Name -> bytes.
        requests: Name and `Range` header of each request.
        cuts: Name -> how many more times to close the connection half way through what was asked for.
        refusals: Name -> the codes of errors to answer first.
        shifts: Name -> how many bytes behind what was asked for to begin, once.
        knows_range: Whether `Range` is answered.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.requests, self.cuts, self.refusals, self.shifts = {}, [], {}, {}, {}
        self.knows_range = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name, wanted = self.path.lstrip("/"), self.headers.get("Range")
        self.server.requests.append((name, wanted))
        if refusals := self.server.refusals.get(name):
            self.send_error(refusals.pop(0))
            return
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.knows_range else 0
        start += self.server.shifts.pop(name, 0)
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


@pytest.fixture
def file_server(monkeypatch):
    """A server of files on this machine, of which nothing waits between two tries; see `_Server`."""
    from captioner import fetch

    monkeypatch.setattr(fetch, "_FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _wait_for_page(address: str, process: subprocess.Popen, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the command ended before the page answered"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            assert answer.read() == b"ok"
            return
        time.sleep(0.5)
    pytest.fail(f"the page did not answer within {seconds} s")


@pytest.fixture
def wait_for_page():
    """A function that returns when the page at an address answers, and fails when its process ends before."""
    return _wait_for_page


# Words of the drawn captions, so that a captioner with random weights still scores a little.
TINY_WORDS = ("a", "the", "on", "small", "red", "green", "two", "blue", "heart", "star", "there", "is")


def _build_tiny_network():
    import keras

    photo = keras.Input((32, 32, 3))
    grid = keras.layers.Conv2D(5, 8, strides=8, activation="relu", name="grid")(photo)  # (B, 4, 4, 5)
    return keras.Model(photo, keras.layers.GlobalAveragePooling2D()(grid))


def _register_tiny_encoder(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    from captioner.encoders import specs
    from captioner.encoders.weights import WEIGHTS_VARIABLE

    spec = specs.EncoderSpec(
        build=_build_tiny_network,
        preprocess=lambda pixels: pixels / 127.5 - 1,
        pooled_layer=None,
        regions_layers=("grid",),
        url="http://127.0.0.1:9/tiny.h5",
        image_size=32,
    )
    monkeypatch.setitem(specs.ENCODERS, "tiny", spec)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights))


def _mutate(content: bytes, random) -> bytes:
    """Returns a file as a bad disk, an editor or somebody with bad intentions would leave it."""
    content, tokens = bytearray(content), _HOSTILE.split(b" ")
    for _ in range(random.integers(1, 4)):
        start = int(random.integers(len(content) + 1))
        stop = min(start + int(random.integers(1, 9)), len(content))
        match random.integers(6):
            case 0:  # A bit.
                if content:
                    content[start % len(content)] ^= 1 << int(random.integers(8))
            case 1:
                del content[start:]
            case 2:
                del content[start:stop]
            case 3:
                content[start:stop] = random.bytes(stop - start)
            case 4:
                content[start:stop] = tokens[random.integers(len(tokens))]
            case 5:  # A part again.
                content[start:start] = content[start : start + 200]
    return bytes(content)


# What stands for a value or begins one, and should not.
_HOSTILE = (
    b'NaN -Infinity 1e999 -1 0 0.5 1e300 null true "" "../../x" "\\ud800" "\\u0000" [] {} [[[[ { , : " \xff 9999999999'
)
_HOSTILE += b" " + b"9" * 500 + b" " + b"[" * 9000 + b' {"format":1} "vgg16"'


@pytest.fixture(scope="session")
def mutate():
    """Damages the bytes of a file in a way that a generator of random numbers chooses; see `_mutate`."""
    return _mutate


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Sends everything that is made to a folder of the test."""
    from captioner import config

    monkeypatch.setattr(config, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(config, "ARTIFACTS_DIR", tmp_path / "artifacts")
    monkeypatch.setattr(config, "SHIPPED_DIR", tmp_path / "shipped")
    monkeypatch.setattr(config, "FEATURES_DIR", tmp_path / "features")
    monkeypatch.setattr(config, "RUNS_DIR", tmp_path / "runs")
    return tmp_path


def _build_tiny_captioner(encoder=None, *, seed: int = 3, end_bias: float = 9.0, **decoder_settings):
    """Makes a captioner of wide random weights, so that different photos get different captions."""
    import numpy as np

    from captioner import config, inference
    from captioner.data import vocabulary
    from captioner.decoder.network import CaptionDecoder

    words = vocabulary.Vocabulary(vocabulary.SPECIAL_WORDS + TINY_WORDS)
    sizes = {"units": 4, "embedding_size": 3, "attention_size": 3, "memory_size": 4, "num_slots": 4}
    network = CaptionDecoder(len(words), 5, 16, 5, config.DecoderConfig(**sizes | decoder_settings))
    random = np.random.default_rng(seed)
    network.set_weights([random.normal(scale=3.0, size=weight.shape) for weight in network.get_weights()])
    bias = network.classifier.bias
    bias.assign(bias + end_bias * np.eye(len(words), dtype=np.float32)[words.end_id])
    search = config.DecodingConfig(num_beams=2, max_length=6)
    return inference.Captioner(network, words, encoder, name="tiny", settings=search)


@pytest.fixture
def build_captioner():
    """Makes further captioners of toy size; see `_build_tiny_captioner`."""
    return _build_tiny_captioner


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `CAPTIONER_WEIGHTS` with the weights of the encoder `tiny`."""
    import keras

    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(0)
    _build_tiny_network().save_weights(folder / "tiny_imagenet.weights.h5")
    return folder


@pytest.fixture
def tiny_encoder_known(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Registers the encoder `tiny` (S=32, P=5, R=16, D=5) for one test and returns its name."""
    _register_tiny_encoder(monkeypatch, tiny_weights)
    monkeypatch.setattr(config, "ENCODERS", (*config.ENCODERS, "tiny"))
    return "tiny"


@pytest.fixture(scope="session")
def _shared_tiny_captioner(tiny_weights: Path):
    import numpy as np

    from captioner.encoders.encoder import load_encoder

    with pytest.MonkeyPatch.context() as monkeypatch:
        _register_tiny_encoder(monkeypatch, tiny_weights)
        captioner = _build_tiny_captioner(load_encoder("tiny"))
        # Compiled here, while the encoder is registered.
        captioner.encoder.encode(np.zeros((1, 32, 32, 3), np.uint8))
    return captioner


@pytest.fixture
def tiny_captioner(_shared_tiny_captioner, tiny_encoder_known):
    """A captioner of toy size with an encoder, shared by all tests: do not change its weights."""
    return _shared_tiny_captioner


@pytest.fixture(scope="session")
def _shared_tiny_bundle(_shared_tiny_captioner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from captioner.artifacts import saving

    folder = tmp_path_factory.mktemp("artifacts") / "tiny"
    scores = {"split": "validation", "num_photos": 6, "bleu_1": 50.06, "cider_d": 12.34, "data": "drawings"}
    return saving.save_captioner(_shared_tiny_captioner, folder, scores)


@pytest.fixture
def tiny_bundle(_shared_tiny_bundle: Path, tmp_path: Path, tiny_encoder_known) -> Path:
    """The same captioner, saved to a folder that the test may damage."""
    return Path(shutil.copytree(_shared_tiny_bundle, tmp_path / "artifacts" / "tiny"))


@pytest.fixture(scope="session")
def drawn_photos(drawn_dir: Path):
    """The validation and test pictures of the drawn data set, uint8 `(12, 32, 32, 3)`."""
    import numpy as np

    from captioner.data import photos

    dataset = datasets.read_dataset(drawn_dir, ("validation", "test"))
    return np.stack([photos.load_photo(path, 32) for path in dataset.photo_paths().values()])


@pytest.fixture(scope="session")
def dataset(drawn_dir: Path):
    """The small drawn data set, read with all its splits."""
    return datasets.read_dataset(drawn_dir)


@pytest.fixture(scope="session")
def stores(_shared_tiny_captioner, dataset, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Its features by the encoder `tiny`, a cache for each split."""
    from captioner.encoders import features

    folder, encoder = tmp_path_factory.mktemp("features"), _shared_tiny_captioner.encoder
    return {
        split: features.extract_features(encoder, dataset.photo_paths(split), folder / split, progress=False)
        for split in dataset.splits
    }


@pytest.fixture(scope="session")
def splits(dataset, stores) -> dict:
    """Its splits with these features."""
    from captioner.encoders.splits import pair_features

    return {name: pair_features(dataset, name, store) for name, store in stores.items()}
