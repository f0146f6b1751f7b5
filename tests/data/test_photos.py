"""Any photo to RGB pixels: which way up, which colours, what is refused and in which words."""

import io
import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, PngImagePlugin, TiffImagePlugin

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
HEIC = Path(__file__).with_name("striped.heic").read_bytes()


def _encode(picture, suffix="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, suffix, **options)
    return buffer.getvalue()


def _tag_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _assert_colour(pixels, colour, tolerance=12):
    assert np.abs(np.asarray(pixels, int) - colour).max() <= tolerance, f"{pixels} is not {colour}"


@pytest.mark.parametrize("orientation", STORED)
def test_each_exif_orientation_is_turned_upright(orientation):
    # 64 wide and 32 high, red with a green right half and a blue corner at the bottom left.
    upright = Image.new("RGB", (64, 32), RED)
    upright.paste(GREEN, (32, 0, 64, 32))
    upright.paste(BLUE, (0, 16, 32, 32))
    stored = upright if STORED[orientation] is None else upright.transpose(STORED[orientation])
    source = _encode(stored, "JPEG", exif=_tag_orientation(orientation), quality=95, subsampling=0)
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


@pytest.mark.parametrize(
    ("mode", "size", "suffix"),
    [
        ("L", (1, 40_000_000), "PNG"),  # Narrow: Pillow keeps an address of 8 bytes for each row.
        ("P", (20_000, 20_000), "GIF"),
        ("I;16", (16_000, 16_000), "PNG"),
        ("RGB", (16_000, 16_000), "TIFF"),
        ("RGB", (16_000, 4_000), "WEBP"),
    ],
)
def test_a_bomb_is_refused_by_its_header(mode, size, suffix, monkeypatch):
    source = _encode(Image.new(mode, (8, 8)), suffix, **({"lossless": True} if suffix == "WEBP" else {}))
    source = _claim_size(source, suffix, size)
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self))
    message = "^The photo is too large: to read it takes more than 900 MB of memory. Make it smaller.$"
    with pytest.raises(photos.PhotoError, match=message):
        photos.load_photo(source, 16)
    assert not decoded


def _claim_size(source, suffix, size):
    """Writes other sides into the header of a picture of 8 x 8 pixels."""
    if suffix == "PNG":
        head = source[12:16] + struct.pack(">II", *size) + source[24:29]
        return source[:12] + head + struct.pack(">I", zlib.crc32(head)) + source[33:]
    if suffix == "GIF":
        return source[:6] + struct.pack("<HH", *size) + source[10:]
    if suffix == "WEBP":
        bits = int.from_bytes(source[21:25], "little") >> 28 << 28
        return source[:21] + (bits | (size[1] - 1) << 14 | (size[0] - 1)).to_bytes(4, "little") + source[25:]
    for tag, side in ((256, size[0]), (257, size[1])):  # A TIFF of Pillow's, little-endian: tag, type LONG, one value.
        entry = source.index(struct.pack("<HHI", tag, 4, 1))
        source = source[: entry + 8] + struct.pack("<I", side) + source[entry + 12 :]
    return source


def test_our_limit_decides_and_pillow_s_own_is_left_as_it_was(monkeypatch):
    # Pillow warns above its limit and raises above twice that, by itself at 179 megapixels.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    source = _encode(Image.new("RGB", (20, 20), RED))
    _assert_colour(photos.load_photo(source, 8), RED, 0)
    assert Image.MAX_IMAGE_PIXELS == 50


def _fill_text(kind):
    info = PngImagePlugin.PngInfo()
    getattr(info, f"add_{kind}")("workflow", "node " * 300_000, zip=True)
    return {"pnginfo": info}


@pytest.mark.parametrize("options", [_fill_text("text"), _fill_text("itxt"), {"icc_profile": bytes(1_500_000)}])
def test_a_png_with_much_text_or_a_nonsense_profile_is_read(options):
    _assert_colour(photos.load_photo(_encode(Image.new("RGB", (8, 8), RED), **options), 8), RED, 0)


def test_a_png_with_a_damaged_comment_is_read_with_its_transparency():
    source = _encode(Image.new("P", (8, 8)), transparency=0, pnginfo=_fill_text("text")["pnginfo"])
    place = source.index(b"zTXt") + 20
    damaged = source[:place] + bytes([source[place] ^ 1]) + source[place + 1 :]
    _assert_colour(photos.load_photo(damaged, 8), WHITE, 0)


@pytest.mark.parametrize("tag", [(0x010E, 5, 1), (0x011A, 2, 4), (0x0128, 1, 1), (0x8769, 2, 4)])
def test_a_mistyped_exif_tag_stops_no_rotated_photo(tag):
    # Orientation 6 by hand and another tag: big-endian, number, type, count and value; the last points out of the file.
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHII", *tag, 0xFFFF)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + entries + bytes(4)
    photo = photos.open_photo(_encode(Image.new("RGB", (64, 32), RED), "JPEG", exif=exif))
    assert photo.size == (32, 64)


