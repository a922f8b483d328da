"""Which trials does no other beat in score and cost at once? Their Pareto front.

It is the result of a search with two objectives: which of these models is worth its price is for
its user to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

from search.trials import TrialRow
from xfer.recipe.objective import Cost


def front(rows: Iterable[TrialRow], may_win: Callable[[int], bool]) -> list[TrialRow]:
    """Finished trials that no other dominates: as good and as cheap, and in one of them better.

    Trials that are equal in both stay together.

    Args:
        rows: of the study.
        may_win: whether a trial, by number, is shown to be better than the same answer for every
            image; what is not takes no part.

    Returns:
        Best score first, so that each is cheaper than the one before; of equal ones the earlier
        trial first. None where trials have no cost.
    """
    points = sorted(
        (-row.value, row.cost, row.number, row)
        for row in rows
        if row.state == "complete"
        and row.value is not None
        and row.cost is not None
        and may_win(row.number)
    )
    found: list[TrialRow] = []
    cheapest, its_loss = inf, inf
    for loss, cost, _, row in points:
        if cost < cheapest or (loss, cost) == (its_loss, cheapest):
            found.append(row)
            cheapest, its_loss = cost, loss
    return found


def front_json(members: Sequence[TrialRow], what: Cost) -> list[dict[str, Any]]:
    """A front as result.json has it.

    Args:
        members: as `front` gives them.
        what: the cost: `parameters`, a whole number, or `latency`, in milliseconds.
    """
    return [
        {
            "number": row.number,
            "name": row.name,
            "params": dict(row.params),
            "search_score": row.value,
            what: row.cost if row.cost is None or what == "latency" else int(row.cost),
            "best_epoch": row.best_epoch,
        }
        for row in members
    ]
