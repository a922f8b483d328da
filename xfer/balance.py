"""Which images does an epoch train on, and how much does each count, where classes are unequal?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xfer.errors import DataError
from xfer.recipe import Balance

Rows = npt.NDArray[np.int64]

_NEEDS_EVERY_CLASS = (
    "class_weights", "oversample", "oversample_augmented", "undersample", "ensemble",
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """The images of an epoch, in no order that means anything."""

    rows: Rows
    """(images,), of the data."""
    repeats: Rows
    """(images,), 0 where an image stands for itself; drawn again, it counts from 1."""
    views: Rows
    """(images,), 0 for the image itself, from 1 its fixed changed ones. No two have the same row,
    repeat and view."""

    def at(self, places: Rows) -> Drawn:
        """Those at some places, in the order of these."""
        return Drawn(self.rows[places], self.repeats[places], self.views[places])


def check_classes(balance: Balance, labels: Rows, classes: Sequence[str]) -> None:
    """Wants an image of every class in the training part, where the balance divides by classes.

    Args:
        balance: as in the recipe.
        labels: (images,) of the training part.
        classes: names, in the order of labels.

    Raises:
        DataError: with the names of the classes that have no image.
    """
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if balance in _NEEDS_EVERY_CLASS and empty:
        raise DataError(
            f"Recipe.balance={balance!r} needs training images of every class, and there are none "
            f"of {', '.join(empty)}; add some, take the class out, or use balance='none'."
        )


def draw_epoch(
    rows: Rows, labels: Rows, balance: Balance, generator: np.random.Generator, *, views: int = 1
) -> Drawn:
    """The images of one epoch; as many in every epoch.

    Oversampling keeps every image and draws with replacement what is missing; undersampling draws
    without. Both are the random methods of He and Garcia, "Learning from Imbalanced Data", 2009.
    Whatever is drawn comes with all of its views: classes are as unequal as without them.

    Args:
        rows: (images,) of the training part.
        labels: (images,) of the same.
        balance: all but `oversample`, `oversample_augmented` and `undersample` take the rows as
            they are.
        generator: advanced by those three alone, and by no view.
        views: as in the recipe's `Augment`.
    """
    members = [rows[labels == label] for label in np.unique(labels)]
    counts = [len(of_class) for of_class in members]
    repeats = np.zeros_like(rows)
    if balance in ("oversample", "oversample_augmented"):
        again = np.concatenate(
            [generator.choice(of_class, max(counts) - len(of_class)) for of_class in members]
        )
        rows = np.concatenate([rows, again])
        repeats = np.concatenate([repeats, 1 + np.arange(len(again))])
    elif balance == "undersample":
        parts = [generator.choice(of_class, min(counts), replace=False) for of_class in members]
        rows = np.concatenate(parts)
        repeats = np.zeros_like(rows)
    every = np.repeat(np.arange(len(rows)), views)
    return Drawn(rows[every], repeats[every], np.tile(np.arange(views), len(rows)))


def member_places(
    labels: Rows, members: int, generator: np.random.Generator
) -> list[npt.NDArray[np.intp]]:
    """Which images each member of an ensemble is trained on.

    A class of n images, the rarest having r, is cut at random into n / r parts, rounded down, at
    most one for each member, as even as can be: no part is smaller than the rarest class, and that
    one is never cut. Member m has the m-th part, beginning again where there are fewer.

    Args:
        labels: (images,) of the training part.
        members: of the ensemble.
        generator: advanced, unless there is one member, who has all.

    Returns:
        For each member, ascending places in `labels`; together all of them.
    """
    if members == 1:
        return [np.arange(len(labels))]
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rarest = min(len(places) for places in classes)
    parts = [
        np.array_split(generator.permutation(places), min(members, len(places) // rarest))
        for places in classes
    ]
    return [
        np.sort(np.concatenate([of_class[member % len(of_class)] for of_class in parts]))
        for member in range(members)
    ]


def class_weights(labels: Rows, classes: int) -> npt.NDArray[np.float64]:
    """n / (classes * n_class), (classes,): their mean over the images is 1.

    King and Zeng, "Logistic Regression in Rare Events Data", 2001; scikit-learn's `balanced`.

    Args:
        labels: (images,) of the training part, at least one of each class.
        classes: how many there are.

    >>> class_weights(np.array([0, 0, 0, 1]), 2).round(3).tolist()
    [0.667, 2.0]
    """
    return len(labels) / (classes * np.bincount(labels, minlength=classes))


def focal_factors(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma, p being the probability of an image's own class; (images,).

    Lin et al., "Focal Loss for Dense Object Detection", 2017, without its class weights. 1 - p is
    the share of all other classes, taken in logarithms: where p rounds to 1 the factor and its
    gradient stay finite, also with gamma below 1.

    Args:
        logits: (images, classes), at least two classes.
        labels: (images,).
        gamma: 0 or more.
    """
    own = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    others = logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
    return (gamma * (others - logits.logsumexp(dim=1))).exp()
