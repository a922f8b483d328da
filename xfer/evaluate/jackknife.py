"""How far can two models' scores be apart by the choice of validation's patients alone?

Each model is scored without one group of the patients, group after group. Two models that were
scored on the same images are compared group by group: what an easy group gives both of them is no
difference, so that the standard error of a difference is far smaller than that of either score.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate.answers import FloatArray, IntArray, check_classes
from xfer.evaluate.bags import dealt
from xfer.evaluate.bags import strata as patients_by_class
from xfer.evaluate.confusion import Confusion
from xfer.evaluate.objectives import Subgroups
from xfer.evaluate.weighted import (
    RANKED,
    REACHED,
    at_counts,
    lowest_probability,
    over_classes,
    strata,
    without_threshold,
)
from xfer.recipe import Objective

GROUPS = 20
"""As many groups, where there are as many patients: a standard error with 19 degrees of freedom."""
FEW = 20
"""Patients of the rarest class, below which a threshold that is held says too little: of two equal
models with 5 positives the error was .6 of the true one, with 10 .9, from 20 on 1.0 (weighted
recall, 100 images). Scores without a group then lie sqrt(FEW / patients) times as far apart."""
_SEED = 0
"""Of the dealing; always the same, or no two models would have the same groups."""


def left_out_groups(
    labels: npt.ArrayLike,
    patients: npt.ArrayLike | None,
    *,
    groups: int = GROUPS,
    subgroups: Subgroups = None,
) -> IntArray:
    """Which images stay when each group of patients is left out: (groups, images) of 0 and 1.

    Patients are dealt class by class, or where there are subgroups by class and subgroup, so that
    each group has its share of all. It depends on names and labels alone, and not on the order of
    images. Images of a class or subgroup that would otherwise be gone stay: those of a single
    patient are never left out. Where a class has fewer patients than there are groups, the spread
    is somewhat overstated (Kott, see `paired_standard_error`).

    Args:
        labels: (images,), indices of classes.
        patients: (images,), whose image it is; None: each image is of another patient.
        groups: how many, 2 or more; with fewer patients there are as many as patients.
        subgroups: (images,), where the objective is the worst of them.

    Raises:
        DataError: other shapes, or fewer than two groups are asked for.
    """
    if groups < 2:
        raise DataError(f"groups must be 2 or more, got {groups}.")
    truth = np.asarray(labels).astype(np.int64)
    if subgroups is not None:
        named = [f"{label} {name}" for label, name in zip(truth, subgroups, strict=True)]
        truth = np.unique(named, return_inverse=True)[1].reshape(-1)
    owner, class_of = patients_by_class(patients, truth)
    count = min(groups, len(class_of))
    out = dealt(class_of, count, np.random.default_rng(_SEED))[owner] == np.arange(count)[:, None]
    for label in np.unique(truth):
        of_label = truth == label
        out[(out >= of_label).all(axis=1)[:, None] & of_label] = False
    return (~out).astype(np.int64)


def leave_out_scores(
    objective: Objective,
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: npt.ArrayLike | None,
    *,
    threshold: float | None,
    groups: int = GROUPS,
    subgroups: Subgroups = None,
) -> FloatArray:
    """`score_at` of the images that stay when each group of patients is left out: (groups,).

    The threshold stays as it is: to first order, the threshold that is best on all images loses
    nothing on nearly all of them.

    Args:
        objective: whose score it is.
        probabilities: (images, classes), float.
        labels: (images,), indices of classes.
        patients: (images,), whose image it is; None: each image is of another patient.
        threshold: that of `search_score` on all images; None for more than two classes.
        groups: as in `left_out_groups`.
        subgroups: (images,), where the objective is the worst of them.

    Raises:
        DataError: as `score_at` and `left_out_groups` say.
    """
    values, truth = check_classes(probabilities, labels, both_classes=True)
    floor = lowest_probability(probabilities)
    kept = left_out_groups(truth, patients, groups=groups, subgroups=subgroups)
    if values.shape[1] > 2:
        return over_classes(objective, values, truth, kept, floor)
    positive = truth == 1
    parts = kept[:, None, :] * strata(objective, positive, subgroups)  # (groups, strata, images)
    if objective.name in (*RANKED, *REACHED):
        return without_threshold(objective, values[:, 1], positive, parts, floor)
    if threshold is None:
        raise DataError(f"{objective.name} of two classes needs a threshold, got None.")
    called = values[:, 1] >= threshold
    tp, fp = parts @ (called & positive), parts @ (called & ~positive)
    fn, tn = parts @ (~called & positive), parts @ (~called & ~positive)
    scores = at_counts(objective, Confusion(tp=tp, fp=fp, fn=fn, tn=tn)).min(axis=-1)
    _, class_of = patients_by_class(patients, truth)
    rarest = np.bincount(class_of, minlength=2).min()
    wider = max(1.0, sqrt(FEW / max(rarest, 1)))
    return scores.mean() + wider * (scores - scores.mean())


def paired_standard_error(
    one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]
) -> float | None:
    """Standard error of the difference of two models' mean scores over the same folds.

    With d the difference of a fold's G scores: variance (G - 1) / G * sum((d - mean(d))²) in each
    fold; of the mean of K folds, whose images are others, the sum of these divided by K².

    Source: P. S. Kott, The delete-a-group jackknife, Journal of Official Statistics 17, 2001, where
    groups go across strata as here; J. Shao and D. Tu, The Jackknife and Bootstrap, 1995. Measured
    against the spread of differences over 300 drawn validation parts (100 or 500 patients with an
    image, 100 with four): as a root mean square 0.98 to 1.13 times as large, of
    `specificity_at_recall` and `recall_at_specificity`, whose threshold jumps, 1.3 to 1.5 times, of
    `cost` with a miss at 10 and few images less: 0.80 times with 50, 0.88 with 100, 1.0 from 200.

    Args:
        one: (folds, groups), as `leave_out_scores` gives them; one fold where there are none.
        other: likewise, of the same images.

    Returns:
        None where either has no scores, or they are not of the same groups.

    >>> paired_standard_error([[0.5, 0.5, 0.6, 0.6]], [[0.5, 0.5, 0.5, 0.5]])
    0.086...
    """
    sizes = [len(fold) for fold in one]
    if not sizes or 0 in sizes or sizes != [len(fold) for fold in other]:
        return None
    variance = 0.0
    for a, b in zip(one, other, strict=True):
        difference = np.subtract(a, b)
        count = len(difference)
        variance += (count - 1) / count * float(((difference - difference.mean()) ** 2).sum())
    return sqrt(variance) / len(sizes)
