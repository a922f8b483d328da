"""Is a class as frequent in one part as in another?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.special import gammaln

from xfer.data.findings import Finding

CHANCE, POINTS = 0.001, 0.05
"""A difference is told where it is so unlikely by chance and at least so large."""


def fisher(yes: tuple[int, int], no: tuple[int, int]) -> float:
    """Two-sided p-value of two samples' counts, given their sums; 1.0 where a sum is zero.

    The probability of all tables that are at most as likely as this one. Source: R. A. Fisher,
    Journal of the Royal Statistical Society 98, 1935.

    >>> round(fisher((8, 1), (2, 5)), 4)
    0.035
    """
    first, second, total = yes[0] + no[0], yes[1] + no[1], sum(yes)
    possible = np.arange(max(0, total - second), min(first, total) + 1)
    log = (
        _log_binomial(first, possible)
        + _log_binomial(second, total - possible)
        - _log_binomial(first + second, np.array(total))
    )
    here = log[yes[0] - possible[0]]
    return float(min(1.0, np.exp(log[log <= here + 1e-7]).sum()))


def _log_binomial(of: int, taken: np.ndarray) -> np.ndarray:
    return gammaln(of + 1) - gammaln(taken + 1) - gammaln(of - taken + 1)


def prevalence_finding(
    labels: np.ndarray,
    patients: Sequence[str],
    splits: Mapping[str, np.ndarray],
    *,
    positive: int | None,
    classes: Sequence[str],
) -> Finding | None:
    """A class whose share differs between parts by more than chance.

    Two parts differ where their shares of images differ by POINTS or more and Fisher's test on
    patients says less than CHANCE, divided by the number of comparisons. A patient has a class if
    one of his images in the part has. Its count is of images in parts that differ from an earlier
    one.

    Args:
        labels: int64 (images,), positions in `classes`.
        patients: of all images.
        splits: positions by part, none of them empty, in the order train, val, test.
        positive: the class whose share is compared; None: each one's.
        classes: names.

    Returns:
        None where no parts differ.
    """
    asked = range(len(classes)) if positive is None else (positive,)
    pairs = list(combinations(splits, 2))
    share, holders = {}, {}
    everyone = {part: {patients[i] for i in rows} for part, rows in splits.items()}
    for label in asked:
        for part, rows in splits.items():
            here = rows[labels[rows] == label]
            share[label, part] = len(here) / len(rows)
            holders[label, part] = len({patients[i] for i in here})
    examples, later = [], set()
    for label in asked:
        differ = []
        for pair in pairs:
            yes = holders[label, pair[0]], holders[label, pair[1]]
            no = len(everyone[pair[0]]) - yes[0], len(everyone[pair[1]]) - yes[1]
            apart = abs(share[label, pair[0]] - share[label, pair[1]])
            if apart >= POINTS and fisher(yes, no) < CHANCE / (len(asked) * len(pairs)):
                differ.append(pair)
        if differ:
            said = ", ".join(f"{share[label, part]:.1%} of {part}" for part in splits)
            examples.append(f"{classes[label]}: {said}")
            later |= {second for _, second in differ}
    if not examples:
        return None
    effect = (
        "Precision, accuracy and the number of false alarms hold for a part's own shares of classes"
        " only; recall and specificity do not depend on them."
    )
    if "test" in later:
        effect += " What is measured on test holds where classes are as frequent as in test."
    if "val" in later:
        effect += " The threshold and the winner are chosen at val's shares."
    return Finding(
        kind="prevalence_shift",
        count=sum(len(splits[part]) for part in later),
        examples=tuple(examples),
        effect=effect,
        action="Compare parts by recall and specificity, and work out precision for the share"
        " that is met in use; if the parts were not meant to differ, have all cut anew with"
        " --resplit.",
    )