@pytest.mark.parametrize(("tag", "kind", "value"), [(0x02BC, 3, (1, 2)), (0x02BC, 2, "no bytes"), (0x8769, 9, -5)])
def test_a_mistyped_tag_stops_no_tiff_and_its_orientation_counts(tag, kind, value):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112], tags.tagtype[tag], tags[tag] = 6, kind, value
    assert photos.open_photo(_encode(Image.new("RGB", (64, 32), RED), "TIFF", tiffinfo=tags)).size == (32, 64)


def _draw_gradient(side=160):
    ramp = Image.linear_gradient("L").resize((side, side))
    return Image.merge("RGB", [ramp, ramp.rotate(90), ramp.rotate(180)])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [2, 10])
def test_a_jpeg_without_its_end_looks_the_same(cut, progressive):
    source = _encode(_draw_gradient(), "JPEG", progressive=progressive)
    whole = photos.load_photo(source, 160).astype(int)
    assert np.abs(photos.load_photo(source[:-cut], 160)[:144] - whole[:144]).max() <= 12


def test_a_jpeg_is_refused_that_lacks_more_than_a_tenth_of_its_height():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8))
    source = _encode(noise, "JPEG", quality=90)
    assert photos.load_photo(source[: round(0.95 * len(source))], 160).shape == (160, 160, 3)
    _assert_refused(source[: round(0.8 * len(source))], r"^The photo is damaged or cut short \(.+\).$")


def _write_profile(primaries, gamma):
    """Writes an ICC profile of version 2: three primaries as XYZ under D50, and one gamma."""

    def fixed(*numbers):
        return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)

    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249)}
    for letter, xyz in zip(b"rgb", primaries, strict=True):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*xyz)
        tags[bytes([letter]) + b"TRC"] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    table, data, place = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(data), len(content))
        data += content
    head = struct.pack(">I4sI4s4s4s", place + len(data), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + data


# Both by their published primaries, adapted to D50.
ADOBE_RGB = _write_profile([(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)], 2.2)
DISPLAY_P3 = _write_profile([(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)], 2.2)


@pytest.mark.parametrize(
    ("profile", "stored"),
    [
        # sRGB's (200, 80, 60) in the two spaces, by the matrices of their standards.
        (ADOBE_RGB, (175, 80, 63)),
        (DISPLAY_P3, (187, 90, 68)),
    ],
)
@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_colours_are_read_by_their_profile(profile, stored, suffix):
    options = {} if suffix in ("PNG", "TIFF") else {"quality": 95}
    source = _encode(Image.new("RGB", (8, 8), stored), suffix, icc_profile=profile, **options)
    _assert_colour(photos.load_photo(source, 8), (200, 80, 60), 4)


@pytest.mark.parametrize("options", [{"exif": _tag_orientation(6)}, {"icc_profile": ADOBE_RGB}])
def test_a_photo_that_was_opened_stays_as_it_is_when_it_is_given_again(options):
    photo = photos.open_photo(_encode(_draw_gradient(), "JPEG", **options))
    assert (np.asarray(photos.open_photo(photo)) == np.asarray(photo)).all()


def test_pixels_with_a_profile_of_srgb_stay_as_they_are():
    stored = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (photos.load_photo(_encode(Image.fromarray(stored), icc_profile=profile), 16) == stored).all()


def test_greys_and_transparency_keep_company_with_profiles():
    grey = photos.load_photo(_encode(Image.new("L", (8, 8), 100), icc_profile=ADOBE_RGB), 8)
    # Nearly the same: Adobe's gamma is 2.2 and sRGB's curve follows it.
    _assert_colour(grey, (100, 100, 100), 3)
    clear = photos.load_photo(_encode(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), icc_profile=ADOBE_RGB), 8)
    _assert_colour(clear, WHITE, 1)


def _read_grey(pixels, suffix="TIFF"):
    return photos.open_photo(_encode(Image.fromarray(pixels), suffix)).getchannel(0)


