"""What does a decision mean where the disease is as rare as in use?

Recall and specificity do not depend on how many are ill; precision and negative predictive value
do. They are monotone in a ratio of two independent shares, so that the shares' own intervals give
theirs: (1 - specificity) / recall, and (1 - recall) / specificity.

Source: A. Donner and G. Y. Zou, Closed-form confidence intervals for functions of the normal mean
and standard deviation, Statistical Methods in Medical Research 21, 2012 (limits of a ratio from
limits of its parts). Why not the logit interval of N. D. Mercaldo, K. F. Lau and X. H. Zhou,
Statistics in Medicine 26, 2007: where errors are rare its coverage falls apart. With 20 ill of
whom 99 % are found, 200 well of whom 95 % are, it holds the negative predictive value in 16.5 % of
samples, this one in 98.3 % (exact, over all samples that can occur).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, nan, sqrt

from xfer.errors import DataError
from xfer.evaluate.calibration import check_prevalence
from xfer.evaluate.intervals import wilson

PREVALENCES = (0.1, 0.01)
"""Shares of ill people that every report works out."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share and its interval, in [0, 1]."""

    value: float
    """NaN where nothing was counted."""
    low: float
    """0 where nothing was counted."""
    high: float
    """1 where nothing was counted."""


def counted(successes: int, trials: int) -> Share:
    """A share of counted images with Wilson's 95 % interval.

    Raises:
        DataError: as `wilson` says.
    """
    low, high = wilson(successes, trials)
    return Share(value=successes / trials if trials else nan, low=low, high=high)


def precision_at(recall: Share, specificity: Share, prevalence: float) -> Share:
    """Share of those called ill that are; NaN, and (0, 1), where nobody is called ill.

    Args:
        recall: with its interval, by whatever method: patients may have several images.
        specificity: likewise, of other images.
        prevalence: share of ill people, in (0, 1).

    Raises:
        DataError: a prevalence outside (0, 1), or shares and limits out of order.

    >>> shown = precision_at(counted(49, 50), counted(46, 50), 0.01)
    >>> round(shown.value, 3), round(shown.low, 3), round(shown.high, 3)
    (0.11, 0.05, 0.239)
    """
    return _at(_rest(specificity), recall, (1 - check_prevalence(prevalence)) / prevalence)


def npv_at(recall: Share, specificity: Share, prevalence: float) -> Share:
    """Share of those called well that are: the negative predictive value. See `precision_at`."""
    return _at(_rest(recall), specificity, check_prevalence(prevalence) / (1 - prevalence))


def predictive_values(
    recall: Share, specificity: Share, prevalences: Sequence[float] = PREVALENCES
) -> dict[str, dict[str, float]]:
    """Both at each prevalence: `precision_at_0.1`, `npv_at_0.1`, ..., with `value`, `low`, `high`.

    Raises:
        DataError: as `precision_at` says.
    """
    return {
        f"{name}_at_{prevalence:g}": vars(method(recall, specificity, prevalence))
        for prevalence in prevalences
        for name, method in (("precision", precision_at), ("npv", npv_at))
    }


def _at(wrong: Share, right: Share, odds: float) -> Share:
    """1 / (1 + odds wrong / right), and its limits from those of the ratio."""
    for share in (wrong, right):
        if not 0.0 <= share.low <= share.high <= 1.0:
            raise DataError(f"limits must be in [0, 1] and in order, got {share}.")
    if isnan(wrong.value + right.value) or wrong.value + right.value == 0:
        return Share(value=nan, low=0.0, high=1.0)
    low, high = _ratio_limits(wrong, right)
    value = wrong.value / right.value if right.value > 0 else inf
    return Share(value=1 / (1 + odds * value), low=1 / (1 + odds * high), high=1 / (1 + odds * low))


def _ratio_limits(above: Share, below: Share) -> tuple[float, float]:
    """Limits of above / below, whose values are not both 0."""
    product = above.value * below.value
    top = above.low * (2 * above.value - above.low)
    bottom = below.high * (2 * below.value - below.high)
    # Multiplied out with the other root: the bottom may be 0 or less.
    low = top / (product + sqrt(max(0.0, product**2 - top * bottom))) if top > 0 else 0.0
    top = above.high * (2 * above.value - above.high)
    bottom = below.low * (2 * below.value - below.low)
    if bottom <= 0:
        return low, inf
    return low, (product + sqrt(max(0.0, product**2 - top * bottom))) / bottom


def _rest(share: Share) -> Share:
    return Share(value=1 - share.value, low=1 - share.high, high=1 - share.low)
