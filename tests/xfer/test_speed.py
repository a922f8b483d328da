"""Prediction is arithmetic over measured lines; only few tests measure."""

import itertools
import json
from dataclasses import replace
from functools import cache
from math import inf
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfer.models.described import describe
from xfer.recipe import Augment, ConvNet, Head, HeadFirst, Pretrained, Recipe
from xfer.speed import Line, Pace, Seconds, Speed, changes_key, model_key, pace_of, seconds_of
from xfer.timing import measure, through

SHAPE = {"classes": 2, "size": 64, "channels": 3}
RESNET = Pretrained("resnet18")
BLOCKS = 12
LIGHT = Augment.light()


def recipe(depth: int = 0, **changes: Any) -> Recipe:
    model = replace(RESNET, unfreeze_depth=depth)
    return replace(Recipe(model=model, lr=1e-3, batch_size=10), **changes)


@cache
def described(of: Recipe):
    return describe(of, **SHAPE)


def pace(**changes: Any) -> Pace:
    """1 ms of an image in each block, forward, 3 ms forward and backward, and nothing else."""
    zero = Line(call=0, image=0)
    from xfer.models.assembly import block_costs

    costs = block_costs(RESNET, size=64, channels=3)
    assert len(costs) == BLOCKS
    values: dict[str, Any] = {
        "madds": tuple(cost.madds for cost in costs), "pixels": zero,
        "forward": (Line(call=0, image=1e-3),) * BLOCKS,
        "training": (Line(call=0, image=3e-3),) * BLOCKS,
        "first": (None,) * BLOCKS, "head": zero, "update": 0.0, "build": 0.0,
    }  # fmt: skip
    return Pace(**(values | changes))


def speed(**changes: Any) -> Speed:
    return Speed(
        threads=1,
        device="cpu",
        models={model_key(RESNET): pace(**changes)},
        changes={changes_key(LIGHT): 5e-3},
    )


def seconds(of: Recipe, at: Speed | None = None, **changes: Any) -> Seconds:
    how: dict[str, Any] = {"train_images": 100, "val_images": 20, "epochs": 3, "stored": False}
    return seconds_of(of, described(of), at or speed(), **(how | changes))


def test_a_frozen_backbone_costs_a_forward_pass_of_every_image_in_every_epoch() -> None:
    got = seconds(recipe(0))
    assert got.training == pytest.approx(3 * BLOCKS * (100 + 20) * 1e-3)
    assert got.prefix == 0


def test_a_stored_prefix_is_paid_once_and_leaves_the_trained_part() -> None:
    whole, frozen = seconds(recipe(4), stored=True), seconds(recipe(0), stored=True)
    assert whole == seconds(recipe(4))  # nothing is frozen, so nothing is stored
    assert frozen.prefix == pytest.approx(BLOCKS * (100 + 20) * 1e-3)
    assert frozen.training == 0


@pytest.mark.parametrize(("depth", "trained"), [(0, 0), (1, 2), (2, 4), (3, 6), (4, 12)])
def test_each_depth_trains_the_blocks_of_its_stages(depth: int, trained: int) -> None:
    frozen = BLOCKS - trained
    per_image = frozen * 1e-3 + trained * 3e-3
    expected = 3 * (100 * per_image + 20 * BLOCKS * 1e-3)
    assert seconds(recipe(depth)).training == pytest.approx(expected)


@given(depth=st.integers(0, 3), images=st.integers(10, 10_000), epochs=st.integers(1, 50))
def test_with_a_store_no_trial_takes_longer(depth: int, images: int, epochs: int) -> None:
    how = {"train_images": images, "epochs": epochs}
    without, with_store = seconds(recipe(depth), **how), seconds(recipe(depth), stored=True, **how)
    assert with_store.prefix + with_store.training <= without.training * (1 + 1e-9)


def test_the_first_trained_block_does_without_the_gradient_of_its_input() -> None:
    first = (*[None] * 10, Line(call=0, image=2e-3), None)
    saved = seconds(recipe(1)).training - seconds(recipe(1), speed(first=first)).training
    assert saved == pytest.approx(3 * 100 * 1e-3)


def test_each_step_costs_its_calls_and_the_update_of_what_is_trained() -> None:
    fixed = speed(head=Line(call=0.5, image=0), update=1e-9)
    of = recipe(1)
    more = seconds(of, fixed).training - seconds(of).training
    assert more == pytest.approx(3 * 10 * (0.5 + 1e-9 * described(of).trainable))


def test_fresh_changes_are_made_in_every_epoch_and_keep_the_store_out() -> None:
    fresh = seconds(recipe(0, augment=LIGHT), stored=True)
    assert fresh.prefix == 0
    assert fresh.training == pytest.approx(seconds(recipe(0)).training + 3 * 100 * 5e-3)


