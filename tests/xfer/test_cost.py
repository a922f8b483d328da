"""What an answer costs: counted, timed, and the same for the same network."""

from dataclasses import replace
from time import sleep
from typing import Any, cast

import pytest
import torch
from torch import nn

from xfer.cost import cost_of, network_of
from xfer.errors import RecipeError
from xfer.latency import LEAST, WARM_UP, measure_latency
from xfer.models.assembly import assemble
from xfer.models.net import Net
from xfer.recipe import ConvNet, Head, Objective, Pretrained, Recipe, from_json, to_json

SMALL = Recipe(model=ConvNet(kernels=(4,)), lr=1e-3)
SHAPE: dict[str, Any] = {"classes": 2, "size": 32, "channels": 1}


@pytest.mark.parametrize(
    "recipe",
    [
        SMALL,
        replace(SMALL, head=Head(dense=(8,)), balance="ensemble", ensemble_parts=2),
        replace(SMALL, model=Pretrained("squeezenet1_1", weights="none")),
    ],
)
def test_parameters_are_those_of_the_net_frozen_ones_too(recipe: Recipe) -> None:
    net = assemble(recipe, **SHAPE, seed=0)
    counted = cost_of(recipe, "parameters", **SHAPE, device="cpu")
    assert counted == sum(p.numel() for p in net.parameters())


def test_what_is_of_training_alone_does_not_make_another_network() -> None:
    one = Recipe(model=Pretrained("resnet18"), lr=1e-3)
    same = replace(
        one,
        model=Pretrained("resnet18", unfreeze_depth=3, batch_norm="train", weights="none"),
        head=Head(dropout=0.3), lr=0.1, balance="focal", epochs=3,
    )  # fmt: skip
    assert network_of(one) == network_of(same)
    noisy = ConvNet(kernels=(4,), dropout=0.2, initial="zeros")
    assert network_of(replace(SMALL, model=noisy)) == network_of(SMALL)


@pytest.mark.parametrize(
    "other",
    [
        replace(SMALL, model=ConvNet(kernels=(4, 4))),
        replace(SMALL, model=ConvNet(kernels=(4,), batch_norm=True)),
        replace(SMALL, head=Head(dense=(4,))),
        replace(SMALL, head=Head(pool="max")),
        replace(SMALL, balance="ensemble"),
        replace(SMALL, balance="ensemble", ensemble_parts=5),
        replace(SMALL, model=Pretrained("resnet18")),
        replace(SMALL, model=Pretrained("resnet18", cut_after="layer2")),
        replace(SMALL, model=Pretrained("resnet18"), balance="ensemble"),
        replace(SMALL, model=Pretrained("resnet18", unfreeze_depth=2), balance="ensemble"),
    ],
)
def test_what_changes_the_arithmetic_makes_another_network(other: Recipe) -> None:
    assert network_of(other) != network_of(SMALL)
    assert network_of(network_of(other)) == network_of(other)


def test_what_members_of_an_ensemble_share_is_part_of_its_network() -> None:
    recipes = [
        replace(SMALL, model=Pretrained("resnet18", unfreeze_depth=depth), balance="ensemble")
        for depth in (0, 2)
    ]
    assert network_of(recipes[0]) != network_of(recipes[1])


def test_a_larger_network_takes_longer() -> None:
    large = replace(SMALL, model=ConvNet(kernels=(128, 128), pool_after=()))
    quick, slow = (
        cost_of(recipe, "latency", classes=2, size=64, channels=1, device="cpu")
        for recipe in (SMALL, large)
    )
    assert 0 < 3 * quick < slow


def test_a_model_that_cannot_be_built_has_no_cost() -> None:
    small = Recipe(model=Pretrained("inception_v3", weights="none"), lr=1e-3)
    for what in ("parameters", "latency"):
        with pytest.raises(RecipeError, match="75"):
            cost_of(small, what, **SHAPE, device="cpu")


class Sleeper(nn.Module):
    """Naps are the seconds of its passes, the last one over and over."""

    def __init__(self, naps: list[float]) -> None:
        super().__init__()
        self.naps, self.calls = naps, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        assert images.shape == (1, 1, 8, 8)
        sleep(self.naps[min(self.calls, len(self.naps) - 1)])
        self.calls += 1
        return images


def latency_of(sleeper: Sleeper) -> float:
    return measure_latency(cast(Net, sleeper), size=8, channels=1, device="cpu")


def test_milliseconds_are_the_median_without_the_first_passes() -> None:
    naps = [0.1] * WARM_UP + [0.2] + [0.01]
    assert 10 <= latency_of(Sleeper(naps)) < 100


def test_slow_models_are_not_passed_more_often_than_need_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xfer.latency.LIMIT_S", 0.02)
    sleeper = Sleeper([0.01])
    latency_of(sleeper)
    assert sleeper.calls == WARM_UP + LEAST


# --------------------------------------------------------------------------------------------------
# The objective


def test_a_second_objective_is_json_and_old_json_has_none() -> None:
    objective = Objective("auroc", minimise="latency")
    assert from_json(to_json(objective)) == objective
    old = to_json(Objective("auroc"))
    assert old.pop("minimise") is None
    assert from_json(old) == Objective("auroc")


def test_what_cannot_be_minimised_is_told() -> None:
    allowed = r"one of \(None, 'parameters', 'latency'\), got 'flops'"
    with pytest.raises(RecipeError, match=rf"Objective.minimise must be {allowed}"):
        Objective("auroc", minimise="flops")  # type: ignore[arg-type]