@pytest.mark.parametrize(
    "scaled",
    [
        pytest.param(lambda grey: grey.astype(np.float32), id="floats to 255"),
        pytest.param(lambda grey: grey.astype(np.float32) / 255, id="floats to 1"),
        pytest.param(lambda grey: grey.astype(np.float32) * 257, id="floats to 65535"),
        pytest.param(lambda grey: grey.astype(np.uint16) * 257, id="16 bits"),
        pytest.param(lambda grey: (grey.astype(np.uint32) * 4095 // 255).astype(np.uint16), id="12 in 16 bits"),
        pytest.param(lambda grey: (grey.astype(np.uint32) * 1023 // 255).astype(np.uint16), id="10 in 16 bits"),
        pytest.param(lambda grey: grey.astype(np.uint16), id="8 in 16 bits"),
        pytest.param(lambda grey: grey.astype(np.int32), id="8 in 32 bits"),
    ],
)
def test_a_grey_picture_looks_the_same_in_every_depth(scaled):
    grey = np.asarray(Image.linear_gradient("L"))
    assert np.abs(np.asarray(_read_grey(scaled(grey)), int) - grey).max() <= 1


@pytest.mark.parametrize("brightest", [1, 255, 1023, 4095, 16383, 24575])
def test_one_step_more_of_the_brightest_grey_changes_little(brightest):
    pictures = [np.array([[brightest // 2, brightest + step]], np.float32) for step in (0, brightest / 250)]
    first, second = (np.asarray(_read_grey(picture), int) for picture in pictures)
    assert np.abs(first - second).max() <= 8


def test_floats_that_are_no_numbers_are_black():
    pixels = np.array([[np.nan, np.inf, -np.inf, 0.5, 1]], np.float32)
    assert np.asarray(_read_grey(pixels)).tolist() == [[0, 0, 0, 128, 255]]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16"])
def test_a_large_photo_is_made_smaller_first_and_looks_the_same(mode, monkeypatch):
    picture = Image.new("RGB", (3000, 1500), RED)
    picture.paste(BLUE, (1500, 0, 3000, 1500))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    source = _encode(picture, "TIFF")
    expected = photos.load_photo(source, 16)
    monkeypatch.setattr(photos, "_LARGE_PIXELS", 4_000_000)
    assert photos.open_photo(source, reduced=True).size == (1000, 500)
    assert np.abs(photos.load_photo(source, 16).astype(int) - expected).max() <= 6


def test_a_jpeg_of_a_thousand_scans_is_refused_before_it_is_decoded():
    source = _encode(Image.new("RGB", (64, 64), RED), "JPEG", progressive=True)
    # Its last scan, over and over; it begins with the marker FFDA and ends before the end marker FFD9.
    source = source[:-2] + source[source.rindex(b"\xff\xda") : -2] * 1000 + source[-2:]
    _assert_refused(source, r"^The photo is a JPEG of 1,0\d\d scans, more than 100: save it anew.$")


def test_the_video_of_a_phone_and_its_notes_are_no_scans():
    source = _encode(_draw_gradient(), "JPEG", progressive=True)
    notes = b"\xff\xe5" + struct.pack(">H", 2 + 600) + 300 * b"\xff\xda"
    video = 9000 * b"\xff\xda\0\x08abcdef"
    assert (photos.load_photo(source[:2] + notes + source[2:] + video, 32) == photos.load_photo(source, 32)).all()


@pytest.mark.parametrize(
    "content",
    [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", b"P6 2 2 255 123456789012", b"qoif" + bytes(60)],
)
def test_formats_that_are_not_on_the_list_are_not_tried(content):
    _assert_refused(content, "^The photo is not a picture that can be read: try JPEG, PNG, .* HEIC or AVIF.$")


@pytest.mark.parametrize("error", [KeyError("frame"), RecursionError("deep"), ZeroDivisionError("0"), AssertionError()])
def test_whatever_a_decoder_raises_is_the_reason_of_that_photo(error, monkeypatch):
    def fail(self):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    _assert_refused(_encode(Image.new("RGB", (8, 8)), "BMP"), r"^The photo is damaged or cut short \(.*\).$")


def test_files_that_cannot_be_opened_say_why(tmp_path, monkeypatch):
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    _assert_refused(tmp_path / "loop.jpg", "^loop.jpg is a link that leads back to itself.$")
    _assert_refused(tmp_path, "is a folder.$")
    os.mkfifo(tmp_path / "pipe.jpg")
    _assert_refused(tmp_path / "pipe.jpg", "^pipe.jpg is no ordinary file.$")
    (tmp_path / "closed.jpg").write_bytes(b"x")
    # The super-user may read every file, so the system's answer is played.
    monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    _assert_refused(tmp_path / "closed.jpg", "^closed.jpg may not be read: you have no right to it.$")


def test_a_name_never_moves_the_cursor_of_a_terminal():
    _assert_refused(b"", r"^a\?\[2Jb.jpg is empty.$", name="a\x1b[2Jb.jpg")


def test_pillow_s_limit_comes_back_after_photos_that_were_read_at_once(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    source = _encode(Image.new("RGB", (200, 200), RED))
    threads = [threading.Thread(target=photos.load_photo, args=(source, 8)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Image.MAX_IMAGE_PIXELS == 50
