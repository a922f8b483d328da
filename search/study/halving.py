"""When is a trial stopped for being poor?

Asynchronous successive halving (Li et al., 2020, https://arxiv.org/abs/1810.05934): at a few
epochs, the rungs, a trial goes on if it is among the best third of all that have come that far.
Here it is a pure function of the scores on record, so that a run that was killed and resumed
decides as an undisturbed one would have. (Optuna's pruner of that name leaves a mark when it looks:
killed between mark and verdict, the trial is never judged at that rung again.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

FACTOR = 3
"""One in so many goes on, and so many must have come to a rung before anybody is stopped there."""
FIRST = 3
"""No earlier than after so many epochs, where there are more: one or two say little."""


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


def best_until(scores: Mapping[int, float], epoch: int) -> float:
    """The best score up to an epoch; -inf where there is none but NaN.

    A finished trial counts as its best epoch, so an unfinished one is judged by its best so far.
    """
    seen = [score for e, score in scores.items() if e <= epoch and not isnan(score)]
    return max(seen, default=float("-inf"))


def is_poor(score: float, others: Sequence[float]) -> bool:
    """Whether a trial is outside the best third at a rung; ties go on.

    Args:
        score: Its best so far.
        others: Likewise of every other trial that has come to this rung, finished or not. With
            fewer than two of them nobody is stopped: order alone would decide.

    >>> is_poor(0.7, [0.8]), is_poor(0.7, [0.8, 0.6]), is_poor(0.8, [0.8, 0.6])
    (False, True, False)
    """
    ranked = sorted([score, *others], reverse=True)
    return len(ranked) >= FACTOR and score < ranked[len(ranked) // FACTOR - 1]
