"""What layers does a small convolutional network have?"""

from __future__ import annotations

from torch import nn

from xfer.recipe import ConvPool, Padding

_POOLS: dict[ConvPool, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
}


def build_convnet(
    channels: int,
    *,
    kernels: tuple[int, ...],
    kernel_size: int,
    padding: Padding,
    pool: ConvPool,
    pool_after: tuple[int, ...] | None,
    batch_norm: bool,
    dropout: float,
) -> nn.Sequential:
    """Convolutions, each with its norm, ReLU, pool and dropout.

    Args:
        channels: of the images.
        kernels: of each convolution, from the input.
        kernel_size: side of every kernel, in pixels; odd with `same`.
        padding: `same` keeps the resolution, by `valid` a map loses kernel_size - 1 pixels.
        pool: what halves the resolution.
        pool_after: convolutions, from 1, that are followed by a 2 x 2 pool; None: all.
        batch_norm: normalises each convolution's output; it brings its own shift, so those
            convolutions have no bias.
        dropout: share of channels dropped after each pool, in [0, 0.95].

    Returns:
        Blocks `conv1`, `conv2`, ...: together (batch, channels, side, side) to (batch, kernels[-1],
        last, last), where `xfer.models.limits.convnet_sides` tells the last side.
    """
    blocks = nn.Sequential()
    width = channels
    for number, wider in enumerate(kernels, start=1):
        block = nn.Sequential()
        block.add_module(
            "conv", nn.Conv2d(width, wider, kernel_size, padding=padding, bias=not batch_norm)
        )
        if batch_norm:
            block.add_module("norm", nn.BatchNorm2d(wider))
        block.add_module("relu", nn.ReLU())
        if pool_after is None or number in pool_after:
            block.add_module("pool", _POOLS[pool](2))
            if dropout:
                block.add_module("dropout", nn.Dropout2d(dropout))
        blocks.add_module(f"conv{number}", block)
        width = wider
    return blocks
