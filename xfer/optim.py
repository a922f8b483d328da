"""How does a step change the weights: groups, update rules, penalties and clipping?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xfer.models.net import Part
from xfer.recipe import L1On, OptimizerName

Group = dict[str, Any]


def is_penalised(name: str, parameter: Tensor) -> bool:
    """Whether L1, L2 and decay act on it: kernels and matrices, no biases, no norms.

    What else is learned is left alone too, though it has several dimensions: class tokens,
    position embeddings, tables of position biases, scales of layers.

    Args:
        name: of the parameter, alone or with the names of its modules.
        parameter: of any shape.
    """
    return parameter.ndim > 1 and name.endswith("weight")


def parameter_groups(parts: Iterable[Part]) -> list[Group]:
    """Trained parameters in torch's groups: each part with and without penalty.

    Args:
        parts: as `Net.parts` gives them.

    Returns:
        Groups with `params`, `lr_factor` and `penalised`; none of them empty.
    """
    groups = [
        {
            "params": [p for n, p in part.parameters.items() if is_penalised(n, p) == penalised],
            "lr_factor": part.lr_factor,
            "penalised": penalised,
        }
        for part in parts
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
    2019) shrinks w by `lr * l2` per step instead, outside the gradient. No rule touches a
    parameter without gradient: what is frozen for a phase neither decays nor gathers momentum.
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


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets each group's learning rate to its share of `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def l1_weights(groups: Sequence[Group], *, on: L1On) -> list[nn.Parameter]:
    """The weights that L1 acts on, of all groups: all that are penalised, or kernels alone.

    A kernel is known by its four dimensions (kernels, channels, height, width), whatever module
    holds it.
    """
    weights = [weight for group in groups if group["penalised"] for weight in group["params"]]
    return [weight for weight in weights if on == "all" or weight.ndim == 4]


def add_l1_gradient(weights: Sequence[nn.Parameter], l1: float) -> None:
    """Adds the gradient of `l1 * sum |w|`, which is `l1 * sign(w)`, to the gradients there are.

    The same numbers as from a penalty in the loss, without its graph; at 0 the gradient is 0, as
    torch has it.
    """
    for weight in weights:
        if weight.grad is not None:
            weight.grad.add_(weight.detach().sign(), alpha=l1)


def clip_gradient(groups: Sequence[Group], longest: float) -> None:
    """Shortens the gradient of all groups, taken as one vector, to a norm of `longest`.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013.
    Its direction stays, and a shorter one is left as it is. It is the gradient of the loss and, if
    that was added before, of L1. Of L2 it never is: L2 is inside of the update rule, which adds it
    after the clipping (Adam, SGD) or applies it beside the gradient (AdamW). Nothing waits for the
    device.

    Args:
        groups: those without gradients count as 0.
        longest: Euclidean norm, above 0.
    """
    nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], longest)
