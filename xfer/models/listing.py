"""What does each backbone cost, and what may a recipe name inside of it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from xfer.models.adapters import torchvision_key
from xfer.models.assembly import Shape, block_costs
from xfer.models.backbone import build_backbone
from xfer.models.cut import nodes, positions
from xfer.models.heads import pooled_shape
from xfer.models.net import Block
from xfer.models.table import TABLE
from xfer.models.thaw import trainable_names
from xfer.recipe import Pretrained

_FLOAT32 = 4
"""Bytes of a value."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a backbone costs per image."""

    parameters: int
    """Without torchvision's classifier."""
    madds: int
    """Multiply-adds of a forward pass, without torchvision's classifier."""
    features: tuple[int, int, int, int]
    """Bytes of the features that a prefix hands over, in float32, at unfreeze depth 3, 2, 1, 0; at
    0 they are averaged over positions. (At 4 there is no prefix.)"""


def summary(name: str, *, size: int) -> Summary:
    """A row of the table of costs.

    Args:
        name: of the backbone.
        size: side of the images, in pixels; one that it takes.
    """
    blocks = block_costs(Pretrained(name), size=size, channels=3)
    # Every stage begins with a block that has parameters, so a prefix ends with a stage.
    ends = {block.part: block.shape for block in blocks}
    pooled = pooled_shape("average", blocks[-1].shape, tokens=TABLE[name].tokens)
    return Summary(
        parameters=sum(block.parameters for block in blocks),
        madds=sum(block.madds for block in blocks),
        features=(
            _FLOAT32 * prod(ends["stage1"]),
            _FLOAT32 * prod(ends["stage2"]),
            _FLOAT32 * prod(ends["stage3"]),
            _FLOAT32 * prod(pooled),
        ),
    )


def weights_bytes(name: str) -> int:
    """About how large the file of a backbone's weights is, wherever it is, by torchvision.

    Of the two files that were measured it is 0.06 and 0.08 % off.
    """
    from torchvision.models import get_model_weights

    # Torchvision calls them MB and counts 2^20 bytes.
    return round(get_model_weights(name)[TABLE[name].weights].meta["_file_size"] * 2**20)


def trainable(name: str, *, size: int) -> list[tuple[str, int]]:
    """All that `Pretrained.train` may name: modules and parameters, with counts of parameters.

    Args:
        name: of the backbone.
        size: side of the images, in pixels; a vision transformer has more positions for more.
    """
    with torch.device("meta"):
        backbone, _ = build_backbone(name, size=size)
    counts = {torchvision_key(key): p.numel() for key, p in backbone.named_parameters()}
    below = dict.fromkeys(trainable_names(list(counts)), 0)
    for key, count in counts.items():
        for inner in trainable_names([key]):
            below[inner] += count
    return list(below.items())


# --------------------------------------------------------------------------------------------------
# Where a backbone may be cut


def cuttable(name: str, *, size: int) -> list[tuple[str, Shape]]:
    """All that `Pretrained.cut_after` may name, in the order it is computed.

    Those are blocks, modules that hold blocks, and the nodes inside of blocks that give a feature
    map; with each comes what the head gets of an image.

    Args:
        name: of the backbone.
        size: side of the images, in pixels; one that it takes.
    """
    row = TABLE[name]
    holders = _holders(row.blocks)
    found: list[tuple[str, Shape]] = []
    with torch.device("meta"), torch.no_grad():
        _, blocks = build_backbone(name, size=size)
        # A vision transformer has its number of patches built in; others are traced once.
        _, larger = build_backbone(name, size=2 * size) if row.tokens else (None, blocks)
        small, large = (torch.empty(2, 3, side, side) for side in (size, 2 * size))
        for block, again in zip(blocks, larger, strict=True):
            graph = _graph(block)
            inside = graph(small)
            grown = (graph if again is block else _graph(again))(large)
            small, large = block.module.eval()(small), again.module.eval()(large)
            for whole in (block.name, *holders[block.name]):
                inside[whole], grown[whole] = small, large
            for node, value in inside.items():
                shape = _feature_map(_shape(value), _shape(grown[node]), row.tokens)
                if shape is not None:
                    found.append((node, shape))
    return found


def _graph(block: Block) -> Callable[[Tensor], dict[str, Any]]:
    """From a block's input to the values of all its nodes, by their names."""
    names = nodes(block)
    if not names:
        return lambda values: {}
    from torchvision.models.feature_extraction import create_feature_extractor

    inner = {name.removeprefix(f"{block.name}."): name for name in names}
    return create_feature_extractor(block.module, inner).eval()


def _shape(value: Any) -> Shape:
    """Of a tensor; () for all else that a node may give."""
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _holders(blocks: tuple[str, ...]) -> dict[str, list[str]]:
    """By block: the modules that end with it, the innermost first.

    >>> _holders(("features.0.0", "features.0.1", "features.1", "conv"))["features.0.1"]
    ['features.0']
    """
    last = {}
    for block in blocks:
        for parent in trainable_names([block])[:-1]:
            last[parent] = block
    return {
        block: [parent for parent in reversed(last) if last[parent] == block] for block in blocks
    }


def _feature_map(small: Shape, large: Shape, tokens: int) -> Shape | None:
    """What a head gets of an image where the backbone is cut after a node; None: it is refused.

    The arguments are those of `positions`.
    """
    found = positions(small, large, tokens=tokens)
    if found is None:
        return None
    return (small[3], *small[1:3]) if found == (1, 2) else small[1:]  # channels come first
