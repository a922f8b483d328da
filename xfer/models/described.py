"""What does a recipe's net amount to? Counted without memory or weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from xfer.models.assembly import Shape, block_costs, skeleton
from xfer.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a recipe's net amounts to."""

    parameters: int
    """All of them, the head's too."""
    trainable: int
    """Those that are trained."""
    features: Shape
    """What the prefix makes of one image, without the batch. Where all of the backbone is frozen,
    what the head takes: (values,), or (channels, height, width) before a positional one. Else the
    last frozen block's output: of most, (channels, height, width). The image itself where nothing
    is frozen."""
    prefix_madds: int
    """Multiply-adds of the frozen prefix's forward pass per image. Convolutions and matrix
    products only, as published counts have it."""
    suffix_madds: int
    """Of all that follows, in every member of an ensemble. A training step costs about three times
    this per image, or of an ensemble the share of the member whose step it is."""


def describe(recipe: Recipe, *, classes: int, size: int, channels: int) -> Described:
    """Builds the net without memory or weights, and counts.

    Raises:
        RecipeError: it cannot be built; all reasons in one message.
    """
    with torch.device("meta"):
        net = skeleton(recipe, classes=classes, size=size, channels=channels)
    costs = block_costs(recipe.model, size=size, channels=channels)
    cut = net.prefix_blocks
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        pooled = net.pool(torch.empty(1, *costs[-1].shape))
        net.head.eval()(pooled)
    if cut == len(costs):
        features = tuple(pooled.shape[1:])
    else:
        features = costs[cut - 1].shape if cut else (channels, size, size)
    return Described(
        parameters=sum(p.numel() for p in net.parameters()),
        trainable=sum(p.numel() for p in net.parameters() if p.requires_grad),
        features=features,
        prefix_madds=sum(cost.madds for cost in costs[:cut]),
        suffix_madds=recipe.members
        * (sum(cost.madds for cost in costs[cut:]) + counter.get_total_flops() // 2),
    )
