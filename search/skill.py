"""How far is a search score from an answer that looks at no image? What people see beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xfer.recipe import Objective

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset
    from xfer.data.folds import Fold

_SAME = 1e-12


def skill(score: float | None, constant: float | None) -> float | None:
    """(score - constant) / (1 - constant): 1 is perfect, 0 no better than the best constant.

    Below 0 for what is worse; 0 where the best constant is 1 already. As
    `xfer.evaluate.eligible.skill`, of a score that is known.

    Args:
        score: the search score; None: there is none.
        constant: that of the best constant answer to the same images; None: nobody knows it.

    Returns:
        None where one of them is missing; NaN for a score that is NaN.

    >>> skill(0.9, 0.6)
    0.75
    """
    if score is None or constant is None:
        return None
    if constant >= 1.0 - _SAME:
        return 0.0
    return round((score - constant) / (1.0 - constant), 12)


def constant_of(objective: Objective, data: Dataset, folds: Sequence[Fold] | None) -> float:
    """Search score of the best constant answer to the images that trials are scored on.

    Args:
        objective: what is maximised.
        data: whose labels.
        folds: trials are scored on all of them; None: on the validation part.
    """
    import numpy as np

    from xfer.evaluate.objectives import best_constant
    from xfer.steps import strata

    rows = data.splits["val"] if folds is None else np.concatenate([fold.val for fold in folds])
    return best_constant(
        objective,
        data.labels[rows],
        classes=len(data.classes),
        subgroups=strata(objective, data, rows),
    )
