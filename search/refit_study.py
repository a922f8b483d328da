"""Which finalists are trained again, and which of them is next?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search.amounts import roughly
from search.refits import refit_name
from search.rundir import RunDir
from search.space import Trial
from search.study import NEVER, Asked, Record
from search.trials import TrialRow
from xfer.recipe import Recipe, from_json


class RefitRecord(Record):
    """The study of refits: its trials are trials of the search, each trained once more.

    One that waits and is no finalist any more goes on waiting: the next session may want it again.
    """

    def __init__(
        self,
        run: RunDir,
        wanted: Sequence[TrialRow],
        *,
        seed: int,
        epochs: int,
        folds: int,
        about: Mapping[str, Any],
    ) -> None:
        """Opens the study, or makes it, and queues who is not in it yet.

        Args:
            run: whose it is.
            wanted: finalists that are to be trained again.
            seed: of the study.
            epochs: the budget's.
            folds: that each is trained on.
            about: as of `Record`.

        Raises:
            RunError: as of `Record`.
        """
        run.refits.mkdir(exist_ok=True)
        self._wanted = {refit_name(row): {"trial": row.number} for row in wanted}
        super().__init__(
            run.refit_study,
            name=f"{run.name}.refits",
            seed=seed,
            epochs=epochs,
            folds=folds,
            known=self._wanted,
            about=about,
            pruner=NEVER,
        )

    def waiting(self) -> list[TrialRow]:
        """Finalists that are still to be trained again, or on some folds more."""
        return [row for row in self._all_waiting() if row.name in self._wanted]

    def set_aside(self) -> list[TrialRow]:
        """Those that wait and are no finalists any more."""
        return [row for row in self._all_waiting() if row.name not in self._wanted]

    def ask(self, recipe_of: Callable[[Trial], Recipe]) -> Asked:
        """As of `Record`; who is set aside is passed over."""
        aside = {row.number for row in self.set_aside()}
        passed = []
        while (asked := super().ask(recipe_of)).number in aside:
            passed.append(asked.number)
        for number in passed:
            self.put_back(number)
        return asked

    def _all_waiting(self) -> list[TrialRow]:
        return [row for row in self.rows() if row.state == "waiting"]


def recipes_again(rows: Sequence[TrialRow]) -> Callable[[Trial], Recipe]:
    """The space of the study of refits: its one hyperparameter says which trial is meant.

    Args:
        rows: every trial of the search.
    """
    recipes = {row.number: row.recipe for row in rows}

    def recipe_of(trial: Trial) -> Recipe:
        return from_json(recipes[trial.suggest_int("trial", 0, 2**31)])

    return recipe_of


def affordable(
    finalists: Sequence[TrialRow],
    first: TrialRow | None,
    expected: Callable[[Sequence[TrialRow]], float],
    *,
    limit_s: float | None,
) -> list[TrialRow]:
    """As many finalists as there is time for, in their order.

    The best one is the first to be taken. The first known configuration is the second: it is what
    the winner has to beat. Then come the others, best first.

    Args:
        finalists: best first.
        first: the first known configuration, or None.
        expected: seconds that training these again takes.
        limit_s: seconds there are for it; None: no limit.
    """
    if limit_s is None:
        return list(finalists)
    best, others = finalists[:1], finalists[1:]
    known = [row for row in others if first is not None and row.recipe == first.recipe]
    order = [*best, *known, *(row for row in others if row not in known)]
    count = max(n for n in range(len(order) + 1) if expected(order[:n]) <= limit_s)
    return [row for row in finalists if row in order[:count]]


def left_out_said(
    finalists: Sequence[TrialRow], trained: Sequence[TrialRow], seconds: float
) -> str:
    """What has to be said of finalists that there is no time for; empty where there are none.

    Args:
        finalists: all of them.
        trained: those that are trained again.
        seconds: that training all of them again would take.
    """
    numbers = [str(row.number) for row in finalists if row not in trained]
    if not numbers:
        return ""
    who = f"trial {numbers[0]} was" if len(numbers) == 1 else f"trials {', '.join(numbers)} were"
    return (
        f"Of {len(finalists)} finalists {who} not trained again: all of them would have taken "
        f"about {roughly(seconds)}, and --minutes has half of its time for that."
    )
