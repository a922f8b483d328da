"""How far can a share of so few images be trusted? Intervals of proportions, and sizes they need.

Zero trials know nothing: the interval is (0, 1) and the lower bound 0.
"""

from __future__ import annotations

from math import ceil, log, sqrt

from scipy.special import betaincinv, ndtri

from xfer.errors import DataError


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
    if trials == 0:
        return 0.0, 1.0
    z = float(ndtri((1 + confidence) / 2))
    share = successes / trials
    center = share + z * z / (2 * trials)
    half = z * sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    below = 1 + z * z / trials
    # Exact at the ends, where rounding would leave 1e-17 or 1 - 1e-16.
    low = 0.0 if successes == 0 else (center - half) / below
    high = 1.0 if successes == trials else (center + half) / below
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


def _check(successes: int, trials: int, confidence: float) -> None:
    if not 0 <= successes <= trials:
        raise DataError(f"successes must be in [0, trials], got {successes} of {trials}.")
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence must be in (0, 1), got {confidence!r}.")
