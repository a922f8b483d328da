"""Random changes: each is what it is called, within its range, and each image's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_data import CPU, OBJECTIVE, run, tiny_data, tiny_recipe, without_seconds

from xfer.augment import Changes, augmented, changed, draw
from xfer.recipe import Augment
from xfer.seen import to_images
from xfer.train import fit

SEEDS = range(200)
EVERYTHING = replace(Augment.strong(), flip_vertical=True)
STILL = draw(Augment(), [0])


def pattern(height=33, width=33, channels=1):
    """A smooth drawing that ends black before the border and looks like none of its mirrors."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    blobs = [(0.3, 0.1, 0.12, 1.0), (-0.25, 0.2, 0.08, 0.7), (0.1, -0.3, 0.05, 0.5)]
    drawn = sum(h * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * s)) for u, v, s, h in blobs)
    drawn = drawn * np.clip(1.4 - 2 * np.hypot(x, y), 0, 1)
    shades = np.linspace(1, 0.5, channels)[:, None, None]
    return torch.from_numpy((shades * drawn / drawn.max()).astype(np.float32))[None]


def noise_images(images=6, channels=3, height=12, width=10, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (images, height, width, channels))
    return to_images(values.astype(np.uint8), CPU)


def with_changes(**given: float) -> Changes:
    """Changes of one image: those given, and no others."""
    return replace(STILL, **{name: np.array([value]) for name, value in given.items()})


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_rotation_of_quarter_turns_is_that_of_torch(turns, side, channels):
    images = noise_images(1, channels, side, side)
    turned = changed(images, with_changes(rotation=90.0 * turns))
    wanted = torch.rot90(images, turns, dims=(2, 3)) / 255
    torch.testing.assert_close(turned, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "side"), [("flip_horizontal", 3), ("flip_vertical", 2)])
def test_a_flip_is_that_of_torch_bit_for_bit(name, side):
    images = noise_images(5)
    which = np.array([True, False, True, False, False])
    changes = replace(draw(Augment(), range(5)), **{name: which})
    found = changed(images, changes)
    for image, result, flipped in zip(images, found, which, strict=True):
        assert torch.equal(result, (image.flip(side - 1) if flipped else image).float() / 255)


def test_a_shift_of_whole_pixels_moves_them_and_leaves_black():
    images = noise_images(1, 3, 12, 10)
    found = changed(images, with_changes(shift_x=0.2, shift_y=-0.25))  # 2 to the right, 3 up
    torch.testing.assert_close(found[:, :, :9, 2:], images[:, :, 3:, :8] / 255, rtol=0, atol=1e-4)
    assert found[:, :, 9:].abs().max() < 1e-4
    assert found[:, :, :, :2].abs().max() < 1e-4


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"rotation": 37.0}, {"rotation": -37.0}),
        ({"shift_x": 0.1, "shift_y": -0.07}, {"shift_x": -0.1, "shift_y": 0.07}),
        ({"shear": 20.0}, {"shear": -20.0}),
        ({"zoom": 1.25}, {"zoom": 0.8}),
    ],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("size", [(65, 65), (65, 97)])
def test_a_change_and_its_inverse_give_the_image_back(first, then, size):
    images = pattern(*size)
    away = changed(images, with_changes(**first))
    back = changed(away, with_changes(**then))
    assert (away - images).abs().max() > 0.1
    assert (back - images).abs().max() < 0.03


