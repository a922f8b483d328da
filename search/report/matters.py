"""Which hyperparameters went with a better score? A plain count over the trials, not a cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from search.trials_csv import CsvRow

FEWEST = 8
"""Trials with a hyperparameter below which nothing is said of it."""
CAUTION = (
    "The search looks more often where scores are good, and hyperparameters move together: "
    "this says where to look, not what causes what. Pruned trials count with the score they had."
)


@dataclass(frozen=True, kw_only=True)
class Matter:
    """What can be said of one hyperparameter."""

    name: str
    trials: int
    """With a score and with this hyperparameter."""
    share: float | None
    """Share of the variance of the scores' ranks that goes with it, in [0, 1], with what chance
    alone would give taken off; None where trials or values are too few."""
    rising: bool | None
    """Larger values went with better scores; None for choices, and where `share` is None."""


def matters(trials: Sequence[CsvRow]) -> list[Matter]:
    """One entry for every hyperparameter of the trials, the one that goes furthest first.

    Numbers: Spearman's correlation, squared. Choices, and numbers of at most four values: the
    correlation ratio of ranks (eta squared). From both what k - 1 useless degrees of freedom give
    is taken off: 1 - (1 - r2) (n - 1) / (n - k).

    Args:
        trials: all with a score, as `ranked` gives them.
    """
    names = list(dict.fromkeys(name for row in trials for name in row.params))
    found = [_matter(name, [row for row in trials if name in row.params]) for name in names]
    return sorted(found, key=lambda matter: -1.0 if matter.share is None else -1.0 - matter.share)


def _matter(name: str, rows: Sequence[CsvRow]) -> Matter:
    values = [row.params[name] for row in rows]
    scores = rankdata([row.value for row in rows])
    kinds = sorted(set(values), key=str)
    count = len(rows)
    nothing = Matter(name=name, trials=count, share=None, rising=None)
    if count < FEWEST or len(kinds) < 2 or np.ptp(scores) == 0:
        return nothing
    numeric = not any(isinstance(value, str) for value in values)
    rho = float(np.corrcoef(rankdata(values), scores)[0, 1]) if numeric else 0.0
    if numeric and len(kinds) > 4:
        explained, degrees = rho**2, 2
    else:
        groups = [scores[[value == kind for value in values]] for kind in kinds]
        middle = scores.mean()
        between = sum(len(group) * (group.mean() - middle) ** 2 for group in groups)
        explained, degrees = float(between / ((scores - middle) ** 2).sum()), len(kinds)
    if count <= degrees:
        return nothing
    share = 1 - (1 - explained) * (count - 1) / (count - degrees)
    return Matter(
        name=name,
        trials=count,
        share=max(0.0, share),
        rising=rho > 0 if numeric else None,
    )
