"""What would each trial score on a part of the patients, or on patients drawn again?

A bag says how often each image is in it; patients, never single images, go into bags.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate import weighted
from xfer.evaluate.answers import FloatArray, IntArray
from xfer.evaluate.cuts import make_cuts
from xfer.evaluate.objectives import Subgroups
from xfer.recipe import Objective

_AT_ONCE = 2_000_000
"""Numbers held at once, 16 MB: bags times images times subgroups."""


def bag_scores(
    objective: Objective,
    values: FloatArray,
    truth: IntArray,
    weights: IntArray,
    *,
    subgroups: Subgroups = None,
) -> FloatArray:
    """`search_score` of every trial on every bag: (bags, trials).

    Args:
        objective: whose score it is.
        values: (trials, images) scores of the positive class, or (trials, images, classes).
        truth: (images,), indices of classes.
        weights: (bags, images), how often each image is in the bag; of each class one at least, and
            of the positives of each subgroup, where they count.
        subgroups: (images,), of use to `over="worst_subgroup"` only.
    """
    scores = np.empty((len(weights), len(values)))
    if values.ndim == 3:
        floor = weighted.lowest_probability(values)
        for t, value in enumerate(values):
            scores[:, t] = weighted.over_classes(objective, value, truth, weights, floor)
        return scores
    strata_of = weighted.strata(objective, truth == 1, subgroups)
    step = max(1, _AT_ONCE // strata_of.size)
    for start in range(0, len(weights), step):
        times = weights[start : start + step, None] * strata_of
        for t, value in enumerate(values):
            scores[start : start + step, t] = _of_two(objective, value, truth == 1, times)
    return scores


def _of_two(
    objective: Objective, scores: FloatArray, positive: npt.NDArray[np.bool_], times: IntArray
) -> FloatArray:
    """Search scores (bags,) of one trial, of times (bags, strata, images)."""
    if objective.name in (*weighted.RANKED, *weighted.REACHED):
        floor = weighted.lowest_probability(scores)
        return weighted.without_threshold(objective, scores, positive, times, floor)
    # Where a score of 1 is out of a bag, the cut there already calls none positive.
    cuts = make_cuts(scores, positive, times).with_none()
    return weighted.by_cut(objective, cuts.counts).max(axis=-1)


def strata(patients: npt.ArrayLike | None, kinds: IntArray) -> tuple[IntArray, IntArray]:
    """By image the position of its patient, and by patient the rarest kind among its images.

    Args:
        patients: (images,), whose image it is; None: each image is of another patient.
        kinds: (images,), as `kinds_of` gives them.

    Raises:
        DataError: another number of patients than of images.
    """
    names = np.arange(len(kinds)) if patients is None else np.asarray(patients)
    if names.shape != kinds.shape:
        raise DataError(
            f"patients {names.shape} and labels {kinds.shape} must be of the same images."
        )
    owner = np.unique(names, return_inverse=True)[1].reshape(-1)
    has = np.zeros((owner.max() + 1, kinds.max() + 1), bool)
    has[owner, kinds] = True
    rarity = np.where(has, has.sum(axis=0), len(kinds) + 1)
    return owner, rarity.argmin(axis=1)


def kinds_of(objective: Objective, truth: IntArray, subgroups: Subgroups) -> IntArray:
    """By image its class; the positives of each subgroup are a kind of their own, where they count.

    No bag may be without any of them. 0 is the negatives, and 1 and more are positives.

    Raises:
        DataError: subgroups that do not go with the objective, as `search_score` says.
    """
    if objective.over != "worst_subgroup" or truth.max() > 1:
        return truth
    rows = weighted.strata(objective, truth == 1, subgroups)
    return np.where(truth == 1, 1 + rows.argmax(axis=0), 0)


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
