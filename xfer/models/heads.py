"""What stands between the last feature map and the outputs?"""

from __future__ import annotations

from math import prod

from torch import nn

from xfer.recipe import Activation, Pool

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "none": nn.Identity,
}


def build_pool(pool: Pool) -> nn.Sequential:
    """What makes one vector of a feature map; it has no parameters, so a prefix may include it.

    Returns:
        A module from (batch, channels, height, width) to (batch, values).
    """
    layers: dict[Pool, list[nn.Module]] = {
        "average": [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
        "flatten": [nn.Flatten()],
    }
    return nn.Sequential(*layers[pool])


def pooled_values(pool: Pool, shape: tuple[int, int, int]) -> int:
    """Values per image after `build_pool(pool)`.

    Args:
        pool: as in `Head`.
        shape: (channels, height, width) of the feature map.

    >>> pooled_values("average", (512, 7, 7)), pooled_values("flatten", (512, 7, 7))
    (512, 25088)
    """
    return shape[0] if pool == "average" else prod(shape)


def build_head(
    values: int,
    classes: int,
    *,
    dense: tuple[int, ...],
    activation: Activation,
    dropout: float,
) -> nn.Sequential:
    """Dense layers, then the outputs; dropout before each.

    Args:
        values: per image, after the pool.
        classes: outputs.
        dense: widths of the layers before the outputs.
        activation: after each dense layer.
        dropout: share of values dropped, in [0, 0.95]; 0 leaves the layer out.

    Returns:
        A module from (batch, values) to logits (batch, classes).
    """
    head = nn.Sequential()
    width = values
    for number, wider in enumerate(dense, start=1):
        if dropout:
            head.add_module(f"dropout{number}", nn.Dropout(dropout))
        head.add_module(f"dense{number}", nn.Linear(width, wider))
        head.add_module(f"{activation}{number}", _ACTIVATIONS[activation]())
        width = wider
    if dropout:
        head.add_module("dropout", nn.Dropout(dropout))
    head.add_module("outputs", nn.Linear(width, classes))
    return head
