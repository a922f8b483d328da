"""From a recipe to a net: built with its weights, or described without any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from xfer.errors import RecipeError
from xfer.models.backbone import fill, random_state
from xfer.models.convnet import build_convnet
from xfer.models.cut import build_cut_backbone
from xfer.models.heads import build_head, build_pool, pooled_shape
from xfer.models.initial import initialise
from xfer.models.limits import problems
from xfer.models.net import Block, Net, Normalise
from xfer.models.thaw import lr_factors, thaw
from xfer.models.weights import preprocessing, read_weights
from xfer.numerics import seed_of
from xfer.recipe import ConvNet, Pretrained, Recipe

Shape = tuple[int, ...]


def assemble(
    recipe: Recipe,
    *,
    classes: int,
    size: int,
    channels: int,
    seed: int,
    load_weights: bool = True,
) -> Net:
    """Builds the net, on the CPU, in training mode.

    The same arguments give the same values on every machine (to the last digit or two where
    `ConvNet.initial` is a normal or orthogonal); no global generator is moved.

    Args:
        recipe: says what to build.
        classes: outputs.
        size: side of the images, in pixels.
        channels: of the images, 1 or 3.
        seed: in [0, 2^32), of everything that has no pretrained weights; an ensemble's first member
            has those of the recipe without it, and the others seeds of their own.
        load_weights: False leaves pretrained weights unread and the backbone at seeded random
            ones, for a caller who loads a state of the whole net next.

    Raises:
        RecipeError: it cannot be built; all reasons in one message.
        WeightsError: its pretrained weights are not on this machine, or their file is damaged.
    """
    if recipe.members > 1:
        seeds = [seed, *(seed_of(seed, member) % 2**32 for member in range(1, recipe.members))]
        first, *others = (
            assemble(
                _of_one_member(recipe), classes=classes, size=size, channels=channels, seed=own,
                load_weights=load_weights,
            )
            for own in seeds
        )  # fmt: skip
        first.join(others)
        return first
    model = recipe.model
    with torch.device("meta"):  # no value is drawn twice, no memory taken before it is filled
        net = skeleton(recipe, classes=classes, size=size, channels=channels)
    net.normalise = _normalise(model, channels)
    generator = torch.Generator().manual_seed(seed)
    initial = model.initial if isinstance(model, ConvNet) else "he_uniform"
    net.head.to_empty(device="cpu")
    initialise(net.head, generator, initial=initial, outputs=True)
    if isinstance(model, ConvNet):
        net.backbone.to_empty(device="cpu")
        initialise(net.backbone, generator, initial=initial, outputs=False)
    elif load_weights and model.weights == "imagenet":
        fill(net.backbone, read_weights(model.name))
    else:
        fill(net.backbone, random_state(model.name, seed=seed))
    return net


def skeleton(recipe: Recipe, *, classes: int, size: int, channels: int) -> Net:
    """The net on the device of the context, frozen as the recipe says, its values left to chance.

    Raises:
        RecipeError: it cannot be built; all reasons in one message.
    """
    found = problems(recipe, size=size, channels=channels)
    if found:
        raise RecipeError("; ".join(found))
    if recipe.members > 1:
        first, *others = (
            skeleton(_of_one_member(recipe), classes=classes, size=size, channels=channels)
            for _ in range(recipe.members)
        )
        first.join(others)
        return first
    model, head = recipe.model, recipe.head
    built = _backbone(model, size=size, channels=channels)
    if isinstance(model, Pretrained):
        thaw(model, built.module, built.blocks)
    shape = _costs(_key(model), size, channels)[-1].shape
    return Net(
        normalise=_normalise(model, channels),
        backbone=built.module,
        blocks=built.blocks,
        pool=build_pool(head.pool, tokens=built.tokens),
        head=build_head(
            pooled_shape(head.pool, shape, tokens=built.tokens),
            classes,
            dense=head.dense,
            activation=head.activation,
            dropouts=head.dropouts,
        ),
        norms_train=isinstance(model, ConvNet) or model.batch_norm == "train",
        lr_factors=lr_factors(model, built.blocks) if isinstance(model, Pretrained) else None,
    )


def _of_one_member(recipe: Recipe) -> Recipe:
    """An ensemble's recipe as each of its members is built by it."""
    return replace(recipe, balance="none", ensemble_parts=Recipe.ensemble_parts)


def name_problems(recipe: Recipe, *, size: int) -> list[str]:
    """What is wrong with the modules and nodes that a recipe names; empty: nothing.

    Args:
        recipe: `xfer.models.limits.problems` finds nothing wrong with it.
        size: side of the images, in pixels.
    """
    model = recipe.model
    if isinstance(model, ConvNet):
        return []
    try:
        with torch.device("meta"):
            built = _backbone(model, size=size, channels=3)
            build_pool(recipe.head.pool, tokens=built.tokens)
        thaw(model, built.module, built.blocks)
    except RecipeError as error:
        return [str(error)]
    return []


