"""Classes of unequal size: what an epoch trains on, and what an image counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from tiny_data import CPU, OBJECTIVE, run, tiny_data, tiny_recipe, without_seconds
from torch.nn.functional import cross_entropy

from xfer.balance import check_classes, class_weights, draw_epoch, focal_factors
from xfer.errors import DataError
from xfer.recipe import Augment, Balance, Recipe
from xfer.steps import batches
from xfer.train import fit

BALANCES = get_args(Balance)
OVER = ("oversample", "oversample_augmented")
DRAWING = (*OVER, "undersample")

counts = st.lists(st.integers(1, 40), min_size=2, max_size=5)
seeds = st.integers(0, 2**32)


def part_of(counts, seed=0):
    """Rows of a training part, scattered over the data, and their labels, both (images,)."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    rows = generator.permutation(3 * len(labels))[: len(labels)]
    return rows, labels


def drawn_labels(drawn, rows, labels):
    label_of = dict(zip(rows.tolist(), labels.tolist(), strict=True))
    return Counter(label_of[row] for row in drawn.rows.tolist())  # a KeyError: not of this part


@given(counts, seeds)
def test_oversampling_gives_every_class_the_largest_ones_count_and_keeps_every_image(counts, seed):
    rows, labels = part_of(counts, seed)
    for balance in OVER:
        drawn = draw_epoch(rows, labels, balance, np.random.default_rng(seed))
        expected = dict.fromkeys(range(len(counts)), max(counts))
        assert drawn_labels(drawn, rows, labels) == expected
        assert sorted(drawn.rows[drawn.repeats == 0]) == sorted(rows)
        again = drawn.repeats[drawn.repeats > 0]
        assert len(set(again.tolist())) == len(again)


@given(counts, seeds)
def test_undersampling_gives_every_class_the_smallest_ones_count_and_no_image_twice(counts, seed):
    rows, labels = part_of(counts, seed)
    drawn = draw_epoch(rows, labels, "undersample", np.random.default_rng(seed))
    assert drawn_labels(drawn, rows, labels) == dict.fromkeys(range(len(counts)), min(counts))
    assert len(set(drawn.rows.tolist())) == len(drawn.rows)
    assert not drawn.repeats.any()


@given(counts, seeds, st.sampled_from(("none", "class_weights", "focal")))
def test_other_balances_train_on_the_part_as_it_is(counts, seed, balance):
    rows, labels = part_of(counts, seed)
    generator, untouched = np.random.default_rng(seed), np.random.default_rng(seed)
    drawn = draw_epoch(rows, labels, balance, generator)
    np.testing.assert_array_equal(drawn.rows, rows)
    assert not drawn.repeats.any()
    assert generator.random() == untouched.random()


@given(counts, seeds, st.sampled_from(DRAWING))
def test_an_epoch_repeats_by_its_generator_and_the_next_is_as_long(counts, seed, balance):
    rows, labels = part_of(counts, seed)
    generator = np.random.default_rng(seed)
    once, then = (draw_epoch(rows, labels, balance, generator) for _ in range(2))
    again = draw_epoch(rows, labels, balance, np.random.default_rng(seed))
    np.testing.assert_array_equal(once.rows, again.rows)
    assert len(once.rows) == len(then.rows)


@pytest.mark.parametrize("balance", DRAWING)
def test_each_epoch_draws_others(balance):
    rows, labels = part_of([30, 10])
    generator = np.random.default_rng(0)
    once, then = (Counter(draw_epoch(rows, labels, balance, generator).rows) for _ in range(2))
    assert once != then


@given(counts, seeds, st.integers(2, 16), st.sampled_from(BALANCES))
def test_no_batch_of_a_balanced_epoch_has_a_single_image(counts, seed, size, balance):
    rows, labels = part_of(counts, seed)
    drawn = draw_epoch(rows, labels, balance, np.random.default_rng(seed))
    parts = batches(np.arange(len(drawn.rows)), size)
    assert min(len(part) for part in parts) >= 2  # batch norm has no variance over one
    assert sum(len(part) for part in parts) == len(drawn.rows)


@given(counts)
def test_class_weights_are_scikit_learns_and_their_mean_over_images_is_one(counts):
    _, labels = part_of(counts)
    weights = class_weights(labels, len(counts))
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    np.testing.assert_allclose(weights, expected)
    assert weights[labels].mean() == pytest.approx(1)


