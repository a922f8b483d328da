"""Which hyperparameters come next, and which trials are stopped? Optuna's two interfaces.

Both are functions of the study alone. What is kept between two calls cannot change any more, and a
resumed run finds it in the study: it proposes and stops what the undisturbed one would have.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from search.study.halving import FIRST, best_until, is_poor, rungs
from search.study.rivals import Rivals

STARTUP_TRIALS = 10
"""Trials before TPE takes over from random sampling, known ones included. Optuna's default."""


class SeededTPE(BaseSampler):
    """TPE with a generator of its own for every trial, and for every name in it.

    A trial that was killed while it was being proposed has some values on record and is asked for
    the rest; with one generator for all, these would depend on how many there were.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        # What all trials share gets less with each: it looks at new ones alone, and draws nothing.
        self._shared = TPESampler()

    def _fresh(self, *purpose: object) -> TPESampler:
        text = "/".join(str(part) for part in (self._seed, *purpose))
        digest = blake2b(text.encode(), digest_size=4).digest()
        return TPESampler(seed=int.from_bytes(digest), n_startup_trials=STARTUP_TRIALS)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The hyperparameters that every finished trial has had; with two objectives none: TPE then
        draws each by itself."""
        return self._shared.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values for these together."""
        return self._fresh(trial.number).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A value for one of the others."""
        sampler = self._fresh(trial.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def left_out_of(trial: FrozenTrial, result: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's attribute `left_out`, with what a result that is its best so far adds.

    By epoch, or number of folds: what the score that counts at a rung is without each group of
    patients.
    """
    added = {str(result["epoch"]): result["left_out"]} if result.get("left_out") else {}
    return trial.user_attrs.get("left_out", {}) | added


class Halving(BasePruner):
    """Successive halving, as `search.study.halving` has it.

    A trial whose head is trained alone at first says little then of what it will be: it is judged
    after that, and as many epochs later as others are, or at the last rung.

    Args:
        steps: epochs of the budget, or folds.
        means: a step's score takes the place of the one before, as the mean over folds does; else
            a trial's best counts.
    """

    def __init__(self, steps: int, *, means: bool = False) -> None:
        self._rungs = rungs(steps, first=1) if means else rungs(steps)
        self._means = means
        self._rivals = Rivals(self._rungs, lambda trial, step: self._at(trial, step)[0])

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial stops after its last step on record; always of the same study."""
        from xfer.evaluate.jackknife import paired_standard_error

        step = trial.last_step
        if step is None or step not in self._rungs or step < self._earliest(trial):
            return False
        trials = study.get_trials(deepcopy=False)
        _, left_out = self._at(trial, step)

        def error_of(other: int) -> float | None:
            return paired_standard_error(left_out, self._at(trials[other], step)[1])

        return is_poor(self._rivals.at(step, trials), trial.number, error_of)

    def _earliest(self, trial: FrozenTrial) -> int:
        """The step before which a trial is not judged."""
        head_first = (trial.user_attrs.get("recipe") or {}).get("head_first")
        if self._means or not head_first:
            return 0
        alone = head_first["epochs"]
        return max(alone + 1, min(alone + min(FIRST, self._rungs[0]), self._rungs[-1]))

    def _at(self, trial: FrozenTrial, step: int) -> tuple[float, list[list[float]]]:
        """What a trial is worth at a rung, and what it is without each group of patients.

        By fold; without folds there is one. Nothing where the study has not kept it.
        """
        scores = trial.intermediate_values
        epoch = best_until({step: scores[step]} if self._means else scores, step)
        if epoch is None:
            return float("-inf"), []
        kept = trial.user_attrs.get("left_out", {}).get(str(epoch), [])
        return scores[epoch], kept if self._means else [kept]
