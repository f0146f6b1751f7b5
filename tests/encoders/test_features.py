"""The feature cache, filled by an encoder whose features can be worked out by hand."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner import config, files
from captioner.data import decoders, photos
from captioner.encoders import cache, features

VIEWS = ("pooled.npy", "regions.npy")
NAMES = ("image_ids.npy", "by_name.npy")
EVERYTHING = (*VIEWS, *NAMES, "index.json")
# A long run: CAPTIONER_FUZZ=1000 pytest -k mutated.
FUZZ_SEEDS = int(os.environ.get("CAPTIONER_FUZZ", "5"))


class QuadrantEncoder:
    """Takes 4x4 pixels: `pooled` is their mean `(B, 3)`, `regions` the means of the quadrants `(B, 4, 3)`."""

    def __init__(self, name="quadrants", regions_layer="grid", fingerprint="0123", scale=1.0):
        self.name, self.regions_layer, self.fingerprint, self.scale = name, regions_layer, fingerprint, scale
        self.mirrored = False
        self.image_size, self.pooled_size, self.num_regions, self.region_size = 4, 3, 4, 3
        self.batches = []

    def encode(self, photos):
        self.batches.append(len(photos))
        cells = photos.astype(np.float32).reshape(-1, 2, 2, 2, 2, 3) * self.scale  # (B, row, y, column, x, 3)
        regions = cells.mean(axis=(2, 4)).reshape(-1, 4, 3)
        return regions.mean(axis=1), regions


def draw_photos(folder, count=7):
    """Photo i has the red values 10i, 10i+1, 10i+2, 10i+3 in its quadrants, and the same green and blue."""
    folder.mkdir()
    paths = {}
    for number in range(count):
        red = 10 * number + np.array([[0, 1], [2, 3]]).repeat(2, axis=0).repeat(2, axis=1)
        pixels = np.stack([red, np.full((4, 4), 100), np.full((4, 4), 7)], axis=-1).astype(np.uint8)
        paths[f"{number}.png"] = folder / f"{number}.png"
        Image.fromarray(pixels).save(paths[f"{number}.png"])
    return paths


def extract(encoder, paths, folder, **options):
    return features.extract_features(encoder, paths, folder, **{"batch_size": 2, "progress": False} | options)


def read_all(folder):
    return {name: (folder / name).read_bytes() for name in EVERYTHING}


def extract_and_stop(photos: Path, folder: Path, stop_at: str, call: int) -> None:
    """Runs in another process: hangs before the given call of a function, once `folder/stopped` says so."""
    encoder = QuadrantEncoder()
    owner = {"encode": encoder, "write_index": cache}.get(stop_at, features)
    original, calls = getattr(owner, stop_at), []

    def hang(*arguments):
        calls.append(stop_at)
        if len(calls) == call:
            (folder / "stopped").touch()
            time.sleep(600)
        return original(*arguments)

    setattr(owner, stop_at, hang)
    extract(encoder, {path.name: path for path in sorted(photos.iterdir())}, folder)


def rewind(folder, num_done):
    """Makes a finished cache one of batches of 2 that was stopped after so many photos."""
    index = json.loads((folder / "index.json").read_text())
    sums = {view: index["checksums"][view][: -(-num_done // 2)] for view in ("pooled", "regions")}
    sums = index["checksums"] | sums
    (folder / "index.json").write_text(json.dumps(index | {"num_done": num_done, "checksums": sums}))


@pytest.fixture
def paths(tmp_path):
    return draw_photos(tmp_path / "photos")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def test_features_are_the_encoders_in_float16_mapped_from_disk(paths, folder):
    store = extract(QuadrantEncoder(), paths, folder)
    assert isinstance(store.pooled, np.memmap) and isinstance(store.regions, np.memmap)
    assert store.pooled.dtype == store.regions.dtype == np.float16
    assert store.pooled.shape == (7, 3) and store.regions.shape == (7, 4, 3)
    # Photo 4: its quadrants are 40 to 43, so their mean is 41.5.
    np.testing.assert_array_equal(store.pooled[4], [41.5, 100, 7])
    np.testing.assert_array_equal(store.regions[4, :, 0], [40, 41, 42, 43])
    assert store.failed == {}
    assert tuple(store.image_ids) == tuple(paths)


def test_photos_are_encoded_in_batches_of_one_shape(paths, folder):
    encoder = QuadrantEncoder()
    extract(encoder, paths, folder, batch_size=3)
    # 7 photos: two full batches and a last one that is padded.
    assert encoder.batches == [3, 3, 3]


def test_of_many_photos_the_index_is_written_more_seldom_and_whole_at_the_end(paths, folder, monkeypatch):
    written = []
    write_index = cache.write_index
    monkeypatch.setattr(features, "_PHOTOS_OF_AN_INDEX", 3)
    monkeypatch.setattr(
        cache, "write_index", lambda *given: written.append(given[1]["num_done"]) or write_index(*given)
    )
    extract(QuadrantEncoder(), paths, folder, batch_size=1)
    # 7 photos: at the start, after every second batch, and after the last.
    assert written == [0, 2, 4, 6, 7]
    assert json.loads((folder / "index.json").read_text())["num_done"] == 7


def test_rows_come_in_the_order_that_is_asked_for(paths, folder):
    store = extract(QuadrantEncoder(), paths, folder)
    np.testing.assert_array_equal(store.row_numbers(["5.png", "0.png", "5.png"]), [5, 0, 5])
    assert store.row_numbers(["5.png"]).dtype == np.int64
    pooled, regions = store.rows(["5.png", "0.png"])
    np.testing.assert_array_equal(pooled[:, 0], [51.5, 1.5])
    np.testing.assert_array_equal(regions[:, 3, 0], [53, 3])


def test_photos_are_found_whatever_their_names_and_the_order_of_the_rows(tmp_path, monkeypatch):
    drawn = draw_photos(tmp_path / "photos")
    # Neither in the order of their names, nor of one length, nor of Latin letters alone; one is the beginning of two.
    names = ["z.png", "a", "été.png", "a.png", "a.png#1", "日本.png", "Z"]
    store = extract(QuadrantEncoder(), dict(zip(names, drawn.values(), strict=True)), tmp_path / "cache")
    monkeypatch.setattr(features, "_NAMES_AT_ONCE", 2)
    asked = [names[row] for row in (3, 6, 5, 0, 4, 2, 1, 3)]
    np.testing.assert_array_equal(store.row_numbers(asked), [3, 6, 5, 0, 4, 2, 1, 3])
    assert list(store.image_ids) == names
    assert store.image_ids[2] == "été.png" and store.image_ids[4:] == ("a.png#1", "日本.png", "Z")
    # Longer than any, of a like beginning, before the first and behind the last.
    for unknown in ("a.png#1 and more", "a.pn", "", "日本.png0"):
        with pytest.raises(ValueError, match="1 photos have no features"):
            store.row_numbers(["a", unknown])


def test_what_a_store_holds_in_memory_does_not_grow_with_the_photos(tmp_path):
    held = []
    for count in (100, 10_000):
        folder = tmp_path / str(count)
        shapes = {"pooled": [count, 1], "regions": [count, 1, 1]}
        cache.create(folder, {"shapes": shapes, "failed": {}, "checksums": {}}, [f"{n}.jpg" for n in range(count)])
        index = json.loads((folder / "index.json").read_text())
        tracemalloc.start()
        store = features.FeatureStore(folder, index)
        for start in range(0, count, 100):
            store.rows(store.image_ids[start : start + 100])
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    # Names alone would be half a megabyte.
    assert held[1] - held[0] < 50_000


def test_rows_of_unknown_photos_are_refused(paths, folder):
    store = extract(QuadrantEncoder(), paths, folder)
    with pytest.raises(ValueError, match=r"2 photos have no features, for example 'x\.png'\. Extract them first"):
        store.rows(["1.png", "x.png", "y.png"])


def test_a_finished_cache_opens_without_the_encoder(paths, folder):
    before = extract(QuadrantEncoder(), paths, folder)
    encoder = QuadrantEncoder()
    encoder.encode = None
    after = extract(encoder, paths, folder, batch_size=5)
    np.testing.assert_array_equal(before.regions, after.regions)


def test_the_default_folder_is_its_own_for_every_encoder_and_photo_set(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(features.config, "FEATURES_DIR", tmp_path / "features")
    extract(QuadrantEncoder(), paths, None)
    extract(QuadrantEncoder(regions_layer="finer"), paths, None)
    extract(QuadrantEncoder(fingerprint="4567"), paths, None)
    extract(QuadrantEncoder(), {"0.png": paths["0.png"]}, None)
    encoder = QuadrantEncoder()
    extract(encoder, paths, None)
    assert len(list((tmp_path / "features").iterdir())) == 4
    assert encoder.batches == []


@pytest.mark.parametrize(
    ("stop_at", "call", "num_done"),
    [
        pytest.param("write_index", 1, None, id="arrays-made-but-no-index"),
        pytest.param("encode", 2, 2, id="while-encoding"),
        pytest.param("to_float16", 4, 2, id="between-the-two-views-of-a-batch"),
        pytest.param("write_index", 4, 4, id="rows-written-but-not-yet-in-the-index"),
    ],
)
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(paths, folder, tmp_path, stop_at, call, num_done):
    # A stand-in for the encoders keeps TensorFlow, which takes seconds to load, out of the other process.
    code = (
        "import pathlib, sys\n"
        "import test_features\n"
        "photos, folder, stop_at, call = sys.argv[1:]\n"
        "test_features.extract_and_stop(pathlib.Path(photos), pathlib.Path(folder), stop_at, int(call))\n"
    )
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "photos"), str(folder), stop_at, str(call)],
        env=os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{config.PROJECT_DIR}"},
    )
    try:
        while not (folder / "stopped").exists():
            assert process.poll() is None, "The other process ended before it was killed."
            time.sleep(0.02)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    (folder / "stopped").unlink()
    if num_done is None:
        assert not (folder / "index.json").exists()
    else:
        assert json.loads((folder / "index.json").read_text())["num_done"] == num_done

    encoder = QuadrantEncoder()
    # It keeps the batch size it began with.
    extract(encoder, paths, folder, batch_size=2 if num_done is None else 5)
    # 7 photos are 4 batches of 2.
    assert encoder.batches == [2] * (4 - (num_done or 0) // 2)
    extract(QuadrantEncoder(), paths, tmp_path / "uninterrupted")
    assert read_all(folder) == read_all(tmp_path / "uninterrupted")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "octants"}, "encoder 'quadrants' instead of 'octants'"),
        ({"regions_layer": "finer"}, "regions_layer 'grid' instead of 'finer'"),
        ({"fingerprint": "4567"}, "fingerprint '0123' instead of '4567'"),
    ],
)
def test_the_cache_of_another_encoder_is_refused(paths, folder, change, message):
    extract(QuadrantEncoder(), paths, folder)
    before = read_all(folder)
    with pytest.raises(ValueError, match=f"cache holds other features: {message}. Delete that folder or name"):
        extract(QuadrantEncoder(**change), paths, folder)
    assert read_all(folder) == before


def test_the_cache_of_other_preprocessing_is_refused(paths, folder, monkeypatch):
    monkeypatch.setattr(features.photos, "PREPROCESSING_VERSION", 1)
    extract(QuadrantEncoder(), paths, folder)
    monkeypatch.setattr(features.photos, "PREPROCESSING_VERSION", 2)
    with pytest.raises(ValueError, match="other features: preprocessing_version 1 instead of 2"):
        extract(QuadrantEncoder(), paths, folder)


@pytest.mark.parametrize("change", ["fewer", "another-order", "another-name", "another-file"])
def test_the_cache_of_other_photos_is_refused(paths, folder, change):
    extract(QuadrantEncoder(), paths, folder)
    items = list(paths.items())
    if change == "fewer":
        items = items[:-1]
    elif change == "another-order":
        items = items[::-1]
    elif change == "another-name":
        items[0] = ("new.png", items[0][1])
    else:
        items[0][1].write_bytes(items[0][1].read_bytes() + b"\0")
    with pytest.raises(ValueError, match="other features: photos '[0-9a-f]{16}' instead of '[0-9a-f]{16}'"):
        extract(QuadrantEncoder(), dict(items), folder)


@pytest.mark.parametrize("content", [b'{"format": 3, "enc', b"\xff\xfe\x00", b"[1]", b'{"format": 3}', b""])
def test_a_damaged_index_is_one_sentence(paths, folder, content):
    extract(QuadrantEncoder(), paths, folder)
    (folder / "index.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"index\.json is damaged\. Delete the folder .*cache and extract again"):
        extract(QuadrantEncoder(), paths, folder)


@pytest.mark.parametrize(
    ("name", "holds"),
    [(VIEWS[0], "float16 features"), (VIEWS[1], "float16 features"), (NAMES[0], "the names"), (NAMES[1], "the order")],
)
@pytest.mark.parametrize("damage", ["missing", "cut short", "empty", "no array", "another array"])
@pytest.mark.parametrize("num_done", [7, 2])
def test_a_damaged_array_is_one_sentence(paths, folder, name, holds, damage, num_done):
    extract(QuadrantEncoder(), paths, folder)
    rewind(folder, num_done)
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    if damage == "another array":
        np.save(file, np.zeros((3, 3), np.float16))
    elif damage != "missing":
        file.write_bytes({"cut short": content[:-1], "empty": b"", "no array": b"P" * len(content)}[damage])
    message = (
        rf"{name} is missing or damaged: expected {holds} of 7 photos\. "
        r"Delete the folder .*cache and extract again\. Received: "
    )
    with pytest.raises(ValueError, match=message):
        extract(QuadrantEncoder(), paths, folder)


def test_an_unreadable_photo_is_named_and_stops_no_other(paths, folder):
    paths["1.png"].write_bytes(b"no picture")
    paths["6.png"].unlink()
    store = extract(QuadrantEncoder(), paths, folder)
    assert list(store.failed) == ["1.png", "6.png"]
    assert "1.png is not a picture" in store.failed["1.png"]
    assert "6.png does not exist" in store.failed["6.png"]
    assert tuple(store.image_ids) == ("0.png", "2.png", "3.png", "4.png", "5.png")
    np.testing.assert_array_equal(store.pooled[:, 0], [1.5, 0, 21.5, 31.5, 41.5, 51.5, 0])
    np.testing.assert_array_equal(store.pooled[1], [0, 0, 0])
    with pytest.raises(ValueError, match=r"1 photos have no features, for example '1\.png'"):
        store.rows(["0.png", "1.png"])
    # They fail again.
    assert extract(QuadrantEncoder(), paths, folder).failed == store.failed


def test_an_unreadable_photo_has_no_features_whatever_the_encoder_makes_of_nothing(paths, folder):
    class Shifted(QuadrantEncoder):
        def encode(self, photos):
            return tuple(view + 1 for view in super().encode(photos))

    paths["0.png"].write_bytes(b"no picture")
    store = extract(Shifted(), paths, folder)
    np.testing.assert_array_equal(store.regions[0], np.zeros((4, 3)))
    np.testing.assert_array_equal(store.regions[1, :, 0], [11, 12, 13, 14])


def test_photos_none_of_which_can_be_read_are_an_error(paths, folder):
    for path in paths.values():
        path.write_bytes(b"no picture")
    with pytest.raises(FileNotFoundError, match=r"None of the 7 photos can be read, for example: 0\.png is not a"):
        extract(QuadrantEncoder(), paths, folder)


def test_no_photos_are_an_error(folder):
    with pytest.raises(ValueError, match="There are no photos to encode"):
        extract(QuadrantEncoder(), {}, folder)
    assert not folder.exists()


@pytest.mark.parametrize(("scale", "received"), [(1e6, "100000000"), (float("nan"), "nan")])
def test_features_that_float16_cannot_hold_are_refused(paths, folder, scale, received):
    message = f"quadrants gives features that float16 cannot hold, .* up to 65504. Received: {received}"
    # The brightest value of the first two photos is green, 100.
    with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
        extract(QuadrantEncoder(scale=scale), paths, folder)
    assert json.loads((folder / "index.json").read_text())["num_done"] == 0


def test_a_full_disk_is_an_error_and_the_run_can_go_on(paths, folder, monkeypatch):
    def fsync(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space left on device"):
            extract(QuadrantEncoder(), paths, folder)
    np.testing.assert_array_equal(extract(QuadrantEncoder(), paths, folder).pooled[6], [61.5, 100, 7])


def test_parts_of_photos_are_encoded_and_are_never_taken_for_the_whole(tmp_path):
    paths = draw_photos(tmp_path / "photos", 2)
    parts = {"0.png#0": paths["0.png"], "1.png#0": paths["1.png"]}
    # The right half of photo 0, the left half of photo 1 mirrored: columns of red values 1, 3 and 10, 12.
    boxes = {"0.png#0": (0, 0.5, 1, 1), "1.png#0": (0, 0.5, 1, 0)}
    store = extract(QuadrantEncoder(), parts, tmp_path / "cache", boxes=boxes)
    assert store.rows(["0.png#0"])[1][0, :, 0].tolist() == [1, 1, 3, 3]
    assert store.rows(["1.png#0"])[1][0, :, 0].tolist() == [10, 10, 12, 12]
    with pytest.raises(ValueError, match="holds other features: photos"):
        extract(QuadrantEncoder(), parts, tmp_path / "cache")
    with pytest.raises(ValueError, match="holds other features: photos"):
        extract(QuadrantEncoder(), parts, tmp_path / "cache", boxes=boxes | {"0.png#0": (0, 0, 1, 1)})


def test_photos_of_equal_names_sizes_and_dates_get_their_own_features(tmp_path, monkeypatch):
    monkeypatch.setattr(features.config, "FEATURES_DIR", tmp_path / "features")
    stores = []
    for name, colour in (("red", (200, 0, 0)), ("navy", (0, 0, 100))):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "0.bmp"
        Image.new("RGB", (4, 4), colour).save(file)
        os.utime(file, (0, 0))
        stores.append(extract(QuadrantEncoder(), {"0.bmp": file}, None))
    assert [store.pooled[0].tolist() for store in stores] == [[200, 0, 0], [0, 0, 100]]


def test_a_photo_that_could_not_be_read_for_a_moment_is_tried_again(paths, folder, monkeypatch):
    original, down = decoders.DecoderPool._read, {"1.png", "2.png", "6.png"}

    def read(self, requests, image_size):
        answers = original(self, requests, image_size)
        away = photos.PhotoError("The network disk is away.")
        return [
            away if request.source.name in down else found for request, found in zip(requests, answers, strict=True)
        ]

    monkeypatch.setattr(decoders.DecoderPool, "_read", read)
    store = extract(QuadrantEncoder(), paths, folder)
    assert list(store.failed) == ["1.png", "2.png", "6.png"]
    down.remove("1.png")
    encoder = QuadrantEncoder()
    store = extract(encoder, paths, folder)
    # One batch for the one photo, and no other is encoded again.
    assert encoder.batches == [2] and list(store.failed) == ["2.png", "6.png"]
    down.clear()
    store = extract(QuadrantEncoder(), paths, folder)
    assert store.failed == {}
    np.testing.assert_array_equal(store.pooled[:, 0], [1.5, 11.5, 21.5, 31.5, 41.5, 51.5, 61.5])
    extract(QuadrantEncoder(), paths, folder.with_name("never down"))
    assert read_all(folder) == read_all(folder.with_name("never down"))


def test_a_photo_that_was_not_there_is_encoded_when_it_is(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(features.config, "FEATURES_DIR", tmp_path / "features")
    content = paths["1.png"].read_bytes()
    paths["1.png"].unlink()
    assert list(extract(QuadrantEncoder(), paths, None).failed) == ["1.png"]
    paths["1.png"].write_bytes(content)
    store = extract(QuadrantEncoder(), paths, None)
    assert store.failed == {} and store.pooled[1, 0] == 11.5


def test_a_kill_while_a_mended_photo_is_written_damages_nothing(paths, folder, monkeypatch):
    with monkeypatch.context() as context:
        away = photos.PhotoError("The network disk is away.")
        context.setattr(decoders.DecoderPool, "_read", lambda _, requests, __: [away] * len(requests))
        with pytest.raises(FileNotFoundError, match="None of the 7 photos can be read"):
            extract(QuadrantEncoder(), paths, folder)
    with monkeypatch.context() as context:
        context.setattr(cache, "write_index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            extract(QuadrantEncoder(), paths, folder)
    assert np.load(folder / "pooled.npy")[0, 0] == 1.5
    assert extract(QuadrantEncoder(), paths, folder).pooled[6, 0] == 61.5


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize(
    "order", [[6, 5, 4, 3, 2, 1, 0], [2, 3, 0, 1, 4, 5, 6], [1, 0, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 5]],
    ids=["reversed", "batches swapped", "within a batch", "one twice"],
)  # fmt: skip
@pytest.mark.parametrize("num_done", [7, 4])
def test_rows_in_another_order_are_noticed(paths, folder, name, order, num_done):
    extract(QuadrantEncoder(), paths, folder)
    rewind(folder, num_done)
    array = np.load(folder / name)
    np.save(folder / name, array[order])
    if num_done == 4 and order[:4] == [0, 1, 2, 3]:
        assert extract(QuadrantEncoder(), paths, folder).pooled[6, 0] == 61.5
        return
    with pytest.raises(ValueError, match=rf"{name} holds other rows than were written. Delete the folder .*cache and"):
        extract(QuadrantEncoder(), paths, folder)


def test_a_cache_of_an_earlier_format_is_refused_in_one_sentence(paths, folder):
    extract(QuadrantEncoder(), paths, folder)
    index = json.loads((folder / "index.json").read_text())
    # Names were in the index.
    (folder / "index.json").write_text(json.dumps(index | {"format": 2, "image_ids": list(paths)}))
    with pytest.raises(ValueError, match="cache holds features of another version of this project. Delete the folder"):
        extract(QuadrantEncoder(), paths, folder)


def test_two_cannot_fill_one_cache_but_many_may_read_it(paths, folder):
    with files.hold(folder, "extracting features"):
        with pytest.raises(BlockingIOError, match="cache is in use: process .* has been extracting features since"):
            extract(QuadrantEncoder(), paths, folder)
        assert not folder.exists()
    extract(QuadrantEncoder(), paths, folder)
    with files.hold(folder, "extracting features"):
        assert extract(QuadrantEncoder(), paths, folder).image_ids[:] == tuple(paths)


@pytest.mark.parametrize("seed", range(FUZZ_SEEDS))
def test_a_mutated_cache_is_what_it_was_or_refused_in_one_sentence(paths, folder, mutate, seed):
    original = extract(QuadrantEncoder(), paths, folder)
    kept, expected = read_all(folder), np.array(original.regions)
    random, refusals = np.random.default_rng(seed), []
    for _ in range(20):
        name = EVERYTHING[random.integers(len(EVERYTHING))]
        (folder / name).write_bytes(mutate(kept[name], random))
        try:
            store = extract(QuadrantEncoder(), paths, folder)
            np.testing.assert_array_equal(store.regions, expected)
            assert tuple(store.image_ids) == tuple(paths)
        except ValueError as error:
            refusals.append(str(error))
        for name, content in kept.items():
            (folder / name).write_bytes(content)
    assert refusals and not [refusal for refusal in refusals if "\n" in refusal]
