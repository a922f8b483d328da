"""How does a batch of images become logits, and which part of that is frozen?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, cast

import torch
from torch import Tensor, nn

from xfer.tensorfile import Place


@dataclass(frozen=True, eq=False)
class Block:
    """A unit at which the prefix may end."""

    name: str
    """Torchvision's name of the module."""
    module: nn.Module
    """A part of the backbone, applied by calling it."""
    part: str = "backbone"
    """What it is trained as a part of: `stage1` to `stage4`, or `backbone` where there are none."""


@dataclass(frozen=True, eq=False)
class Part:
    """Trained parameters that share a learning rate."""

    name: str
    """`head`, or as in `Block.part`."""
    lr_factor: float
    """Its learning rate over the recipe's."""
    parameters: Mapping[str, nn.Parameter]
    """By their names in the net, in its order; never empty."""
    member: int = 0
    """Of an ensemble, from 0; no two have a parameter in common."""


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
        if images.shape[1] != len(self.mean):  # channels last, as colour images come: quicker
            values = values.expand(-1, len(self.mean), -1, -1)
            values = values.contiguous(memory_format=torch.channels_last)
        return values.sub(self.mean).div_(self.std)


class Member(nn.Module):
    """What one more member of an ensemble has of its own: blocks that are trained, and a head."""

    blocks: nn.ModuleDict
    """By their places in the net."""
    head: nn.Sequential

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(
            {
                str(number): block.module
                for number, block in enumerate(net.blocks)
                if any(p.requires_grad for p in block.module.parameters())
            }
        )
        self.head = net.head


