"""How does a step change the weights: groups, update rules, schedules and penalties?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn

from xfer.recipe import OptimizerName, ScheduleName

Group = dict[str, Any]


def is_penalised(weight: Tensor) -> bool:
    """Whether L1, L2 and decay act on it: kernels and matrices, no biases, no norms."""
    return weight.ndim > 1


def parameter_groups(
    trained: Mapping[str, Sequence[nn.Parameter]], *, backbone_factor: float
) -> list[Group]:
    """Trained parameters in torch's groups: backbone and head, each with and without penalty.

    Args:
        trained: under `backbone` and `head`, as `xfer.models.net.trainable_groups` gives them.
        backbone_factor: the backbone's learning rate over the head's.

    Returns:
        Groups with `params`, `lr_factor` and `penalised`; none of them empty.
    """
    groups = [
        {
            "params": [p for p in parameters if is_penalised(p) == penalised],
            "lr_factor": backbone_factor if part == "backbone" else 1.0,
            "penalised": penalised,
        }
        for part, parameters in trained.items()
        for penalised in (True, False)
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(
    groups: Sequence[Group],
    *,
    name: OptimizerName,
    lr: float,
    l2: float,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """The update rule, over groups of `parameter_groups`.

    The gradient of `l2 * sum w^2` is `2 * l2 * w`, which is what torch's `weight_decay` of `2 * l2`
    adds in Adam and SGD. AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
    2019) shrinks w by `lr * l2` per step instead, outside the gradient.
    """
    decay = l2 if name == "adamw" else 2 * l2
    parts: Any = [
        {**group, "lr": lr * group["lr_factor"], "weight_decay": decay * group["penalised"]}
        for group in groups
    ]
    # fused: one call per group instead of ten per tensor; on small networks half of a step's time.
    if name == "sgd":
        return torch.optim.SGD(parts, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(parts, lr=lr, fused=True)


def schedule_factor(name: ScheduleName, step: int, steps: int) -> float:
    """The learning rate of a step over the recipe's.

    `cosine` is `(1 + cos(pi * step / steps)) / 2` (Loshchilov and Hutter, "SGDR", 2017, without
    restarts): 1 at the first step, and 0 where the step after the last would be.

    Args:
        name: the schedule.
        step: from 0, counted over all epochs.
        steps: of all epochs together.

    >>> [round(schedule_factor("cosine", step, 4), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    return 1.0 if name == "constant" else (1 + cos(pi * step / steps)) / 2


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets each group's learning rate to its share of `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def penalised_weights(groups: Sequence[Group]) -> list[nn.Parameter]:
    """The weights that L1 acts on, of all groups."""
    return [weight for group in groups if group["penalised"] for weight in group["params"]]


def add_l1_gradient(weights: Sequence[nn.Parameter], l1: float) -> None:
    """Adds the gradient of `l1 * sum |w|`, which is `l1 * sign(w)`, to the gradients there are.

    The same numbers as from a penalty in the loss, without its graph; at 0 the gradient is 0, as
    torch has it.
    """
    for weight in weights:
        if weight.grad is not None:
            weight.grad.add_(weight.detach().sign(), alpha=l1)
