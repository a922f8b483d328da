"""Any shape becomes a square: what is kept, where it lies, and that nothing is refused for it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from xfer.data.decode import decode_image
from xfer.data.square import FILTERS, FITS, to_square

SIDES = st.integers(1, 90)
SIZES = st.integers(8, 40)


def noise(width: int, height: int) -> Image.Image:
    """In floats, which Pillow does not round between its two passes."""
    values = np.random.default_rng(0).uniform(0, 255, (height, width))
    return Image.fromarray(values.astype(np.float32))


def square(image: Image.Image, size: int, fit: str, interpolation: str = "bilinear") -> np.ndarray:
    pixels = to_square(image, size=size, fit=fit, interpolation=interpolation)
    return np.asarray(pixels).astype(float)


@given(width=SIDES, height=SIDES, size=SIZES, interpolation=st.sampled_from(list(FILTERS)))
def test_crop_is_the_middle_of_the_whole_image_scaled(width, height, size, interpolation):
    image = noise(width, height)
    oracle = ImageOps.fit(image, (size, size), FILTERS[interpolation])
    pixels = square(image, size, "crop", interpolation)
    np.testing.assert_allclose(pixels, np.asarray(oracle), atol=1e-3)


@pytest.mark.parametrize(("width", "height"), [(3, 4_000), (5_001, 8)])
def test_what_lies_far_from_the_middle_has_no_say_in_a_crop(width, height):
    image = noise(width, height)
    oracle = np.asarray(ImageOps.fit(image, (16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(square(image, 16, "crop", "bicubic"), oracle, atol=1e-3)


@pytest.mark.parametrize("turned", [False, True])
def test_the_crop_of_seventeen_million_pixels_is_their_middle_to_the_half(turned):
    line = np.zeros((1, 2**24 + 2), np.uint8)
    line[0, 2**23 : 2**23 + 2] = 255
    pixels = square(Image.fromarray(line.T if turned else line), 8, "crop")
    np.testing.assert_array_equal(pixels, np.full((8, 8), 255))


@given(width=SIDES, height=SIDES, size=SIZES, interpolation=st.sampled_from(list(FILTERS)))
def test_pad_is_the_whole_image_on_black(width, height, size, interpolation):
    image = noise(width, height)
    longer = max(width, height)
    wide, high = (max(1, int(side * size / longer + 0.5)) for side in (width, height))
    left, top = (size - wide) // 2, (size - high) // 2
    oracle = np.zeros((size, size))
    resized = image.resize((wide, high), FILTERS[interpolation])
    oracle[top : top + high, left : left + wide] = np.asarray(resized)
    np.testing.assert_array_equal(square(image, size, "pad", interpolation), oracle)
    assert max(wide, high) == size


@pytest.mark.parametrize(
    ("width", "height", "rows", "columns"),
    [
        (40, 20, (4, 12), (0, 16)),
        (20, 40, (0, 16), (4, 12)),
        (16, 11, (2, 13), (0, 16)),  # five empty lines: two above, three below
        (64, 42, (2, 13), (0, 16)),  # 10.5 pixels high: eleven
        (1000, 1, (7, 8), (0, 16)),
        (1, 1000, (0, 16), (7, 8)),
    ],
)
def test_pad_puts_the_image_in_the_middle(width, height, rows, columns):
    pixels = square(Image.new("L", (width, height), 200), 16, "pad")
    expected = np.zeros((16, 16))
    expected[slice(*rows), slice(*columns)] = 200
    np.testing.assert_array_equal(pixels, expected)


@given(side=SIDES, size=SIZES, interpolation=st.sampled_from(list(FILTERS)))
def test_a_square_image_is_the_same_by_every_fit(side, size, interpolation):
    first, *others = (square(noise(side, side), size, fit, interpolation) for fit in FITS)
    for other in others:
        np.testing.assert_array_equal(other, first)


@given(width=SIDES, height=SIDES, size=SIZES, fit=st.sampled_from(list(FITS)))
def test_a_turned_image_has_a_turned_square(width, height, size, fit):
    image = noise(width, height)
    turned = square(image.transpose(Image.Transpose.TRANSPOSE), size, fit)
    np.testing.assert_allclose(turned, square(image, size, fit).T, atol=1e-3)


@given(width=SIDES, height=SIDES, size=SIZES, fit=st.sampled_from(["squash", "crop"]))
def test_no_side_is_preferred(width, height, size, fit):
    image = noise(width, height)
    mirrored = square(ImageOps.mirror(image), size, fit)
    np.testing.assert_allclose(mirrored, square(image, size, fit)[:, ::-1], atol=1e-3)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("fit", FITS)
def test_fine_lines_become_gray_and_not_a_pattern(fit, interpolation):
    board = (np.indices((128, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = square(Image.fromarray(board), 16, fit, interpolation)
    inside = pixels[4:12] if fit == "pad" else pixels
    np.testing.assert_allclose(inside, 127.5, atol=3)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("deep", [np.uint16, np.float32])
def test_deep_images_are_as_flat_ones(deep, interpolation, fit):
    flat = np.random.default_rng(0).integers(60, 196, (30, 70), dtype=np.uint8)
    asked = {"size": 48, "fit": fit, "interpolation": interpolation, "channels": 1}
    raw = flat.astype(deep) * (257 if deep is np.uint16 else 1)
    pixels = decode_image(raw, **asked).astype(int)
    np.testing.assert_allclose(pixels, decode_image(flat, **asked).astype(int), atol=1)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("deep", [np.uint16, np.float32])
def test_what_a_bicubic_filter_overshoots_is_clipped_and_does_not_wrap(deep, fit):
    edge = np.repeat([0.0, 255.0], 8)[None, :].repeat(16, axis=0)
    overshot = square(Image.fromarray(edge.astype(np.float32)), 32, fit, "bicubic")
    assert (overshot.min() < 0, overshot.max() > 255) == (True, True)
    raw = (edge * (257 if deep is np.uint16 else 1)).astype(deep)
    asked = {"size": 32, "fit": fit, "interpolation": "bicubic", "channels": 1}
    pixels = decode_image(raw, **asked)[..., 0].astype(int)
    np.testing.assert_allclose(pixels, overshot.clip(0, 255), atol=1)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (1000, 1), (2, 3), (7, 300)])
def test_no_shape_is_refused(shape, fit, interpolation):
    for channels in (1, 3):
        pixels = decode_image(
            np.full(shape, 90, np.uint8),
            size=24, fit=fit, interpolation=interpolation, channels=channels,
        )  # fmt: skip
        assert pixels.shape == (24, 24, channels)
        assert pixels.flags.c_contiguous
        assert set(np.unique(pixels)) <= {0, 90} - ({0} if fit != "pad" else set())
