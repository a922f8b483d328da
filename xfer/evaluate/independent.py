"""How far apart are two numbers that were measured on different patients?

The interval of the difference is made of the two intervals, each side from the ends that point that
way: for proportions with Wilson's intervals it is Newcombe's.

Sources: R. G. Newcombe, Statistics in Medicine 17, 1998, method 10; G. Y. Zou and A. Donner,
Statistics in Medicine 27, 2008, for other numbers with intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

MAIN = ("recall", "specificity", "accuracy", "auroc")
"""Metrics whose gap between validation and test is told."""


@dataclass(frozen=True, kw_only=True)
class Apart:
    """One number minus another."""

    value: float
    """The first minus the second."""
    low: float
    """Lower end of its interval, of the confidence that the two intervals have."""
    high: float
    """Upper end."""


def apart(first: tuple[float, float, float], second: tuple[float, float, float]) -> Apart:
    """The first minus the second.

    Args:
        first: value, lower and upper end of its interval.
        second: likewise, of other patients, at the same confidence.

    >>> from xfer.evaluate.intervals import wilson
    >>> found = apart((56 / 70, *wilson(56, 70)), (48 / 80, *wilson(48, 80)))  # his example a
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.2, 0.0524, 0.3339)
    """
    (one, one_low, one_high), (two, two_low, two_high) = first, second
    value = one - two
    return Apart(
        value=value,
        low=value - sqrt((one - one_low) ** 2 + (two_high - two) ** 2),
        high=value + sqrt((one_high - one) ** 2 + (two - two_low) ** 2),
    )


def gaps(val: Mapping[str, Any], test: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By name of the MAIN metrics: validation minus test, with a 95 % interval.

    What was chosen on validation is too good there, by more the more was chosen among: a gap above
    0 is to be expected, and its interval does not know of the choice.

    Args:
        val: metrics by name, each with `value`, `low` and `high`; others are left out.
        test: likewise.
    """
    found = {}
    for name in MAIN:
        one, two = _ends(val.get(name)), _ends(test.get(name))
        if one is not None and two is not None:
            gap = apart(one, two)
            found[name] = {"value": gap.value, "low": gap.low, "high": gap.high}
    return found


def _ends(metric: Any) -> tuple[float, float, float] | None:
    """Value, low and high of a metric; None where one of them is missing."""
    if not isinstance(metric, Mapping):
        return None
    value, low, high = (metric.get(end) for end in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return None
    return (value, low, high) if all(map(isfinite, (value, low, high))) else None
