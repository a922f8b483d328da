"""What does the frozen part of a net make of images, the same in every company?

A row of a batched product can depend, in its last bits, on how many rows there are. So a prefix
always runs on batches of one size, the last one padded: what it makes of an image is then a pure
function of that image, and can be kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from xfer.errors import RecipeError
from xfer.models.assembly import block_costs
from xfer.models.heads import pooled_shape
from xfer.models.net import Net
from xfer.recipe import Pool, Pretrained, Recipe
from xfer.tensorfile import digest_by_tensor

BATCH = 32
"""Images that go through a prefix together."""
MOST_ERROR = 1e-3
"""Of a row in half precision: the norm of its rounding over its own."""
VERSION = 1
"""Of how rows are made here; another number, and none that is on disk is found."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where a prefix ends."""

    blocks: int
    """So many from the input belong to it; at least 1."""
    pool: Pool | None
    """`Head.pool`, where all blocks belong to it, and the pool too."""


def cuts_of(recipe: Recipe, *, size: int, channels: int) -> tuple[Cut, ...]:
    """Where the prefixes of a recipe's net end, in all its phases, without building the net.

    Args:
        recipe: one that can be built.
        size: side of the images, in pixels.
        channels: of the images.
    """
    model = recipe.model
    if not isinstance(model, Pretrained):
        return ()
    costs = block_costs(model, size=size, channels=channels)
    stages = list(dict.fromkeys(cost.part for cost in costs))
    thawed = stages[::-1][: model.unfreeze_depth]

    def is_trained(name: str, part: str) -> bool:
        if model.train is None:
            return part in thawed
        return any(
            f"{name}.".startswith(f"{own}.") or own.startswith(f"{name}.") for own in model.train
        )

    trained = (
        number
        for number, cost in enumerate(costs)
        if cost.parameters and is_trained(cost.name, cost.part)
    )
    ends = [next(trained, len(costs))]
    if recipe.head_first is not None and recipe.members == 1:
        ends.append(len(costs))
    return tuple(_cut(recipe, end, len(costs)) for end in ends if end)


def cut_of(net: Net, recipe: Recipe) -> Cut | None:
    """Where the net's prefix ends now; None where there is none."""
    end = net.prefix_blocks
    return _cut(recipe, end, len(net.blocks)) if end else None


def _cut(recipe: Recipe, end: int, blocks: int) -> Cut:
    return Cut(blocks=end, pool=recipe.head.pool if end == blocks else None)


def run_prefix(net: Net, images: Tensor, *, exact: bool = False) -> Tensor:
    """What the suffix is given for images, computed now: the same as if it had been kept.

    Args:
        net: on the images' device.
        images: (images, channels, height, width), as `Normalise` takes them; at least one.
        exact: as `rounded` is told.

    Returns:
        float32 (images, ...), channels last where it is a map.
    """
    made = []
    for batch, count in padded(images):
        with torch.no_grad():
            values = through(net, net.normalise(batch), 0, net.prefix_blocks)
            if net.prefix_blocks == len(net.blocks):
                values = laid_out(net.pool(values))
        made.append(values[:count])
    return laid_out(rounded(torch.cat(made), exact=exact))


def through(net: Net, values: Tensor, start: int, stop: int) -> Tensor:
    """Some blocks of a net, one after another, each given its values in one and the same order."""
    values = laid_out(values)
    for block in net.blocks[start:stop]:
        values = laid_out(block.module(values))
    return values


def rounded(values: Tensor, *, exact: bool = False) -> Tensor:
    """Rows as half precision holds them; those that it does not hold, as they are.

    Training sees what this gives with the store and without, so that what happens to be on disk
    changes how long a trial takes and not what it finds.

    Args:
        values: float32 (images, ...).
        exact: round nothing.
    """
    if exact:
        return values
    half = values.half().float()
    holds = held(values, half)
    return torch.where(holds.view(-1, *[1] * (values.ndim - 1)), half, values)


def held(values: Tensor, half: Tensor) -> Tensor:
    """bool (images,): whether the norm of a row's rounding is at most 1/1000 of the row's own.

    A normal number is rounded by at most 1/2048; what is too large for half precision, or too small
    for its normal numbers, is not held.
    """
    axes = tuple(range(1, values.ndim))
    error = (half - values).square().sum(axes).sqrt()
    size = values.square().sum(axes).sqrt()
    return error <= MOST_ERROR * size  # never of what is not finite


