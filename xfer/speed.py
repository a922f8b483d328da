"""How long will a recipe take to train here? From its blocks' times (`xfer.timing`).

No torch: what was measured travels between processes and into a run's manifest as plain numbers.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from math import ceil, log
from typing import TYPE_CHECKING, Any

from xfer.recipe import Augment, ConvNet, Pretrained, Recipe

if TYPE_CHECKING:
    from xfer.models.described import Described

PREFIX_BATCH = 32
"""Images that go through a frozen prefix at once."""
VAL_BATCH = 128
"""Images that are scored at once; `xfer.steps` takes 32 to 256."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Seconds of a call, over the images in it."""

    call: float
    """Of every call, however few images it has."""
    image: float
    """Of each of its images."""

    def seconds(self, images: float, *, batch: int) -> float:
        """Of so many images in batches of so many."""
        return ceil(images / batch) * self.call + images * self.image


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a model takes, block by block from the input."""

    madds: tuple[int, ...]
    """Multiply-adds of each block, per image, forward."""
    pixels: Line
    """From pixels to the first block's input."""
    forward: tuple[Line, ...]
    """Of each block in inference."""
    training: tuple[Line, ...]
    """Of each block, forward and backward, the gradient of its input included."""
    first: tuple[Line | None, ...]
    """The same where nothing before it is trained, so that its input needs no gradient; None: not
    measured."""
    head: Line
    """Of a step of the head alone: its forward and backward pass, the loss, the update."""
    update: float
    """Seconds that the optimiser's step takes for each trained parameter."""
    build: float
    """Seconds that building the model took, with random weights."""

    def blocks_before(self, madds: int) -> int:
        """How many blocks make up a prefix of so many multiply-adds."""
        return bisect_right(list(accumulate(self.madds)), madds)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured in one process."""

    threads: int
    """Of torch."""
    device: str
    """`cpu` or `cuda`."""
    models: Mapping[str, Pace]
    """By `model_key`; those that there was time for."""
    changes: Mapping[str, float]
    """Seconds that changing a training image takes, by `changes_key`."""

    def to_json(self) -> dict[str, Any]:
        """As plain values that JSON holds without loss."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Speed:
        """What `to_json` gave, also after a way through JSON."""

        def line(value: Mapping[str, float]) -> Line:
            return Line(**value)

        models = {}
        for key, pace in values["models"].items():
            models[key] = Pace(
                **{name: pace[name] for name in ("update", "build")},
                madds=tuple(pace["madds"]),
                pixels=line(pace["pixels"]),
                forward=tuple(map(line, pace["forward"])),
                training=tuple(map(line, pace["training"])),
                first=tuple(None if each is None else line(each) for each in pace["first"]),
                head=line(pace["head"]),
            )
        return cls(**{**values, "models": models, "changes": dict(values["changes"])})


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """What a trial takes."""

    prefix: float
    """Sending every image through the frozen part once, for all trials that have it in common; 0
    where it is not stored."""
    training: float
    """Building the model, and all epochs with their validation."""


