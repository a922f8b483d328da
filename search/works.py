"""What does training a recipe cost here, with all that is around its steps?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xfer.recipe import ConvNet, Recipe

if TYPE_CHECKING:
    from xfer.models.described import Described
    from xfer.speed import Speed

TRIAL_SECONDS = 0.5
"""Between two trials, in a worker that has begun: 0.2 to 1.0 were measured."""
EPOCH_SECONDS = 0.02
"""Metrics, history and the rest of an epoch that no image has a part in."""
CHECKPOINT_BYTE_S = 4e-9
"""Seconds for each byte of an epoch's checkpoint: 1.6e-9 to 7e-9 of processor time were measured,
with mobilenet_v2 and squeezenet1_1; a slow disk adds to it."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one recipe costs."""

    seconds: float
    """Of training it once, in one worker, if it is not pruned."""
    again: float = 0.0
    """Of training it once as a finalist."""
    prefix: float = 0.0
    """Seconds of sending all images through its frozen part, where that is stored."""
    shared: str = ""
    """The same for recipes that have the stored part in common."""
    epochs: int = 1
    """Passes over the training part, if it is not pruned."""
    weight_bytes: int = 0
    """Size of all weights."""


def describe_each(recipes: Sequence[Recipe], **shape: int) -> list[Described]:
    """What each recipe's net amounts to; equal ones are built once.

    Args:
        recipes: any that can be built.
        shape: `classes`, `size` and `channels` of the images.
    """
    from xfer.models.described import describe

    known: dict[Any, Described] = {}
    found = []
    for recipe in recipes:
        key = _built(recipe)
        if key not in known:  # building it on `meta` takes .02 to .3 s
            known[key] = describe(recipe, **shape)
        found.append(known[key])
    return found


def _built(recipe: Recipe) -> Any:
    """The same for recipes whose nets are built alike: without what is of their training alone."""
    model = recipe.model
    if isinstance(model, ConvNet):
        model = replace(model, dropout=0.0, initial="he_uniform")
    else:
        model = replace(model, lr_factor=1.0, lr_decay=1.0)
    return model, replace(recipe.head, dropout=0.0), recipe.members


def madds_of(
    recipe: Recipe, described: Described, *, epochs: int, train_images: int, val_images: int
) -> float:
    """Multiply-adds of training a recipe once, without what frozen blocks made for another.

    A backward pass counts as two forward passes.

    Args:
        recipe: what is trained.
        described: of it.
        epochs: of a recipe that names none.
        train_images: that it has.
        val_images: scored after each epoch.
    """
    prefix, suffix = described.prefix_madds, described.suffix_madds
    fresh = prefix if recipe.augment.mode == "fresh" else 0
    images = recipe.train_share * train_images * recipe.augment.views
    trained = images * (fresh + 3 * suffix / recipe.members)
    return (recipe.epochs or epochs) * (trained + val_images * suffix)


def works_of(
    recipes: Sequence[Recipe],
    described: Sequence[Described],
    speed: Speed,
    *,
    epochs: int,
    train_images: int,
    val_images: int,
    again_images: int = 0,
    stored: bool = False,
) -> list[Work]:
    """What each recipe costs.

    Args:
        recipes: any that can be built.
        described: each of them.
        speed: of one worker.
        epochs: of a recipe that names none.
        train_images: that each training has.
        val_images: scored after each of its epochs.
        again_images: that training a finalist again has.
        stored: outputs of frozen parts are kept.
    """
    from xfer.speed import model_key, seconds_of

    works = []
    for recipe, its in zip(recipes, described, strict=True):
        each = recipe.epochs or epochs
        around = TRIAL_SECONDS + each * (
            EPOCH_SECONDS + CHECKPOINT_BYTE_S * 12 * its.trainable  # with Adam's two moments
        )
        how = {"epochs": each, "stored": stored}
        once = seconds_of(
            recipe, its, speed, train_images=train_images, val_images=val_images, **how
        )
        again = seconds_of(
            recipe, its, speed, train_images=again_images, val_images=again_images // 4, **how
        )
        works.append(
            Work(
                seconds=around + once.training,
                again=around + again.training,
                prefix=once.prefix,
                shared=f"{model_key(recipe.model)} {its.prefix_madds}",
                epochs=each,
                weight_bytes=4 * its.parameters,
            )
        )
    return works
