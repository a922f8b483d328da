"""How are a run's trials run and watched? Those of the search, then the best of them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from search.amounts import counted, roughly
from search.basis import has_few
from search.contact_sheets import sheet_of
from search.errors import RunError, TrialsError
from search.keeping import finalists, first_known, keep_all_answers
from search.outcome import Context
from search.refits import Refitted, expected_seconds, judge, refit_name, shown_as_trial
from search.screen import Say, used_up
from search.trials import EpochDone, Event, TrialEnded, TrialRow, trial_seed
from xfer.errors import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path

    from search.joined import Joined
    from search.progress import Progress
    from search.study import Record
    from search.worker import Job
    from search.workers import Slots
    from xfer.data.folds import Fold

MOST_FOR_REFITS = 0.5
"""Share of --minutes that training the best again may take; fewer are, where it would be more."""
_GRACE = 1.5
"""It is cut short after so many times what is left of --minutes, or what was expected of it if that
is more, and a minute."""
_KEPT_S = 1.0
"""Between two notes of how much time was used: each is a commit."""
_REFITS = -1
"""In place of a trial's number, where the seed of all refits is drawn."""


class Running:
    """Runs what a run has to train, in one Ray."""

    def __init__(
        self,
        context: Context,
        *,
        slots: Slots,
        folds: tuple[Fold, ...] | None,
        refit_folds: tuple[Fold, ...] | None,
        start_ray: Callable[[], None],
        say: Say,
        joined: Joined | None = None,
    ) -> None:
        """Starts nothing.

        Args:
            context: of the run.
            slots: room for trials.
            folds: that every trial is scored on; None: the validation part is.
            refit_folds: that the best are scored on again; None: they are not.
            start_ray: called before something is trained; again, it does nothing.
            say: prints a line for people.
            joined: the cluster that trains; None: this machine does.
        """
        self._joined = joined
        self._context, self._slots, self._say = context, slots, say
        self._folds, self._refit_folds, self._start_ray = folds, refit_folds, start_ray
        self._reserved = 0.0  # seconds that training the best again would take now

    def search(self, record: Record, columns: Mapping[str, Any]) -> None:
        """Runs the trials that are left.

        Args:
            record: the study.
            columns: every hyperparameter of the space, and its range.
        """
        from search.experiment import run_trials
        from search.tensorboard import TensorBoard
        from search.upkeep import Upkeep

        plan, run = self._context.plan, self._context.run
        record.requeue()
        used, minutes = record.seconds_used, plan.budget.minutes
        rest = None if minutes is None else 60 * minutes - used
        if over := used_up(record.told, used, plan.budget):
            self._say(over)
            return
        self._say(f"Watch: tensorboard --logdir {run.tensorboard}")
        workers = counted(self._slots.workers, "worker")
        self._say(f"Starting Ray and {workers}; the first epochs come in half a minute or so.")
        begun: list[float] = []  # when the first epoch did
        kept = 0.0

        def keep(event: Event) -> None:
            nonlocal kept
            now = time.monotonic()
            if isinstance(event, EpochDone):
                begun.append(now - event.result["seconds"])
                del begun[1:]
            if begun and (isinstance(event, TrialEnded) or now - kept > _KEPT_S):
                record.seconds_used, kept = used + now - begun[0], now

        upkeep = Upkeep(self._context, record, folds=self._folds is not None, then=self._reserve)
        upkeep.update()
        self._start_ray()
        job = self._job(self._folds, run.checkpoints)
        sheet = sheet_of(job.data, seed=record.seed)
        progress = self._progress(
            trials=plan.budget.trials,
            folds=self._folds,
            minutes=None if rest is None else rest / 60,
            told=record.rows(),
        )
        constant = self._context.constant
        with (
            TensorBoard(run.tensorboard, columns, constant=constant, sheet=sheet) as tensorboard,
            progress,
        ):
            run_trials(
                record,
                plan.recipe,
                job=job,
                slots=self._slots,
                trials=plan.budget.trials,
                out=run.ray,
                limit_s=rest,
                reserved=lambda: self._reserved,
                room=self._room,
                watchers=(progress, tensorboard, keep, upkeep),
            )
        upkeep.update()

    def refit(self, rows: Sequence[TrialRow], *, seconds_used: float) -> Refitted:
        """Trains the best trials again, where there is something to be known by it.

        Args:
            rows: every trial of the search.
            seconds_used: of the search's minutes.
        """
        from search.refit_study import left_out_said

        run, plan, data = self._context.run, self._context.plan, self._context.data
        folds = self._refit_folds
        if folds is None or not plan.refits:
            return Refitted()
        keep_all_answers(run, rows, data, plan.objective, folds=self._folds is not None)
        asked = finalists(run, rows, keep=plan.refits)
        best = self._affordable(asked, rows)
        if len(best) < 2 and len(asked) > len(best):
            return Refitted(
                mark="The best trials were not trained again: it would have taken about "
                f"{roughly(self._expected(asked))}, and --minutes has half of its time for that. "
                "The winner was chosen on validation."
            )
        if not best or (len(best) == 1 and not has_few(data)):
            return Refitted()
        try:
            again = self._train_again(best, rows, folds, seconds_used=seconds_used)
            found = judge(run, best, again, data, plan.objective, folds=len(folds))
        except TrialsError as error:  # all of them broke: the search still has a result
            found = Refitted(mark=f"The best trials could not be trained again: {error}")
        except ModelFileError as error:
            raise RunError(
                f"{error} Delete {run.refits}, and --resume trains the best again."
            ) from error
        fewer = left_out_said(asked, best, self._expected(asked))
        return replace(found, mark=" ".join(text for text in (fewer, found.mark) if text))

    def _train_again(
        self,
        best: Sequence[TrialRow],
        rows: Sequence[TrialRow],
        folds: tuple[Fold, ...],
        *,
        seconds_used: float,
    ) -> list[TrialRow]:
        """Trains what is left of these finalists, and returns the trials of their study."""
        from search.experiment import run_trials
        from search.refit_study import RefitRecord, recipes_again

        run, plan = self._context.run, self._context.plan
        with RefitRecord(
            run,
            best,
            seed=trial_seed(plan.options.seed, _REFITS),
            epochs=plan.budget.epochs,
            folds=len(folds),
            about={"space": plan.space.path.name, "objective": plan.objective.name},
        ) as record:
            record.requeue()
            waiting, aside, there = record.waiting(), record.set_aside(), record.rows()
            if not waiting:
                return there
            limit = None
            if plan.budget.minutes is not None:
                left = 60 * plan.budget.minutes - seconds_used
                names = {row.name for row in waiting}
                meant = [row for row in rows if refit_name(row) in names]
                limit = _GRACE * max(left, self._expected(meant)) + 60
            why = "to choose among them" if len(best) > 1 else "for its threshold"
            self._say(
                f"Training {', '.join(map(refit_name, best))} again, on {len(folds)} folds, {why}."
            )
            for row in aside:  # the search was extended since
                self._say(f"{str(row.name).capitalize()} is no finalist any more, and waits.")
            self._start_ray()
            trials = record.told + len(waiting)
            shown = [shown_as_trial(row, there) for row in there if row not in aside]
            progress = self._progress(
                trials=trials,
                folds=folds,
                minutes=None if limit is None else limit / 60,
                told=shown,
            )
            with progress:
                run_trials(
                    record,
                    recipes_again(rows),
                    job=self._job(folds, run.refit_checkpoints),
                    slots=self._slots,
                    trials=trials,
                    out=run.ray,
                    limit_s=limit,
                    room=self._room,
                    watchers=(lambda event: progress(shown_as_trial(event, there)),),
                )
            return record.rows()

    def _reserve(self, rows: Sequence[TrialRow]) -> None:
        """Notes how long training the best again would take by now."""
        again = finalists(self._context.run, rows, keep=self._context.plan.refits)
        self._reserved = self._expected(self._affordable(again, rows))

    def _affordable(
        self, asked: Sequence[TrialRow], rows: Sequence[TrialRow]
    ) -> Sequence[TrialRow]:
        """As many of these finalists, of all trials, as --minutes has time for."""
        from search.refit_study import affordable

        minutes = self._context.plan.budget.minutes
        limit = None if minutes is None else MOST_FOR_REFITS * 60 * minutes
        return affordable(asked, first_known(rows), self._expected, limit_s=limit)

    def _expected(self, rows: Sequence[TrialRow]) -> float:
        """Seconds that training finalists again takes."""
        if self._refit_folds is None:
            return 0.0
        workers = self._slots.workers
        if self._folds is not None:  # each was trained on as many folds already
            return expected_seconds(rows, folds=1, share=1.0, workers=workers)
        images = [len(fold.train) for fold in self._refit_folds]
        share = sum(images) / len(images) / len(self._context.data.splits["train"])
        return expected_seconds(rows, folds=len(images), share=share, workers=workers)

    @property
    def _room(self) -> Callable[[], int] | None:
        return None if self._joined is None else self._joined.room(self._slots)

    def _job(self, folds: tuple[Fold, ...] | None, checkpoints: Path) -> Job:
        from search.worker import Job

        data = self._context.data.without("test")
        objective = self._context.plan.objective
        if folds is not self._folds:  # refits are chosen among by score alone
            objective = replace(objective, minimise=None)
        return Job(
            data=data,
            origin=None if self._joined is None else self._joined.origin(data),
            objective=objective,
            checkpoints=checkpoints,
            threads=self._slots.threads,
            device=self._slots.device,
            features=self._context.features,
            folds=folds,
        )

    def _progress(
        self,
        *,
        trials: int,
        folds: tuple[Fold, ...] | None,
        minutes: float | None,
        told: Sequence[TrialRow],
    ) -> Progress:
        from search.progress import Progress

        plan, data = self._context.plan, self._context.data
        return Progress(
            run=self._context.run.name,
            trials=trials,
            epochs=plan.budget.epochs,
            folds=None if folds is None else len(folds),
            several_classes=data.positive is None,
            constant=self._context.constant,
            minutes=minutes,
            demo=plan.demo,
            told=told,
        )
