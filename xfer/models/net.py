"""How does a batch of images become logits, and which part of that is frozen?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Block:
    """A unit at which the prefix may end."""

    name: str
    """Torchvision's name of the module."""
    module: nn.Module
    """A part of the backbone, applied by calling it."""


class Normalise(nn.Module):
    """Pixels to what the first layer expects."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Scales, repeats gray where three channels are expected, and normalises.

        The operations and their order are torchvision's, so that results are bit-equal to
        `weights.transforms()` on an image that needs no resizing.

        Args:
            images: (batch, channels, height, width), uint8 in [0, 255] or float in [0, 1].

        Returns:
            (batch, channels of the mean, height, width), float.
        """
        values = images.to(self.mean.dtype)
        if images.dtype == torch.uint8:
            values = values.div_(255)  # a copy of ours: uint8 had to be converted
        values = values.expand(-1, len(self.mean), -1, -1)
        return values.sub(self.mean).div_(self.std)


class Net(nn.Module):
    """A backbone in blocks, a pool and a head.

    The frozen blocks before the first trained one are the prefix: a pure function of an image,
    whatever mode the net is in. With every block frozen, the pool belongs to it too.
    """

    def __init__(
        self,
        *,
        normalise: Normalise,
        backbone: nn.Module,
        blocks: tuple[Block, ...],
        pool: nn.Module,
        head: nn.Sequential,
        norms_train: bool,
    ) -> None:
        """Joins the parts; which are frozen is read from `requires_grad`.

        Args:
            normalise: pixels to the first block's input.
            backbone: owns the blocks' modules and nothing else.
            blocks: in the order they are applied.
            pool: feature map to vector, without parameters.
            head: vector to logits.
            norms_train: batch norms of trained blocks use and update batch statistics in training.
        """
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self.pool = pool
        self.head = head
        self.blocks = blocks
        trained = [any(p.requires_grad for p in b.module.parameters()) for b in blocks]
        self.prefix_blocks = trained.index(True) if True in trained else len(blocks)
        """Blocks of the prefix, counted from the input."""
        self._always_inference: list[nn.Module] = []
        for number, (block, is_trained) in enumerate(zip(blocks, trained, strict=True)):
            # A block without parameters between trained ones (a dropout) follows the net's mode.
            has_any = any(True for _ in block.module.parameters())
            if number < self.prefix_blocks or (has_any and not is_trained):
                self._always_inference.append(block.module)
            elif not norms_train:
                norms = [m for m in block.module.modules() if isinstance(m, nn.BatchNorm2d)]
                self._always_inference.extend(norms)
        self.train(self.training)

    def train(self, mode: bool = True) -> Net:
        """As in torch, but frozen blocks, and norms that are to stay so, remain in inference."""
        super().train(mode)
        for module in self._always_inference:
            module.train(False)
        return self

    def prefix(self, images: Tensor) -> Tensor:
        """The frozen part, without gradients.

        Args:
            images: (batch, channels, height, width), uint8 in [0, 255] or float in [0, 1].

        Returns:
            What `suffix` takes: a feature map (batch, channels, height, width), or
            (batch, values) where every block is frozen.
        """
        with torch.no_grad():
            values = self.normalise(images)
            for block in self.blocks[: self.prefix_blocks]:
                values = block.module(values)
            return self.pool(values) if self.prefix_blocks == len(self.blocks) else values

    def suffix(self, features: Tensor) -> Tensor:
        """Everything from the first trained block on; does not write on `features`.

        Args:
            features: what `prefix` returned.

        Returns:
            Logits (batch, classes).
        """
        values = features
        if self.prefix_blocks < len(self.blocks):
            for block in self.blocks[self.prefix_blocks :]:
                values = block.module(values)
            values = self.pool(values)
        return self.head(values)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, channels, height, width) to logits (batch, classes)."""
        return self.suffix(self.prefix(images))


def trainable_groups(net: Net) -> dict[str, list[nn.Parameter]]:
    """Trained parameters, `backbone` and `head` apart, in the net's order; the first may be empty.

    A recipe's `lr_factor` is meant for `backbone`; the layers of a `ConvNet` are one too.
    """
    parts = {"backbone": net.backbone, "head": net.head}
    return {
        name: [cast(nn.Parameter, p) for p in part.parameters() if p.requires_grad]
        for name, part in parts.items()
    }
