"""What is an objective worth, for many ways of counting the images at once?

A way of counting is a row of weights, whole numbers that say how often each image counts: all
images once, one subgroup's positives and all negatives, or a bootstrap's draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate import confusion as of
from xfer.evaluate.answers import BoolArray, FloatArray, IntArray
from xfer.evaluate.confusion import Confusion
from xfer.evaluate.cuts import area_above_recall, area_precision, area_roc, make_cuts
from xfer.recipe import Objective

RANKED = ("auroc", "partial_auroc", "average_precision", "log_loss")
"""Objectives that no threshold changes; theirs is the one with the best balanced accuracy."""
REACHED = ("specificity_at_recall", "recall_at_specificity")
"""Objectives that bring their own threshold to whatever images they are computed on."""


def strata(
    objective: Objective, labels: BoolArray, subgroups: Sequence[str | None] | None
) -> IntArray:
    """Weights (strata, images) of each part whose worst score counts; one row of ones without.

    By subgroup: the positives of each against all negatives. Positives without a subgroup are one
    more, so that none goes uncounted; a subgroup without positives has no row.

    Raises:
        DataError: two classes do not go with `over`, or `over` needs subgroups there are none of.
    """
    if objective.over == "worst":
        raise DataError(
            "Objective.over='worst' is the worst of several classes, and here are two, one of them "
            "the positive one: leave over out, or name subgroups and use over='worst_subgroup'."
        )
    if objective.over == "macro":
        return np.ones((1, len(labels)), np.int64)
    named = [None] * len(labels) if subgroups is None else list(subgroups)
    if len(named) != len(labels):
        raise DataError(
            f"subgroups must name one for each image or None, got {len(named)} for {len(labels)} "
            f"images."
        )
    of_positives = {name for name, positive in zip(named, labels, strict=True) if positive}
    if of_positives == {None}:
        raise DataError(
            "Objective.over='worst_subgroup' needs positive images that have a subgroup, got none: "
            "give Images.subgroup a pattern that they match."
        )
    rows = [
        ~labels | np.array([other == name for other in named])
        for name in sorted(of_positives, key=lambda name: (name is None, name))
    ]
    return np.stack(rows).astype(np.int64)


def at_counts(objective: Objective, counts: Confusion) -> FloatArray:
    """An objective that needs decisions only, in the shape of the counts."""
    match objective.name:
        case "recall_weighted":
            weight: npt.ArrayLike = objective.recall_weight
            return weight * of.recall(counts) + (1 - weight) * of.specificity(counts)
        case "cost":
            weight = _miss_share(objective, counts)
            return weight * of.recall(counts) + (1 - weight) * of.specificity(counts)
        case "balanced_accuracy":
            return of.balanced_accuracy(counts)
        case "fbeta":
            return of.fbeta(counts, objective.beta)
        case "mcc":
            return of.mcc(counts)
        case _:
            raise ValueError(f"{objective.name} is not computed from decisions")


def by_cut(objective: Objective, counts: Confusion) -> FloatArray:
    """What a threshold is chosen for, (..., cuts): the worst of counts (..., strata, cuts).

    -1 where a threshold does not reach the recall or specificity that is asked for.
    """
    match objective.name:
        case "specificity_at_recall":
            reached = of.recall(counts) >= cast(float, objective.at)
            value = np.where(reached, of.specificity(counts), -1.0)
        case "recall_at_specificity":
            reached = of.specificity(counts) >= cast(float, objective.at)
            value = np.where(reached, of.recall(counts), -1.0)
        case name if name in RANKED:
            value = of.balanced_accuracy(counts)
        case _:
            value = at_counts(objective, counts)
    return value.min(axis=-2)


def without_threshold(
    objective: Objective, scores: FloatArray, labels: BoolArray, weights: IntArray, floor: float
) -> FloatArray:
    """An objective of `RANKED` or `REACHED`, (...), of weights (..., strata, images).

    Args:
        objective: the worst stratum's counts.
        scores: (images,), probabilities of the positive class.
        labels: (images,), or (..., 1, images) where each way of counting has its own.
        weights: with both classes in each row.
        floor: the lowest probability that `log_loss` knows.
    """
    if objective.name == "log_loss":
        given = np.where(labels, scores, 1 - scores)
        return _geometric_mean(given, weights, floor).min(axis=-1)
    cuts = make_cuts(scores, labels, weights)
    if objective.name in REACHED:
        return by_cut(objective, cuts.with_none().counts).max(axis=-1).clip(0.0)
    return _area(objective, cuts.counts).min(axis=-1)


def over_classes(
    objective: Objective,
    probabilities: FloatArray,
    labels: IntArray,
    weights: IntArray,
    floor: float,
) -> FloatArray:
    """Any objective of several classes, (...), of weights (..., images).

    Over the classes that `labels` contain, each against the rest, the mean or the worst. A decision
    is the class of the highest probability, the first one of equals.

    Args:
        objective: with `over` of `macro` or `worst`.
        probabilities: (images, classes).
        labels: (images,), indices of classes.
        weights: with the same classes in each row.
        floor: the lowest probability that `log_loss` knows.

    Raises:
        DataError: the worst subgroup is asked for, which needs a positive class.
    """
    if objective.over == "worst_subgroup":
        raise DataError(
            "Objective.over='worst_subgroup' needs a positive class, and several classes are "
            "predicted: name one in Images.positive, or use over='worst'."
        )
    present = np.unique(labels)
    macro = objective.over == "macro"
    if objective.name == "log_loss":
        given = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
        if macro:
            return _geometric_mean(given, weights, floor)
        each = [_geometric_mean(given, weights * (labels == c), floor) for c in present]
    elif objective.name in (*RANKED, *REACHED):
        rows = weights[..., None, :]
        each = [
            without_threshold(objective, probabilities[:, c], labels == c, rows, floor)
            for c in present
        ]
    else:
        classes = probabilities.shape[1]
        pairs = labels * classes + probabilities.argmax(axis=1)
        values = [
            _of_matrix(objective, np.bincount(pairs, times, classes**2).reshape(classes, classes))
            for times in weights.reshape(-1, len(labels))
        ]
        return np.array(values).reshape(weights.shape[:-1])
    by_class = np.stack(each, axis=-1)
    return by_class.mean(axis=-1) if macro else by_class.min(axis=-1)


def lowest_probability(probabilities: npt.ArrayLike) -> float:
    """Below it, and above 1 minus it, `log_loss` clips: the step of the numbers' type at 1."""
    kind = np.asarray(probabilities).dtype
    return float(np.finfo(kind if np.issubdtype(kind, np.floating) else np.float64).eps)


