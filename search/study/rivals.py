"""Whom is a trial compared with, when it is asked whether it is poor?"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial


def rivals(trial: FrozenTrial, trials: Sequence[FrozenTrial], step: int) -> list[FrozenTrial]:
    """All others that have come to this step; where trials have a cost, those that cost no more.

    A cheap model that is poorer than expensive ones may still be the best of its price.

    Args:
        trial: the one that is judged.
        trials: of its study, itself included.
        step: the rung.
    """
    cost = trial.user_attrs.get("cost")
    return [
        other
        for other in trials
        if other.number != trial.number
        and step in other.intermediate_values
        and (cost is None or other.user_attrs["cost"] <= cost)
    ]