def centre_of_mass(image):
    """(x, y) from the centre, y downwards, in pixels."""
    image = image[0].double()
    y, x = (torch.arange(side) - (side - 1) / 2 for side in image.shape)
    return float((image.sum(0) * x).sum() / image.sum()), float(
        (image.sum(1) * y).sum() / image.sum()
    )


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"rotation": 90.0}, lambda x, y: (y, -x)),  # what lies right goes up
        ({"shear": 45.0}, lambda x, y: (x + y, y)),  # what lies below goes right
        ({"zoom": 1.5}, lambda x, y: (1.5 * x, 1.5 * y)),
        ({"shift_x": 0.1, "shift_y": 0.2}, lambda x, y: (x + 6.1, y + 8.2)),
        ({"rotation": 90.0, "shear": 45.0}, lambda x, y: (y, -x - y)),  # shear comes first
        ({"zoom": 1.5, "shift_x": 0.1}, lambda x, y: (1.5 * x + 6.1, 1.5 * y)),  # shift last
    ],
    ids=str,
)
def test_what_is_seen_goes_where_it_should_in_pixels_whatever_the_sides(changes, place):
    image = torch.zeros(1, 1, 41, 61)
    image[:, :, 23:26, 34:37] = 1  # centre 5 to the right of the middle, 4 below it
    x, y = centre_of_mass(changed(image, with_changes(**changes))[0])
    assert (x, y) == pytest.approx(place(5, 4), abs=0.05)


def test_a_small_rotation_turns_a_wide_image_without_distorting_it():
    image = torch.zeros(1, 1, 40, 80)
    image[:, :, 19:21, 25:55] = 1  # a bar of 30 x 2 pixels
    x, y = np.meshgrid(np.arange(80) - 39.5, np.arange(40) - 19.5)
    bar = changed(image, with_changes(rotation=30.0))[0, 0].numpy().astype(float)
    spread = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=bar.ravel())
    lengths, axes = np.linalg.eigh(spread)
    assert np.degrees(np.arctan(-axes[1, 1] / axes[0, 1])) == pytest.approx(30, abs=0.3)
    assert np.sqrt(12 * lengths[1]) == pytest.approx(30, rel=0.02)


def test_contrast_is_about_middle_gray_and_brightness_is_added():
    images = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).view(1, 1, 1, 5)
    for changes, wanted in [
        ({"contrast": 0.5}, [0.25, 0.375, 0.5, 0.625, 0.75]),
        ({"contrast": 2.0}, [0, 0, 0.5, 1, 1]),
        ({"brightness": 0.125}, [0.125, 0.375, 0.625, 0.875, 1]),
        ({"contrast": 0.5, "brightness": -0.25}, [0, 0.125, 0.25, 0.375, 0.5]),
    ]:
        found = changed(images, with_changes(**changes)).flatten().tolist()
        assert found == pytest.approx(wanted)


def test_noise_has_its_deviation_and_differs_between_channels_and_images():
    gray = torch.full((2, 3, 64, 64), 0.5)
    found = augmented(gray, Augment("fresh", noise=0.05), [1, 2]) - 0.5
    assert found.std().item() == pytest.approx(0.05, rel=0.03)
    assert found.mean().item() == pytest.approx(0, abs=0.002)
    flat = found.flatten(2).flatten(0, 1)
    between = torch.corrcoef(flat) - torch.eye(6)
    assert between.abs().max() < 0.08


@given(
    share=st.floats(0.01, 0.9),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**64 - 1),
)
def test_one_rectangle_is_erased_and_never_more_than_the_share(share, height, width, seed):
    white = torch.ones(1, 3, height, width)
    augment = Augment("fresh", erase=share)
    black = augmented(white, augment, [seed])[0] == 0
    assert torch.equal(black[0], black[1])
    assert torch.equal(black[0], black[2])
    wanted = float(draw(augment, [seed]).erase[0]) * height * width
    assert black[0].sum().item() <= wanted + 1e-9
    rows, columns = black[0].any(1).sum().item(), black[0].any(0).sum().item()
    assert black[0].sum().item() == rows * columns
    if rows:  # not more than its rounding is missing
        assert (rows + 1) * (columns + 1) > wanted


def test_erased_rectangles_reach_every_corner():
    white = torch.ones(400, 1, 8, 8)
    black = augmented(white, Augment("fresh", erase=0.5), range(400))[:, 0] == 0
    reached = black.any(dim=0)
    assert reached.all()


ranges = {
    "rotation": st.floats(0.1, 180),
    "shift": st.floats(0.01, 1),
    "shear": st.floats(0.1, 60),
    "brightness": st.floats(0.01, 1),
    "contrast": st.floats(0.01, 1),
}
FIELDS = {"shift": ("shift_x", "shift_y")}


