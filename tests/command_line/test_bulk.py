"""Many photo files: their order, batches that survive broken files, and how far is read ahead."""

import threading
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from captioner.command_line import bulk
from captioner.data import decoders, photo_files, photos


class CountingCaptioner:
    """Captions a photo with its first pixel, and keeps the sizes of the batches."""

    encoder = SimpleNamespace(image_size=2)

    def __init__(self):
        self.batches = []

    def caption_photos(self, pixels, search):
        self.batches.append(len(pixels))
        return [[f"{photo[0, 0, 0]} {search}"] for photo in pixels]


@pytest.fixture
def reader(monkeypatch):
    """Reads the number that a file is named by, slower or faster; a negative one is broken. Returns what was read."""
    read = []

    class Pool(decoders.DecoderPool):
        def _read(self, requests, image_size):
            return [self._load(int(request.source.name), image_size) for request in requests]

        def _load(self, number, image_size):
            time.sleep(0.0005 * (number % 3))
            read.append(number)
            if number < 0:
                return photos.PhotoError(f"{number} is damaged.")
            return np.full((image_size, image_size, 3), number, np.uint8), b""

    monkeypatch.setattr(decoders, "shared_pool", Pool)
    return read


def paths_of(numbers):
    return [Path(str(number)) for number in numbers]


@pytest.mark.usefixtures("reader")
def test_photos_are_captioned_in_their_order_with_what_was_asked_for():
    captioner = CountingCaptioner()
    batches = list(bulk.caption_paths(captioner, paths_of(range(70)), "five beams", batch_size=32))
    assert [len(batch) for batch in batches] == captioner.batches == [32, 32, 6]
    results = [result for batch in batches for result in batch]
    assert results == [(Path(str(number)), [f"{number} five beams"]) for number in range(70)]


@pytest.mark.usefixtures("reader")
def test_broken_files_keep_their_place_and_take_none_in_a_batch():
    captioner = CountingCaptioner()
    numbers = [-1, 0, 1, -2, -3, 2, 3, 4, -4]
    batches = list(bulk.caption_paths(captioner, paths_of(numbers), batch_size=2))
    assert captioner.batches == [2, 2, 1]
    results = [result for batch in batches for result in batch]
    assert [path for path, _ in results] == paths_of(numbers)
    assert [str(found) for _, found in results if isinstance(found, Exception)] == [
        f"{number} is damaged." for number in (-1, -2, -3, -4)
    ]


@pytest.mark.usefixtures("reader")
def test_files_that_are_all_broken_are_never_given_to_the_captioner():
    captioner = CountingCaptioner()
    [results] = bulk.caption_paths(captioner, paths_of([-1, -2, -3]), batch_size=2)
    assert len(results) == 3 and captioner.batches == []


def test_no_files_are_no_batches():
    assert list(bulk.caption_paths(CountingCaptioner(), [])) == []


def test_while_a_batch_is_captioned_the_next_one_is_read_and_no_more(reader):
    batches = bulk.caption_paths(CountingCaptioner(), paths_of(range(1000)), batch_size=8)
    for number in range(1, 4):
        next(batches)
        deadline = time.monotonic() + 10
        while len(reader) < 8 * (number + 1) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert len(reader) == 8 * (number + 1)
    batches.close()


def test_memory_does_not_grow_with_the_photos(tmp_path):
    for number in range(500):
        Image.new("RGB", (8, 8), (number // 2, 0, 0)).save(tmp_path / f"{number:03}.bmp")
    captioner = CountingCaptioner()
    captioner.encoder = SimpleNamespace(image_size=64)  # 12 KB a photo, 6 MB for all
    list(bulk.caption_paths(captioner, photo_files.list_photos([tmp_path]).photos[:20]))
    tracemalloc.start()
    results = [
        found[0]
        for batch in bulk.caption_paths(captioner, photo_files.list_photos([tmp_path]).photos)
        for _, found in batch
    ]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert results == [f"{number // 2} None" for number in range(500)]
    assert peak < 3e6


def test_a_run_that_is_left_reads_no_further(reader):
    threads = threading.active_count()
    batches = bulk.caption_paths(CountingCaptioner(), paths_of(range(1000)), batch_size=8)
    next(batches)
    batches.close()
    assert threading.active_count() == threads
    assert len(reader) <= 16
