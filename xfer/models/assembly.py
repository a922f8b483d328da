"""From a recipe to a net: built with its weights, or described without any."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from xfer.errors import RecipeError
from xfer.models.backbone import build_backbone, fill, random_state
from xfer.models.convnet import build_convnet
from xfer.models.heads import build_head, build_pool, pooled_values
from xfer.models.initial import initialise
from xfer.models.limits import problems
from xfer.models.net import Block, Net, Normalise
from xfer.models.table import TABLE
from xfer.models.weights import preprocessing, read_weights
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

    The same arguments give the same values on every machine; no global generator is moved.

    Args:
        recipe: says what to build.
        classes: outputs.
        size: side of the images, in pixels.
        channels: of the images, 1 or 3.
        seed: in [0, 2^32), of everything that has no pretrained weights.
        load_weights: False leaves pretrained weights unread and the backbone at seeded random
            ones, for a caller who loads a state of the whole net next.

    Raises:
        RecipeError: it cannot be built; all reasons in one message.
        WeightsError: its pretrained weights are not on this machine, or their file is damaged.
    """
    model = recipe.model
    with torch.device("meta"):  # no value is drawn twice, no memory taken before it is filled
        net = _skeleton(recipe, classes=classes, size=size, channels=channels)
    net.normalise = _normalise(model, channels)
    generator = torch.Generator().manual_seed(seed)
    net.head.to_empty(device="cpu")
    initialise(net.head, generator)
    if isinstance(model, ConvNet):
        net.backbone.to_empty(device="cpu")
        initialise(net.backbone, generator)
    elif load_weights and model.weights == "imagenet":
        fill(net.backbone, read_weights(model.name))
    else:
        fill(net.backbone, random_state(model.name, seed=seed))
    return net


def _skeleton(recipe: Recipe, *, classes: int, size: int, channels: int) -> Net:
    """The net on the device of the context, frozen as the recipe says."""
    found = problems(recipe, size=size, channels=channels)
    if found:
        raise RecipeError("; ".join(found))
    model = recipe.model
    backbone, blocks = _backbone(model, channels)
    if isinstance(model, Pretrained):
        backbone.requires_grad_(False)
        stages = TABLE[model.name].stages
        trained = {name for stage in stages[4 - model.unfreeze_depth :] for name in stage}
        for block in blocks:
            block.module.requires_grad_(block.name in trained)
    head = recipe.head
    shape = _costs(_key(model), size, channels)[-1].shape
    return Net(
        normalise=_normalise(model, channels),
        backbone=backbone,
        blocks=blocks,
        pool=build_pool(head.pool),
        head=build_head(
            pooled_values(head.pool, shape),
            classes,
            dense=head.dense,
            activation=head.activation,
            dropout=head.dropout,
        ),
        norms_train=isinstance(model, ConvNet) or model.batch_norm == "train",
    )


def _backbone(model: ConvNet | Pretrained, channels: int) -> tuple[nn.Module, tuple[Block, ...]]:
    if isinstance(model, Pretrained):
        return build_backbone(model.name)
    layers = build_convnet(
        channels,
        kernels=model.kernels,
        kernel_size=model.kernel_size,
        pool=model.pool,
        pool_after=model.pool_after,
        batch_norm=model.batch_norm,
        dropout=model.dropout,
    )
    return layers, tuple(Block(name=name, module=m) for name, m in layers.named_children())


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
    """What the prefix makes of one image, without the batch: (channels, height, width), or
    (values,) where all of the backbone is frozen. The image itself where nothing is."""
    prefix_madds: int
    """Multiply-adds of the frozen prefix's forward pass per image. Convolutions and matrix
    products only, as published counts have it."""
    suffix_madds: int
    """Of all that follows. A training step costs about three times this per image."""


def describe(recipe: Recipe, *, classes: int, size: int, channels: int) -> Described:
    """Builds the net without memory or weights, and counts.

    Raises:
        RecipeError: it cannot be built; all reasons in one message.
    """
    with torch.device("meta"):
        net = _skeleton(recipe, classes=classes, size=size, channels=channels)
    costs = _costs(_key(recipe.model), size, channels)
    cut = net.prefix_blocks
    if cut == len(costs):
        features: Shape = (pooled_values(recipe.head.pool, costs[-1].shape),)
    else:
        features = costs[cut - 1].shape if cut else (channels, size, size)
    dense = sum(m.weight.numel() for m in net.head.modules() if isinstance(m, nn.Linear))
    return Described(
        parameters=sum(p.numel() for p in net.parameters()),
        trainable=sum(p.numel() for p in net.parameters() if p.requires_grad),
        features=features,
        prefix_madds=sum(cost.madds for cost in costs[:cut]),
        suffix_madds=sum(cost.madds for cost in costs[cut:]) + dense,
    )


@dataclass(frozen=True)
class _Cost:
    shape: tuple[int, int, int]
    """Of the block's output: (channels, height, width)."""
    madds: int
    """Of the block's forward pass, per image."""


def _key(model: ConvNet | Pretrained) -> ConvNet | str:
    """All of a model that decides what its blocks cost."""
    return model.name if isinstance(model, Pretrained) else model


@lru_cache(maxsize=256)  # running a backbone on `meta` takes .02 to .3 s; a check draws 50 recipes
def _costs(key: ConvNet | str, size: int, channels: int) -> tuple[_Cost, ...]:
    model = Pretrained(key) if isinstance(key, str) else key
    costs = []
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone, blocks = _backbone(model, channels)
        backbone.eval()
        values = torch.empty(1, len(_normalise(model, channels).mean), size, size)
        for block in blocks:
            before = counter.get_total_flops()
            values = block.module(values)
            madds = (counter.get_total_flops() - before) // 2  # an addition and a product each
            _, wide, high, across = values.shape
            costs.append(_Cost((wide, high, across), madds))
    return tuple(costs)
