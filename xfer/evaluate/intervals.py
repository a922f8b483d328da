"""How far can a share of so few images be trusted? Intervals of proportions, and sizes they need.

Zero trials know nothing: the interval is (0, 1) and the lower bound 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtri, stdtrit

from xfer.errors import DataError
from xfer.evaluate.answers import FloatArray, IntArray
from xfer.evaluate.confusion import ratio

_MORE = 0.25
"""Of a patient all of whose images are successes, and of one without any, each as large as the mean
one: added before the correlation is estimated. Without them it comes out least where misses are
fewest, and intervals too short: at 390 images, 1 to 12 each, and correlations of .3 and .7 they
hold recalls of .90 to .99 in .931 and .928 of samples (least: .903); with them and with Student's
quantiles in .966 and .957 (least: .943). Measured by `python -m benchmarks.coverage`."""


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """A share of images, and how far it can be trusted where a patient has several."""

    value: float
    """Successes / images; 0.0 where there are no images."""
    low: float
    """Wilson's lower end, on the effective number."""
    high: float
    """Wilson's upper end, likewise."""
    images: int
    """All of them."""
    patients: int
    """Whose they are."""
    effective: float
    """How many images of different patients would tell as much, in [0, images]."""


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval of a proportion; (0, 1) for zero trials.

    Source: E. B. Wilson, Journal of the American Statistical Association 22, 1927.

    Raises:
        DataError: successes outside [0, trials], or a confidence outside (0, 1).

    >>> low, high = wilson(45, 50)
    >>> round(low, 3), round(high, 3)
    (0.786, 0.957)
    """
    _check(successes, trials, confidence)
    low, high = score_interval(ratio(successes, trials), np.asarray(float(trials)), confidence)
    return float(low), float(high)


def score_interval(
    share: FloatArray, trials: FloatArray, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """`wilson` of arrays of one shape: shares and numbers of trials, which need not be whole."""
    z = float(ndtri((1 + confidence) / 2))
    there = np.where(trials > 0, trials, 1.0)
    center = share + z * z / (2 * there)
    half = z * np.sqrt(share * (1 - share) / there + (z / (2 * there)) ** 2)
    below = 1 + z * z / there
    # Exact at the ends, where rounding would leave 1e-17 or 1 - 1e-16.
    low = np.where((share == 0) | (trials == 0), 0.0, (center - half) / below)
    high = np.where((share == 1) | (trials == 0), 1.0, (center + half) / below)
    return low, high


def lower_bound(successes: int, trials: int, *, confidence: float = 0.95) -> float:
    """One-sided lower bound of a proportion, exact; 0 for zero trials or zero successes.

    In at most 1 - confidence of all samples it lies above the true proportion.

    Source: C. J. Clopper and E. S. Pearson, Biometrika 26, 1934.

    Raises:
        DataError: successes outside [0, trials], or a confidence outside (0, 1).

    >>> round(lower_bound(50, 50), 3)
    0.942
    """
    _check(successes, trials, confidence)
    if successes == 0:
        return 0.0
    return float(betaincinv(successes, trials - successes + 1, 1 - confidence))


def proportion_by_patient(
    successes: npt.ArrayLike, patients: Sequence[str] | npt.ArrayLike, *, confidence: float = 0.95
) -> Proportion:
    """A share of images with Wilson's interval on the effective number.

    Equals `wilson` where each patient has one image. Each image counts the same, so a patient with
    more of them counts more.

    Args:
        successes: (images,), bool.
        patients: (images,), whose each image is.

    Raises:
        DataError: other shapes, successes that are not bool, or a confidence outside (0, 1).

    >>> two_each = proportion_by_patient([True] * 48 + [False] * 2, [i // 2 for i in range(50)])
    >>> round(two_each.effective, 1), round(two_each.low, 3)
    (25.0, 0.805)
    """
    found, images = _by_patient(successes, patients)
    low, high, effective = wilson_by_patient(found, images, confidence=confidence)
    return Proportion(
        value=float(ratio(found.sum(), images.sum())),
        low=float(low),
        high=float(high),
        images=int(images.sum()),
        patients=len(images),
        effective=float(effective),
    )


def lower_bound_by_patient(
    successes: npt.ArrayLike, patients: Sequence[str] | npt.ArrayLike, *, confidence: float = 0.95
) -> float:
    """`lower_bound` on the effective number of images, which need not be whole.

    Equals `lower_bound` where each patient has one image; 0 without images or successes.

    Args:
        successes: (images,), bool.
        patients: (images,), whose each image is.

    Source: E. L. Korn and B. I. Graubard, Survey Methodology 24, 1998, for Clopper and Pearson's
    bound at effective numbers.

    Raises:
        DataError: as `proportion_by_patient`.
    """
    found, images = _by_patient(successes, patients)
    _check(0, 0, confidence)
    hits, total = int(found.sum()), int(images.sum())
    if hits == 0:
        return 0.0
    trials = float(effective_number(found, images, quantile=confidence))
    successes_in_them = hits * (trials / total)
    misses_in_them = (total - hits) * (trials / total)
    return float(betaincinv(successes_in_them, misses_in_them + 1, 1 - confidence))


def wilson_by_patient(
    found: npt.ArrayLike, images: npt.ArrayLike, *, confidence: float = 0.95
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Low and high of Wilson's interval on the effective number, and that number, each (...).

    Args:
        found: (..., patients), how many of a patient's images are successes.
        images: (..., patients), how many there are; a patient with 0 is not there.

    Raises:
        DataError: more found than there are, or a confidence outside (0, 1).
    """
    hits, sizes = np.asarray(found), np.asarray(images)
    _check(0, 0, confidence)
    if (hits > sizes).any() or (hits < 0).any():
        raise DataError("no patient can have fewer than 0 successes or more of them than images.")
    number = effective_number(hits, sizes, quantile=(1 + confidence) / 2)
    share = ratio(hits.sum(axis=-1), sizes.sum(axis=-1))
    low, high = score_interval(share, number, confidence)
    return low, high, number


def effective_number(
    found: npt.ArrayLike, images: npt.ArrayLike, *, quantile: float = 0.975
) -> FloatArray:
    """How many images of different patients would tell as much as these; (...), arguments as above.

    n / (1 + (sum m² / n - 1) r) of n images, m of each patient, with the intraclass correlation r
    of these patients and of `_MORE` of another with every image found and of one with none. Where
    there are no misses, or no hits, r is thereby 1. As r is only estimated, the number is made
    smaller by the squared ratio of Student's quantiles at n - 1 and at patients - 1 degrees of
    freedom, but never smaller than with r = 1: n² / sum m², which is the number of patients where
    all have equally many images, and less otherwise.

    Sources: A. Donner, N. Birkett and C. Buck, American Journal of Epidemiology 114, 1981, for the
    design effect; Korn and Graubard, 1998, for the degrees of freedom; K. K. Saha, D. Miller and
    S. Wang, International Journal of Biostatistics 12, 2016, for Wilson's interval on such numbers.
    The added patients are ours.
    """
    hits, sizes = np.asarray(found, float), np.asarray(images, float)
    total, patients = sizes.sum(axis=-1), np.count_nonzero(sizes, axis=-1)
    shared = ratio((sizes * sizes).sum(axis=-1), total)
    mean = ratio(total, patients)[..., None]
    correlation = intraclass_correlation(
        np.concatenate([hits, mean, 0 * mean], axis=-1),
        np.concatenate([sizes, mean, mean], axis=-1),
        weights=np.append(np.ones(sizes.shape[-1]), [_MORE, _MORE]),
    )
    number = ratio(total, 1 + (shared - 1) * correlation)
    # Without images, or with one patient, there are no degrees of freedom: the least is taken.
    among_images = stdtrit(np.maximum(total - 1, 1), quantile)
    among_patients = stdtrit(np.maximum(patients - 1, 1), quantile)
    smaller = number * ratio(among_images, among_patients) ** 2
    return np.where(patients == total, total, np.maximum(smaller, ratio(total, shared)))


def intraclass_correlation(
    found: npt.ArrayLike, images: npt.ArrayLike, *, weights: npt.ArrayLike = 1.0
) -> FloatArray:
    """How alike images of one patient are beyond those of several, clipped to [0, 1]; (...).

    The estimator of the analysis of variance, (B - W) / (B + (k - 1) W) with mean squares B between
    and W within patients and k the size of patients adjusted for its differences. 1 where that is
    0 / 0: all images are found or none is, no patient has two, or there is one patient only.

    Args:
        found: (..., patients), how many of a patient's images are successes.
        images: (..., patients), how many there are; a patient with 0 is not there.
        weights: (patients,), how often each counts.

    Sources: A. Donner, International Statistical Review 54, 1986; M. S. Ridout, C. G. B. Demétrio
    and D. Firth, Biometrics 55, 1999, for shares.
    """
    hits, sizes = np.asarray(found, float), np.asarray(images, float)
    times = np.asarray(weights) * (sizes > 0)
    total, successes = (times * sizes).sum(axis=-1), (times * hits).sum(axis=-1)
    explained = (times * ratio(hits * hits, sizes)).sum(axis=-1)
    freedom = times.sum(axis=-1) - 1
    between = ratio(explained - ratio(successes * successes, total), freedom)
    within = ratio(successes - explained, total - times.sum(axis=-1))
    size = ratio(total - ratio((times * sizes * sizes).sum(axis=-1), total), freedom)
    below = between + (size - 1) * within
    # Rounding leaves 1e-17 of a spread that is none.
    known = (below > 1e-12) & (total > times.sum(axis=-1))
    return np.where(known, ratio(between - within, np.where(known, below, 1)).clip(0, 1), 1.0)


def trials_needed(proportion: float, *, confidence: float = 0.95) -> int:
    """The fewest trials whose lower bound reaches `proportion` when all of them succeed.

    log(1 - confidence) / log(proportion), rounded up.

    Raises:
        DataError: a proportion or confidence outside (0, 1).

    >>> [trials_needed(recall) for recall in (0.95, 0.98, 0.99)]
    [59, 149, 299]
    """
    if not 0.0 < proportion < 1.0:
        raise DataError(f"proportion must be in (0, 1), got {proportion!r}.")
    _check(0, 0, confidence)
    return ceil(log(1 - confidence) / log(proportion))


def _by_patient(
    successes: npt.ArrayLike, patients: Sequence[str] | npt.ArrayLike
) -> tuple[IntArray, IntArray]:
    """Successes and images of each patient, both (patients,)."""
    found, whose = np.asarray(successes), np.asarray(patients)
    if found.ndim != 1 or found.shape != whose.shape:
        raise DataError(
            f"successes {found.shape} and patients {whose.shape} must be of the same images."
        )
    if len(found) and found.dtype != np.bool_:
        raise DataError(f"successes must be bool, got {found.dtype}.")
    _, index, images = np.unique(whose, return_inverse=True, return_counts=True)
    return np.bincount(index[found.astype(bool)], minlength=len(images)), images


def _check(successes: int, trials: int, confidence: float) -> None:
    if not 0 <= successes <= trials:
        raise DataError(f"successes must be in [0, trials], got {successes} of {trials}.")
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence must be in (0, 1), got {confidence!r}.")
