from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xfer.models.assembly import assemble
from xfer.models.net import Part
from xfer.optim import (
    add_l1_gradient,
    build_optimizer,
    clip_gradient,
    is_penalised,
    l1_weights,
    parameter_groups,
    set_lr,
)
from xfer.recipe import Pretrained, Recipe

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
    named = dict(net.named_parameters())
    return parameter_groups(
        Part(part, factor, {n: p for n, p in named.items() if n.startswith(f"{part}.")})
        for part, factor in (("backbone", backbone_factor), ("head", 1.0))
    )


def loss_of(net: nn.Module) -> torch.Tensor:
    images = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(2, 1, 4, 4)
    logits = net["head"](net["backbone"](images))  # type: ignore[index]
    return nn.functional.cross_entropy(logits, torch.tensor([0, 1]))


def weights_by_hand(net: nn.Module) -> list[torch.Tensor]:
    return [net["backbone"][0].weight, net["head"][1].weight]  # type: ignore[index]


def state_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def identities(parameters) -> list[int]:
    return [id(parameter) for parameter in parameters]


def test_l1_acts_on_kernels_and_matrices_or_on_kernels_alone():
    net = make_net()
    kernel, matrix = weights_by_hand(net)
    assert identities(l1_weights(groups_of(net), on="all")) == identities([kernel, matrix])
    assert identities(l1_weights(groups_of(net), on="convolutions")) == identities([kernel])


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("backbone.conv1.weight", (8, 3, 3, 3), True),
        ("head.outputs.weight", (2, 8), True),
        ("encoder.layers.encoder_layer_0.self_attention.in_proj_weight", (24, 8), True),
        ("head.outputs.bias", (2,), False),
        ("bn1.weight", (8,), False),
        ("class_token", (1, 1, 8), False),
        ("encoder.pos_embedding", (1, 50, 8), False),
        ("features.1.0.attn.relative_position_bias_table", (169, 3), False),
        ("features.1.0.attn.logit_scale", (3, 1, 1), False),
        ("features.1.0.layer_scale", (8, 1, 1), False),
    ],
)
def test_penalties_act_on_kernels_and_matrices_only(name, shape, expected):
    assert is_penalised(name, torch.empty(shape)) is expected


def test_every_part_of_a_net_is_in_groups_at_its_own_rate_each_parameter_once():
    model = Pretrained(
        "squeezenet1_1", unfreeze_depth=2, weights="none", lr_factor=0.1, lr_decay=0.5
    )
    net = assemble(Recipe(model=model, lr=LR), classes=2, size=32, channels=3, seed=0)
    groups = parameter_groups(net.parts())
    assert [(group["lr_factor"], group["penalised"]) for group in groups] == [
        (pytest.approx(0.05), True), (pytest.approx(0.05), False),
        (pytest.approx(0.1), True), (pytest.approx(0.1), False),
        (1.0, True), (1.0, False),
    ]  # fmt: skip
    grouped = identities(p for group in groups for p in group["params"])
    assert sorted(grouped) == sorted(identities(p for p in net.parameters() if p.requires_grad))


def test_no_group_is_empty():
    weight = nn.Parameter(torch.zeros(2, 2))
    groups = parameter_groups([Part("stage3", 0.5, {"w.weight": weight}), Part("head", 1.0, {})])
    assert groups == [{"params": [weight], "lr_factor": 0.5, "penalised": True}]


def test_l1_gradient_is_autograds_of_the_documented_penalty():
    ours, theirs = make_net(), make_net()
    with torch.no_grad():
        for net in (ours, theirs):
            weights_by_hand(net)[0][0] = 0.0  # the corner of |w|
    loss_of(ours).backward()
    add_l1_gradient(l1_weights(groups_of(ours), on="all"), L1)
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


def gradient_of(net: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def test_a_long_gradient_is_shortened_as_a_whole_and_keeps_its_direction():
    net = make_net()
    loss_of(net).backward()
    before = gradient_of(net)
    assert before.norm() > 0.5
    clip_gradient(groups_of(net), 0.5)
    torch.testing.assert_close(gradient_of(net), before * 0.5 / before.norm(), rtol=1e-5, atol=0)


def test_a_short_gradient_is_left_as_it_is():
    net = make_net()
    loss_of(net).backward()
    before = gradient_of(net)
    clip_gradient(groups_of(net), 2 * float(before.norm()))
    assert torch.equal(gradient_of(net), before)


def test_clipping_sees_the_gradient_of_l1_and_not_that_of_l2():
    net = make_net()
    before = state_of(net)
    groups = groups_of(net)
    optimizer = build_optimizer(groups, name="sgd", lr=LR, l2=L2, momentum=0.0)
    loss_of(net).backward()
    add_l1_gradient(l1_weights(groups, on="all"), L1)
    clip_gradient(groups, 0.01)
    assert gradient_of(net).norm() == pytest.approx(0.01, rel=1e-4)
    optimizer.step()
    for name, parameter in net.named_parameters():
        pull = 2 * L2 * before[name] if is_penalised(name, parameter) else 0.0
        expected = before[name] - LR * (parameter.grad + pull)
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_what_is_frozen_neither_decays_nor_moves_and_its_state_begins_when_it_is_thawed(name):
    net, late = make_net(), make_net()
    before = state_of(net)
    groups = groups_of(net)
    optimizer = build_optimizer(groups, name=name, lr=LR, l2=L2)
    net["backbone"].requires_grad_(False)  # type: ignore[index]
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(net).backward()
        add_l1_gradient(l1_weights(groups, on="all"), L1)
        clip_gradient(groups, 1.0)
        optimizer.step()
    backbone = [p for n, p in net.named_parameters() if n.startswith("backbone.")]
    assert not any(parameter in optimizer.state for parameter in backbone)
    for key, value in state_of(net).items():
        assert torch.equal(value, before[key]) == key.startswith("backbone.")

    net["backbone"].requires_grad_(True)  # type: ignore[index]
    late.load_state_dict(net.state_dict())
    fresh = build_optimizer(groups_of(late), name=name, lr=LR, l2=L2)
    for each, rule in ((net, optimizer), (late, fresh)):
        rule.zero_grad()
        loss_of(each).backward()
        rule.step()
    for mine, other in zip(backbone, late["backbone"].parameters(), strict=True):  # type: ignore[index]
        assert torch.equal(mine, other)
