"""Which trial wins, and how sure is that?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate.answers import FloatArray, IntArray, check_binary, check_classes
from xfer.evaluate.bags import bag_scores, kinds_of, strata
from xfer.evaluate.objectives import SAME, Subgroups
from xfer.recipe import Objective


def probability_best(
    answers: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: npt.ArrayLike | None,
    objective: Objective,
    *,
    seed: int,
    draws: int = 1_000,
    subgroups: Subgroups = None,
    parts: Sequence[IntArray] = (),
) -> FloatArray:
    """How often each finalist is the best when patients are drawn again: (finalists,), sum 1.

    All finalists are compared on the same draw; equally good ones share it. Patients are drawn
    with replacement, as many of each class as there are. Of several parts, folds, each is drawn
    and scored by itself, and the mean of the scores counts: models of two folds may answer on two
    scales, and one threshold for both would say that of them.

    Args:
        answers: answers out of fold, (finalists, images) or (finalists, images, classes).
        labels: (images,), indices of classes.
        patients: (images,), whose image it is; None: each image is of another patient.
        objective: what is compared: its search score.
        seed: of the draws.
        draws: how many.
        subgroups: (images,), of use to `over="worst_subgroup"` only: of their positives as many
            are drawn as there are.
        parts: positions of images, each in one part; empty: all are one.

    Raises:
        DataError: other shapes, or values outside [0, 1].
    """
    values, truth = check_candidates(answers, labels)
    whose = np.arange(len(truth)) if patients is None else np.asarray(patients)
    rng = np.random.default_rng(seed)
    scores = np.zeros((draws, len(values)))
    for part in parts or (np.arange(len(truth)),):
        groups = None if subgroups is None else [subgroups[i] for i in part.tolist()]
        owner, class_of = strata(whose[part], kinds_of(objective, truth[part], groups))
        times = np.empty((draws, len(class_of)), np.int64)
        for label in np.unique(class_of):
            members = np.flatnonzero(class_of == label)
            times[:, members] = rng.multinomial(
                len(members), np.full(len(members), 1 / len(members)), size=draws
            )
        scores += bag_scores(
            objective, values[:, part], truth[part], times[:, owner], subgroups=groups
        ) / max(len(parts), 1)
    best = scores >= scores.max(axis=1, keepdims=True) - SAME
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


def choose(means: Sequence[float], simplicity: Sequence[float], *, margin: float = 0.005) -> int:
    """The position of the winner: the best mean, or a simpler one that is at most `margin` worse.

    Of those within the margin the simplest wins; of equally simple ones the better, then the first.

    Args:
        means: (finalists,), each one's mean score over seeds and folds.
        simplicity: (finalists,), less is simpler: parameters that are trained, say.
        margin: declared before the scores are known.

    Raises:
        DataError: no finalist, other lengths, a number that is NaN, or a margin below 0.

    >>> choose([0.930, 0.934, 0.920], [1_000, 9_000, 10])
    0
    """
    if not len(means) or len(means) != len(simplicity):
        raise DataError(
            f"each finalist needs a mean and a simplicity, got {len(means)} and {len(simplicity)}."
        )
    if np.isnan([*means, *simplicity]).any() or not margin >= 0.0:
        raise DataError(
            f"means and simplicity must be numbers and the margin 0 or more, "
            f"got {list(means)}, {list(simplicity)} and {margin}."
        )
    best = max(means)
    near = [i for i, mean in enumerate(means) if best - mean <= margin + SAME]
    return min(near, key=lambda i: (simplicity[i], -means[i], i))


def check_candidates(answers: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[FloatArray, IntArray]:
    """Answers and labels of those who are to be chosen among.

    Returns:
        answers (trials, images) where there are two classes, else (trials, images, classes).

    Raises:
        DataError: other shapes, values outside [0, 1], or labels of one class only.
    """
    values = np.asarray(answers)
    if values.ndim not in (2, 3) or not len(values):
        raise DataError(
            "answers must have shape (trials, images) or (trials, images, classes) and hold a "
            f"trial at least, got {values.shape}."
        )
    if values.ndim == 3 and values.shape[2] == 2:
        values = values[:, :, 1]
    check: Any = check_binary if values.ndim == 2 else check_classes
    for value in values:
        check(value, labels, both_classes=True)
    return values.astype(np.float64), np.asarray(labels).astype(np.int64)
