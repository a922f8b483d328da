from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xfer.optim import (
    add_l1_gradient,
    build_optimizer,
    parameter_groups,
    penalised_weights,
    schedule_factor,
    set_lr,
)

LR, L1, L2 = 0.05, 0.02, 0.03


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "backbone": nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU()),
            "head": nn.Sequential(nn.Flatten(), nn.Linear(12, 2)),
        }
    ).double()


def groups_of(net: nn.Module, *, backbone_factor: float = 1.0) -> list[dict]:
    trained = {
        part: [p for p in module.parameters() if p.requires_grad]
        for part, module in net.named_children()
    }
    return parameter_groups(trained, backbone_factor=backbone_factor)


def loss_of(net: nn.Module) -> torch.Tensor:
    images = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(2, 1, 4, 4)
    logits = net["head"](net["backbone"](images))  # type: ignore[index]
    return nn.functional.cross_entropy(logits, torch.tensor([0, 1]))


def weights_by_hand(net: nn.Module) -> list[torch.Tensor]:
    return [net["backbone"][0].weight, net["head"][1].weight]  # type: ignore[index]


def state_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def test_penalties_act_on_kernels_and_matrices_only():
    net = make_net()
    penalised = penalised_weights(groups_of(net))
    assert [id(p) for p in penalised] == [id(p) for p in weights_by_hand(net)]


def test_every_trained_parameter_is_in_exactly_one_group():
    net = make_net()
    net["backbone"][0].weight.requires_grad_(False)  # type: ignore[index]
    grouped = [id(p) for group in groups_of(net) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters() if p.requires_grad)


def test_a_net_without_trained_backbone_has_groups_of_the_head_only():
    net = make_net()
    net["backbone"].requires_grad_(False)  # type: ignore[index]
    groups = groups_of(net, backbone_factor=0.1)
    assert [group["lr_factor"] for group in groups] == [1.0, 1.0]


def test_l1_gradient_is_autograds_of_the_documented_penalty():
    ours, theirs = make_net(), make_net()
    with torch.no_grad():
        for net in (ours, theirs):
            weights_by_hand(net)[0][0] = 0.0  # the corner of |w|
    loss_of(ours).backward()
    add_l1_gradient(penalised_weights(groups_of(ours)), L1)
    penalty = L1 * sum(w.abs().sum() for w in weights_by_hand(theirs))
    (loss_of(theirs) + penalty).backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_l2_steps_like_autograd_of_the_documented_penalty(name):
    ours, theirs = make_net(), make_net()
    optimizer = build_optimizer(groups_of(ours), name=name, lr=LR, l2=L2, momentum=0.8)
    by_hand = (
        torch.optim.Adam(theirs.parameters(), lr=LR)
        if name == "adam"
        else torch.optim.SGD(theirs.parameters(), lr=LR, momentum=0.8)
    )
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(ours).backward()
        optimizer.step()
        by_hand.zero_grad()
        (loss_of(theirs) + L2 * sum((w**2).sum() for w in weights_by_hand(theirs))).backward()
        by_hand.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_adamw_shrinks_weights_by_lr_times_l2_and_nothing_else():
    decayed, plain = make_net(), make_net()
    before = state_of(decayed)
    for net, l2 in ((decayed, L2), (plain, 0.0)):
        optimizer = build_optimizer(groups_of(net), name="adamw", lr=LR, l2=l2)
        loss_of(net).backward()
        optimizer.step()
    with_decay, without = state_of(decayed), state_of(plain)
    weights = {"backbone.0.weight", "head.1.weight"}
    for name, was in before.items():
        shrunk = was * LR * L2 if name in weights else torch.zeros_like(was)
        torch.testing.assert_close(with_decay[name], without[name] - shrunk)


def test_nesterov_momentum_is_the_published_one():
    net = make_net()
    weight = weights_by_hand(net)[1]
    value, velocity = weight.detach().numpy().copy(), np.zeros_like(weight.detach().numpy())
    groups = groups_of(net)
    optimizer = build_optimizer(groups, name="sgd", lr=LR, l2=0.0, momentum=0.7, nesterov=True)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(net).backward()
        gradient = weight.grad.numpy().copy()
        optimizer.step()
        velocity = 0.7 * velocity + gradient
        value -= LR * (gradient + 0.7 * velocity)
        np.testing.assert_allclose(weight.detach().numpy(), value, rtol=1e-12)


def test_the_backbone_learns_at_its_own_rate():
    net = make_net()
    before = state_of(net)
    optimizer = build_optimizer(
        groups_of(net, backbone_factor=0.1), name="sgd", lr=7.0, l2=0.0, momentum=0.0
    )
    set_lr(optimizer, LR)
    loss_of(net).backward()
    optimizer.step()
    for name, parameter in net.named_parameters():
        rate = LR * (0.1 if name.startswith("backbone") else 1.0)
        torch.testing.assert_close(parameter.detach(), before[name] - rate * parameter.grad)


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_cosine_falls_like_torchs_and_would_reach_zero(steps):
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule_factor("cosine", step, steps) == pytest.approx(expected, abs=1e-9)
        optimizer.step()
        schedule.step()
    assert schedule_factor("cosine", steps, steps) == 0.0


def test_a_constant_schedule_changes_nothing():
    assert {schedule_factor("constant", step, 5) for step in range(5)} == {1.0}
