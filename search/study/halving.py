"""When is a trial stopped for being poor?

Asynchronous successive halving (Li et al., 2020, https://arxiv.org/abs/1810.05934): at a few
epochs, the rungs, a trial goes on if it is among the best third of all that have come that far, or
if what it lacks is no more than the standard error of the difference.

What that buys, over 60 simulated searches by weighted recall (16 of 24 small networks that were
trained for 12 epochs on PneumoniaMNIST, truth from 3,000 images): of the five that were truly best,
2.4 were stopped by order alone with 100 validation images, and 0.6 so; with 500 2.3 and 1.1. It
costs 25 % more epochs, or 11 %. The winners were as good either way.

Here it is a pure function of what is on record, so that a run that was killed and resumed
decides as an undisturbed one would have. (Optuna's pruner of that name leaves a mark when it looks:
killed between mark and verdict, the trial is never judged at that rung again.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan

from search.study.rivals import Rung

FACTOR = 3
"""One in so many goes on, and so many must have come to a rung before anybody is stopped there."""
FIRST = 3
"""No earlier than after so many epochs, where there are more: one or two say little."""
_SAME = 1e-3
"""By this share a difference has to exceed its standard error. What one image makes is exactly its
standard error where all groups have one size, and up to 1.0001 of it where they have not."""


def rungs(steps: int, *, first: int = FIRST) -> tuple[int, ...]:
    """The steps, epochs or folds, after which a trial is judged.

    The first is a ninth of them, at least `first`; each next is three times the one before. None
    lies in the last quarter, where stopping saves next to nothing. Where there are no more than
    `first`, trials are judged after one.

    Args:
        steps: The budget's epochs, or the folds; at least 1.
        first: The earliest. 1 for folds: each is a whole training.

    >>> [rungs(epochs) for epochs in (1, 2, 4, 8, 20, 100)]
    [(), (1,), (3,), (3,), (3, 9), (11, 33)]
    >>> [rungs(folds, first=1) for folds in (2, 3, 5, 10)]
    [(1,), (1,), (1, 3), (1, 3)]
    """
    rung = max(first, steps // FACTOR**2) if steps > first else 1
    found = []
    while 4 * rung <= 3 * steps:
        found.append(rung)
        rung *= FACTOR
    return tuple(found)


def best_until(scores: Mapping[int, float], epoch: int) -> int | None:
    """The epoch of the best score up to this one, the first of equals; None where all are NaN.

    A finished trial counts as its best epoch, so an unfinished one is judged by its best so far.
    """
    seen = [e for e, score in scores.items() if e <= epoch and not isnan(score)]
    return min(seen, key=lambda e: (-scores[e], e), default=None)


def is_poor(rung: Rung, number: int, error_of: Callable[[int], float | None]) -> bool:
    """Whether a trial is outside the best third at a rung, by more than chance; ties go on.

    It is held against the last trial within the best third; of equals, against the one that it can
    be told apart from least. An image that one of the two alone gets wrong makes no more than a
    standard error, so one never stops a trial.

    Args:
        rung: Every trial that has come to it, finished or not, with its best score so far. With
            fewer than three of them nobody is stopped: order alone would decide.
        number: The trial's, which is one of them.
        error_of: Standard error of the difference to another, by its number. None where it is not
            known: there any difference counts, as in a study that is older than they are.
    """
    lacks, rivals = rung.held_against(number, FACTOR)
    return lacks > 0 and all(lacks > (error_of(other) or 0.0) * (1 + _SAME) for other in rivals)
