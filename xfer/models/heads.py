"""What stands between the last feature map and the outputs?"""

from __future__ import annotations

from math import isqrt, prod

import torch
from torch import Tensor, nn

from xfer.errors import RecipeError
from xfer.recipe import Activation, Pool

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "none": nn.Identity,
}


class _Patches(nn.Module):
    """Tokens as a map: (batch, tokens + side^2, channels) to (batch, channels, side, side)."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, values: Tensor) -> Tensor:
        patches = values[:, self.tokens :].transpose(1, 2)  # (batch, channels, side^2)
        side = isqrt(patches.shape[2])
        return patches.unflatten(2, (side, side))


class _Token(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values[:, 0]  # (batch, tokens + positions, channels) to (batch, channels)


class _Maximum(nn.Module):
    # Not AdaptiveMaxPool2d: torch counts its gradient among those that do not repeat on CUDA.
    def forward(self, maps: Tensor) -> Tensor:
        return maps.amax(dim=(2, 3))


class _AverageAndMaximum(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


def build_pool(pool: Pool, *, tokens: int = 0) -> nn.Module:
    """What the head sees of a feature map; it has no parameters, so a prefix may include it.

    Args:
        pool: as in `Head`.
        tokens: class tokens in front of the patches; 0: the features are a map already.

    Returns:
        A module from (batch, channels, height, width), or with `tokens` from (batch, tokens +
        side * side, channels), patches row by row, to (batch, values); with `positional` to
        (batch, channels, height, width). It does not write on its input, but may return it.

    Raises:
        RecipeError: `token` where there is none.
    """
    if pool == "token" and not tokens:
        raise RecipeError(
            "Head.pool='token' needs a class token, and these features are a map without one; "
            "use another pool"
        )
    layers: dict[Pool, list[nn.Module]] = {
        "average": [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
        "max": [_Maximum()],
        "both": [_AverageAndMaximum()],
        "flatten": [nn.Flatten()],
        "positional": [],
        "token": [_Token()],
    }
    to_map = [_Patches(tokens)] if tokens and pool != "token" else []
    return nn.Sequential(*to_map, *layers[pool])


def pooled_shape(pool: Pool, shape: tuple[int, ...], *, tokens: int = 0) -> tuple[int, ...]:
    """Shape per image of what `build_pool(pool, tokens=tokens)` makes of features.

    Args:
        pool: as in `Head`.
        shape: (channels, height, width), or with `tokens` (tokens + side * side, channels).
        tokens: as in `build_pool`.

    Returns:
        (values,), with `positional` (channels, height, width).

    Raises:
        RecipeError: `token` where there is none.

    >>> pooled_shape("both", (512, 7, 7)), pooled_shape("flatten", (512, 7, 7))
    ((1024,), (25088,))
    >>> pooled_shape("token", (197, 768), tokens=1), pooled_shape("flatten", (197, 768), tokens=1)
    ((768,), (150528,))
    """
    features = torch.empty(1, *shape, device="meta")
    return tuple(build_pool(pool, tokens=tokens)(features).shape[1:])


def build_head(
    shape: tuple[int, ...],
    classes: int,
    *,
    dense: tuple[int, ...],
    activation: Activation,
    dropouts: tuple[float, ...],
) -> nn.Sequential:
    """Dense layers, then the outputs; dropout before each.

    Args:
        shape: per image, after the pool: (values,); or (channels, height, width), for dense layers
            that are applied at every position, as 1 x 1 convolutions, and outputs of all that the
            last of them gives.
        classes: outputs.
        dense: widths of the layers before the outputs.
        activation: after each dense layer.
        dropouts: shares of single values dropped before each dense layer, then before the outputs,
            in [0, 0.95]; 0 leaves the layer out.

    Returns:
        A module from (batch, *shape) to logits (batch, classes).
    """
    head = nn.Sequential()
    width, *sides = shape
    *between, last = dropouts
    for number, (wider, share) in enumerate(zip(dense, between, strict=True), start=1):
        if share:
            head.add_module(f"dropout{number}", nn.Dropout(share))
        layer = nn.Conv2d(width, wider, 1) if sides else nn.Linear(width, wider)
        head.add_module(f"dense{number}", layer)
        head.add_module(f"{activation}{number}", _ACTIVATIONS[activation]())
        width = wider
    if sides:
        head.add_module("flatten", nn.Flatten())
    if last:
        head.add_module("dropout", nn.Dropout(last))
    head.add_module("outputs", nn.Linear(width * prod(sides), classes))
    return head
