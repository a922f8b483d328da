"""DESIGN's facts about Optuna and Ray, on the libraries themselves: an upgrade fails loudly."""

import contextlib
import math
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)


def study(**more: Any) -> optuna.Study:
    return optuna.create_study(direction="maximize", storage=InMemoryStorage(), **more)


# Fact 2 -------------------------------------------------------------------------------------------


def test_a_misspelt_key_of_a_queued_configuration_is_ignored() -> None:
    search = study()
    search.enqueue_trial({"learning_rate": 0.5})
    trial = search.ask()
    assert trial.suggest_float("lr", 0.0, 0.1) <= 0.1
    assert trial.params.keys() == {"lr"}


def test_a_queued_number_out_of_range_only_warns_and_is_used() -> None:
    search = study()
    search.enqueue_trial({"lr": 0.5})
    with pytest.warns(UserWarning, match="out of range"):
        assert search.ask().suggest_float("lr", 0.0, 0.1) == 0.5


def test_a_queued_unknown_category_raises_when_its_turn_comes() -> None:
    search = study()
    search.enqueue_trial({"model": "resnet"})
    trial = search.ask()
    with pytest.raises(ValueError, match="not in"):
        trial.suggest_categorical("model", ["convnet", "densenet"])


# Fact 3 -------------------------------------------------------------------------------------------


def test_one_name_with_two_sets_of_categories_raises_but_with_two_ranges_does_not() -> None:
    search = study()
    for choices in (["a", "b"], ["a", "c"]):
        trial = search.ask()
        trial.suggest_int("n", 1, len(search.trials) * 10)
        if "c" in choices:
            with pytest.raises(ValueError, match="dynamic value space"):
                trial.suggest_categorical("kind", choices)
        else:
            trial.suggest_categorical("kind", choices)
    assert [t.distributions["n"].high for t in search.trials] == [10, 20]  # type: ignore[attr-defined]


# Fact 4 -------------------------------------------------------------------------------------------


def stock() -> tuple[Any, optuna.Study]:
    from ray.tune.search.optuna import OptunaSearch

    def ranges(trial: optuna.Trial) -> None:
        trial.suggest_float("lr", 0.0, 1.0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        searcher = OptunaSearch(space=ranges, metric="score", mode="max")
        searcher.suggest("a")
    return searcher, searcher._ot_study


def test_rays_own_searcher_tells_a_pruned_trial_as_complete() -> None:
    searcher, search = stock()
    searcher.on_trial_complete("a", {"score": 0.3, "training_iteration": 1, "done": True})
    assert search.trials[0].state == TrialState.COMPLETE


def test_rays_own_searcher_leaves_a_trial_that_ends_not_finite_running() -> None:
    searcher, search = stock()
    with contextlib.suppress(ValueError):
        searcher.on_trial_complete("a", {"score": math.nan, "training_iteration": 1})
    assert search.trials[0].state == TrialState.RUNNING


# Fact 7 -------------------------------------------------------------------------------------------


def test_optunas_heartbeat_does_not_fail_a_trial_that_was_asked_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        storage = optuna.storages.RDBStorage(url, heartbeat_interval=1, grace_period=1)
    search = optuna.create_study(storage=storage)
    with pytest.warns(UserWarning, match=r"supposed to be used with Study\.optimize"):
        search.ask()
    assert storage.get_heartbeat_interval() == 1
    assert storage._get_stale_trial_ids(search._study_id) == []  # no beat was ever recorded
    storage.remove_session()
    storage.engine.dispose()


# Fact 8 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_pruned_and_failed_are_told_without_a_value(state: TrialState) -> None:
    search = study()
    with pytest.raises(ValueError, match="Values cannot be specified"):
        search.tell(search.ask(), 0.5, state=state)


def test_tpe_is_multivariate_with_constant_liar_by_default() -> None:
    sampler = optuna.samplers.TPESampler()
    assert sampler._is_multivariate(study())
    assert sampler._constant_liar


def test_a_failed_trial_is_ignored_by_tpe_and_a_constraint_that_is_not_met_is_not() -> None:
    from optuna.samplers._tpe.sampler import _get_infeasible_trial_score

    search = study()
    trial = search.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_constraint("trainable", 1.0)
    search.tell(trial, state=TrialState.PRUNED)
    assert _get_infeasible_trial_score(search.trials[0]) == 1.0
    assert search.trials[0].constraints == {"trainable": 1.0}


def test_a_waiting_trial_is_asked_for_again_with_its_scores() -> None:
    search = study()
    trial = search.ask()
    value = trial.suggest_float("x", 0, 1)
    trial.report(0.5, 1)
    search._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    again = search.ask()
    assert (again.number, again.suggest_float("x", 0, 1)) == (0, value)
    assert search.trials[0].intermediate_values == {1: 0.5}


def test_optunas_halving_does_not_judge_twice_at_a_rung() -> None:
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    search = study(pruner=pruner)
    good, poor = search.ask(), search.ask()
    good.report(0.9, 1)
    assert not good.should_prune()
    poor.report(0.1, 1)
    assert poor.should_prune()
    again = optuna.Trial(search, poor._trial_id)  # as after a kill between verdict and tell
    assert not again.should_prune()


# Fact 9 -------------------------------------------------------------------------------------------


def test_tune_starts_one_worker_at_a_time_unless_it_is_told_how_many() -> None:
    from ray.tune.execution.tune_controller import _get_max_pending_trials
    from ray.tune.search import ConcurrencyLimiter, Searcher
    from ray.tune.search.search_generator import SearchGenerator

    assert _get_max_pending_trials(SearchGenerator(Searcher())) == 1
    limited = ConcurrencyLimiter(Searcher(), max_concurrent=3)
    assert _get_max_pending_trials(SearchGenerator(limited)) == 3