def test_stored_views_are_changed_once() -> None:
    views = replace(LIGHT, mode="views", views=4)
    got = seconds(recipe(0, augment=views), stored=True)
    assert got.prefix == pytest.approx(BLOCKS * (400 + 20) * 1e-3 + 300 * 5e-3)
    assert got.training == 0


def test_the_head_trained_first_leaves_the_whole_backbone_frozen_in_its_epochs() -> None:
    two_phases = recipe(4, head_first=HeadFirst(epochs=2, lr=1e-3))
    expected = 2 * seconds(recipe(0), epochs=1).training + seconds(recipe(4), epochs=1).training
    assert seconds(two_phases).training == pytest.approx(expected)


def test_a_model_without_measurement_is_rated_like_its_nearest_relative() -> None:
    larger = Recipe(model=Pretrained("resnet34"), lr=1e-3, batch_size=10)
    its = described(larger)
    ratio = (its.prefix_madds + its.suffix_madds) / sum(pace().madds)
    assert seconds(larger).training == pytest.approx(ratio * seconds(recipe(0)).training, rel=1e-3)
    other = pace(forward=(Line(call=0, image=9.0),) * BLOCKS)
    both = replace(speed(), models={"vgg16 batch_norm=inference": other, **speed().models})
    assert pace_of(larger, its, both) == pace_of(larger, its, speed())


def test_nothing_is_predicted_where_nothing_was_measured() -> None:
    with pytest.raises(ValueError, match="no model was measured"):
        seconds(recipe(0), replace(speed(), models={}))


def test_a_speed_survives_the_way_through_a_file() -> None:
    one = speed(first=(Line(call=1, image=2), *[None] * (BLOCKS - 1)))
    assert Speed.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_what_is_of_training_alone_shares_a_measurement() -> None:
    same = replace(RESNET, unfreeze_depth=3, lr_factor=0.1, weights="none")
    assert model_key(same) == model_key(RESNET)
    assert model_key(replace(RESNET, batch_norm="train")) != model_key(RESNET)
    assert model_key(ConvNet(kernels=(4,), dropout=0.1)) == model_key(ConvNet(kernels=(4,)))
    assert model_key(ConvNet(kernels=(8,))) != model_key(ConvNet(kernels=(4,)))


def test_a_line_goes_through_both_measurements_and_never_below_zero() -> None:
    assert through((4, 5.0), (8, 9.0)) == Line(call=1.0, image=1.0)
    assert through((4, 9.0), (8, 8.0)) == Line(call=0.0, image=1.0)  # noise
    assert through((2, 3.0), (2, 3.0)) == Line(call=0.0, image=1.5)


@pytest.mark.parametrize(
    "model", [ConvNet(kernels=(4, 8), batch_norm=True), Pretrained("resnet18", weights="none")]
)
def test_every_block_is_measured_and_the_threads_are_put_back(model) -> None:
    before = torch.get_num_threads()
    of = Recipe(model=model, head=Head(), lr=1e-3, augment=LIGHT)
    shape = {"classes": 2, "size": 32, "channels": 3}
    ticks = itertools.count()  # a clock that is a second on at each look
    got = measure([of], **shape, threads=1, device="cpu", clock=lambda: float(next(ticks)))
    assert torch.get_num_threads() == before
    (one,) = got.models.values()
    blocks = len(one.madds)
    assert [line.seconds(32, batch=32) for line in one.forward] == pytest.approx([1] * blocks)
    assert [line.seconds(32, batch=32) for line in one.training] == pytest.approx([2] * blocks)
    starts = [number for number, line in enumerate(one.first) if line is not None]
    assert starts == ([0] if blocks == 2 else [0, 6, 8, 10])  # where stages begin
    assert one.head.seconds(32, batch=32) == pytest.approx(1)
    assert got.changes[changes_key(LIGHT)] == pytest.approx(1 / 16)


def test_models_are_measured_in_the_order_of_their_work_until_the_time_is_up() -> None:
    large, small = ConvNet(kernels=(16, 16)), ConvNet(kernels=(2,))
    recipes = [Recipe(model=model, lr=1e-3) for model in (small, small, large)]
    got = measure(recipes, classes=2, size=16, channels=1, threads=1, device="cpu", limit_s=0)
    assert list(got.models) == [model_key(large)]
    got = measure(recipes, classes=2, size=16, channels=1, threads=1, device="cpu", limit_s=inf)
    assert list(got.models) == [model_key(large), model_key(small)]


def test_measuring_moves_no_random_numbers_of_the_caller() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    recipes = [Recipe(model=ConvNet(kernels=(2,), dropout=0.5), lr=1e-3)]
    measure(recipes, classes=2, size=16, channels=1, threads=1, device="cpu", limit_s=0)
    assert torch.equal(torch.rand(3), expected)
