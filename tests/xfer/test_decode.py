"""Whatever is in a file, it becomes a square of pixels or a typed refusal."""

import io
import os
import pickle
import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xfer.data.decode import (
    MAX_BYTES,
    DecodeError,
    decode_image,
    looks_like_image,
    max_pixels,
    read_image_file,
)
from xfer.data.dicom import EXTRA
from xfer.errors import DataError

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
COLOUR = np.dstack([RAMP, RAMP.T, 255 - RAMP])


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def refused(raw) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode_image(raw, size=32)
    return caught.value


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGB", "PNG"),
        ("RGBA", "PNG"), ("L", "JPEG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("CMYK", "TIFF"),
        ("RGB", "BMP"), ("RGB", "TIFF"), ("RGB", "WEBP"), ("RGB", "PPM"), ("RGB", "JPEG2000"),
        ("I;16", "PNG"), ("I;16", "TIFF"), ("I", "TIFF"), ("F", "TIFF"), ("YCbCr", "JPEG"),
    ],
)  # fmt: skip
def test_every_mode_becomes_a_square_of_bytes(mode, form, channels):
    image = Image.fromarray(COLOUR)
    if mode in ("I;16", "I", "F"):
        deep = RAMP.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
        image = Image.fromarray(deep)
    else:
        image = image.convert(mode)
    pixels = decode_image(encoded(image, form), size=32, channels=channels)
    assert pixels.shape == (32, 32, channels)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("interpolation", [None, "bilinear", "bicubic"])
def test_the_resize_is_pillows_antialiased_one(interpolation):
    image = Image.fromarray(COLOUR)
    kernel = Image.Resampling[(interpolation or "bilinear").upper()]
    asked = {} if interpolation is None else {"interpolation": interpolation}
    expected = np.asarray(image.resize((20, 20), kernel))
    np.testing.assert_array_equal(decode_image(encoded(image), size=20, **asked), expected)
    np.testing.assert_array_equal(decode_image(COLOUR, size=20, **asked), expected)


def test_a_wide_image_is_squashed():
    wide = np.repeat(RAMP, 2, axis=1)
    pixels = decode_image(wide, size=32, channels=1)[..., 0]
    assert pixels[0, 0] < 8
    assert pixels[0, -1] > 240


