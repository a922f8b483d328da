"""The same picture is found however it was saved, and no other is taken for it."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from xfer.data.decode import decode_image
from xfer.data.duplicates import RADIUS, Duplicates, look_through
from xfer.data.hashing import close_pairs, perceptual_hashes, spectra
from xfer.data.light import light, without_colour
from xfer.data.phantoms import draw_phantom, plan_phantoms

NOTHING = Duplicates((), ())


def find_duplicates(pixels, **given):
    return look_through(pixels, **given).copies


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def resized(image):
    small = image.resize([side * 6 // 10 for side in image.size], Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.BILINEAR)


ALTERED = {
    "quality 60": lambda image: jpeg(image, 60),
    "quality 30": lambda image: jpeg(image, 30),
    "resized": resized,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
}


def stored(images, *, size=224, channels=1):
    return np.stack([decode(image, size, channels) for image in images])


def decode(image, size, channels):
    file = io.BytesIO()
    image.save(file, "PNG")
    return decode_image(file.getvalue(), size=size, channels=channels)


@pytest.fixture(scope="module")
def phantoms():
    return [Image.fromarray(draw_phantom(plan)) for plan in plan_phantoms(60, seed=3)]


@pytest.mark.parametrize(("size", "channels"), [(224, 1), (64, 3)])
def test_planted_copies_are_found_and_no_others(phantoms, size, channels):
    images = list(phantoms)
    near = []
    for i, alter in enumerate(ALTERED.values()):
        near.append((i, len(images)))
        images.append(alter(phantoms[i]))
    exact = [(i, len(images) + i - 20) for i in range(20, 25)]
    images += phantoms[20:25]
    found = find_duplicates(stored(images, size=size, channels=channels))
    assert found.exact == tuple(exact)
    assert found.near == tuple(near)


class Counted:
    """Pixels that count how often each image is read."""

    def __init__(self, pixels):
        self.pixels, self.shape = pixels, pixels.shape
        self.reads = np.zeros(len(pixels), int)

    def __getitem__(self, rows):
        np.add.at(self.reads, rows, 1)
        return self.pixels[rows]


@pytest.mark.parametrize("threads", [1, 3])
def test_one_look_tells_copies_and_light(threads):
    rng = np.random.default_rng(0)
    pixels = Counted(
        rng.integers(0, rng.integers(1, 256, 21)[:, None, None, None], (21, 64, 64, 3))
    )
    pixels.pixels = pixels.pixels.astype(np.uint8)
    looked = look_through(pixels, threads=threads)
    assert looked.copies == NOTHING
    assert (pixels.reads == 1).all()
    lines = pixels.pixels[:, ::2].reshape(21, -1).astype(object)  # whole numbers, exact
    total, squares, count = lines.sum(axis=1), (lines**2).sum(axis=1), lines.shape[1]
    variance = (count * squares - total**2).astype(np.int64)
    expected = np.stack([total.astype(float) / count, np.sqrt(variance) / count], axis=1)
    np.testing.assert_array_equal(looked.light, expected)  # to the bit, and whoever stands beside


@given(
    side=st.integers(1, 40),
    image=st.integers(0, 2),
    place=st.integers(0, 40 * 40 * 3 - 1),
    bit=st.integers(0, 7),
)
def test_an_image_without_colour_is_one_channel_and_a_bit_of_colour_is_seen(
    side, image, place, bit
):
    one = np.random.default_rng(side).integers(0, 256, (3, side, side, 1), dtype=np.uint8)
    gray = np.repeat(one, 3, axis=3)
    np.testing.assert_array_equal(without_colour(gray), one)
    assert without_colour(one) is one
    coloured = gray.copy()
    coloured[image].reshape(-1)[place % gray[image].size] ^= 1 << bit
    assert without_colour(coloured) is coloured


@pytest.mark.parametrize("side", [5, 28, 57, 100])
def test_one_channel_that_stands_for_three_is_as_light_as_they_are(side):
    one = np.random.default_rng(0).integers(0, 256, (40, side, side, 1), dtype=np.uint8)
    np.testing.assert_array_equal(light(one, alike=3), light(np.repeat(one, 3, axis=3)))
    assert light(one[:0]).shape == (0, 2)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (28, 3), (32, 1), (96, 3)])
def test_different_phantoms_are_no_duplicates(phantoms, size, channels):
    assert find_duplicates(stored(phantoms, size=size, channels=channels)) == NOTHING


def test_small_images_that_were_brightened_are_near(phantoms):
    images = [*phantoms, ALTERED["brighter"](phantoms[7]), ALTERED["less contrast"](phantoms[9])]
    assert find_duplicates(stored(images, size=28)).near == ((7, 60), (9, 61))


@pytest.mark.parametrize("size", [8, 16, 28, 224])
def test_images_of_one_colour_are_copies_of_their_own_and_of_nothing_else(size):
    levels = [0, 0, 1, 128, 128, 255, 0]
    pixels = np.stack([np.full((size, size, 3), level, np.uint8) for level in levels])
    noise = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    pixels = np.concatenate([pixels, noise])
    assert find_duplicates(pixels) == Duplicates(((0, 1, 6), (3, 4)), ())


def test_dark_images_with_noise_of_a_level_are_no_copies():
    noise = np.random.default_rng(0).integers(0, 2, (40, 64, 64, 1), dtype=np.uint8)
    assert find_duplicates(noise) == NOTHING


def test_one_speck_on_images_of_different_colours_makes_no_copies_of_them():
    pixels = np.stack([np.full((64, 64, 1), level, np.uint8) for level in (10, 90, 200)])
    pixels[:, 30, 21] += 8
    assert find_duplicates(pixels) == NOTHING


def test_marks_in_different_places_of_a_black_image_are_no_copies():
    pixels = np.zeros((9, 64, 64, 1), np.uint8)
    for i in range(9):
        pixels[i, 20 * (i // 3) : 20 * (i // 3) + 8, 20 * (i % 3) : 20 * (i % 3) + 8] = 255
    assert find_duplicates(pixels) == NOTHING


def test_a_negative_is_no_copy(phantoms):
    pixels = stored(phantoms[:1])
    assert find_duplicates(np.concatenate([pixels, 255 - pixels])) == NOTHING


def test_close_hashes_are_not_enough():
    """The same coarse pattern under three textures of frequencies that the hash does not see."""
    rng = np.random.default_rng(0)
    frequency = np.cos(np.pi / 64 * np.outer(np.arange(32), np.arange(64) + 0.5))
    ground = frequency[:16].T @ rng.normal(0, 1.2, (16, 16)) @ frequency[:16]
    pixels = 128 + ground[None] + 60 * frequency[[24, 26, 28], None, :]
    pixels = np.clip(pixels, 0, 255).round().astype(np.uint8)[..., None]
    hashes, flat = perceptual_hashes(pixels)
    assert not flat.any()
    assert np.bitwise_count(hashes[:1] ^ hashes).sum(axis=1).max() <= RADIUS
    assert find_duplicates(pixels) == NOTHING


def test_smaller_images_have_exact_duplicates_only():
    pixels = np.random.default_rng(0).integers(0, 100, (2, 24, 24, 1), dtype=np.uint8)
    pixels = np.concatenate([pixels, pixels + 20, pixels[:1]])
    assert find_duplicates(pixels) == Duplicates(((0, 4),), ())


def test_images_that_differ_in_one_channel_alone_are_no_copies():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    pixels = np.repeat(pixels, 3, axis=0)
    pixels[1, ..., 1], pixels[2, ..., 2] = 255 - pixels[1, ..., 1], 0
    assert find_duplicates(pixels).exact == ()


def test_copies_are_found_whoever_stands_beside_them(phantoms):
    gray = stored(phantoms[:20], size=64, channels=3)
    coloured = gray[:6].copy()
    coloured[..., 2] //= 2
    pixels = np.concatenate([gray, coloured, gray[4:6], coloured[:2]])
    assert find_duplicates(pixels).exact == ((4, 26), (5, 27), (20, 28), (21, 29))


def test_one_image_and_no_image_have_no_copies():
    assert find_duplicates(np.zeros((1, 32, 32, 3), np.uint8)) == NOTHING
    assert find_duplicates(np.zeros((0, 32, 32, 3), np.uint8)) == NOTHING


def test_an_exact_copy_of_a_near_copy_is_the_same_picture(phantoms):
    dark = ALTERED["darker"](phantoms[0])
    images = [phantoms[0], dark, phantoms[1], dark, phantoms[0]]
    found = find_duplicates(stored(images))
    assert found == Duplicates(((0, 4), (1, 3)), ((0, 1),))
    assert found.same == ((0, 1, 3, 4),)


def test_threads_and_batches_change_nothing(phantoms):
    pixels = stored([*phantoms, *phantoms[5:50], ALTERED["resized"](phantoms[2])], size=64)
    assert find_duplicates(pixels, threads=1) == find_duplicates(pixels, threads=5)


# --------------------------------------------------------------------------------------------------
# The hash and its index

WORDS = st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4)


def brute_force(hashes, radius):
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2)
    return np.argwhere(np.triu(distance <= radius, k=1))


@given(
    centres=st.lists(WORDS, min_size=1, max_size=3),
    flips=st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 255), max_size=40))),
    radius=st.integers(0, 40),
)
def test_the_index_finds_what_brute_force_finds(centres, flips, radius):
    hashes = np.array(centres, dtype=np.uint64)
    near = []
    for centre, bits in flips:
        near.append(hashes[centre % len(hashes)].copy())
        for bit in bits:
            near[-1][bit // 64] ^= np.uint64(1 << bit % 64)
    hashes = np.unique(np.stack([*hashes, *near]), axis=0)
    np.testing.assert_array_equal(close_pairs(hashes, radius), brute_force(hashes, radius))


@pytest.mark.parametrize("distance", [24, 25])
def test_the_index_draws_the_line_at_the_radius(distance):
    rng = np.random.default_rng(distance)
    pairs = np.zeros((30, 256), np.uint8)
    for row in pairs:
        row[rng.permutation(255)[:distance]] = 1
    for row in pairs:
        hashes = np.packbits(np.stack([row, np.zeros_like(row)]), axis=1).view(np.uint64)
        assert len(close_pairs(hashes, 24)) == (distance == 24)


def test_crowded_tables_are_walked_in_blocks(monkeypatch):
    monkeypatch.setattr("xfer.data.hashing._AT_ONCE", 50)
    bits = np.random.default_rng(0).random((300, 256)) < 0.04
    hashes = np.unique(np.packbits(bits, axis=1).view(np.uint64), axis=0)
    expected = brute_force(hashes, 12)
    assert len(expected) > 100
    np.testing.assert_array_equal(close_pairs(hashes, 12), expected)


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (64, 3)])
def test_spectra_are_scipys_cosine_transform(side, channels):
    from scipy.fft import dctn

    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, channels), dtype=np.uint8)
    gray = pixels @ (np.array([0.299, 0.587, 0.114]) if channels == 3 else np.ones(1))
    oracle = dctn(gray, axes=(1, 2), norm="ortho")[:, :16, :16]
    np.testing.assert_allclose(spectra(pixels, 16), oracle, atol=0.01)


def test_a_bit_says_whether_a_frequency_is_above_the_median():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 1), dtype=np.uint8)
    pixels[3:] //= 128  # many are equal
    values = spectra(pixels, 16).reshape(6, -1)[:, 1:]
    bits = np.unpackbits(perceptual_hashes(pixels)[0].view(np.uint8), axis=1)[:, :255]
    np.testing.assert_array_equal(bits, values > np.median(values, axis=1, keepdims=True))


# --------------------------------------------------------------------------------------------------
# Real images


@pytest.mark.skipif("XFER_DATA" not in os.environ, reason="XFER_DATA is not set")
def test_planted_copies_of_chest_x_rays_are_found_and_no_others():
    files = sorted((Path(os.environ["XFER_DATA"]) / "chest_xray").rglob("*.*"))[::5]
    images = [Image.open(file).convert("L") for file in files]
    near = []
    for i, alter in enumerate([*ALTERED.values()] * 3):
        near.append((i, len(images)))
        images.append(alter(images[i]))
    assert find_duplicates(stored(images)) == Duplicates((), tuple(near))
