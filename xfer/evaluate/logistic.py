"""Which line of log-odds makes these labels likeliest? Logistic regression on one variable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit

from xfer.evaluate.answers import FloatArray

_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Line:
    """log-odds = intercept + slope z."""

    slope: float
    """In log-odds per unit of z."""
    intercept: float
    """Log-odds where z is 0."""


def fit_line(z: FloatArray, targets: FloatArray) -> Line:
    """The likeliest line, by Newton's method with steps halved until the likelihood rises.

    Args:
        z: (images,), not all equal.
        targets: (images,), in [0, 1]. Where no line parts those of 1 from those of 0 without a
            fault, or where all are inside (0, 1), the line is finite; otherwise it is not, and
            what is returned is where the search was given up.
    """
    middle, spread = z.mean(), z.std()
    columns = np.column_stack((np.ones_like(z), (z - middle) / spread))
    at = np.array([log_odds(float(targets.mean())), 0.0])
    loss = _loss(columns @ at, targets)
    for _ in range(_STEPS):
        shares = expit(columns @ at)
        slopes = columns.T @ (shares - targets)
        curvature = (columns.T * (shares * (1 - shares))) @ columns
        step = np.linalg.lstsq(curvature, slopes, rcond=None)[0]
        decrease = float(slopes @ step)
        while (new := _loss(columns @ (at - step), targets)) > loss * (1 + 1e-12):
            step /= 2
        at, loss = at - step, new
        if decrease <= 1e-16 * max(1.0, loss):
            break
    slope = float(at[1] / spread)
    return Line(slope=slope, intercept=float(at[0] - slope * middle))


def fit_intercept(offsets: FloatArray, targets: FloatArray) -> float:
    """The same where the slope is given: log-odds = offsets + intercept.

    Args:
        offsets: (images,).
        targets: (images,), in [0, 1], not all 0 and not all 1.
    """
    share = float(targets.mean())

    def excess(intercept: float) -> float:
        return float(expit(offsets + intercept).mean()) - share

    low, high = log_odds(share) - float(offsets.max()), log_odds(share) - float(offsets.min())
    return root(excess, low - 1.0, high + 1.0)


def root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises is 0, between a point where it is below and one above."""
    found: Any = brentq(rising, low, high)
    return float(found)


def parted(z: FloatArray, labels: npt.NDArray[np.int64]) -> bool:
    """True where a cut parts the classes, but for ties on it: no line is the likeliest then.

    Also where there is one class only, or where all of z are equal.
    """
    ill, well = z[labels == 1], z[labels == 0]
    if not len(ill) or not len(well):
        return True
    return bool(ill.min() >= well.max() or ill.max() <= well.min())


def _loss(odds: FloatArray, targets: FloatArray) -> float:
    return float((np.logaddexp(0.0, odds) - targets * odds).sum())


def log_odds(share: float) -> float:
    """log(share / (1 - share)), of a share in (0, 1)."""
    return log(share) - log(1 - share)