logits = st.integers(2, 5).flatmap(
    lambda classes: st.lists(
        st.lists(st.floats(-8, 8), min_size=classes, max_size=classes), min_size=1, max_size=6
    )
)


@given(logits, st.floats(0, 10))
def test_focal_factors_are_those_of_the_paper(values, gamma):
    outputs = torch.tensor(values, dtype=torch.float64)
    labels = torch.arange(len(values)) % outputs.shape[1]
    p = torch.softmax(outputs, dim=1)[torch.arange(len(values)), labels]
    torch.testing.assert_close(focal_factors(outputs, labels, gamma), (1 - p) ** gamma)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("margin", [-200.0, 20.0, 200.0])  # single precision: p is 0 or 1
def test_focal_loss_of_answers_that_are_sure_has_a_finite_gradient(gamma, margin):
    outputs = torch.tensor([[margin, 0.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0])
    loss = focal_factors(outputs, labels, gamma) * cross_entropy(outputs, labels)
    loss.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    if margin < 0:  # what is sure and wrong counts in full
        assert loss.item() == pytest.approx(-margin + np.log(2), rel=1e-5)


@pytest.mark.parametrize("balance", ["class_weights", *DRAWING, "ensemble"])
def test_a_class_without_training_images_is_told_by_name(balance):
    with pytest.raises(DataError) as caught:
        check_classes(balance, np.array([0, 0, 2]), ("ill", "tired", "well", "away"))
    said = str(caught.value)
    assert f"Recipe.balance={balance!r} needs training images of every class" in said
    assert "none of tired, away; add some, take the class out, or use balance='none'" in said


def test_balances_that_ask_for_no_count_take_a_class_without_images():
    for balance in ("none", "focal"):
        check_classes(balance, np.array([0, 0]), ("ill", "well"))


# In training


def unequal_data(rare=5, common=14, val=16):
    """Tiny data whose training part has few images of the first class."""
    data = tiny_data(train=2 * common, val=val)
    rows = data.splits["train"]
    of_rare = rows[data.labels[rows] == 0][:rare]
    of_common = rows[data.labels[rows] == 1]
    train = np.sort(np.concatenate([of_rare, of_common]))
    return replace(data, splits={"train": train, "val": data.splits["val"]})


def recipe_of(balance: Balance, **changes) -> Recipe:
    augment = Augment.light() if balance == "oversample_augmented" else Augment()
    return tiny_recipe(balance=balance, augment=augment, **changes)


@pytest.mark.parametrize("balance", BALANCES)
def test_validation_and_everything_outside_the_training_part_stay_as_they_are(balance):
    seen = []

    class Watched:
        def __init__(self, pixels):
            self.pixels = pixels

        def __getitem__(self, rows):
            seen.append(rows)
            return self.pixels[rows]

    data = unequal_data()
    run(recipe_of(balance, epochs=2), replace(data, pixels=Watched(data.pixels)))
    val = data.splits["val"].tolist()
    seen = [rows for rows in seen if len(rows) > 1]  # of one row only the size is asked
    validated = [rows.tolist() for rows in seen if set(rows.tolist()) & set(val)]
    assert validated == [val, val]
    trained = {row for rows in seen for row in rows.tolist()} - set(val)
    assert trained <= set(data.splits["train"].tolist())


@pytest.mark.parametrize("balance", BALANCES)
def test_balanced_training_goes_on_as_if_never_interrupted(tmp_path, balance):
    data, recipe = unequal_data(), recipe_of(balance)
    expected = without_seconds(run(recipe, data))
    steps = fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path, device=CPU)
    next(steps)
    steps.close()
    assert without_seconds(run(recipe, data, checkpoint=tmp_path)) == expected
    if balance != "none":
        assert without_seconds(run(recipe_of("none"), data)) != expected


def test_training_refuses_a_class_without_images_before_its_first_epoch():
    with pytest.raises(DataError, match="there are none of class0"):
        run(recipe_of("undersample"), unequal_data(rare=0))


@pytest.mark.parametrize("balance", ["class_weights", "focal"])
def test_the_losses_that_are_told_stay_plain(balance):
    data = unequal_data()
    still = {"lr": 1e-9, "epochs": 1}  # nothing moves, so both see the same net
    (plain,), (balanced,) = (run(recipe_of(name, **still), data) for name in ("none", balance))
    assert balanced.train["loss"] == pytest.approx(plain.train["loss"], rel=1e-5)
    assert balanced.val["loss"] == pytest.approx(plain.val["loss"], rel=1e-5)
