"""Which scores and labels can be evaluated at all? The checks that all of `evaluate` shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from xfer.errors import DataError
from xfer.recipe import Objective

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

LARGEST = 15.0
"""Difference of logits in `unsaturated`: a probability of 1 - 3e-7, far from where doubles end."""


def check_binary(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, both_classes: bool = False
) -> tuple[FloatArray, BoolArray]:
    """Scores (images,) as float64 and labels (images,) as bool, or a DataError.

    Args:
        scores: probabilities of the positive class, in [0, 1].
        labels: 0 or 1.
        both_classes: refuse labels that hold one class only.

    Raises:
        DataError: other shapes, no images, NaN, a score outside [0, 1], a label that is neither
            0 nor 1; all such problems in one message.
    """
    values = np.asarray(scores)
    truth = np.asarray(labels)
    problems = [] if values.ndim == 1 else [f"scores must have shape (images,), got {values.shape}"]
    problems += _shared_problems("scores", values, truth)
    if not problems and not np.isin(truth, (0, 1)).all():
        problems.append(f"labels must be 0 or 1, got {_few(np.unique(truth))}")
    if not problems and both_classes and len(np.unique(truth)) == 1:
        problems.append(
            f"labels must hold both classes, got {len(truth)} images that are all {int(truth[0])}"
        )
    if problems:
        raise DataError("; ".join(problems) + ".")
    return values.astype(np.float64, copy=False), truth.astype(np.bool_)


def check_classes(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, both_classes: bool = False
) -> tuple[FloatArray, IntArray]:
    """Probabilities (images, classes) as float64 and labels (images,) as int64, or a DataError.

    Args:
        probabilities: one column per class, at least two, each value in [0, 1].
        labels: the index of each image's class.
        both_classes: refuse labels that hold one class only.

    Raises:
        DataError: other shapes, no images, NaN, a value outside [0, 1], a label without a column;
            all such problems in one message.
    """
    values = np.asarray(probabilities)
    truth = np.asarray(labels)
    problems = []
    if values.ndim != 2 or values.shape[1] < 2:
        problems.append(
            f"probabilities must have shape (images, classes) with at least 2 classes, "
            f"got {values.shape}"
        )
    problems += _shared_problems("probabilities", values, truth)
    if not problems:
        classes = values.shape[1]
        known = np.isin(truth, np.arange(classes))
        if not known.all():
            problems.append(
                f"labels must be whole numbers in [0, {classes - 1}], "
                f"got {_few(np.unique(truth[~known]))}"
            )
        elif both_classes and len(np.unique(truth)) == 1:
            problems.append(
                f"labels must hold at least two classes, got {len(truth)} images that are all of "
                f"class {int(truth[0])}"
            )
    if problems:
        raise DataError("; ".join(problems) + ".")
    return values.astype(np.float64, copy=False), truth.astype(np.int64)


def _shared_problems(name: str, values: npt.NDArray[Any], truth: npt.NDArray[Any]) -> list[str]:
    """What is wrong with values (images, ...) and truth (images,), whatever the task."""
    if truth.ndim != 1 or values.ndim == 0 or len(values) != len(truth):
        return [f"{name} {values.shape} and labels {truth.shape} must be of the same images"]
    if len(truth) == 0:
        return [f"{name} and labels must not be empty"]
    numeric = np.issubdtype(values.dtype, np.floating) or np.issubdtype(values.dtype, np.integer)
    if not numeric and values.dtype != np.bool_:
        return [f"{name} must be numbers, got {values.dtype}"]
    # One reduction each: NaN makes min and max NaN, and no comparison with NaN is true.
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):
        nans = int(np.isnan(values).sum())
        if nans:
            return [f"{name} must be numbers in [0, 1], got NaN {nans} times"]
        return [f"{name} must be in [0, 1], got values from {low:g} to {high:g}"]
    return []


def _few(values: npt.NDArray[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:5].tolist())
    return shown + (", ..." if len(values) > 5 else "")


def unsaturated(logits: npt.NDArray[np.float64]) -> FloatArray:
    """Probabilities that rank images as their logits do, however sure the model is.

    The softmax of logits that differ by 40 rounds to 1, and images that a model tells apart would
    be ties. Where any differ by more than LARGEST, all are scaled so that none do: with two classes
    the order of images is kept exactly. They are for ranking, and no estimate of a probability.

    Args:
        logits: (images, classes), finite.

    >>> logits = np.array([[0.0, 2000.0], [0.0, 1000.0]])
    >>> softmax(logits, axis=1)[:, 1].tolist(), unsaturated(logits)[:, 1].round(4).tolist()
    ([1.0, 1.0], [1.0, 0.9994])
    """
    spread = float(np.ptp(logits, axis=1).max()) if len(logits) else 0.0
    return softmax(logits * min(1.0, LARGEST / spread) if spread else logits, axis=1)


def ranked(objective: Objective, logits: npt.NDArray[np.float64]) -> FloatArray:
    """What a search score is computed from: probabilities, `unsaturated` where order is all.

    Args:
        objective: of the search.
        logits: (images, classes), finite.
    """
    return softmax(logits, axis=1) if objective.name == "log_loss" else unsaturated(logits)
