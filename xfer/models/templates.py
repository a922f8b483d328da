"""A backbone with its pretrained weights: built and read once per process, lent to many nets.

What a net leaves frozen is the template's own memory; what it trains is copied first. So a worker
that trains trial after trial on a backbone builds it once.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from xfer.models.backbone import fill
from xfer.models.cut import build_cut_backbone
from xfer.models.net import Block, Net
from xfer.models.weights import read_weights, weights_file
from xfer.recipe import Pretrained
from xfer.tensorfile import Place, digest_of_tensor, place_of

_MOST = 2
"""Templates that a process keeps: the largest backbones take half a gigabyte."""

_templates: OrderedDict[tuple[object, ...], Template] = OrderedDict()


@dataclass(frozen=True, eq=False)
class Template:
    """A backbone on the CPU, with its weights; nothing changes its values."""

    module: nn.Module
    """Owns the blocks."""
    blocks: tuple[Block, ...]
    """From the input."""
    tokens: int
    """Class tokens that the last block's output begins with; 0: it is a map."""

    def lend(self) -> tuple[nn.Module, tuple[Block, ...]]:
        """The same modules anew, on the template's own memory."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        lent: dict[int, object] = {
            id(each): nn.Parameter(each.data, requires_grad=False)
            if isinstance(each, nn.Parameter)
            else each.detach()
            for each in tensors
        }
        module, blocks = copy.deepcopy((self.module, self.blocks), lent)
        return module, blocks

    @cached_property
    def digests(self) -> Mapping[Place, str]:
        """Of every tensor, by where it lies: a frozen one of a net lies there, too."""
        tensors: Iterable[Tensor] = (*self.module.parameters(), *self.module.buffers())
        return {place_of(each): digest_of_tensor(each) for each in tensors if each.numel()}


def template_of(model: Pretrained, *, size: int) -> Template:
    """The template of a model with pretrained weights, from memory or built now.

    Args:
        model: its name and where it is cut.
        size: side of the images, in pixels.

    Raises:
        RecipeError: it cannot be built.
        WeightsError: its pretrained weights are not on this machine, or their file is damaged.
    """
    file = weights_file(model.name).path
    stat = file.stat() if file.is_file() else None
    key = (
        model.name, model.cut_after, size, str(file),
        None if stat is None else (stat.st_mtime_ns, stat.st_size, stat.st_ino),
    )  # fmt: skip
    found = _templates.get(key)
    if found is None:
        with torch.device("meta"):
            module, blocks, tokens = build_cut_backbone(
                model.name, size=size, cut_after=model.cut_after
            )
        fill(module, read_weights(model.name))
        found = _templates[key] = Template(module, blocks, tokens)
        while len(_templates) > _MOST:
            _templates.popitem(last=False)
    _templates.move_to_end(key)
    return found


def own_what_changes(net: Net) -> None:
    """Gives a net memory of its own for all that training changes, in any phase."""
    changing = net.changing()
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if name in changing:
                tensor.data = tensor.data.clone()
