"""Which hyperparameters come next, and which trials are stopped? Optuna's two interfaces.

Both are functions of the study alone. Nothing is remembered between two calls, so a resumed run
proposes and stops what the undisturbed one would have.
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

from search.study.halving import best_until, is_poor, rungs

STARTUP_TRIALS = 10
"""Trials before TPE takes over from random sampling, known ones included. Optuna's default."""


class SeededTPE(BaseSampler):
    """TPE with a generator of its own for every trial, and for every name in it.

    A trial that was killed while it was being proposed has some values on record and is asked for
    the rest; with one generator for all, these would depend on how many there were.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _fresh(self, *purpose: object) -> TPESampler:
        text = "/".join(str(part) for part in (self._seed, *purpose))
        digest = blake2b(text.encode(), digest_size=4).digest()
        return TPESampler(seed=int.from_bytes(digest), n_startup_trials=STARTUP_TRIALS)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The hyperparameters that every finished trial has had."""
        return self._fresh(trial.number).infer_relative_search_space(study, trial)

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


class Halving(BasePruner):
    """Successive halving, as `search.study.halving` has it.

    Args:
        steps: epochs of the budget, or folds.
        means: a step's score takes the place of the one before, as the mean over folds does; else
            a trial's best counts.
    """

    def __init__(self, steps: int, *, means: bool = False) -> None:
        self._rungs = frozenset(rungs(steps, first=1) if means else rungs(steps))
        self._means = means

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial stops after its last step on record."""
        step = trial.last_step
        if step is None or step not in self._rungs:
            return False
        others: list[Mapping[int, float]] = [
            other.intermediate_values
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and step in other.intermediate_values
        ]
        score = self._at(trial.intermediate_values, step)
        return is_poor(score, [self._at(scores, step) for scores in others])

    def _at(self, scores: Mapping[int, float], step: int) -> float:
        """What a trial is worth at a rung."""
        return best_until({step: scores[step]} if self._means else scores, step)