class Net(nn.Module):
    """A backbone in blocks, a pool and a head.

    The frozen blocks before the first trained one are the prefix: a pure function of an image in
    any mode. With every block frozen, the pool belongs to it too. An ensemble has what is trained
    once for each of its members, and all that is frozen once.
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
        lr_factors: Mapping[str, float] | None = None,
        tokens: int = 0,
        known_digests: Callable[[], Mapping[Place, str]] = dict,
    ) -> None:
        """Joins the parts; which parameters are trained is read from `requires_grad`.

        Args:
            normalise: pixels to the first block's input.
            backbone: owns the blocks' modules and nothing else.
            blocks: in the order they are applied.
            pool: feature map to what the head takes, without parameters.
            head: that to logits.
            norms_train: trained batch norms use and update batch statistics in training.
            lr_factors: by `Block.part`; 1 for those that are not named.
            tokens: class tokens that the last block's output begins with; 0: it is a map.
            known_digests: of tensors of the backbone that nobody changes.
        """
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self.pool = pool
        self.head = head
        self.blocks = blocks
        self.tokens, self.known_digests = tokens, known_digests
        self.prefix_blocks = 0
        """Blocks of the prefix, counted from the input."""
        self._norms_train = norms_train
        self._lr_factors = dict(lr_factors or {})
        self._always_inference: list[nn.Module] = []
        self.others = nn.ModuleList()
        """Of an ensemble, all members but the first, which is the net itself."""
        self.join(())

    def join(self, nets: Sequence[Net]) -> None:
        """Makes it an ensemble with others, before anything is trained or moved.

        Args:
            nets: of the same recipe; of each only what is trained is taken.
        """
        self.others.extend([Member(net) for net in nets])
        self._thawed = frozenset(name for _, name, p in self._bodies() if p.requires_grad)
        own = {int(number) for other in self._members() for number in other.blocks}
        self._shared_blocks = min(own, default=len(self.blocks))
        self.head_only(False)
        self.train()
        self._changing_buffers = frozenset(
            name
            for path, norm in self.named_modules()
            if isinstance(norm, nn.BatchNorm2d) and norm.training
            for name, _ in norm.named_buffers(path)
        )

    def head_only(self, only: bool) -> None:
        """Freezes the whole backbone, as a first phase of training does, or thaws it again.

        Thawed are the parameters that were trained when the net was made.
        """
        for _, name, parameter in self._bodies():
            parameter.requires_grad_(not only and name in self._thawed)
            parameter.grad = None  # optimisers step whatever has one, trained or not
        trained = [any(p.requires_grad for p in block.module.parameters()) for block in self.blocks]
        frozen = trained.index(True) if True in trained else len(self.blocks)
        self.prefix_blocks = min(frozen, self._shared_blocks) if self.others else frozen
        self._always_inference = []
        for number, (block, is_trained) in enumerate(zip(self.blocks, trained, strict=True)):
            # A block without parameters between trained ones (a dropout) follows the net's mode.
            has_any = any(True for _ in block.module.parameters())
            if number < frozen or (has_any and not is_trained):
                self._always_inference += self._modules_of(number)
                continue
            for norm in (part for own in self._modules_of(number) for part in own.modules()):
                if isinstance(norm, nn.BatchNorm2d) and not (
                    self._norms_train and any(p.requires_grad for p in norm.parameters())
                ):
                    self._always_inference.append(norm)
        self.train(self.training)

    def train(self, mode: bool = True) -> Net:
        """As in torch, but frozen blocks, and norms that are to stay so, remain in inference."""
        super().train(mode)
        for module in self._always_inference:
            module.train(False)
        return self

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Of a copy: what a cut block was traced to has forgotten its mode by then."""
        super().__setstate__(dict(state))
        self.train(self.training)

    def parts(self) -> tuple[Part, ...]:
        """Parameters that are trained in any phase, by member, from the input to the head.

        A parameter of the backbone belongs to the first block that holds it.
        """
        found: dict[tuple[int, str], dict[str, nn.Parameter]] = {}
        owners = {}
        for number, block in enumerate(self.blocks):
            for parameter in (p for own in self._modules_of(number) for p in own.parameters()):
                owners.setdefault(id(parameter), block.part)
        for member, name, parameter in self._bodies():
            if name in self._thawed:
                found.setdefault((member, owners[id(parameter)]), {})[name] = parameter
        heads = [("head", self.head)]
        heads += [
            (f"others.{place}.head", other.head) for place, other in enumerate(self._members())
        ]
        for member, (path, head) in enumerate(heads):
            found[member, "head"] = dict(head.named_parameters(path))
        return tuple(
            Part(name, self._lr_factors.get(name, 1.0), parameters, member)
            for (member, name), parameters in sorted(found.items(), key=lambda entry: entry[0][0])
        )

    def changing(self) -> dict[str, Tensor]:
        """What training changes in any phase: trained parameters, statistics of norms that train.

        Returns:
            Detached tensors that share the net's memory, by their names in it.
        """
        found = {
            name: parameter.detach()
            for part in self.parts()
            for name, parameter in part.parameters.items()
        }
        return found | {n: b for n, b in self.named_buffers() if n in self._changing_buffers}

    def prefix(self, images: Tensor) -> Tensor:
        """The frozen part, without gradients.

        Args:
            images: (batch, channels, height, width), uint8 in [0, 255] or float in [0, 1].

        Returns:
            What `suffix` takes: what the next block does, or where every block is frozen, what
            the head does: (batch, values), or a map (batch, channels, height, width).
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
            Logits (batch, classes); of an ensemble the logarithms of its members' mean
            probabilities.
        """
        if not self.others:
            return self.suffix_of(0, features)
        members = range(1 + len(self.others))
        votes = torch.stack([self.suffix_of(m, features).log_softmax(dim=1) for m in members])
        return votes.logsumexp(dim=0) - log(len(votes))

    def suffix_of(self, member: int, features: Tensor) -> Tensor:
        """The same of one member alone, counted from 0: logits (batch, classes)."""
        values = features
        if self.prefix_blocks < len(self.blocks):
            for number in range(self.prefix_blocks, len(self.blocks)):
                modules = self._modules_of(number)  # one where it is shared
                values = modules[member if len(modules) > 1 else 0](values)
            values = self.pool(values)
        return self._members()[member - 1].head(values) if member else self.head(values)

    def _members(self) -> list[Member]:
        return cast("list[Member]", list(self.others))

    def _modules_of(self, number: int) -> list[nn.Module]:
        """A block's module, or its module in each member."""
        own = [
            other.blocks[str(number)] for other in self._members() if str(number) in other.blocks
        ]
        return [self.blocks[number].module, *own]

    def _bodies(self) -> Iterator[tuple[int, str, nn.Parameter]]:
        """Member, name and parameter of all that is no head's."""
        for name, parameter in self.backbone.named_parameters("backbone"):
            yield 0, name, parameter
        for place, other in enumerate(self._members()):
            for name, parameter in other.blocks.named_parameters(f"others.{place}.blocks"):
                yield 1 + place, name, parameter

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, channels, height, width) to logits (batch, classes)."""
        return self.suffix(self.prefix(images))
