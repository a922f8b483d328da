"""How are a run's trials run and watched? Those of the search, then the best of them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.basis import has_few
from search.contact_sheets import sheet_of
from search.errors import TrialsError
from search.keeping import keep_all_answers, keep_best_checkpoints
from search.outcome import Context, write_trials
from search.refits import Final, decide, expected_seconds, finalists, read_refits
from search.screen import Say
from search.trials import EpochDone, Event, TrialEnded, TrialRow, trial_seed
from xfer.recipe import Recipe, from_json

if TYPE_CHECKING:
    from pathlib import Path

    from search.progress import Progress
    from search.space import Trial
    from search.study import Record
    from search.worker import Job
    from search.workers import Slots
    from xfer.data.folds import Fold

_MOST_RESERVED = 0.5
"""Share of --minutes that is kept for training the best again."""
_GRACE = 3.0
"""Training them again may take so many times what was expected of it, and a minute."""
_REFITS = -1
"""In place of a trial's number, where the seed of all refits is drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Refitted:
    """What came of training the best trials again."""

    final: Final | None = None
    """None: it was not asked for, or not possible, or shows nothing."""
    mark: str = ""
    """What a reader has to know of it."""


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
    ) -> None:
        """Starts nothing.

        Args:
            context: of the run.
            slots: room for trials.
            folds: that every trial is scored on; None: the validation part is.
            refit_folds: that the best are scored on again; None: they are not.
            start_ray: called before something is trained; again, it does nothing.
            say: prints a line for people.
        """
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

        plan, run = self._context.plan, self._context.run
        record.requeue()
        used, minutes = record.seconds_used, plan.budget.minutes
        rest = None if minutes is None else 60 * minutes - used
        if plan.budget.trials <= record.told:
            self._say(
                f"All {plan.budget.trials} trials are told; --trials with a larger number adds "
                "some."
            )
            return
        if rest is not None and rest <= 0:
            self._say(
                f"The {minutes:g} minutes are used; --minutes with a larger number adds some."
            )
            return
        self._say(f"Watch: tensorboard --logdir {run.tensorboard}")
        count = self._slots.workers
        self._say(
            f"Starting Ray and {count} worker{'s' if count > 1 else ''}; the first epochs come in "
            "half a minute or so."
        )
        begun: list[float] = []  # when the first epoch did

        def keep(event: Event) -> None:
            if isinstance(event, EpochDone):
                begun.append(time.monotonic() - event.result["seconds"])
                del begun[1:]
                record.seconds_used = used + time.monotonic() - begun[0]
            if isinstance(event, TrialEnded):
                self._keep(record.rows())

        def reserved() -> float:
            return 0.0 if rest is None else min(self._reserved, _MOST_RESERVED * rest)

        self._keep(record.rows())
        self._start_ray()
        job = self._job(self._folds, run.checkpoints)
        sheet = sheet_of(job.data, seed=record.seed)
        progress = self._progress(
            trials=plan.budget.trials,
            folds=self._folds,
            minutes=None if rest is None else rest / 60,
            told=record.rows(),
        )
        with TensorBoard(run.tensorboard, columns, sheet=sheet) as tensorboard, progress:
            run_trials(
                record,
                plan.recipe,
                job=job,
                slots=self._slots,
                trials=plan.budget.trials,
                out=run.ray,
                limit_s=rest,
                reserved=reserved,
                watchers=(progress, tensorboard, keep),
            )

    def refit(self, rows: Sequence[TrialRow], *, storage: Any, seconds_used: float) -> Refitted:
        """Trains the best trials again, where there is something to be known by it.

        Args:
            rows: every trial of the search.
            storage: of the study of refits.
            seconds_used: of the search's minutes.
        """
        from search.experiment import run_trials
        from search.study import NEVER, Record

        context, folds = self._context, self._refit_folds
        run, plan, data = context.run, context.plan, context.data
        if folds is None or not plan.refits:
            return Refitted()
        keep_all_answers(run, rows, data, plan.objective, folds=self._folds is not None)
        best = finalists(run, rows, keep=plan.refits)
        if not best or (len(best) == 1 and not has_few(data)):
            return Refitted()
        recipes = {row.number: row.recipe for row in rows}

        def recipe_of(trial: Trial) -> Recipe:
            return from_json(recipes[trial.suggest_int("trial", 0, 2**31)])

        run.refits.mkdir(exist_ok=True)
        with Record(
            storage,
            name=f"{run.name}.refits",
            seed=trial_seed(plan.options.seed, _REFITS),
            epochs=plan.budget.epochs,
            folds=len(folds),
            known={f"trial {row.number}": {"trial": row.number} for row in best},
            about={"space": plan.space.path.name, "objective": plan.objective.name},
            pruner=NEVER,
        ) as record:
            record.requeue()
            there = record.rows()
            if any(row.state == "waiting" for row in there):
                expected = self._expected(best)
                minutes = plan.budget.minutes
                limit = _GRACE * expected + 60
                limit = None if minutes is None else max(60 * minutes - seconds_used, limit)
                self._say(
                    f"Training {', '.join(f'trial {row.number}' for row in best)} again, on "
                    f"{len(folds)} folds, to choose among them."
                )
                self._start_ray()
                progress = self._progress(
                    trials=len(there),
                    folds=folds,
                    minutes=None if limit is None else limit / 60,
                    told=there,
                )
                try:
                    with progress:
                        run_trials(
                            record,
                            recipe_of,
                            job=self._job(folds, run.refit_checkpoints),
                            slots=self._slots,
                            trials=len(there),
                            out=run.ray,
                            limit_s=limit,
                            watchers=(progress,),
                        )
                except TrialsError as error:  # all of them broke: the search still has a result
                    return Refitted(mark=f"The best trials could not be trained again: {error}")
            again = record.rows()
        names = {f"trial {row.number}" for row in best}
        broken = [row for row in again if row.name in names and row.state != "complete"]
        if any(row.state == "waiting" for row in broken):
            return Refitted(
                mark="Time was up before the best trials were trained again on all folds: the "
                "winner was chosen on validation. --resume with more --minutes goes on."
            )
        refits = read_refits(run, best, again, data, folds=len(folds))
        final = decide(refits, data, plan.objective) if refits else None
        marks = [
            f"{str(row.name).capitalize()} could not be trained again: {row.ended}."
            for row in broken
        ]
        if final is None:
            marks.append(
                "Trained again on folds, none of the best trials is shown to be better than the "
                "same answer for every image: do not use this model."
            )
        return Refitted(final=final, mark=" ".join(marks))

    def _keep(self, rows: Sequence[TrialRow]) -> None:
        """Brings the run's files up to date with the study."""
        context, plan = self._context, self._context.plan
        write_trials(context, rows)
        keep_all_answers(
            context.run, rows, context.data, plan.objective, folds=self._folds is not None
        )
        keep_best_checkpoints(context.run, rows, keep=max(plan.options.keep, plan.refits))
        self._reserved = self._expected(finalists(context.run, rows, keep=plan.refits))

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

    def _job(self, folds: tuple[Fold, ...] | None, checkpoints: Path) -> Job:
        from search.worker import Job

        return Job(
            data=self._context.data.without("test"),
            objective=self._context.plan.objective,
            checkpoints=checkpoints,
            threads=self._slots.threads,
            device=self._slots.device,
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
        from xfer.evaluate.objectives import best_constant
        from xfer.steps import strata

        plan, data = self._context.plan, self._context.data
        val = data.splits["val"]
        return Progress(
            run=self._context.run.name,
            trials=trials,
            epochs=plan.budget.epochs,
            folds=None if folds is None else len(folds),
            several_classes=data.positive is None,
            constant=best_constant(
                plan.objective,
                data.labels[val],
                classes=len(data.classes),
                subgroups=strata(plan.objective, data, val),
            ),
            minutes=minutes,
            demo=plan.demo,
            told=told,
        )