def seconds_of(
    recipe: Recipe,
    described: Described,
    speed: Speed,
    *,
    train_images: int,
    val_images: int,
    epochs: int,
    stored: bool,
) -> Seconds:
    """What training a recipe once takes, checkpoints and reports left out.

    With P for the frozen part's forward pass and S for that of what is trained, an image takes
    P + 3 S in an epoch, and 3 S where the frozen part is stored; here the 3 is what was measured.
    The members of an ensemble are taken to share the images out evenly.

    Args:
        recipe: what is trained.
        described: of it.
        speed: of the worker that trains it; at least one model was measured.
        train_images: of the training part, before views, balance and the recipe's share of them.
        val_images: scored after each epoch.
        epochs: all of them are trained.
        stored: the frozen part's outputs are kept, and made for the first trial alone. Never of
            `fresh` changes, whatever is said here.

    Raises:
        ValueError: no model was measured.
    """
    pace = pace_of(recipe, described, speed)
    seen = max(1, round(recipe.train_share * train_images))
    images = seen * recipe.augment.views
    change = speed.changes.get(changes_key(recipe.augment), 0.0)
    deep = len(pace.madds)
    shallow = pace.blocks_before(described.prefix_madds)
    head_first = 0 if recipe.head_first is None else min(recipe.head_first.epochs, epochs)
    cuts = {deep: head_first}  # epochs, by blocks that are frozen in them
    cuts[shallow] = cuts.get(shallow, 0) + epochs - head_first
    stored = stored and recipe.augment.mode != "fresh"

    def prefix(cut: int, count: int, batch: int) -> float:
        blocks = (pace.pixels, *pace.forward[:cut])
        return sum(block.seconds(count, batch=batch) for block in blocks)

    def epoch(cut: int) -> float:
        batch = recipe.batch_size
        trained = [*pace.training[cut:]]
        scored = sum(block.seconds(val_images, batch=VAL_BATCH) for block in pace.forward[cut:])
        seconds = pace.head.seconds(images, batch=batch) + recipe.members * scored
        if trained:
            trained[0] = pace.first[cut] or trained[0]
            seconds += sum(block.seconds(images, batch=batch) for block in trained)
            # The steps of all members together are those of one that has all images.
            parameters = described.trainable / recipe.members
            seconds += ceil(images / batch) * parameters * pace.update
        if not (stored and cut):
            seconds += prefix(cut, images, PREFIX_BATCH) + prefix(cut, val_images, VAL_BATCH)
            seconds += images * change
        return seconds

    deepest = max(cut for cut, count in cuts.items() if count)
    once = 0.0
    if stored and deepest:  # one pass serves both phases
        once = prefix(deepest, images + val_images, PREFIX_BATCH)
        once += seen * (recipe.augment.views - 1) * change
    trained = sum(count * epoch(cut) for cut, count in cuts.items())
    return Seconds(prefix=once, training=pace.build + trained)


def pace_of(recipe: Recipe, described: Described, speed: Speed) -> Pace:
    """What a recipe's model takes; of one that was not measured by the rates of a similar one.

    That is one of its family if there is any, and of those the nearest in multiply-adds. It has two
    blocks then, what is frozen and what is not.

    Raises:
        ValueError: no model was measured.
    """
    if not speed.models:
        raise ValueError("no model was measured")
    key = model_key(recipe.model)
    if key in speed.models:
        return speed.models[key]
    own = described.suffix_madds // recipe.members
    madds = tuple(part for part in (described.prefix_madds, own) if part)

    def distance(other: str) -> tuple[bool, float]:
        ratio = (1 + sum(speed.models[other].madds)) / (1 + sum(madds))
        return family(other) != family(key), abs(log(ratio))

    like = speed.models[min(speed.models, key=distance)]
    known = max(1, sum(like.madds))

    def rated(lines: tuple[Line, ...]) -> tuple[Line, ...]:
        call, image = sum(each.call for each in lines), sum(each.image for each in lines)
        return tuple(
            Line(call=call * part / sum(madds), image=image * part / known) for part in madds
        )

    return replace(
        like,
        madds=madds,
        forward=rated(like.forward),
        training=rated(like.training),
        first=(None,) * len(madds),
    )


def model_key(model: ConvNet | Pretrained) -> str:
    """The same for models whose blocks take the same time, whatever of them is trained.

    >>> model_key(Pretrained("resnet18", unfreeze_depth=3, lr_factor=0.1))
    'resnet18 batch_norm=inference'
    """
    if isinstance(model, ConvNet):
        return repr(replace(model, initial="he_uniform", dropout=0.0))
    cut = "" if model.cut_after is None else f" cut_after={model.cut_after}"
    return f"{model.name}{cut} batch_norm={model.batch_norm}"


def family(key: str) -> str:
    """Of a `model_key`: what a name begins with before its first digit or underscore.

    >>> family("resnet18 batch_norm=inference"), family("ConvNet(kernels=(8,))")
    ('resnet', 'ConvNet')
    """
    found = re.match("[A-Za-z]*", key)
    return found.group() if found else ""


def changes_key(augment: Augment) -> str:
    """The same for augmentations whose changes take the same time."""
    return repr(replace(augment, mode="fresh", views=1) if augment.mode != "none" else augment)
