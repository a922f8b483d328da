"""What values do new layers start from? The same ones for the same seed, on every machine."""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import nn

OUTPUT_DEVIATION = 0.01
"""Of the outputs' first weights: all classes start about equally likely, whatever the features."""


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Fills every layer in place, in order; biases are zero, norms do nothing.

    Convolutions and dense layers get He's uniform initialisation, the last dense layer, if it ends
    the module, a small one. Uniform, not normal: random bits become a float in the same way
    everywhere, while a normal needs logarithms and cosines that differ between processors.

    Source: He et al. 2015, https://arxiv.org/abs/1502.01852, equation 10 (bound sqrt(6 / fan in)).

    Args:
        module: holds convolutions, dense layers and batch norms on the CPU, no other parameters.
        generator: on the CPU; advanced.
    """
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
            continue
        bound = sqrt(6 / prod(layer.weight.shape[1:]))
        if isinstance(layer, nn.Linear) and layer is layers[-1]:
            bound = OUTPUT_DEVIATION * sqrt(3)
        with torch.no_grad():
            drawn = torch.rand(layer.weight.shape, generator=generator)
            layer.weight.copy_(drawn.mul_(2).sub_(1).mul_(bound))
            if layer.bias is not None:
                layer.bias.zero_()
