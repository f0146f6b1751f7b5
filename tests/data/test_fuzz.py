"""Damaged photos of every format through the processes that decode them; `benchmarks.fuzz_photos` tries many more."""

import io

import numpy as np
from PIL import Image

from benchmarks import fuzz_photos
from captioner.data import photos


def test_damaged_photos_are_pixels_or_one_sentence_and_nothing_else():
    found = fuzz_photos.run(400, seed=1)
    assert (found["failures"], found["first_failures"]) == (0, [])
    assert set(found["by_format"]) == {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIC", "AVIF"}
    assert sum(sum(counts.values()) for counts in found["by_format"].values()) == 400
    # A fuzz whose photos are all refused, or all read, tries nothing.
    assert all(counts["read"] and counts["refused"] for counts in found["by_format"].values())


def test_sound_samples_are_read_and_a_photo_has_its_number():
    samples = fuzz_photos.make_samples()
    assert all(photos.load_photo(content, 8).std() > 5 for contents in samples.values() for content in contents)
    first, second = (list(fuzz_photos.draw_photos(20, seed=3)) for _ in range(2))
    assert first == second and len({content for _, _, content in first}) == 20
    # Nor does one differ from those of another second: a profile holds the time at which it was made.
    opened = [Image.open(io.BytesIO(content)) for name in ("PNG", "WEBP", "TIFF", "AVIF") for content in samples[name]]
    profiles = [picture.info["icc_profile"] for picture in opened if picture.info.get("icc_profile")]
    assert {profile[24:36] for profile in profiles} == {bytes(12)}


def test_what_is_neither_pixels_nor_a_sentence_is_found():
    class Pool:
        def __init__(self, answer):
            self.answer = answer

        def load_photo(self, content, side):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    answers = [
        KeyError("x"),
        photos.PhotoError("two\nlines."),
        photos.PhotoError("no end"),
        np.zeros((8, 8, 3), np.uint8),
    ]
    assert [fuzz_photos.judge(Pool(answer), b"")[0] for answer in answers] == ["failed"] * 4
    assert fuzz_photos.judge(Pool(photos.PhotoError("A photo is damaged.")), b"") == ("refused", "A photo is damaged.")
