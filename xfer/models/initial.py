"""What values do new layers start from? The same ones for the same seed, on every machine."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt

import torch
from torch import Generator, Tensor, nn

from xfer.recipe import Initial

OUTPUT_DEVIATION = 0.01
"""Of the outputs' first weights by He's rules: all classes start about equally likely, whatever the
features."""


def initialise(
    module: nn.Module, generator: Generator, *, initial: Initial = "he_uniform", outputs: bool
) -> None:
    """Fills every layer in place, in order; biases are zero, norms do nothing.

    With s weights per output of a layer (fan in) and t per input (fan out), a weight is drawn from

    * `he_uniform`, `he_normal`: deviation sqrt(2 / s), He et al. 2015,
      https://arxiv.org/abs/1502.01852, equation 10;
    * `glorot_uniform`, `glorot_normal`: deviation sqrt(2 / (s + t)), Glorot and Bengio 2010,
      https://proceedings.mlr.press/v9/glorot10a.html, equations 12 and 16;
    * `orthogonal`: a kernel as a matrix (outputs, s) has orthonormal rows, or columns where it has
      more rows than those, Saxe et al. 2013, https://arxiv.org/abs/1312.6120.

    Fans are counted as Keras counts them. Its normals are cut off at two deviations, ours are not.

    The uniform ones, and `zeros` and `ones`, are equal bit by bit on every machine: random bits
    become a float in the same way everywhere. The normal and orthogonal ones are so up to rounding:
    they need logarithms, cosines and sums that differ between processors.

    Args:
        module: holds convolutions, dense layers and batch norms on the CPU, no other parameters.
        generator: on the CPU; advanced.
        initial: the rule.
        outputs: whether the module's last layer gives the logits: by He's rules it is then uniform
            with `OUTPUT_DEVIATION`, by the others as all layers.
    """
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
            continue
        if outputs and layer is layers[-1] and initial in ("he_uniform", "he_normal"):
            _uniform(layer.weight, generator, OUTPUT_DEVIATION * sqrt(3))
        else:
            _FILL[initial](layer.weight, generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _uniform(weight: Tensor, generator: Generator, bound: float) -> None:
    # Not nn.init.uniform_: its product and sum are one rounding or two, as a compiler likes.
    drawn = torch.rand(weight.shape, generator=generator)
    with torch.no_grad():
        weight.copy_(drawn.mul_(2).sub_(1).mul_(bound))


def _he_uniform(weight: Tensor, generator: Generator) -> None:
    _uniform(weight, generator, sqrt(6 / prod(weight.shape[1:])))


def _he_normal(weight: Tensor, generator: Generator) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)


def _glorot_uniform(weight: Tensor, generator: Generator) -> None:
    fan_in, fan_out = prod(weight.shape[1:]), weight.shape[0] * prod(weight.shape[2:])
    _uniform(weight, generator, sqrt(6 / (fan_in + fan_out)))


def _glorot_normal(weight: Tensor, generator: Generator) -> None:
    nn.init.xavier_normal_(weight, generator=generator)


def _orthogonal(weight: Tensor, generator: Generator) -> None:
    nn.init.orthogonal_(weight, generator=generator)


def _zeros(weight: Tensor, _: Generator) -> None:
    nn.init.zeros_(weight)


def _ones(weight: Tensor, _: Generator) -> None:
    nn.init.ones_(weight)


_FILL: dict[Initial, Callable[[Tensor, Generator], None]] = {
    "he_uniform": _he_uniform,
    "he_normal": _he_normal,
    "glorot_uniform": _glorot_uniform,
    "glorot_normal": _glorot_normal,
    "orthogonal": _orthogonal,
    "zeros": _zeros,
    "ones": _ones,
}
