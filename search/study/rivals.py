"""Whom is a trial compared with, when it is asked whether it is poor?

With all others that have come to the same rung. What a trial is worth there never changes again, so
the order of those that came is kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence

from optuna.trial import FrozenTrial

from search.study.changing import Changing

Worth = Callable[[FrozenTrial, int], float]
"""What a trial is worth at a step that it has come to."""


class Rung:
    """Trials that have come to a rung, best first; of equals the earlier one.

    Where trials have a cost, those count that cost no more: a cheap model that is poorer than
    expensive ones may still be the best of its price.
    """

    def __init__(self) -> None:
        self._came: dict[int, tuple[float, float | None]] = {}  # by number: worth and cost
        self._order: list[tuple[float, int]] = []  # worth, negative, and number

    def add(self, number: int, worth: float, cost: float | None = None) -> None:
        """A trial has come to it; who is there already stays as it is."""
        if number not in self._came:
            self._came[number] = worth, cost
            insort(self._order, (-worth, number))

    def held_against(self, number: int, factor: int) -> tuple[float, list[int]]:
        """By how much a trial that is there is poorer than the last in the best part, and who is.

        Args:
            number: the trial's.
            factor: the best part is one in so many; where fewer are there, nobody is poor.

        Returns:
            The difference, above 0, and the numbers of the trials with that last score; 0 and none
            of them for a trial that is within the best part or as good as its last.
        """
        worth, cost = self._came[number]
        order = self._order
        if cost is not None:
            order = [each for each in order if self._costs_at_most(each[1], cost)]
        last = len(order) // factor - 1
        if last < 0 or worth >= (bound := -order[last][0]):
            return 0.0, []
        tied = order[bisect_left(order, (-bound,)) : bisect_right(order, (-bound, float("inf")))]
        return bound - worth, [other for _, other in tied]

    def _costs_at_most(self, number: int, cost: float) -> bool:
        theirs = self._came[number][1]
        return theirs is not None and theirs <= cost


class Rivals:
    """The rungs of one study."""

    def __init__(self, steps: Iterable[int], worth: Worth) -> None:
        self._rungs = {step: Rung() for step in steps}
        self._worth = worth
        self._changing = Changing()

    def at(self, step: int, trials: Sequence[FrozenTrial]) -> Rung:
        """Who has come to a rung by now.

        Args:
            step: the rung.
            trials: all of the study, by number.
        """
        for trial in self._changing.since(trials):
            for each, rung in self._rungs.items():
                if each in trial.intermediate_values:
                    cost = trial.user_attrs.get("cost")
                    rung.add(trial.number, self._worth(trial, each), cost)
        return self._rungs[step]
