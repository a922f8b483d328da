"""Images that were changed first and split afterwards set off the alarm, and no others do."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xfer.augment import augmented
from xfer.data.copies import CORRELATION, SMALLEST, find_changed_copies
from xfer.data.phantoms import draw_phantom, plan_phantoms
from xfer.data.registration import agreement, evened, registered, warped
from xfer.recipe import Augment

STUDY_C = Augment(mode="fresh", flip_horizontal=True, rotation=15, shift=0.1, shear=0.2, zoom=0.2)
STUDY_D = Augment(mode="fresh", flip_horizontal=True, rotation=30, zoom=0.25)


def textures(count, *, side=96, seed=0):
    """Gray images of clouds of several sizes and a few edges: uint8 (count, side, side, 1)."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(side)
    radius = np.hypot(frequency[:, None], frequency) + 1 / side
    waves = np.fft.fft2(rng.normal(0, 1, (count, side, side))) / radius**1.5
    clouds = np.fft.ifft2(waves).real
    clouds += clouds.std() * (np.roll(clouds, side // 3, axis=1) > 0)
    clouds = (clouds - clouds.mean((1, 2), keepdims=True)) / clouds.std((1, 2), keepdims=True)
    return np.clip(128 + 45 * clouds, 0, 255).astype(np.uint8)[..., None]


def changed(pixels, augment, *, seed=0):
    """A changed view of every image."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    views = augmented(images, augment, range(seed, seed + len(pixels)))
    return (255 * views).round().byte().permute(0, 2, 3, 1).numpy()


def parts(train, *others):
    """Train, then val, then test, of so many images."""
    ends = np.cumsum([train, *others])
    names = ("train", "val", "test")
    return {
        name: np.arange(end - size, end)
        for name, size, end in zip(names, (train, *others), ends, strict=False)
    }


def test_changed_copies_are_found_with_their_training_images():
    images = textures(40)
    pixels = np.concatenate([images, changed(images[:8], STUDY_C), textures(8, seed=1)])
    found = find_changed_copies(pixels, parts(40, 8, 8))
    assert found.searched == 16
    assert found.among == 40
    assert found.not_searched is None
    assert found.found == tuple((40 + i, i) for i in range(8))
    assert min(found.correlations) >= CORRELATION


@pytest.mark.parametrize("side", [64, 128])
def test_rotated_zoomed_and_gamma_corrected_copies_are_found(side):
    images = textures(30, side=side)
    copies = changed(images[:10], STUDY_D)
    copies = (255 * (copies / 255) ** 0.6).astype(np.uint8)
    found = find_changed_copies(np.concatenate([images, copies]), parts(30, 0, 10)).found
    assert len(found) >= 8
    assert all(copy - 30 == image for copy, image in found)


def test_copies_in_colour_are_found():
    images = np.concatenate([textures(20, seed=seed) for seed in range(3)], axis=3)
    pixels = np.concatenate([images, changed(images[:5], STUDY_C)])
    assert find_changed_copies(pixels, parts(20, 5)).found == tuple((20 + i, i) for i in range(5))


def test_phantoms_of_different_patients_are_no_copies():
    plan = plan_phantoms(100, seed=0)
    pixels = np.stack([draw_phantom(phantom) for phantom in plan])[..., None]
    cut = next(i for i in range(80, 100) if plan[i].patient != plan[i - 1].patient)
    found = find_changed_copies(pixels, parts(cut, 100 - cut), sample=12)
    assert found.searched == 12
    assert found.found == ()


def test_what_is_known_is_not_found_again():
    images = textures(20)
    pixels = np.concatenate([images, changed(images[:2], STUDY_C)])
    found = find_changed_copies(pixels, parts(20, 2), known=[(0, 20), (5, 6)])
    assert found.searched == 2
    assert found.found == ((21, 1),)


def test_one_training_image_that_is_known_leaves_nothing_to_find():
    pixels = np.concatenate([textures(1)] * 2)
    assert find_changed_copies(pixels, parts(1, 1), known=[(0, 1)]).found == ()


def test_half_of_the_sample_is_of_each_part_and_a_seed_repeats_it():
    pixels = np.concatenate([textures(10)] * 4)  # so that `found` names every sampled image
    splits = parts(10, 20, 10)
    found = find_changed_copies(pixels, splits, sample=6, seed=3)
    assert found.searched == len(found.found) == 6
    assert sum(copy < 30 for copy, _ in found.found) == 3
    assert found == find_changed_copies(pixels, splits, sample=6, seed=3)
    other = find_changed_copies(pixels, splits, sample=6, seed=4)
    assert [copy for copy, _ in found.found] != [copy for copy, _ in other.found]


@pytest.mark.parametrize(("val", "test", "of_val"), [(1, 9, 1), (9, 1, 5), (0, 9, 0), (9, 0, 6)])
def test_a_part_too_small_for_its_half_leaves_it_to_the_other(val, test, of_val):
    pixels = np.concatenate([textures(10)] * 2)[: 10 + val + test]
    found = find_changed_copies(pixels, parts(10, val, test), sample=6).found
    assert len(found) == 6
    assert sum(copy < 10 + val for copy, _ in found) == of_val


def test_flat_images_and_faint_noise_match_nothing():
    rng = np.random.default_rng(0)
    flat = np.full((4, 96, 96, 1), 90, np.uint8)
    faint = rng.integers(0, 2, (4, 96, 96, 1), dtype=np.uint8)
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint8)[None, :, None, None], (4, 96, 96, 1))
    pixels = np.concatenate([flat, faint, ramp] * 2)
    assert find_changed_copies(pixels, parts(12, 12)).found == ()


def test_a_common_frame_on_different_images_makes_no_copies():
    pixels = textures(20)
    frame = textures(1, seed=9)
    pixels[:, :20], pixels[:, -20:] = frame[:, :20], frame[:, -20:]
    assert find_changed_copies(pixels, parts(16, 4)).found == ()


def test_images_too_small_or_enlarged_are_not_searched():
    small = find_changed_copies(textures(20, side=SMALLEST - 1), parts(10, 10))
    assert small.searched == 0
    assert small.found == ()
    assert "63 pixels" in small.not_searched
    assert "64 or more" in small.not_searched
    enlarged = [
        np.asarray(Image.fromarray(image[..., 0]).resize((96, 96), Image.Resampling.BICUBIC))
        for image in textures(20, side=28)
    ]
    found = find_changed_copies(np.stack(enlarged)[..., None], parts(10, 10))
    assert found.searched == 0
    assert "enlarged" in found.not_searched


def test_parts_without_images_are_told():
    pixels = textures(4)
    assert "in train" in find_changed_copies(pixels, parts(0, 4)).not_searched
    assert "in val or test" in find_changed_copies(pixels, parts(4)).not_searched


def test_more_training_images_than_the_limit_are_sampled(monkeypatch):
    monkeypatch.setattr("xfer.data.copies.MOST", 12)
    assert find_changed_copies(textures(24), parts(20, 4)).among == 12


# --------------------------------------------------------------------------------------------------
# Registration


def test_known_maps_are_found_back():
    """What a map shows of an image is registered back onto the image by that map."""
    images = evened(textures(6), 96)
    rng = np.random.default_rng(0)
    truth = np.array([[1, 0, 0], [0, 1, 0]]) + rng.uniform(-0.08, 0.08, (6, 2, 3))
    maps = torch.from_numpy(truth).float()
    seen, _ = warped(images, maps)
    start = torch.eye(2, 3).repeat(6, 1, 1)
    assert agreement(images, seen, start).max() < 0.5
    found = registered(images, seen, start, steps=12)
    np.testing.assert_allclose(found, maps, atol=2e-3)
    assert agreement(images, seen, found).min() > 0.99


def test_brightness_and_contrast_leave_evened_images_as_they_are():
    pixels = textures(3)
    darker = (40 + pixels * 0.5).astype(np.uint8)
    same = torch.eye(2, 3).repeat(3, 1, 1)
    assert agreement(evened(pixels, 96), evened(darker, 96), same).min() > 0.98


def test_images_that_hardly_overlap_cannot_be_compared():
    images = evened(textures(2), 96)
    apart = torch.tensor([[1.0, 0, 1.5], [0, 1, 0]]).repeat(2, 1, 1)
    assert (agreement(images, images, apart) == -1).all()


# --------------------------------------------------------------------------------------------------
# Real images


def read(name):
    """All images of a set, gray: uint8 (images, 224, 224, 1); and whether each is for training."""
    files = sorted(file for file in (Path(os.environ["XFER_DATA"]) / name).rglob("*.*"))
    images = [Image.open(file).convert("L").resize((224, 224)) for file in files]
    train = np.array(["train" in file.parts for file in files])
    return np.stack([np.asarray(image) for image in images])[..., None], train


@pytest.mark.slow
@pytest.mark.skipif("XFER_DATA" not in os.environ, reason="XFER_DATA is not set")
@pytest.mark.parametrize("name", ["chest_xray", "cats_dogs"])
def test_the_alarm_goes_off_where_study_c_changed_first_and_split_afterwards(name):
    """Five views of each image, in parts at random; and none where the images are as they came."""
    images, train = read(name)
    as_they_came = find_changed_copies(
        images, {"train": np.flatnonzero(train), "test": np.flatnonzero(~train)}
    )
    assert as_they_came.searched == 50
    assert as_they_came.found == ()

    views = [changed(images, STUDY_C, seed=1000 * k) for k in range(1, 5)]
    order = np.random.default_rng(0).permutation(5 * len(images))
    splits = dict(zip(("train", "val", "test"), np.split(order, [2100, 2550]), strict=True))
    found = find_changed_copies(np.concatenate([images, *views]), splits)
    assert found.searched == 50
    assert len(found.found) >= 40
    assert all(copy % len(images) == image % len(images) for copy, image in found.found)