@pytest.mark.parametrize("name", ranges)
@given(data=st.data())
def test_what_is_drawn_fills_its_range_to_both_sides(name, data):
    limit = data.draw(ranges[name])
    start = data.draw(st.integers(0, 2**63))
    changes = draw(Augment("fresh", **{name: limit}), range(start, start + 200))
    middle = 1.0 if name == "contrast" else 0.0
    for field in FIELDS.get(name, (name,)):
        values = getattr(changes, field) - middle
        assert np.abs(values).max() <= limit * (1 + 1e-12)
        assert values.min() < -0.8 * limit
        assert values.max() > 0.8 * limit
        assert abs(values.mean()) < 0.25 * limit  # six deviations of a mean of 200


@given(low=st.floats(0.1, 10), high=st.floats(0.1, 10), seed=st.integers(0, 2**63))
def test_zoom_is_drawn_between_its_factors(low, high, seed):
    low, high = sorted((low, high))
    if low == high == 1:
        return
    zoom = draw(Augment("fresh", zoom=(low, high)), range(seed, seed + 100)).zoom
    assert (zoom >= low).all()
    assert (zoom <= high * (1 + 1e-12)).all()
    assert zoom.max() - zoom.min() >= 0.8 * (high - low)


def test_one_number_of_zoom_reaches_as_far_down_as_up():
    zoom = draw(Augment("fresh", zoom=0.25), SEEDS).zoom
    assert 0.75 <= zoom.min() < 0.8
    assert 1.2 < zoom.max() <= 1.25


def test_half_of_the_images_are_flipped():
    flips = draw(Augment("fresh", flip_horizontal=True), range(1000))
    assert 0.45 < flips.flip_horizontal.mean() < 0.55
    assert not flips.flip_vertical.any()


def test_a_change_does_not_move_what_the_others_draw():
    alone, together = draw(Augment("fresh", rotation=20), SEEDS), draw(EVERYTHING, SEEDS)
    np.testing.assert_array_equal(alone.rotation, together.rotation)


def acting(changes: Changes) -> np.ndarray:
    """(kinds, images): which changes do something."""
    return np.stack([
        changes.flip_horizontal, changes.flip_vertical, changes.zoom != 1, changes.shear != 0,
        changes.rotation != 0, (changes.shift_x != 0) | (changes.shift_y != 0),
        changes.contrast != 1, changes.brightness != 0, changes.noise != 0, changes.erase != 0,
    ])  # fmt: skip


@pytest.mark.parametrize("augment", [Augment.study_d(), replace(EVERYTHING, one_of=True)])
def test_one_of_gives_each_image_one_change_and_each_change_its_share(augment):
    acts = acting(draw(augment, range(2000)))
    assert (acts.sum(axis=0) == 1).all()
    share = acts.mean(axis=1)
    expected = 1 / len(augment.changes)
    assert share[share > 0] == pytest.approx([expected] * len(augment.changes), abs=0.04)


def test_without_one_of_every_change_acts_on_every_image_but_for_flips():
    assert acting(draw(EVERYTHING, range(50)))[2:].all()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_nothing_changes_stay_bit_for_bit(channels):
    images = noise_images(6, channels)
    found = augmented(images, Augment(), range(6))
    assert torch.equal(found, images.float().div(255))
    assert torch.equal(augmented(found, Augment(), range(6)), found)


def test_an_image_in_a_batch_that_its_seed_leaves_alone_stays_bit_for_bit():
    images, augment = noise_images(60), replace(EVERYTHING, one_of=True)
    seeds = range(60)
    found = augmented(images, augment, seeds)
    same = draw(augment, seeds)
    only_noise = np.flatnonzero(same.noise)
    assert 0 < len(only_noise) < 60
    for row in only_noise:
        alone = with_changes(noise=augment.noise, noise_seed=same.noise_seed[row])
        assert torch.equal(found[row], changed(images[row : row + 1], alone)[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (13, 29)])
