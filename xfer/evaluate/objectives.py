"""How good is an epoch in the eyes of the objective, and what would a constant answer get?"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import cast

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate.answers import FloatArray, check_binary, check_classes
from xfer.evaluate.confusion import confusion_binary
from xfer.evaluate.cuts import make_cuts
from xfer.evaluate.weighted import (
    RANKED,
    REACHED,
    at_counts,
    by_cut,
    lowest_probability,
    over_classes,
    strata,
    without_threshold,
)
from xfer.recipe import Objective

SAME = 1e-12
"""Objectives closer than this are equally good: they differ by rounding only."""

Subgroups = Sequence[str | None] | None
"""A name for each image; None for images, or for all of them, that have none."""


def search_score(
    objective: Objective,
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    subgroups: Subgroups = None,
) -> tuple[float, float | None]:
    """The score that ranks and prunes, and the threshold it was reached at.

    Two classes: the objective at its own best threshold, over every way to part the scores of
    class 1 (and the answer "none is positive", where no score is 1). Of equally good thresholds
    the lowest is taken, the one with the highest recall (of `recall_at_specificity` the highest,
    the one with the highest specificity); it lies midway between the scores on its two sides.
    `auroc`, `partial_auroc`, `average_precision` and `log_loss` need no threshold: theirs is the
    one with the best balanced accuracy.

    More classes: the mean over classes or the worst of them, as `Objective.over` says, each against
    the rest, each image called the class of its highest probability. The threshold is None.

    By subgroup (`over="worst_subgroup"`): the worst of them at one threshold, the best for that;
    the positives of a subgroup stand against all negatives, at that part's own prevalence.
    Positives without a subgroup are one more.

    Optimistic by construction: never an estimate of how good the model is.

    Args:
        objective: what is maximised.
        probabilities: (images, classes), float.
        labels: (images,), indices of classes.
        subgroups: (images,), of use to `over="worst_subgroup"` only.

    Raises:
        DataError: as `check_classes` says, labels of one class only, or an `over` that does not go
            with these classes or subgroups.
    """
    values, truth = check_classes(probabilities, labels, both_classes=True)
    if values.shape[1] > 2:
        return _of_classes(objective, probabilities, truth), None
    return best_threshold(objective, np.asarray(probabilities)[:, 1], truth, subgroups=subgroups)


def best_threshold(
    objective: Objective,
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    subgroups: Subgroups = None,
) -> tuple[float, float]:
    """`search_score` of scores (images,) of the positive class and labels (images,) in 0, 1.

    Raises:
        DataError: as `check_binary` says, labels of one class only, or as `search_score` says.
    """
    values, truth = check_binary(scores, labels, both_classes=True)
    rows = strata(objective, truth, subgroups)
    cuts = make_cuts(values, truth, rows)
    if objective.name not in RANKED:
        cuts = cuts.with_none()
    by_threshold = by_cut(objective, cuts.counts)
    equally_good = np.flatnonzero(by_threshold >= by_threshold.max() - SAME)
    best = int(equally_good[0 if objective.name == "recall_at_specificity" else -1])
    threshold = cuts.threshold(best)
    if objective.name in (*RANKED, *REACHED):
        floor = lowest_probability(scores)
        return float(without_threshold(objective, values, truth, rows, floor)), threshold
    return float(by_threshold[best]), threshold


def score_at(
    objective: Objective,
    threshold: float | None,
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    subgroups: Subgroups = None,
) -> float:
    """The objective at a given threshold; probabilities (images, classes), labels (images,).

    Areas and `log_loss` do not depend on it; `specificity_at_recall` and `recall_at_specificity`
    bring their own to these images; objectives of more than two classes have none: pass None there.

    Raises:
        DataError: as `search_score` says, or no threshold where one is needed.
    """
    values, truth = check_classes(probabilities, labels, both_classes=True)
    if values.shape[1] > 2:
        return _of_classes(objective, probabilities, truth)
    scores, positive = values[:, 1], truth == 1
    rows = strata(objective, positive, subgroups)
    if objective.name in (*RANKED, *REACHED):
        floor = lowest_probability(probabilities)
        return float(without_threshold(objective, scores, positive, rows, floor))
    if threshold is None:
        raise DataError(f"{objective.name} of two classes needs a threshold, got None.")
    of_parts = [
        confusion_binary(scores[part], positive[part], threshold=threshold)
        for part in rows.astype(bool)
    ]
    return min(float(at_counts(objective, counts)) for counts in of_parts)


def best_constant(
    objective: Objective, labels: npt.ArrayLike, *, classes: int, subgroups: Subgroups = None
) -> float:
    """The objective of the best answer that looks at no image.

    Two classes: always or never positive. More: always the same class. Ranked by equal scores,
    both AUROCs are 0.5 and average precision the prevalence. `log_loss`: the best probabilities
    that are the same for all. `specificity_at_recall` and `recall_at_specificity`: 1 - `at`, by
    calling positive at random as many as have to be.

    Args:
        objective: what is maximised.
        labels: (images,), indices of classes.
        classes: how many there are.
        subgroups: (images,), of use to `over="worst_subgroup"` only.

    Raises:
        DataError: labels of one class only, or outside [0, classes - 1], or an `over` that does not
            go with these classes or subgroups.

    >>> best_constant(Objective("recall_weighted", recall_weight=0.75), [0, 0, 1], classes=2)
    0.75
    """
    count = len(np.asarray(labels))
    equal, truth = check_classes(np.full((count, classes), 1 / classes), labels, both_classes=True)
    if classes > 2:
        return _best_constant_of_classes(objective, equal, truth)
    positive = truth == 1
    rows = strata(objective, positive, subgroups)
    if objective.name in REACHED:
        return 1 - cast(float, objective.at)
    same = equal[:, 1]
    if objective.name not in RANKED:
        none_or_all = make_cuts(same, positive, rows).with_none()
        return float(by_cut(objective, none_or_all.counts).max())
    if objective.name == "log_loss":
        # The one part's prevalence; of several, what the worst of them loses least by.
        shares = (rows & positive).sum(axis=1) / rows.sum(axis=1)
        same = np.full(count, np.clip(0.5, shares.min(), shares.max()))
    floor = lowest_probability(same)
    return float(without_threshold(objective, same, positive, rows, floor))


def cost_ratio(recall_weight: float, prevalence: float) -> float:
    """How many false alarms a miss is worth: w / (1 - w) * (1 - p) / p; inf where w is 1.

    `w * recall + (1 - w) * specificity` loses w / positives by a miss and (1 - w) / negatives by a
    false alarm; this is the first over the second.

    Args:
        recall_weight: w of `recall_weighted`, in [0, 1].
        prevalence: share of positive images, in (0, 1).

    Raises:
        DataError: either is out of range.

    >>> cost_ratio(0.75, 0.5)
    3.0
    """
    if not (0.0 <= recall_weight <= 1.0 and 0.0 < prevalence < 1.0):
        raise DataError(
            f"a cost ratio needs a recall weight in [0, 1] and a prevalence in (0, 1), "
            f"got {recall_weight!r} and {prevalence!r}."
        )
    if recall_weight == 1.0:
        return inf
    return recall_weight / (1 - recall_weight) * (1 - prevalence) / prevalence


def _of_classes(
    objective: Objective, probabilities: npt.ArrayLike, labels: npt.NDArray[np.int64]
) -> float:
    """`over_classes` with each image counted once; both already checked."""
    values = np.asarray(probabilities, np.float64)
    once, floor = np.ones(len(labels), np.int64), lowest_probability(probabilities)
    return float(over_classes(objective, values, labels, once, floor))


def _best_constant_of_classes(
    objective: Objective, equal: FloatArray, labels: npt.NDArray[np.int64]
) -> float:
    """`best_constant` of several classes; equal (images, classes) are probabilities all alike."""
    by_chance = _of_classes(objective, equal, labels)
    if objective.name in REACHED:
        return 1 - cast(float, objective.at)
    classes = equal.shape[1]
    if objective.name == "log_loss":
        shares = np.bincount(labels, minlength=classes) / len(labels)
        if objective.over == "worst":  # none of the classes that there are is worse off
            shares = (shares > 0) / np.count_nonzero(shares)
        return _of_classes(objective, np.tile(shares, (len(labels), 1)), labels)
    if objective.name in RANKED:
        return by_chance
    always = np.eye(classes)
    return max(
        _of_classes(objective, np.tile(answer, (len(labels), 1)), labels) for answer in always
    )
