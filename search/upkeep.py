"""What is brought up to date while trials end? The run's files and folders, with the study."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from search.keeping import keep_all_answers, keep_best_checkpoints
from search.outcome import Context, write_trials
from search.trials import Event, TrialEnded, TrialRow
from search.validation import keep_answers

if TYPE_CHECKING:
    from search.study import Record

SHARE = 0.05
"""Of the time, that bringing everything up to date may take. It looks at all trials, so it takes
longer the more there are: of 10,000 about a second."""


class Upkeep:
    """A watcher. Trials that ended since the last update wait for the next one, in the study.

    What they answered on validation is kept at once.
    """

    def __init__(
        self,
        context: Context,
        record: Record,
        *,
        folds: bool,
        then: Callable[[Sequence[TrialRow]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Does nothing yet.

        Args:
            context: of the run.
            record: the study.
            folds: trials are scored on folds.
            then: called with every trial after an update.
            clock: seconds.
        """
        self._context, self._record, self._folds, self._then = context, record, folds, then
        self._clock = clock
        self._next = clock()

    def __call__(self, event: Event) -> None:
        """Takes one event in."""
        if not isinstance(event, TrialEnded):
            return
        row = self._record.rows()[event.number]
        if row.state == "complete" and row.value is not None:
            context = self._context
            objective = context.plan.objective
            keep_answers(context.run, row, context.data, objective, folds=self._folds)
        if self._clock() >= self._next:
            self.update()

    def update(self) -> None:
        """Brings everything up to date."""
        began = self._clock()
        run, plan, data = self._context.run, self._context.plan, self._context.data
        rows = self._record.rows()
        write_trials(self._context, rows)
        keep_all_answers(run, rows, data, plan.objective, folds=self._folds)
        keep_best_checkpoints(run, rows, keep=plan.keep, refits=plan.refits)
        self._then(rows)
        ended = self._clock()
        self._next = ended + (ended - began) / SHARE
