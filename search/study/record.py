"""How is a search recorded? The only writer of one Optuna study.

Proposing, pruning, resuming and extending read the study alone. A trial that was stopped in the
middle keeps its number, hyperparameters and scores, and waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import isfinite, isnan
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from search.errors import TrialsError
from search.space import Trial
from search.study.asked import Asked
from search.study.changing import Changing
from search.study.costs import Costs
from search.study.opened import OpenStudy
from search.study.rows import best_of, has_ended, row_of, state_of
from search.study.sampling import Halving, SeededTPE, left_out_of
from search.study.verdict import tell_verdict
from search.trials import State, TrialRow
from xfer.recipe import Recipe, to_json
from xfer.recipe.objective import Cost

optuna.logging.set_verbosity(optuna.logging.WARNING)

MOST_DEATHS = 2
"""A trial whose worker died so often is given up."""


class Record(OpenStudy):
    """The trials of a search, as one study has them."""

    def __init__(
        self,
        storage: Path | str | BaseStorage,
        *,
        name: str,
        seed: int,
        epochs: int,
        folds: int | None = None,
        known: Mapping[str, Mapping[str, Any]] | None = None,
        about: Mapping[str, Any] | None = None,
        pruner: BasePruner | None = None,
        minimise: Cost | None = None,
    ) -> None:
        """Opens a study, or makes it; known configurations are queued first, each once.

        Args:
            storage: A SQLite file, a URL of Optuna's, or one that is open, to us alone.
            name: The study's name.
            seed: Of the sampler; the same on resuming.
            epochs: The budget's; the pruner's rungs follow from them, or from the folds.
            folds: Trials report a mean after each; None: they report epochs.
            known: Configurations tried first, in this order, by name.
            about: What `optuna-dashboard` shows as the study's attributes.
            pruner: Any of Optuna's; successive halving by default.
            minimise: The second objective; None: there is one, the search score.

        Raises:
            RunError: the storage cannot be opened, another process writes to it, or the study was
                made with another seed or other objectives.
        """
        self.epochs, self.folds = epochs, folds
        self._costs, self._changing = Costs(), Changing()
        self._rows: list[TrialRow] = []  # by number, as they were when they were last asked for
        super().__init__(
            storage, name=name, seed=seed, minimise=minimise, about=about or {},
            sampler=SeededTPE(seed),
            pruner=pruner or Halving(folds or epochs, means=folds is not None),
        )  # fmt: skip
        try:
            self._enqueue(known or {})
        except BaseException:
            self.close()
            raise

    def ask(self, recipe_of: Callable[[Trial], Recipe]) -> Asked:
        """The next trial: one that waits, by number, or a new one; it is RUNNING from here on.

        Args:
            recipe_of: The space's function; what it raises becomes the trial's `problem`.
        """
        self._check()
        trial = self.study.ask()
        recipe, problem = {}, None
        try:
            recipe = to_json(recipe_of(cast(Trial, trial)))
        except optuna.exceptions.StorageInternalError:
            raise
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        frozen = self._trial(trial.number)
        if recipe and frozen.user_attrs.get("recipe") != recipe:
            trial.set_user_attr("recipe", recipe)
        cost = frozen.user_attrs.get("cost")
        if recipe and self.minimise and cost is None:
            cost = self._costs.of(recipe, self.study.get_trials(deepcopy=False))
            if cost is not None:
                self._set(trial.number, "cost", cost)
        return Asked(
            number=trial.number,
            name=frozen.user_attrs.get("name"),
            params=frozen.params,
            recipe=recipe,
            scores=frozen.intermediate_values,
            cost=cost,
            problem=problem,
        )

    def requeue(self) -> list[int]:
        """Puts what is RUNNING back to WAITING; a verdict cut short by a kill is finished instead.

        Returns:
            The numbers put back.
        """
        self._check()
        back = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "ended" in trial.user_attrs:
                tell_verdict(self.study, trial)
            else:
                self.put_back(trial.number)
                back.append(trial.number)
        return back

    def put_back(self, number: int) -> None:
        """RUNNING to WAITING: `ask` gives it again, with all that is on record."""
        self._check()
        self._storage.set_trial_state_values(self._trial_id(number), TrialState.WAITING)

    def requeue_one(self, number: int, error: str) -> State:
        """Puts back a trial whose worker died, or gives it up after its second death.

        What is known of the death is kept as `traceback`. Returns `waiting` or `infeasible`.
        """
        deaths = self._trial(number).user_attrs.get("deaths", 0) + 1
        self._set(number, "deaths", deaths)
        self._set(number, "traceback", error)
        if deaths >= MOST_DEATHS:
            self.tell_infeasible(number, "its worker died twice (out of memory?)")
            return "infeasible"
        self.put_back(number)
        return "waiting"

    def keep_cost(self, number: int, cost: float) -> None:
        """Writes what the study minimises, before the first epoch; what is on record stays.

        Trials of the same network have the same cost: the one that was measured first.

        Raises:
            TrialsError: it is no finite number above 0.
        """
        if not (isfinite(cost) and cost > 0):
            raise TrialsError(f"trial {number} has {cost} as its {self.minimise or 'cost'}.")
        attributes = self._trial(number).user_attrs
        if "cost" not in attributes:
            known = self._costs.of(attributes["recipe"], self.study.get_trials(deepcopy=False))
            self._set(number, "cost", cost if known is None else known)

    def report(self, number: int, result: Mapping[str, Any]) -> None:
        """Writes an epoch or a fold, as a dict; one on record already stays as it is.

        Raises:
            TrialsError: the study minimises a cost, and the trial has none on record.
        """
        trial = self._trial(number)
        if self.minimise and "cost" not in trial.user_attrs:
            raise TrialsError(
                f"trial {number} has reported an epoch and no {self.minimise}, which the study "
                "minimises: a worker reports that first."
            )
        epoch, score = result["epoch"], result["search_score"]
        if epoch in trial.intermediate_values:
            return
        # A list: an epoch written twice (killed before its score was) counts once.
        seconds = [*trial.user_attrs.get("seconds", [])[: epoch - 1], result["seconds"]]
        prefix = [*trial.user_attrs.get("prefix", [])[: epoch - 1], result.get("prefix", {})]
        attributes: dict[str, Any] = {"seconds": seconds, "prefix": prefix}
        if result["best"] and isfinite(score):
            attributes["left_out"] = left_out_of(trial, result)
            attributes["best"] = best_of(result)
        if result["stopped"] is not None:
            attributes["stopped"] = result["stopped"]
        self._set_step(number, epoch, score, attributes)

    def is_last(self, number: int) -> bool:
        """Whether a trial has no epoch, or no fold, left to train."""
        return has_ended(self._trial(number), epochs=self.epochs, folds=self.folds)

    def should_prune(self, number: int) -> str | None:
        """What the pruner says of the last epoch on record; asking again changes nothing.

        A score that is not a number always ends a trial; one that has just finished is not judged.

        Returns:
            Why it should end, in words; None where it should not.
        """
        trial = self._trial(number)
        if (step := trial.last_step) is None:
            return None
        when = f"after {'epoch' if self.folds is None else 'fold'} {step}"
        if isnan(trial.intermediate_values[step]):
            return f"its score was not a number {when}"
        poor = not self.is_last(number) and self.study.pruner.prune(self.study, trial)
        return f"among the poorer {when}" if poor else None

    def tell_complete(self, number: int, why: str) -> tuple[State, str]:
        """Ended by itself; its value is its best epoch's score, or the mean over its folds.

        Returns:
            `complete`, or `infeasible` where no epoch had a finite score; and why.
        """
        if "best" not in self._trial(number).user_attrs:
            why = "no epoch had a finite score"
            self.tell_infeasible(number, why)
            return "infeasible", why
        self._tell(number, "complete", why)
        return "complete", why

    def tell_pruned(self, number: int, why: str) -> None:
        """Stopped by the pruner."""
        self._tell(number, "pruned", why)

    def tell_failed(self, number: int, why: str, *, traceback: str | None = None) -> None:
        """Broken; the sampler ignores it."""
        if traceback:
            self._set(number, "traceback", traceback)
        self._tell(number, "failed", why)

    def tell_infeasible(self, number: int, why: str) -> None:
        """Out of memory or not finite: the sampler learns to stay away."""
        self._tell(number, "infeasible", why)

    def rows(self) -> list[TrialRow]:
        """Every trial, by number."""
        for trial in self._changing.since(self.study.get_trials(deepcopy=False)):
            self._rows[trial.number : trial.number + 1] = [row_of(trial)]
        return list(self._rows)

    def counts(self) -> Counter[State]:
        """Trials by state."""
        return Counter(state_of(trial) for trial in self.study.get_trials(deepcopy=False))

    @property
    def told(self) -> int:
        """Trials that have ended, in whatever way."""
        return sum(n for state, n in self.counts().items() if state not in ("waiting", "running"))

    @property
    def seconds_used(self) -> float:
        """Wall time of all sessions that this study has had."""
        return self.study.user_attrs.get("seconds_used", 0.0)

    @seconds_used.setter
    def seconds_used(self, seconds: float) -> None:
        self._check()
        self.study.set_user_attr("seconds_used", seconds)

    def _tell(self, number: int, state: State, why: str) -> None:
        # The verdict first: if we are killed between the two, `requeue` finishes what is meant.
        self._set(number, "ended", f"{state}: {why}")
        tell_verdict(self.study, self._trial(number))

    def _enqueue(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        there = {t.user_attrs.get("name") for t in self.study.get_trials(deepcopy=False)}
        for name, params in known.items():
            if name not in there:
                self.study.enqueue_trial(dict(params), user_attrs={"name": name})