def _of_matrix(objective: Objective, matrix: npt.NDArray[np.generic]) -> float:
    """An objective of decisions, of a matrix (classes, classes) of counts."""
    whole = matrix.astype(np.int64)
    macro = objective.over == "macro"
    if macro and objective.name == "mcc":
        return of.mcc_classes(whole)
    counts = of.one_against_rest(whole)
    # Balanced accuracy of several classes is their mean recall, by definition.
    balanced = objective.name == "balanced_accuracy"
    by_class = of.recall(counts) if balanced else at_counts(objective, counts)
    present = by_class[whole.sum(axis=1) > 0]
    return float(present.mean() if macro else present.min())


def _miss_share(objective: Objective, counts: Confusion) -> FloatArray:
    """Of the cost of a worst answer, the part that misses have."""
    positives = counts.tp + counts.fn
    share = of.ratio(positives, positives + counts.fp + counts.tn)
    prevalence = share if objective.prevalence is None else np.asarray(objective.prevalence)
    misses = prevalence * cast(float, objective.miss_cost)
    return misses / (misses + 1 - prevalence)


def _area(objective: Objective, counts: Confusion) -> FloatArray:
    """The area (...) of counts (..., cuts)."""
    if objective.name == "partial_auroc":
        return area_above_recall(counts, cast(float, objective.above))
    return area_roc(counts) if objective.name == "auroc" else area_precision(counts)


def _geometric_mean(given: FloatArray, weights: IntArray, floor: float) -> FloatArray:
    """exp(-log loss) (...) of true classes' probabilities and weights, both (..., images)."""
    logs = np.log(given.clip(floor, 1 - floor))
    return np.exp((weights * logs).sum(axis=-1) / weights.sum(axis=-1))
