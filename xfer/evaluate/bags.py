"""What would each trial score on a part of the patients, or on patients drawn again?

A bag says how often each image is in it; patients, never single images, go into bags.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate.answers import BoolArray, FloatArray, IntArray
from xfer.evaluate.confusion import Confusion
from xfer.evaluate.objectives import at_counts, search_score
from xfer.recipe import Objective

_COUNTED = ("recall_weighted", "balanced_accuracy", "fbeta", "mcc")
"""Objectives that `at_counts` gives for all cuts and bags at once; others take a call each."""


def bag_scores(
    objective: Objective, values: FloatArray, truth: IntArray, weights: IntArray
) -> FloatArray:
    """`search_score` of every trial on every bag: (bags, trials).

    Args:
        objective: whose score it is.
        values: (trials, images) scores of the positive class, or (trials, images, classes).
        truth: (images,), indices of classes.
        weights: (bags, images), how often each image is in the bag; of each class one at least.
    """
    scores = np.empty((len(weights), len(values)))
    for t, value in enumerate(values):
        if value.ndim == 1 and objective.name in (*_COUNTED, "auroc"):
            scores[:, t] = _from_counts(objective, value, truth == 1, weights)
            continue
        for bag, weight in enumerate(weights):
            rows = np.repeat(np.arange(len(truth)), weight)
            scores[bag, t] = search_score(objective, columns(value)[rows], truth[rows])[0]
    return scores


def _from_counts(
    objective: Objective, scores: FloatArray, positive: BoolArray, weights: IntArray
) -> FloatArray:
    """Search scores (bags,) of one trial: one sort, and sums along it for all bags at once."""
    order = np.argsort(-scores)
    falling = scores[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    weight = weights[:, order]  # (bags, images)
    tp = np.cumsum(weight * positive[order], axis=1)[:, ends]  # (bags, cuts)
    fp = np.cumsum(weight, axis=1)[:, ends] - tp
    if objective.name == "auroc":
        above = tp - np.diff(tp, axis=1, prepend=0) / 2  # ties count half
        pairs = tp[:, -1] * fp[:, -1]
        return (np.diff(fp, axis=1, prepend=0) * above).sum(axis=1) / pairs
    fn, tn = tp[:, -1:] - tp, fp[:, -1:] - fp
    best = at_counts(objective, Confusion(tp=tp, fp=fp, fn=fn, tn=tn)).max(axis=1)
    nothing = np.zeros_like(tp[:, -1])
    none = at_counts(objective, Confusion(tp=nothing, fp=nothing, fn=tp[:, -1], tn=fp[:, -1]))
    # Where a score of 1 is out of a bag, the cut there already calls none positive.
    return np.maximum(best, none) if falling[0] < 1.0 else best


def strata(patients: npt.ArrayLike | None, truth: IntArray) -> tuple[IntArray, IntArray]:
    """By image the position of its patient, and by patient the rarest class among its images."""
    names = np.arange(len(truth)) if patients is None else np.asarray(patients)
    if names.shape != truth.shape:
        raise DataError(
            f"patients {names.shape} and labels {truth.shape} must be of the same images."
        )
    owner = np.unique(names, return_inverse=True)[1].reshape(-1)
    has = np.zeros((owner.max() + 1, truth.max() + 1), bool)
    has[owner, truth] = True
    rarity = np.where(has, has.sum(axis=0), len(truth) + 1)
    return owner, rarity.argmin(axis=1)


def dealt(class_of: IntArray, folds: int, rng: np.random.Generator) -> IntArray:
    """By patient, the part it is in: those of one class one after the other, in random order."""
    order = rng.permutation(len(class_of))
    order = order[np.argsort(class_of[order], kind="stable")]
    part = np.empty(len(class_of), np.int64)
    part[order] = np.arange(len(class_of)) % folds
    return part


def columns(value: FloatArray) -> FloatArray:
    """(images, classes), of scores (images,) too."""
    return np.stack([1 - value, value], axis=1) if value.ndim == 1 else value
