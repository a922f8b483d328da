"""From a recipe to a net: built with its weights, or described without any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

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
from xfer.models.templates import own_what_changes, template_of
from xfer.models.thaw import lr_factors, thaw
from xfer.models.weights import preprocessing
from xfer.numerics import seed_of
from xfer.recipe import ConvNet, Pool, Pretrained, Recipe
from xfer.tensorfile import Place

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
    shape: dict[str, Any] = {"classes": classes, "size": size, "channels": channels}
    if isinstance(model, Pretrained) and model.weights == "imagenet" and load_weights:
        _refuse(recipe, size=size, channels=channels)
        template = template_of(model, size=size)
        built = _Backbone(*template.lend(), template.tokens)
        with torch.device("meta"):
            net = _joined(recipe, built, known_digests=lambda: template.digests, **shape)
        own_what_changes(net)
    else:
        with torch.device("meta"):  # no value is drawn twice, no memory taken before it is filled
            net = skeleton(recipe, **shape)
    net.normalise = _normalise(model, channels)
    generator = torch.Generator().manual_seed(seed)
    initial = model.initial if isinstance(model, ConvNet) else "he_uniform"
    net.head.to_empty(device="cpu")
    initialise(net.head, generator, initial=initial, outputs=True)
    if isinstance(model, ConvNet):
        net.backbone.to_empty(device="cpu")
        initialise(net.backbone, generator, initial=initial, outputs=False)
    elif model.weights == "none" or not load_weights:
        fill(net.backbone, random_state(model.name, seed=seed))
    return net


def skeleton(recipe: Recipe, *, classes: int, size: int, channels: int) -> Net:
    """The net on the device of the context, frozen as the recipe says, its values left to chance.

    Raises:
        RecipeError: it cannot be built; all reasons in one message.
    """
    _refuse(recipe, size=size, channels=channels)
    shape: dict[str, Any] = {"classes": classes, "size": size, "channels": channels}
    if recipe.members > 1:
        first, *others = (skeleton(_of_one_member(recipe), **shape) for _ in range(recipe.members))
        first.join(others)
        return first
    return _joined(recipe, _backbone(recipe.model, size=size, channels=channels), **shape)


def _refuse(recipe: Recipe, *, size: int, channels: int) -> None:
    found = problems(recipe, size=size, channels=channels)
    if found:
        raise RecipeError("; ".join(found))


def _joined(
    recipe: Recipe,
    built: _Backbone,
    *,
    classes: int,
    size: int,
    channels: int,
    known_digests: Callable[[], Mapping[Place, str]] = dict,
) -> Net:
    """The net of a backbone, whose values stay what they are."""
    model, head = recipe.model, recipe.head
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
        tokens=built.tokens,
        known_digests=known_digests,
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
    names = Pretrained(model.name, train=model.train, cut_after=model.cut_after)
    return list(_name_problems(names, recipe.head.pool, size))


@lru_cache(maxsize=256)  # building a backbone takes .1 to .4 s; rates and modes name nothing
def _name_problems(model: Pretrained, pool: Pool, size: int) -> tuple[str, ...]:
    try:
        with torch.device("meta"):
            built = _backbone(model, size=size, channels=3)
            build_pool(pool, tokens=built.tokens)
        thaw(model, built.module, built.blocks)
    except RecipeError as error:
        return (str(error),)
    return ()


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