@dataclass(frozen=True, eq=False)
class _Backbone:
    module: nn.Module
    """Owns the blocks."""
    blocks: tuple[Block, ...]
    tokens: int
    """Class tokens that the output begins with; 0 for a map."""


def _backbone(model: ConvNet | Pretrained, *, size: int, channels: int) -> _Backbone:
    if isinstance(model, Pretrained):
        return _Backbone(*build_cut_backbone(model.name, size=size, cut_after=model.cut_after))
    layers = build_convnet(
        channels,
        kernels=model.kernels,
        kernel_size=model.kernel_size,
        padding=model.padding,
        pool=model.pool,
        pool_after=model.pool_after,
        batch_norm=model.batch_norm,
        dropout=model.dropout,
    )
    blocks = tuple(Block(name=name, module=m) for name, m in layers.named_children())
    return _Backbone(layers, blocks, 0)


def _normalise(model: ConvNet | Pretrained, channels: int) -> Normalise:
    if isinstance(model, Pretrained):  # random weights, too: their results are to be compared
        expected = preprocessing(model.name)
        return Normalise(expected.mean, expected.std)
    half = (0.5,) * channels  # pixels come to lie in [-1, 1]
    return Normalise(half, half)


# --------------------------------------------------------------------------------------------------
# Described


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a recipe's net amounts to."""

    parameters: int
    """All of them, the head's too."""
    trainable: int
    """Those that are trained."""
    features: Shape
    """What the prefix makes of one image, without the batch. Where all of the backbone is frozen,
    what the head takes: (values,), or (channels, height, width) before a positional one. Else the
    last frozen block's output: of most, (channels, height, width). The image itself where nothing
    is frozen."""
    prefix_madds: int
    """Multiply-adds of the frozen prefix's forward pass per image. Convolutions and matrix
    products only, as published counts have it."""
    suffix_madds: int
    """Of all that follows, in every member of an ensemble. A training step costs about three times
    this per image, or of an ensemble the share of the member whose step it is."""


def describe(recipe: Recipe, *, classes: int, size: int, channels: int) -> Described:
    """Builds the net without memory or weights, and counts.

    Raises:
        RecipeError: it cannot be built; all reasons in one message.
    """
    with torch.device("meta"):
        net = skeleton(recipe, classes=classes, size=size, channels=channels)
    costs = _costs(_key(recipe.model), size, channels)
    cut = net.prefix_blocks
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        pooled = net.pool(torch.empty(1, *costs[-1].shape))
        net.head.eval()(pooled)
    if cut == len(costs):
        features = tuple(pooled.shape[1:])
    else:
        features = costs[cut - 1].shape if cut else (channels, size, size)
    return Described(
        parameters=sum(p.numel() for p in net.parameters()),
        trainable=sum(p.numel() for p in net.parameters() if p.requires_grad),
        features=features,
        prefix_madds=sum(cost.madds for cost in costs[:cut]),
        suffix_madds=recipe.members
        * (sum(cost.madds for cost in costs[cut:]) + counter.get_total_flops() // 2),
    )


@dataclass(frozen=True)
class BlockCost:
    """What a block makes, and what that takes."""

    name: str
    """Of the block."""
    part: str
    """Its stage."""
    shape: Shape
    """Of its output, without the batch: most are (channels, height, width)."""
    madds: int
    """Multiply-adds of its forward pass, per image."""
    parameters: int
    """Of the block."""


Key = ConvNet | tuple[str, str | None]


def _key(model: ConvNet | Pretrained) -> Key:
    """All of a model that decides what its blocks cost."""
    return (model.name, model.cut_after) if isinstance(model, Pretrained) else model


def block_costs(model: ConvNet | Pretrained, *, size: int, channels: int) -> tuple[BlockCost, ...]:
    """Every block of a model that can be built, from the input.

    Raises:
        RecipeError: a cut after what is no node, or gives no feature map.
    """
    return _costs(_key(model), size, channels)


@lru_cache(maxsize=256)  # running a backbone on `meta` takes .02 to .3 s; a check draws 50 recipes
def _costs(key: Key, size: int, channels: int) -> tuple[BlockCost, ...]:
    model = Pretrained(key[0], cut_after=key[1]) if isinstance(key, tuple) else key
    costs = []
    with torch.device("meta"):
        built = _backbone(model, size=size, channels=channels)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        values = torch.empty(1, len(_normalise(model, channels).mean), size, size)
        for block in built.blocks:
            before = counter.get_total_flops()
            values = block.module.eval()(values)
            madds = (counter.get_total_flops() - before) // 2  # an addition and a product each
            parameters = sum(p.numel() for p in block.module.parameters())
            costs.append(
                BlockCost(block.name, block.part, tuple(values.shape[1:]), madds, parameters)
            )
    return tuple(costs)
