"""A sheet shows what training is given, bit for bit, and which images is nobody's chance."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_data import CPU, OBJECTIVE, tiny_data, tiny_recipe
from torch.nn.modules.module import register_module_forward_pre_hook

from xfer.contact_sheet import GAP, contact_sheet
from xfer.models.net import Normalise
from xfer.recipe import Augment
from xfer.train import fit

SEED = 7
FRESH = Augment.strong()
VIEWS = replace(FRESH, mode="views", views=3)
SIDE = 16  # of tiny data: nothing is resized


def sheet(recipe, data, **more):
    found = contact_sheet(recipe, data, seed=SEED, **{"side": SIDE, **more})
    assert found is not None
    assert found.dtype == np.uint8
    return found


def cells(found, side=SIDE):
    """The pictures, by row and column, each (side, side, 3)."""
    starts = [range(0, length, side + GAP) for length in found.shape[:2]]
    return [[found[y : y + side, x : x + side] for x in starts[1]] for y in starts[0]]


def given_in_training(recipe, data, *, epochs):
    """All that `fit` gives to its net in training, by epoch, as a sheet's pictures."""
    found: list[list[np.ndarray]] = []

    def watch(module, given):
        if isinstance(module, Normalise):
            images = given[0].float() / 255 if given[0].dtype == torch.uint8 else given[0]
            found[-1] += list(
                (255 * images).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
            )

    handle = register_module_forward_pre_hook(watch)
    try:
        steps = fit(replace(recipe, epochs=epochs), data, OBJECTIVE, seed=SEED, device=CPU)
        for _ in range(epochs):
            found.append([])
            next(steps)
    finally:
        handle.remove()
    validated = len(data.splits["val"])
    return [images[:-validated] for images in found]


def is_among(picture, images):
    return any(np.array_equal(picture, image) for image in images)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_row_is_training_images_as_they_are(channels):
    data = tiny_data(channels=channels, classes=3)
    first = cells(sheet(tiny_recipe(augment=FRESH), data))[0]
    plain = [np.broadcast_to(data.pixels[row], (SIDE, SIDE, 3)) for row in data.splits["train"]]
    assert len(first) == 8
    assert all(is_among(picture, plain) for picture in first)


@pytest.mark.parametrize("balance", ["none", "oversample", "ensemble"])
@pytest.mark.parametrize("augment", [FRESH, VIEWS], ids=lambda augment: augment.mode)
def test_rows_below_are_what_fit_gives_to_its_net(augment, balance):
    data = tiny_data()
    data = replace(data, splits={**data.splits, "train": np.array([0, 2, 4, 5, 6, 8, 10, 12])})
    recipe = tiny_recipe(augment=augment, balance=balance)
    first, *below = cells(sheet(recipe, data))
    given = given_in_training(recipe, data, epochs=3)
    assert len(below) == (3 if augment.mode == "fresh" else 2)
    for number, row in enumerate(below):
        epochs = given[number : number + 1] if augment.mode == "fresh" else given
        for images in epochs:
            assert all(is_among(picture, images) for picture in row)
        assert not any(is_among(picture, first) for picture in row)


def test_what_an_epoch_leaves_out_is_black():
    data = tiny_data(train=40)
    rows = data.splits["train"]
    few = rows[(data.labels[rows] == 1) | (rows < 8)]
    data = replace(data, splits={**data.splits, "train": few})
    recipe = tiny_recipe(augment=Augment("fresh", brightness=0.1), balance="undersample")
    _, *below = cells(sheet(recipe, data))
    for row in below:
        assert all(picture.any() for picture in row[:4]), "all of the rare class are drawn"
    assert any(not picture.any() for row in below for picture in row[4:])
    assert any(picture.any() for row in below for picture in row[4:])


def test_of_an_augmented_oversample_the_changed_repeat_is_shown_where_there_is_one():
    data = tiny_data(train=40)
    data = replace(data, splits={**data.splits, "train": np.r_[0, np.arange(1, 40, 2)]})
    recipe = tiny_recipe(augment=FRESH, balance="oversample_augmented")
    first, *below = cells(sheet(recipe, data))
    assert len(first) == 8
    for row in below:
        same = [np.array_equal(a, b) for a, b in zip(first, row, strict=True)]
        assert same == [False] + [True] * 7, "the only image of its class, 19 times again"


@pytest.mark.parametrize(
    ("counts", "shown"),
    [((20, 20), (4, 4)), ((2, 20), (2, 6)), ((9, 0, 9), (4, 0, 4)), ((1, 1), (1, 1))],
)
def test_classes_are_shown_as_evenly_as_they_have_images(counts, shown):
    data = tiny_data(train=60, classes=len(counts))
    rows = data.splits["train"]
    chosen = [rows[data.labels[rows] == label][:count] for label, count in enumerate(counts)]
    data = replace(data, splits={**data.splits, "train": np.sort(np.concatenate(chosen))})
    first = cells(sheet(tiny_recipe(augment=FRESH), data))[0]
    label_of = {data.pixels[row].tobytes(): int(data.labels[row]) for row in data.splits["train"]}
    found = Counter(label_of[picture[:, :, :1].tobytes()] for picture in first)
    assert tuple(found[label] for label in range(len(counts))) == shown


def test_neither_seed_nor_recipe_decides_which_images_are_shown_and_both_do_how():
    data = tiny_data()
    one, again, other = (
        contact_sheet(tiny_recipe(augment=FRESH), data, seed=seed, side=SIDE) for seed in (1, 1, 2)
    )
    changed = contact_sheet(tiny_recipe(augment=Augment.light()), data, seed=1, side=SIDE)
    assert one is not None
    assert other is not None
    assert changed is not None
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one[:SIDE], other[:SIDE])
    np.testing.assert_array_equal(one[:SIDE], changed[:SIDE])
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, changed)


@pytest.mark.parametrize(
    ("changes", "rows"),
    [({"epochs": None}, 4), ({"epochs": 2}, 3), ({"augment": replace(VIEWS, views=2)}, 2)],
)
def test_there_is_no_row_for_what_training_never_sees(changes, rows):
    recipe = replace(tiny_recipe(augment=FRESH), **changes)
    found = sheet(recipe, tiny_data(), side=24, images=3)
    assert found.shape == (rows * (24 + GAP) - GAP, 3 * (24 + GAP) - GAP, 3)


def test_without_changes_there_is_no_sheet():
    assert contact_sheet(tiny_recipe(), tiny_data(), seed=SEED) is None
