"""How does a backbone end earlier: after a module, or after any node inside of a block?

Nodes are those of torchvision's feature extractor, by its names. The block that holds the node is
traced, alone, and replaced by the graph that leads to the node; what comes later is gone, with its
parameters.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache

import torch
from torch import Tensor, nn

from xfer.errors import RecipeError
from xfer.models.backbone import build_backbone, own
from xfer.models.net import Block
from xfer.models.table import TABLE

_MAP, _LAST, _TOKENS = (2, 3), (1, 2), (1,)
"""Dimensions that are positions: of a map, of one with its channels last, of tokens."""


class UpTo(nn.Module):
    """A block's graph up to a node. The backbone owns the graph; this only calls it."""

    def __init__(self, graph: nn.Module, node: str) -> None:
        super().__init__()
        self.graph, self.node = graph, node

    def forward(self, values: Tensor) -> Tensor:
        """What the block takes, to the node's value."""
        return self.graph(values)[self.node]


def nodes(block: Block) -> list[str]:
    """Names of all that is computed inside of a block, in order, by torchvision's names."""
    if _is_leaf(block.module):
        return []
    from torchvision.models.feature_extraction import get_graph_node_names

    inner = get_graph_node_names(block.module)[1][1:]  # the first one is the block's input
    return [f"{block.name}.{name}" for name in inner]


def _is_leaf(module: nn.Module) -> bool:
    """Whether it is one operation, with nothing inside to end after."""
    return type(module).__module__.startswith("torch.nn")


def build_cut_backbone(
    name: str, *, size: int, cut_after: str | None
) -> tuple[nn.Module, tuple[Block, ...], int]:
    """A backbone that ends after a node, on the device of the context.

    Args:
        name: a row of the table.
        size: side of the images, in pixels.
        cut_after: a module or a node, by torchvision's names; None: nothing is cut.

    Returns:
        The module that owns everything; its blocks; how many class tokens the last one's output
        begins with: 0 for a map (batch, channels, height, width).

    Raises:
        RecipeError: there is no such node, or what it gives is no feature map.
    """
    backbone, blocks = build_backbone(name, size=size)
    tokens = TABLE[name].tokens
    if cut_after is None:
        return backbone, blocks, tokens
    backbone, blocks = _cut(backbone, blocks, cut_after, name)
    found = _positions(name, cut_after, size)
    if found == _LAST:
        from torchvision.ops import Permute

        last = blocks[-1]
        blocks = (*blocks, Block(f"{last.name}.permute", Permute([0, 3, 1, 2]), last.part))
    return backbone, blocks, tokens if found == _TOKENS else 0


def _cut(
    backbone: nn.Module, blocks: tuple[Block, ...], node: str, name: str
) -> tuple[nn.Module, tuple[Block, ...]]:
    """The blocks up to a node, and a module that owns only them."""
    named = [n for n, b in enumerate(blocks) if b.name == node or b.name.startswith(f"{node}.")]
    holding = [
        n for n, b in enumerate(blocks) if node.startswith(f"{b.name}.") and not _is_leaf(b.module)
    ]
    if not named and not holding:
        raise RecipeError(_no_such(node, blocks, name))
    kept = blocks[: (named or holding)[-1] + 1]
    modules = [block.module for block in kept]
    if not named:
        from torchvision.models.feature_extraction import create_feature_extractor

        block = kept[-1]
        # Torchvision would take the name for a regular expression.
        if not any(inner == node or inner.startswith(f"{node}.") for inner in nodes(block)):
            raise RecipeError(_no_such(node, (block,), name))
        inner = node.removeprefix(f"{block.name}.")
        graph = create_feature_extractor(block.module, [inner])
        kept = (*kept[:-1], Block(block.name, UpTo(graph, inner), block.part))
        modules[-1] = graph
    shorter = nn.Module()
    for block, module in zip(kept, modules, strict=True):
        own(shorter, block.name, module)
    return shorter, kept


def _no_such(node: str, blocks: tuple[Block, ...], name: str) -> str:
    known = [block.name for block in blocks]
    known += [inner for block in blocks for inner in nodes(block)]
    near = get_close_matches(node, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"cut_after={node!r} is no node of {name}{meant} (python -m xfer.models {name} lists them)"
    )


def positions(
    small: tuple[int, ...], large: tuple[int, ...], *, tokens: int
) -> tuple[int, ...] | None:
    """Which dimensions of a value are positions in the image, if it is a feature map.

    Args:
        small: the value's shape for two images; () for what is no tensor.
        large: for two images of twice the side.
        tokens: class tokens that a sequence begins with; 0: there are no sequences.

    Returns:
        Those that grow with the image: of a map, of one with its channels last, or of tokens. None
        where it is neither.

    >>> positions((2, 8, 7, 7), (2, 8, 14, 14), tokens=0), positions((2, 8), (2, 8), tokens=0)
    ((2, 3), None)
    """
    if small[:1] != (2,):  # images are folded into something, or it is no value of images
        return None
    grown = tuple(n for n, (a, b) in enumerate(zip(small, large, strict=True)) if a != b)
    if len(small) == 4 and grown in (_MAP, _LAST):
        return grown
    if len(small) == 4 and small[2:] == (1, 1):  # pooled
        return _MAP
    # Four times the patches, as many class tokens: patches without theirs are no map to a head.
    quadrupled = len(small) == 3 and large[1] - tokens == 4 * (small[1] - tokens)
    return grown if tokens and quadrupled and grown == _TOKENS else None


@cache
def _positions(name: str, node: str, size: int) -> tuple[int, ...]:
    """Which dimensions of a node's value are positions: those that grow with the image.

    Raises:
        RecipeError: the value is neither a map nor tokens.
    """
    shapes = []
    with torch.device("meta"), torch.no_grad():
        for side in (size, 2 * size):
            backbone, blocks = build_backbone(name, size=side)
            _, blocks = _cut(backbone, blocks, node, name)
            values = torch.empty(2, 3, side, side)
            for block in blocks:
                values = block.module.eval()(values)
            shapes.append(tuple(values.shape) if isinstance(values, Tensor) else ())
    small, large = shapes
    found = positions(small, large, tokens=TABLE[name].tokens)
    if found is not None:
        return found
    what = f"has the shape {small} for two images" if small else "is more than one value"
    raise RecipeError(
        f"cut_after={node!r} of {name} {what}, which is no feature map; choose another node"
    )