@pytest.mark.parametrize("one_of", [False, True])
def test_an_image_becomes_the_same_in_any_batch_bit_for_bit(channels, size, one_of):
    images, augment = noise_images(37, channels, *size), replace(EVERYTHING, one_of=one_of)
    seeds = np.random.default_rng(0).integers(0, 2**63, 37)
    together = augmented(images, augment, seeds.tolist())
    order = np.random.default_rng(1).permutation(37)
    shuffled = augmented(images[order], augment, seeds[order].tolist())
    assert torch.equal(shuffled, together[order])
    for row in (0, 17, 36):
        alone = augmented(images[row : row + 1], augment, [int(seeds[row])])
        assert torch.equal(alone[0], together[row])
    assert together.min() >= 0
    assert together.max() <= 1
    assert not torch.equal(together[0], images[0].float().div(255))


def test_layout_and_threads_do_not_matter_bit_for_bit():
    images, augment = noise_images(9, 3, 20, 24), EVERYTHING
    lasting = augmented(images, augment, range(9))
    assert lasting.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(augmented(images.contiguous(), augment, range(9)), lasting)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 2)
        assert torch.equal(augmented(images, augment, range(9)), lasting)
    finally:
        torch.set_num_threads(threads)


def test_floats_are_taken_as_they_are_and_not_written_to():
    images = noise_images(4)
    values = images.float().div(255)
    kept = values.clone()
    found = augmented(values, EVERYTHING, range(4))
    torch.testing.assert_close(found, augmented(images, EVERYTHING, range(4)), rtol=0, atol=1e-6)
    augmented(values, Augment("fresh", brightness=0.5), range(4))
    assert torch.equal(values, kept)
    before = images.clone()
    augmented(images, Augment("fresh", flip_vertical=True), range(4))
    assert torch.equal(images, before)


def test_seeds_repeat_and_other_seeds_give_other_images():
    images = noise_images(1).expand(2, -1, -1, -1)
    once, again = (augmented(images, EVERYTHING, [5, 2**64 - 1]) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once[0], once[1])


def test_no_random_numbers_but_our_own_are_drawn():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    augmented(noise_images(), EVERYTHING, range(6))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, there is none")
def test_a_gpu_changes_images_as_the_cpu_does():
    images = noise_images(8, 3, 40, 56)
    on_gpu = augmented(images.cuda(), EVERYTHING, range(8))
    assert on_gpu.is_cuda
    found = (on_gpu.cpu() - augmented(images, EVERYTHING, range(8))).abs()
    # Places differ in the last bits, and at a border a pixel may fall to the other side of it.
    assert found.flatten().quantile(0.999) < 1e-3
    assert torch.equal(augmented(images.cuda()[2:3], EVERYTHING, [2])[0], on_gpu[2])


# In training


AUGMENTED = tiny_recipe(augment=Augment.strong(), epochs=3)
VIEWS = replace(Augment.strong(), mode="views", views=3)


def test_training_with_augmentation_repeats_by_its_seed_and_only_by_it():
    data = tiny_data()
    once, again, other = (run(AUGMENTED, data, seed=seed) for seed in (3, 3, 4))
    assert without_seconds(once) == without_seconds(again)
    assert without_seconds(once) != without_seconds(other)
    assert without_seconds(once) != without_seconds(
        run(replace(AUGMENTED, augment=Augment()), data)
    )


@pytest.mark.parametrize("augment", [Augment.strong(), VIEWS], ids=lambda augment: augment.mode)
@pytest.mark.parametrize("epoch", [1, 2])
def test_training_with_augmentation_goes_on_as_if_never_interrupted(tmp_path, augment, epoch):
    data, recipe = tiny_data(), replace(AUGMENTED, augment=augment)
    expected = without_seconds(run(recipe, data))
    steps = fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path, device=CPU)
    for _ in range(epoch):
        next(steps)
    steps.close()
    assert without_seconds(run(recipe, data, checkpoint=tmp_path)) == expected
