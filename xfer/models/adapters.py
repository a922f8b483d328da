"""How does a family that is no plain chain of modules become one?

Some of torchvision's models do part of their work in functions between their modules. Here that
part becomes a module too, so that a net can be cut before and after it. Parameters keep
torchvision's names, or `torchvision_key` gives them back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from xfer.models.table import Adapter


class DenseLayer(nn.Module):
    """A dense layer whose output has its input in it, so that a DenseNet can be cut after it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        for name, child in layer.named_children():
            self.add_module(name, child)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, channels + growth, height, width)."""
        values = features
        for layer in self.children():
            values = layer(values)
        return torch.cat([features, values], 1)


class TransformInput(nn.Module):
    """ImageNet's mean and deviation to those that Inception's weights were trained with."""

    transform_input = True  # read by torchvision's method

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width), normalised, to the same shape."""
        from torchvision.models import Inception3

        return Inception3._transform_input(self, images)  # type: ignore[arg-type]


class Embedding(nn.Module):
    """A vision transformer's beginning: patches, class token, positions."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.conv_proj: nn.Module = model.conv_proj
        self.class_token: nn.Parameter = model.class_token
        self.pos_embedding: nn.Parameter = model.encoder.pos_embedding

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width) to (batch, 1 + patches, values)."""
        patches = self.conv_proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], 1)
        return tokens + self.pos_embedding


class Relu(nn.Module):
    """The activation at the end of a DenseNet, which torchvision calls as a function."""

    def forward(self, features: Tensor) -> Tensor:
        """Any shape to the same."""
        return relu(features)


def _densenet(model: Any) -> None:
    for block in (m for name, m in model.features.named_children() if "denseblock" in name):
        for name, layer in list(block.named_children()):
            block.add_module(name, DenseLayer(layer))
    model.features.add_module("relu", Relu())


def _inception(model: Any) -> None:
    del model.transform_input  # a bool of that name
    model.transform_input = TransformInput()


def _vit(model: Any) -> None:
    model.embedding = Embedding(model)


_ADAPTERS: dict[Adapter, Callable[[Any], None]] = {
    "": lambda model: None,
    "densenet": _densenet,
    "inception": _inception,
    "vit": _vit,
}

_THEIRS = {
    "embedding.conv_proj.": "conv_proj.",
    "embedding.class_token": "class_token",
    "embedding.pos_embedding": "encoder.pos_embedding",
}


def adapt(adapter: Adapter, model: nn.Module) -> None:
    """Gives torchvision's model, in place, the modules that its row of the table names."""
    _ADAPTERS[adapter](model)


def torchvision_key(key: str) -> str:
    """What torchvision calls a parameter or buffer of an adapted model.

    >>> torchvision_key("embedding.pos_embedding"), torchvision_key("layer4.0.bn1.weight")
    ('encoder.pos_embedding', 'layer4.0.bn1.weight')
    """
    for ours, theirs in _THEIRS.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


def fitted(state: Mapping[str, Tensor], key: str, shape: torch.Size) -> Tensor:
    """A value of torchvision's state; position embeddings for the number of patches asked.

    Args:
        state: of the whole classifier, by torchvision's keys.
        key: torchvision's.
        shape: of the value in the adapted model.
    """
    value = state[key]
    if value.shape == shape or key != "encoder.pos_embedding":
        return value
    from torchvision.models.vision_transformer import interpolate_embeddings

    # It looks at the sides in patches only, so a patch of one pixel is as good as one of 16.
    side = isqrt(shape[1] - 1)
    return interpolate_embeddings(side, 1, {key: value})[key]  # type: ignore[arg-type]