def test_gray_becomes_three_equal_channels():
    pixels = decode_image(RAMP, size=64)
    np.testing.assert_array_equal(pixels, np.dstack([RAMP] * 3))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(form):
    deep = np.linspace(0, 65_535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    expected = np.rint(deep / 257).astype(np.uint8)
    for raw in (encoded(Image.fromarray(deep), form), deep):
        np.testing.assert_array_equal(decode_image(raw, size=64, channels=1)[..., 0], expected)


def test_dark_sixteen_bits_stay_dark():
    deep = np.full((8, 8), 200, np.uint16)  # 200 / 257 = .78
    for raw in (encoded(Image.fromarray(deep)), deep):
        assert decode_image(raw, size=8).max() == 1


def test_big_endian_sixteen_bits_give_the_same_pixels():
    deep = np.linspace(0, 65_535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    raw = b"P5 64 64 65535\n" + deep.astype(">u2").tobytes()
    pixels = decode_image(raw, size=64, channels=1)[..., 0]
    np.testing.assert_array_equal(pixels, np.rint(deep / 257).astype(np.uint8))


@pytest.mark.parametrize(
    ("high", "scale"), [(1.0, 255.0), (255.0, 1.0), (65_535.0, 1 / 257)], ids=["1", "255", "65535"]
)
def test_floats_are_scaled_by_their_range(high, scale):
    deep = np.linspace(0, high, 64 * 64, dtype=np.float32).reshape(64, 64)
    expected = np.rint(deep * np.float32(scale)).astype(np.uint8)
    for raw in (encoded(Image.fromarray(deep), "TIFF"), deep):
        pixels = decode_image(raw, size=64, channels=1)[..., 0]
        np.testing.assert_allclose(pixels.astype(int), expected.astype(int), atol=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 70_000.0])
def test_floats_out_of_any_range_are_refused(value):
    assert refused(np.full((8, 8), value, dtype=np.float32)).kind == "unreadable"


def test_transparent_parts_become_black():
    clear = np.dstack([COLOUR, np.zeros((64, 64), np.uint8)])
    assert decode_image(encoded(Image.fromarray(clear)), size=16).max() == 0
    half = np.dstack([np.full((64, 64, 3), 200, np.uint8), np.full((64, 64), 128, np.uint8)])
    assert decode_image(half, size=16).mean() == pytest.approx(100, abs=1)


def test_a_transparent_palette_entry_becomes_black():
    palette = Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).quantize(2)
    raw = encoded(palette, transparency=int(np.asarray(palette)[0, 0]))
    assert decode_image(raw, size=16).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    upright = Image.fromarray(COLOUR)
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright if orientation == 1 else upright.transpose(inverse[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(stored, "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(raw, size=64), COLOUR)


def test_an_image_is_turned_upright_before_it_is_padded():
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = encoded(Image.new("L", (64, 32), 200), exif=exif)  # wide in the file, tall to the eye
    pixels = decode_image(raw, size=16, fit="pad", channels=1)[..., 0]
    assert pixels[:, 4:12].min() == 200
    assert pixels[:, [3, 12]].max() == 0


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_does_not_cost_the_image():
    raw = encoded(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fjunk")
    assert decode_image(raw, size=64).shape == (64, 64, 3)


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.fromarray(np.full((16, 16), value, np.uint8)) for value in (10, 200)]
    raw = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(raw, size=16).max() == 10


def test_a_wrong_ending_does_not_matter(tmp_path):
    path = tmp_path / "really_a_png.jpeg"
    path.write_bytes(encoded(Image.fromarray(COLOUR)))
    np.testing.assert_array_equal(decode_image(read_image_file(path), size=64), COLOUR)
    assert looks_like_image(path)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises this many pixels."""

    def part(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0" * 1000)) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize("side", [9_500, 14_000, 60_000], ids=["over", "twice", "bomb"])
def test_more_pixels_than_the_limit_are_oversized(side, tmp_path):
    error = refused(png_claiming(side, side))
    assert error.kind == "oversized"
    assert "limit" in error.reason or "exceeds" in error.reason
    path = tmp_path / "bomb.txt"
    path.write_bytes(png_claiming(side, side))
    assert looks_like_image(path)


def test_the_pixel_limit_can_be_set(monkeypatch):
    monkeypatch.setenv("XFER_MAX_PIXELS", "4095")
    error = refused(COLOUR)
    assert error.kind == "oversized"
    assert "64 x 64 = 4,096 pixels; at most 4,095" in error.reason
    assert refused(encoded(Image.fromarray(COLOUR))).kind == "oversized"
    monkeypatch.setenv("XFER_MAX_PIXELS", "4096")
    assert decode_image(COLOUR, size=8).shape == (8, 8, 3)


def test_the_pixel_limit_can_be_raised_above_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    monkeypatch.setenv("XFER_MAX_PIXELS", "5000")
    assert decode_image(encoded(Image.fromarray(COLOUR)), size=8).shape == (8, 8, 3)


@pytest.mark.parametrize("text", ["", "many", "0", "-1", "1e9"])
def test_a_wrong_pixel_limit_is_named(text, monkeypatch):
    monkeypatch.setenv("XFER_MAX_PIXELS", text)
    with pytest.raises(DataError, match="XFER_MAX_PIXELS must be a whole number above 0"):
        max_pixels()


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(DecodeError, match="oversized"):
        read_image_file(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    with pytest.raises(DecodeError, match="not a regular file"):
        read_image_file(path)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", "unreadable"),
        (b"this is a letter, not a picture", "not_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_image"),
        (b"%PDF-1.7\n", "not_image"),
        (b"P6 64 64 255\n12", "unreadable"),
        (np.zeros((3, 4, 5, 6), np.uint8), "not_image"),
        (np.zeros((4, 4, 2), np.uint8), "not_image"),
        (np.zeros((0, 4), np.uint8), "unreadable"),
        (np.zeros((4, 4), "U1"), "not_image"),
        (np.zeros((4, 4), bool), "not_image"),
        (np.zeros((4, 4, 3), np.uint16), "unreadable"),
    ],
)
def test_what_is_no_image_is_refused_by_kind(raw, kind):
    assert refused(raw).kind == kind


def test_without_its_extra_dicom_is_refused_by_what_would_read_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    assert refused(bytes(128) + b"DICM").reason == f"it is DICOM, and {EXTRA}"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF"])
def test_half_a_file_is_unreadable(form):
    raw = encoded(Image.fromarray(COLOUR), form)
    assert refused(raw[: len(raw) // 2]).kind == "unreadable"


def test_a_refusal_survives_pickling():
    error = pickle.loads(pickle.dumps(DecodeError("oversized", "too many")))
    assert (error.kind, error.reason) == ("oversized", "too many")


GOOD = [
    encoded(Image.fromarray(COLOUR), form)
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
]


@given(
    raw=st.sampled_from(GOOD),
    cut=st.integers(0, 4_000),
    changes=st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 255)), max_size=20),
)
def test_no_damage_raises_anything_but_a_refusal(raw, cut, changes):
    damaged = bytearray(raw[: len(raw) - cut % len(raw)])
    for at, value in changes:
        damaged[at % len(damaged)] = value
    try:
        result = decode_image(bytes(damaged), size=16)
    except DecodeError as error:
        result = error
    if isinstance(result, DecodeError):
        assert result.kind in ("unreadable", "not_image", "oversized")
        assert result.reason
    else:
        assert result.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"fit": "stretch"}, "fit must be one of squash, pad, crop, got 'stretch'"),
        ({"channels": 2}, "channels must be 1 or 3, got 2"),
        (
            {"interpolation": "nearest"},
            "interpolation must be one of bilinear, bicubic, got 'nearest'",
        ),
    ],
)
def test_a_wrong_request_is_the_callers_error(asked, said):
    with pytest.raises(ValueError, match=said):
        decode_image(COLOUR, size=8, **asked)