def padded(values: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Batches of exactly 32, maps channels last, and how many of each are no padding.

    Args:
        values: (any, ...), images or what a block is given.
    """
    for start in range(0, len(values), BATCH):
        part = values[start : start + BATCH]
        if part.ndim == 4:
            _, channels, height, width = part.shape
            filled = part.new_zeros(BATCH, height, width, channels).permute(0, 3, 1, 2)
        else:
            filled = part.new_zeros(BATCH, *part.shape[1:])
        filled[: len(part)] = part
        yield filled, len(part)


def laid_out(values: Tensor) -> Tensor:
    """The same values in the order in which they are kept: channels last where it is a map."""
    if values.ndim == 4:
        return values.contiguous(memory_format=torch.channels_last)
    return values.contiguous()


def check_frozen(net: Net) -> None:
    """Wants a prefix that is a pure function of an image.

    Raises:
        RecipeError: something in it is trained, or acts as in training (a dropout, or a batch norm
            that uses the statistics of its batch); all of it is named.
    """
    found = []
    for block in net.blocks[: net.prefix_blocks]:
        trained = [name for name, p in block.module.named_parameters() if p.requires_grad]
        active = [
            name
            for name, module in block.module.named_modules()
            if module.training and _depends_on_mode(module)
        ]
        found += [f"{block.name}.{name} is trained".replace(". ", " ") for name in trained]
        found += [f"{block.name}.{name} is in training mode".replace(". ", " ") for name in active]
    if found:
        raise RecipeError(
            f"what is before the cut must be frozen to be kept: {'; '.join(found)}. Cut earlier, "
            "or train without the store."
        )


_MODES = ("Dropout", "BatchNorm", "InstanceNorm", "StochasticDepth", "RReLU")


def _depends_on_mode(module: nn.Module) -> bool:
    return any(name in type(module).__name__ for name in _MODES)


def block_digests(net: Net, blocks: int) -> tuple[str, ...]:
    """Of the tensors of the normalisation and of each of so many blocks, from the input.

    Whatever changes one of them changes all prefixes that hold it, and no other.
    """
    modules = [net.normalise, *(block.module for block in net.blocks[:blocks])]
    known = net.known_digests()
    return tuple(
        digest_by_tensor(
            {
                name: tensor
                for name, tensor in module.state_dict(keep_vars=False).items()
                if not name.endswith("num_batches_tracked")
            },
            known,
        )
        for module in modules
    )


def key_of(
    net: Net,
    recipe: Recipe,
    cut: Cut,
    digests: Sequence[str],
    *,
    pixels: str,
    device: torch.device,
    exact: bool,
) -> dict[str, Any]:
    """All that decides what a prefix makes of an image but the image.

    Args:
        net: of the recipe.
        recipe: says which backbone it is.
        cut: where the prefix ends.
        digests: `block_digests` of at least its blocks.
        pixels: key of the decoded images: decoder, size, fit, channels, interpolation.
        device: where it is computed.
        exact: as `rounded` is told; the number of threads then counts, too.
    """
    model = recipe.model
    assert isinstance(model, Pretrained)  # of a ConvNet nothing is frozen
    return {
        "what": "features",
        "version": VERSION,
        "backbone": model.name,
        "cut_after": model.cut_after,
        "blocks": [block.name for block in net.blocks[: cut.blocks]],
        "pool": cut.pool,
        "tensors": list(digests[: 1 + cut.blocks]),
        "pixels": pixels,
        "computed": "float32",
        "device": _name_of(device),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "exact": torch.get_num_threads() if exact else None,
    }


def _name_of(device: torch.device) -> str:
    """What kernels there are to choose from."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"


def row_shape(recipe: Recipe, cut: Cut, *, size: int, tokens: int) -> tuple[int, ...]:
    """Shape of a kept row: (values,), (tokens, values), or (height, width, channels).

    Args:
        recipe: of a backbone.
        cut: where its prefix ends.
        size: side of the images, in pixels.
        tokens: class tokens that the last block's output begins with; 0: it is a map.
    """
    shape = block_costs(recipe.model, size=size, channels=3)[cut.blocks - 1].shape
    if cut.pool is not None:
        shape = pooled_shape(cut.pool, shape, tokens=tokens)
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape
