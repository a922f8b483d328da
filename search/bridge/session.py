"""What happens when a worker asks, reports or dies? The one place that decides; it knows no Ray.

Each thing is written to the study in the step in which it happens, before Ray hears an answer.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from search.errors import TrialsError
from search.space import Trial
from search.study import Asked, Record
from search.trials import EpochDone, Event, State, TrialEnded, TrialStarted, Watcher, trial_seed
from xfer.recipe import Recipe

log = logging.getLogger(__name__)

Stopping = Literal["minutes", "interrupted", "failure"]
"""Why nothing new is started and what runs is put back at its next report."""

HOPELESS = 3
"""If the first so many trials of a session all break, all others would."""
_WORDS = {
    "complete": "all epochs",
    "early_stopping": "stopped early, no better epoch came",
    "infeasible:memory": "out of memory",
    "infeasible:not_finite": "the loss was no longer a number",
}


class Bridge:
    """One session of a search: what is in flight, and what ends it."""

    def __init__(
        self,
        record: Record,
        recipe_of: Callable[[Trial], Recipe],
        *,
        trials: int,
        slots: int,
        limit_s: float | None = None,
        reserved: Callable[[], float] = lambda: 0.0,
        watchers: Sequence[Watcher] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins a session.

        Args:
            record: The study.
            recipe_of: The space's function.
            trials: Limit on trials told, those of earlier sessions included.
            slots: Most trials in flight.
            limit_s: Seconds after which nothing new is started, counted from when the first epoch
                began: a slow start of Ray does not eat the time for trials. None: no limit.
            reserved: Seconds of them that are for something else, as it is known now.
            watchers: Told of every event; one that raises is logged and told no more.
            clock: Seconds.
        """
        self.record, self.trials, self.slots = record, trials, slots
        self.deaths = 0
        self.stopping: Stopping | None = None
        self.failure: Exception | None = None
        self.interrupted = False  # set by a signal handler, so nothing else is done in it
        self.in_flight: set[int] = set()
        self._recipe_of, self._limit_s, self._clock = recipe_of, limit_s, clock
        self._reserved = reserved
        self._deadline: float | None = None  # known from the first epoch on
        self._watchers = list(watchers)
        self._told = record.told
        self._first: list[str | None] = []  # of the session's first trials: why they broke

    @property
    def left(self) -> int:
        """Trials that may still be begun."""
        return max(0, self.trials - self._told - len(self.in_flight))

    @property
    def is_over(self) -> bool:
        """Nothing new is started, unless a trial in flight loses its worker and has to go on."""
        return self._is_stopping or self.left == 0

    @property
    def is_finished(self) -> bool:
        """Nothing will be started again, whatever happens."""
        return self._is_stopping or (self.left == 0 and not self.in_flight)

    def fail(self, error: Exception) -> None:
        """Ends the session; the error comes out of it at the end."""
        self.failure = self.failure or error
        self.stopping = "failure"

    def propose(self) -> dict[str, Any] | None:
        """A trial for a worker, now in flight; None where none is left or every slot is taken."""
        while not self.is_over and len(self.in_flight) < self.slots:
            asked = self.record.ask(self._recipe_of)
            self.in_flight.add(asked.number)
            if self._is_settled(asked):
                continue
            self._tell_started(asked)
            return {
                "number": asked.number,
                "recipe": dict(asked.recipe),
                "seed": trial_seed(self.record.seed, asked.number),
                "last_epoch": asked.last_epoch,
                "cost": asked.cost,
            }
        return None

    def heard(self, number: int, report: Mapping[str, Any]) -> bool:
        """Records a report. Returns whether the trial goes on."""
        if self.failure is not None or number not in self.in_flight:
            return False
        result = json.loads(report["result"]) if "result" in report else None
        seconds = report.get("within") if result is None else result["seconds"]
        if self._deadline is None and self._limit_s is not None and seconds is not None:
            self._deadline = self._clock() - seconds + self._limit_s
        if "cost" in report:
            self.record.keep_cost(number, report["cost"])
        if result is not None:
            self.record.report(number, result)
            self._emit(EpochDone(number=number, result=result))
        if report.get("final"):
            self._end(number, report["ended"], report.get("traceback"))
            return False
        # Between two folds' results nothing new is known.
        if result is not None and self._is_pruned(number):
            return False
        if self._is_stopping and not self.record.is_last(number):  # after its last, it ends anyway
            self._put_back(number)
            return False
        return True

    def died(self, number: int, error: str) -> None:
        """A worker is gone, and its trial with it; Ray's words for it are kept in the study."""
        if self.failure is not None or number not in self.in_flight:
            return
        self.deaths += 1
        why = "its worker died"
        state = self.record.requeue_one(number, error)
        if state != "waiting":
            why += " twice (out of memory?)"
        self._over(number, state, why, broken=True)

    def lost(self, number: int) -> None:
        """A worker's node is gone: its trial has no fault, and goes on elsewhere."""
        if self.failure is None and number in self.in_flight:
            self._put_back(number, "its node is gone")

    def vanished(self, number: int) -> None:
        """A worker's function returned without a last report."""
        if self.failure is None and number in self.in_flight:
            self._end(number, "error: the worker's function ended without a last report")

    def put_back_all(self) -> None:
        """Whatever is still in flight waits in the study."""
        for number in sorted(self.in_flight):
            self._put_back(number)

    # ----------------------------------------------------------------------------------------------

    @property
    def _is_stopping(self) -> bool:
        if self.interrupted:
            self.stopping = "interrupted"
        elif self.stopping is None and self._is_late():
            self.stopping = "minutes"
        return self.stopping is not None

    def _is_late(self) -> bool:
        return self._deadline is not None and self._clock() >= self._deadline - self._reserved()

    def _is_settled(self, asked: Asked) -> bool:
        """Whether a trial that was asked for has nothing to run; it is told then."""
        if asked.problem is not None:
            self._tell_started(asked)
            self._end(asked.number, f"error: the space's function: {asked.problem}")
            return True
        # Killed between an epoch's score and the verdict on it.
        return bool(asked.scores) and self._is_pruned(asked.number)

    def _is_pruned(self, number: int) -> bool:
        """Asks the pruner about the last epoch on record, and tells what it says."""
        why = self.record.should_prune(number)
        if why is None:
            return False
        self.record.tell_pruned(number, why)
        self._over(number, "pruned", why)
        return True

    def _end(self, number: int, ended: str, traceback: str | None = None) -> None:
        """Tells what a worker's last report says."""
        kind, _, text = ended.partition(":")
        state: State
        if kind == "infeasible":
            state, why = "infeasible", _WORDS.get(ended, text)
            self.record.tell_infeasible(number, why)
        elif kind == "error":
            state, why = "failed", text.strip()
            self.record.tell_failed(number, why, traceback=traceback)
        else:
            state, why = self.record.tell_complete(number, _WORDS.get(ended, ended))
        self._over(number, state, why, broken=state == "failed")

    def _put_back(self, number: int, why: str = "") -> None:
        self.record.put_back(number)
        why = why or self.stopping or "the search ended"
        self._over(number, "waiting", f"put back: {why}")

    def _over(self, number: int, state: State, why: str, *, broken: bool = False) -> None:
        self.in_flight.discard(number)
        if state != "waiting":
            self._told += 1
            if len(self._first) < HOPELESS:
                self._first.append(why if broken else None)
                texts = [text for text in self._first if text is not None]
                if len(texts) == HOPELESS:
                    self.fail(TrialsError(_hopeless(texts)))
        self._emit(TrialEnded(number=number, state=state, ended=why))

    def _tell_started(self, asked: Asked) -> None:
        self._emit(
            TrialStarted(
                number=asked.number, name=asked.name, params=asked.params, recipe=asked.recipe
            )
        )

    def _emit(self, event: Event) -> None:
        for watcher in list(self._watchers):
            try:
                watcher(event)
            except Exception as error:
                log.error("%s is told no more, because it failed: %s", _called(watcher), error)
                log.debug("at %r", event, exc_info=True)
                self._watchers.remove(watcher)


def _called(watcher: Watcher) -> str:
    return getattr(watcher, "__name__", type(watcher).__name__)


def _hopeless(texts: Sequence[str]) -> str:
    lines = "\n".join(f"  {text}" for text in dict.fromkeys(texts))
    return f"the first {HOPELESS} trials all broke, so the search was stopped:\n{lines}"
