"""Any photo to RGB pixels: which way up, which colours, what is refused and in which words."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from captioner.data import photos

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# How a picture must be changed to lie as each EXIF tag says it was stored.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


# 64 wide and 32 high, red with a blue right half. Written once with pillow-heif, since what reads HEIC cannot write it.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA"
    "AERAAAEAAQAAAAABoQABAAAAAAAAACUAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADd"
    "aXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAA"
    "AwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh"
    "cAAAAEAAAAABAAAAIAAAAAEAAAAAAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAC1tZGF0AAAA"
    "ISgBrxmA70mlv//ihh/5rWv+v7IX//LxJ34ken/W5ENtbw=="
)


def _encode(picture, suffix="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, suffix, **options)
    return buffer.getvalue()


def _assert_colour(pixels, colour, tolerance=12):
    assert np.abs(np.asarray(pixels, int) - colour).max() <= tolerance, f"{pixels} is not {colour}"


@pytest.mark.parametrize("orientation", STORED)
def test_each_exif_orientation_is_turned_upright(orientation):
    # 64 wide and 32 high, red with a green right half and a blue corner at the bottom left.
    upright = Image.new("RGB", (64, 32), RED)
    upright.paste(GREEN, (32, 0, 64, 32))
    upright.paste(BLUE, (0, 16, 32, 32))
    stored = upright if STORED[orientation] is None else upright.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = _encode(stored, "JPEG", exif=exif, quality=95, subsampling=0)
    photo = photos.open_photo(source)
    assert photo.size == (64, 32)
    for pixels in (np.asarray(photo.resize((16, 16), Image.Resampling.BOX)), photos.load_photo(source, 16)):
        for position, colour in (((2, 2), RED), ((2, 13), GREEN), ((13, 2), BLUE), ((13, 13), GREEN)):
            _assert_colour(pixels[position], colour, 40)


def test_pixels_are_rgb_bytes_of_the_wanted_side():
    pixels = photos.load_photo(_encode(Image.new("RGB", (30, 50), RED)), 16)
    assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8)
    _assert_colour(pixels, RED, 0)


def test_transparency_is_laid_on_white():
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (*RED, 255))
    pixels = np.asarray(photos.open_photo(_encode(picture)))
    assert pixels.tolist() == [[list(WHITE), list(RED)]]


def test_half_transparency_is_mixed_with_white():
    pixels = np.asarray(photos.open_photo(_encode(Image.new("RGBA", (1, 1), (255, 0, 0, 128)))))
    _assert_colour(pixels, (255, 127, 127), 1)


def test_grey_with_transparency_is_laid_on_white():
    _assert_colour(np.asarray(photos.open_photo(_encode(Image.new("LA", (1, 1), (0, 0))))), WHITE, 0)


def test_a_palette_with_a_transparent_colour_is_laid_on_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([*BLUE, *RED])
    picture.putpixel((1, 0), 1)
    pixels = np.asarray(photos.open_photo(_encode(picture, transparency=0)))
    assert pixels.tolist() == [[list(WHITE), list(RED)]]


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_greys_become_rgb_in_every_format(suffix):
    pixels = photos.load_photo(_encode(Image.new("L", (8, 8), 100), suffix), 8)
    assert pixels.shape == (8, 8, 3)
    _assert_colour(pixels, (100, 100, 100), 3)


def test_black_and_white_pictures_are_read():
    _assert_colour(np.asarray(photos.open_photo(_encode(Image.new("1", (1, 1), 1)))), WHITE, 0)


def test_sixteen_bit_greys_are_scaled_and_not_clipped():
    # 257 16-bit steps are one 8-bit step: 25700 / 257 = 100.
    stored = np.array([[0, 25700, 65535]], np.uint16)
    pixels = np.asarray(photos.open_photo(_encode(Image.fromarray(stored))))
    assert pixels[0, :, 0].tolist() == [0, 100, 255]


def test_sixteen_bit_greys_with_a_transparent_one_are_scaled_too():
    stored = np.array([[7, 25700]], np.uint16)
    pixels = np.asarray(photos.open_photo(_encode(Image.fromarray(stored), transparency=7)))
    assert pixels[0, 1].tolist() == [100, 100, 100]


def test_cmyk_jpegs_keep_their_colours():
    source = _encode(Image.new("RGB", (8, 8), (200, 60, 40)).convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(source)).mode == "CMYK"
    _assert_colour(photos.load_photo(source, 8), (200, 60, 40))


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    source = _encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    _assert_colour(photos.load_photo(source, 8), RED, 0)


def test_a_whole_photo_is_squashed_to_a_square_and_not_cropped():
    # Three stripes, 40 wide each; every one keeps a third of the width.
    picture = Image.new("RGB", (120, 30))
    for number, colour in enumerate((RED, GREEN, BLUE)):
        picture.paste(colour, (40 * number, 0, 40 * number + 40, 30))
    pixels = photos.load_photo(_encode(picture), 30)
    for column, colour in ((2, RED), (15, GREEN), (27, BLUE)):
        _assert_colour(pixels[:, column], colour, 1)


def test_a_photo_of_the_right_size_passes_unchanged():
    stored = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    assert (photos.load_photo(_encode(Image.fromarray(stored)), 224) == stored).all()


def test_photos_of_iphones_are_read():
    photo = photos.open_photo(HEIC)
    assert (photo.size, photo.mode) == ((64, 32), "RGB")
    _assert_colour(photo.getpixel((8, 16)), RED)
    _assert_colour(photo.getpixel((56, 16)), BLUE)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), (1000, 750)),  # A quarter; an eighth would leave 500.
        ((3000, 4000), (750, 1000)),
        ((1920, 1440), (960, 720)),
        ((1900, 1440), (1900, 1440)),  # A half would leave 950.
        ((8000, 1000), (4000, 500)),  # An eighth would leave 125 along the shorter side.
        ((500, 375), (500, 375)),
    ],
)
def test_large_jpegs_are_decoded_at_a_fraction_that_is_enough(size, expected):
    source = _encode(Image.new("RGB", size, RED), "JPEG")
    assert photos.open_photo(source, reduced=True).size == expected
    assert photos.open_photo(source).size == size
    assert photos.open_photo(_encode(Image.new("RGB", (30, 20))), reduced=True).size == (30, 20)


def test_a_reduced_photo_gives_the_pixels_that_load_photo_gives():
    stored = np.random.default_rng(0).integers(0, 256, (75, 100, 3), np.uint8)
    source = _encode(Image.fromarray(stored).resize((2000, 1500), Image.Resampling.BICUBIC), "JPEG")
    reduced = photos.open_photo(source, reduced=True)
    assert (photos.resize_photo(reduced, 112) == photos.load_photo(source, 112)).all()


def test_a_large_jpeg_looks_the_same_when_it_is_decoded_smaller():
    steps = np.linspace(0, 255, 1600).astype(np.uint8)
    stored = np.stack(np.broadcast_arrays(steps[None, :], steps[:, None], np.uint8(90)), axis=-1)
    source = _encode(Image.fromarray(stored), "JPEG", quality=95)
    whole = photos.resize_photo(photos.open_photo(source), 224)
    assert np.abs(photos.load_photo(source, 224).astype(int) - whole).max() <= 6


def test_files_and_bytes_give_the_same_pixels(drawn_dir):
    path = min((drawn_dir / "Images").iterdir())
    expected = photos.load_photo(path, 64)
    assert (photos.load_photo(path.read_bytes(), 64) == expected).all()
    assert (photos.load_photo(str(path), 64) == expected).all()


def test_real_photos_of_every_shape_are_read(flickr8k_dir):
    for path in sorted((flickr8k_dir / "originals").iterdir()):
        pixels = photos.load_photo(path, 224)
        assert pixels.shape == (224, 224, 3)
        assert pixels.std() > 5


def _assert_refused(source, message, **options):
    with pytest.raises(photos.PhotoError, match=message):
        photos.load_photo(source, 16, **options)
    with pytest.raises(photos.PhotoError, match=message):
        photos.open_photo(source, **options)


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "HEIC"])
def test_a_photo_cut_short_is_refused(suffix, tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    whole = HEIC if suffix == "HEIC" else _encode(noise, suffix)
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole[: len(whole) // 2])
    _assert_refused(path, r"^cut.jpg (is damaged or cut short \(.+\)|is not a picture that can be read: .*)\.$")


def test_text_with_a_photo_s_name_is_refused(tmp_path):
    (tmp_path / "notes.jpg").write_text("not a photo")
    _assert_refused(tmp_path / "notes.jpg", "^notes.jpg is not a picture that can be read: try JPEG, PNG, WebP, GIF,")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    _assert_refused(tmp_path / "empty.jpg", "^empty.jpg is empty.$")
    _assert_refused(b"", "^The photo is empty.$")
    _assert_refused(b"", "^cat.png is empty.$", name="cat.png")


def test_a_missing_file_is_refused(tmp_path):
    _assert_refused(tmp_path / "gone.jpg", "^gone.jpg does not exist.$")


def test_a_photo_with_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    source = _encode(Image.new("RGB", (2000, 1500)))
    monkeypatch.setattr(photos, "MAX_MEGAPIXELS", 3)
    assert photos.load_photo(source, 16).shape == (16, 16, 3)
    monkeypatch.setattr(photos, "MAX_MEGAPIXELS", 2)
    _assert_refused(source, "^The photo has 3 megapixels, more than 2: make it smaller.$")


def test_our_limit_decides_and_pillow_s_own_is_left_as_it_was(monkeypatch):
    # Pillow warns above its limit and raises above twice that, by itself at 179 megapixels.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    source = _encode(Image.new("RGB", (20, 20), RED))
    _assert_colour(photos.load_photo(source, 8), RED, 0)
    assert Image.MAX_IMAGE_PIXELS == 50


def test_photos_are_listed_by_name_with_those_in_folders(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.JPG", "a.png", "notes.txt", "deep/c.webp"):
        (tmp_path / name).touch()
    found = photos.list_photos([str(tmp_path / "notes.txt"), tmp_path])
    # A file that is named outright is kept whatever it is.
    expected = ["notes.txt", "a.png", "b.JPG", "deep/c.webp"]
    assert [str(path.relative_to(tmp_path)) for path in found] == expected


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"There is no file or folder {tmp_path / 'gone'}.")):
        photos.list_photos([tmp_path / "gone"])


def test_a_folder_without_photos_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="No photos in the folder .*: expected files .jpg, .jpeg, .png"):
        photos.list_photos([tmp_path])
