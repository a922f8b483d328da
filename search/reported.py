"""What did a study report of an experiment, by one metric, and how far is ours from it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfer.evaluate.independent import Apart

ROUNDED = 0.0051
"""How far a number of two digits may be from the one that its matrix gives."""


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A number, or the range that a study gave."""

    value: float | None
    """The number; None: there is a range only."""
    range: tuple[float, float] | None
    """Lowest and highest of several of the study's experiments."""
    low: float | None
    """Of Wilson's 95 % interval on the study's test images; None: it gave no matrix."""
    high: float | None
    """Likewise."""
    stated: float | None
    """What the study says, where that is another number than its own matrix gives."""


def reported(published: Mapping[str, Any] | None, metric: str) -> Reported | None:
    """A metric as a study has it; None where it has none.

    Where it gave a matrix, `[[tn, fp], [fn, tp]]`, its number and interval are of that.

    >>> told = {"accuracy": 0.96, "matrix": [[216, 22], [9, 632]]}
    >>> found = reported(told, "accuracy")
    >>> round(found.value, 4), round(found.low, 3), round(found.high, 3)
    (0.9647, 0.95, 0.975)
    """
    if not published:
        return None
    stated, ends = _stated(published.get(metric))
    matrix = published.get("matrix")
    if matrix is not None:
        value, low, high = _of_matrix(matrix, metric)
        if value is not None:
            other = stated is not None and abs(stated - value) > ROUNDED
            return Reported(
                value=value, range=None, low=low, high=high, stated=stated if other else None
            )
    if stated is None and ends is None:
        return None
    return Reported(value=stated, range=ends, low=None, high=None, stated=None)


def _stated(given: Any) -> tuple[float | None, tuple[float, float] | None]:
    """A number, or a range, as result.json has them: bare, or by `value`, `low` and `high`."""
    if isinstance(given, Mapping):
        if given.get("value") is not None:
            return float(given["value"]), None
        given = [given.get("low"), given.get("high")]
    if isinstance(given, list | tuple):
        return (None, None) if None in given else (None, (float(given[0]), float(given[1])))
    return (None if given is None else float(given)), None


def apart_from(ours: tuple[float, float, float], theirs: Reported | None) -> Apart | None:
    """Ours less the study's, on other images; None where the study's has no interval.

    Args:
        ours: value, lower and upper end of its 95 % interval.
        theirs: the study's.
    """
    from xfer.evaluate.independent import apart

    if theirs is None or theirs.value is None or theirs.low is None or theirs.high is None:
        return None
    return apart(ours, (theirs.value, theirs.low, theirs.high))


def _of_matrix(matrix: Any, metric: str) -> tuple[float | None, float | None, float | None]:
    """Value, and the ends of its interval where it is a share of images or the mean of two."""
    from xfer.evaluate import confusion as of
    from xfer.evaluate.intervals import wilson

    (tn, fp), (fn, tp) = matrix
    shares = {
        "accuracy": (tp + tn, tp + tn + fp + fn),
        "recall": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "precision": (tp, tp + fp),
    }
    if metric in shares:
        found, images = shares[metric]
        return found / images if images else 0.0, *wilson(found, images)
    if metric == "balanced_accuracy":
        halves = [_of_matrix(matrix, name) for name in ("recall", "specificity")]
        value = sum(half[0] or 0.0 for half in halves) / 2
        below, above = (
            sqrt(sum(((half[0] or 0.0) - (half[end] or 0.0)) ** 2 for half in halves)) / 2
            for end in (1, 2)
        )
        return value, value - below, value + above
    import numpy as np

    counts = of.Confusion(
        tp=np.asarray(tp), fp=np.asarray(fp), fn=np.asarray(fn), tn=np.asarray(tn)
    )
    if metric == "f1":
        return float(of.fbeta(counts, 1.0)), None, None
    if metric == "mcc":
        return float(of.mcc(counts)), None, None
    return None, None, None
