"""What would a model have answered to images that others, trained alike, have answered for it?

Models that were trained alike on other parts of the same images rank them much alike, on scales of
their own: the longer one was trained, the surer it is. A line takes one scale to another.

Source: M. J. Kolen and R. L. Brennan, Test Equating, Scaling, and Linking, 2014: linear equating,
of random groups (parts that were cut by chance) and of a single group (images that two answered),
and its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from xfer.evaluate.answers import FloatArray, IntArray

CONFIDENCE = 0.95
"""Of `Equated.low`, one-sided."""
_EQUAL = 1e-9
"""Answers that differ by less than this share of their size are taken to be equal."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Equated:
    """Answers on another model's scale."""

    logits: FloatArray
    """(images, classes); of two classes the first is 0."""
    low: FloatArray | None
    """Of two classes the same, lower for the second by what the line may err at that place, with
    CONFIDENCE; None of several."""


def equate(
    logits: npt.ArrayLike,
    own: npt.ArrayLike,
    *,
    sizes: Sequence[int],
    shared: IntArray,
    patients: int,
) -> Equated | None:
    """Answers of several models, moved to the scale of another one.

    Two classes: the second logit less the first. The answers of each of the models are brought to
    mean 0 and deviation 1, since images were dealt to them by chance; then all of them to the line
    that gives the images which the other has answered, too, its mean and its deviation there.
    Several classes: logits are stretched alike, as `xfer.evaluate.calibration` does, by their
    deviation from the mean of an image's. Labels are not looked at: few of them say less of a scale
    than the answers themselves do.

    At x deviations from the mean, with the correlation r of both answers to n images, the line's
    standard error is sqrt((1 - r) (2 + (1 + r) x^2) / n) deviations; Student's quantile of n - 2
    degrees goes with it, for r is estimated. What the models' own means and deviations err by, and
    that models are better or worse than each other, is not in it.

    Args:
        logits: (images, classes), one model's after another's.
        own: (shared, classes), the other's.
        sizes: images of each model.
        shared: (shared,), positions among the images of those that `own` answers.
        patients: whose these are; they are taken for n.

    Returns:
        None where there is no line: less than three patients, or a model that answers the same to
        all images.

    >>> two = np.array([[0.0, 1.0], [0.0, 3.0], [0.0, 10.0], [0.0, 30.0]])
    >>> own = np.array([[5.0, 4.0], [5.0, 6.0], [5.0, 4.0], [5.0, 6.0]])
    >>> found = equate(two, own, sizes=(2, 2), shared=np.arange(4), patients=4)
    >>> found.logits.tolist()
    [[0.0, -1.0], [0.0, 1.0], [0.0, -1.0], [0.0, 1.0]]
    """
    values = _values(logits)
    parts = np.split(values, np.cumsum(sizes)[:-1])
    if patients < 3 or not all(_spread(part) for part in parts):
        return None
    alike = np.concatenate([(part - _middle(part)) / _spread(part) for part in parts])
    there, here = alike[shared], _values(own)
    if not (_spread(there) and _spread(here)):
        return None
    away = (alike - _middle(there)) / _spread(there)
    moved = _middle(here) + _spread(here) * away
    if moved.shape[1] > 1:
        return Equated(logits=moved, low=None)
    correlation = float((away[shared] * (here - _middle(here))).mean()) / _spread(here)
    unlike = max(0.0, 1 - correlation)  # rounding may take it below
    error = np.sqrt(unlike * (2 + (1 + correlation) * away**2) / patients)
    low = moved - float(stdtrit(patients - 2, CONFIDENCE)) * _spread(here) * error
    return Equated(logits=_of_two(moved), low=_of_two(low))


def _of_two(odds: FloatArray) -> FloatArray:
    return np.column_stack((np.zeros(len(odds)), odds))


def _values(logits: npt.ArrayLike) -> FloatArray:
    """What a scale is of: (images, 1), the log-odds of two classes; (images, classes) of more."""
    values = np.asarray(logits, dtype=np.float64)
    if values.shape[1] == 2:
        return values[:, 1:] - values[:, :1]
    return values - values.mean(axis=1, keepdims=True)


def _middle(values: FloatArray) -> float:
    return float(values.mean()) if values.shape[1] == 1 else 0.0


def _spread(values: FloatArray) -> float:
    """Root of the mean square about the middle; 0 where values differ by rounding only."""
    spread = sqrt(float(((values - _middle(values)) ** 2).mean())) if len(values) else 0.0
    return spread if spread > _EQUAL * float(np.abs(values).max(initial=0.0)) else 0.0
