"""Do the probabilities hold? Of images that are called ill with 70 %, are 70 % ill?

Intervals take patients for independent of each other, and the images of one patient for not: the
variance is that of sums over patients (K.-Y. Liang and S. L. Zeger, Biometrika 73, 1986).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from xfer.evaluate.answers import FloatArray, IntArray, check_classes
from xfer.evaluate.logistic import fit_intercept, fit_line, parted

RELIABILITY = ("brier", "brier_skill", "calibration_slope", "calibration_intercept", "ece")
"""Names of all measures, in the order in which they are shown."""
BINS, SMALLEST_BIN, SIMULATED = 10, 10, 1_000
"""Most bins, images in the smallest one, and sets of labels that are simulated."""
_NEXT_TO_SURE = 1e-15
_Z = 1.959963984540054  # of 95 %

Measured = dict[str, dict[str, float]]
"""By name: `value`, `low`, `high`; NaN where there is none."""


def measure_reliability(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    patients: Sequence[str] | None = None,
    seed: int = 0,
) -> Measured:
    """Every measure of RELIABILITY, with 95 % intervals.

    * `brier`: mean squared error of the probability, of the second of two classes; with several,
      of all classes added up. 0 is best. G. W. Brier, Monthly Weather Review 78, 1950.
    * `brier_skill`: 1 - brier / that of one who always names the shares of these labels.
    * `calibration_slope`, `calibration_intercept` (two classes): log-odds of labels on log-odds of
      probabilities; 1 and 0 are best. A slope below 1: too sure. The intercept is at slope 1: above
      0, there are more ill than was said. D. R. Cox, Biometrika 45, 1958; E. W. Steyerberg and Y.
      Vergouwe, European Heart Journal 35, 2014. No slope where a cut parts the classes without a
      fault or probabilities are all equal; neither where there is one class only.
    * `ece`: expected calibration error, of the second of two classes, or of the class that is the
      answer. See `calibration_error`; `low` and `high` are NaN, and `expected`, `expected_low`,
      `expected_high` tell what a perfect model shows, `bins` how many there were.

    Args:
        probabilities: (images, classes).
        labels: (images,), indices of classes.
        patients: of each image; None: each image is of another.
        seed: of the simulated labels.

    Raises:
        DataError: as `check_classes` says.
    """
    values, truth = check_classes(probabilities, labels)
    _, groups = np.unique(
        np.arange(len(truth)) if patients is None else np.asarray(patients), return_inverse=True
    )
    hot = truth[:, None] == np.arange(values.shape[1])
    shares = hot.mean(axis=0)
    halved = 2 if values.shape[1] == 2 else 1  # two classes miss by the same
    losses = ((values - hot) ** 2).sum(axis=1) / halved
    baseline = ((shares - hot) ** 2).sum(axis=1) / halved
    brier, reference = float(losses.mean()), float(baseline.mean())
    measured = {"brier": _interval(brier, _deviation(losses, groups), lowest=0.0)}
    # By the delta method; the reference does not move with the shares, which are at its minimum.
    skill, spread = nan, nan
    if reference > 0:
        skill = 1 - brier / reference
        spread = _deviation((losses - brier / reference * baseline) / reference, groups)
    measured["brier_skill"] = _interval(skill, spread)
    if values.shape[1] == 2:
        measured |= _line(values[:, 1], truth, groups)
        measured["ece"] = calibration_error(values[:, 1], truth, seed=seed)
    else:
        right = values.argmax(axis=1) == truth
        measured["ece"] = calibration_error(values.max(axis=1), right.astype(np.int64), seed=seed)
    return measured


def calibration_error(
    probabilities: FloatArray, happened: IntArray, *, seed: int = 0
) -> dict[str, float]:
    """Expected calibration error, and what it would be if the probabilities were perfect.

    Images in order of probability are cut into bins of equal counts, BINS of them or as many as
    have SMALLEST_BIN images each; equal probabilities are never parted. The error is the mean over
    images of |share that happened - mean probability| of their bin. It is above 0 for a perfect
    model too, the more so the fewer images: labels drawn from the probabilities show by how much.
    Sources: M. P. Naeini et al., AAAI 2015; J. Bröcker and L. A. Smith, Weather and Forecasting 22,
    2007 (labels drawn from the forecast).

    Args:
        probabilities: (images,), at least one.
        happened: (images,), 0 or 1.
        seed: of the labels that are drawn.

    Returns:
        `value`, `low` and `high` (NaN), `expected`, `expected_low`, `expected_high`, `bins`.
    """
    images = len(probabilities)
    order = np.argsort(probabilities, kind="stable")
    rising = probabilities[order]
    wanted = min(BINS, max(1, images // SMALLEST_BIN))
    bins = np.searchsorted(rising, rising) * wanted // images
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    expected = np.add.reduceat(rising, starts)

    def error(labels: FloatArray) -> FloatArray:
        """(sets,) of labels (sets, images), in the order of probabilities."""
        return np.abs(np.add.reduceat(labels, starts, axis=1) - expected).sum(axis=1) / images

    generator = np.random.default_rng(seed)
    at_once = max(1, 1_000_000 // images)
    drawn = np.concatenate([
        error((generator.random((min(at_once, SIMULATED - done), images)) < rising).astype(float))
        for done in range(0, SIMULATED, at_once)
    ])  # fmt: skip
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "value": float(error(happened[order][None].astype(float))[0]),
        "low": nan,
        "high": nan,
        "expected": float(drawn.mean()),
        "expected_low": float(low),
        "expected_high": float(high),
        "bins": len(starts),
    }


def _line(probabilities: FloatArray, labels: IntArray, groups: IntArray) -> Measured:
    odds = logit(np.clip(probabilities, _NEXT_TO_SURE, 1 - _NEXT_TO_SURE))
    slope = intercept = {"value": nan, "low": nan, "high": nan}
    if 0 < labels.sum() < len(labels):
        moved = fit_intercept(odds, labels.astype(float))
        intercept = _interval(
            moved, _robust(np.ones((len(odds), 1)), expit(odds + moved), labels, groups)[0]
        )
    if not parted(odds, labels):
        line = fit_line(odds, labels.astype(float))
        # In units in which the matrix can be inverted.
        middle, scale = odds.mean(), odds.std()
        columns = np.column_stack((np.ones_like(odds), (odds - middle) / scale))
        spread = _robust(columns, expit(line.intercept + line.slope * odds), labels, groups)[1]
        slope = _interval(line.slope, spread / scale)
    return {"calibration_slope": slope, "calibration_intercept": intercept}


def _robust(
    columns: FloatArray, fitted: FloatArray, labels: IntArray, groups: IntArray
) -> FloatArray:
    """(columns,) standard errors of a logistic regression, from sums over groups."""
    sums = np.zeros((groups.max() + 1, columns.shape[1]))
    np.add.at(sums, groups, columns * (labels - fitted)[:, None])
    bread = np.linalg.pinv((columns.T * (fitted * (1 - fitted))) @ columns)
    corrected = len(sums) / max(1, len(sums) - 1)
    return np.sqrt(np.diag(bread @ (sums.T @ sums) @ bread) * corrected)


def _deviation(values: FloatArray, groups: IntArray) -> float:
    """Standard error of a mean, from sums over groups; NaN for one group."""
    sums = np.bincount(groups, weights=values - values.mean())
    if len(sums) == 1:
        return nan
    return sqrt(float((sums**2).sum()) * len(sums) / (len(sums) - 1)) / len(values)


def _interval(value: float, deviation: float, *, lowest: float = -np.inf) -> dict[str, float]:
    low, high = value - _Z * deviation, value + _Z * deviation
    return {"value": value, "low": float(np.maximum(low, lowest)), "high": float(high)}
