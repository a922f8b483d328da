"""How does a trial of Optuna's read in this project's words?"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.storage import closing, open_storage
from search.study.verdict import TRAINABLE
from search.trials import State, TrialRow, summed

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
}


def state_of(trial: FrozenTrial) -> State:
    """A trial's state; PRUNED because it cannot be trained is infeasible."""
    if trial.state == TrialState.PRUNED and TRAINABLE in trial.constraints:
        return "infeasible"
    return _STATES[trial.state]


def row_of(trial: FrozenTrial) -> TrialRow:
    """A trial as the study has it."""
    attributes = trial.user_attrs
    best = attributes.get("best")
    ended = attributes.get("ended", "") if trial.state.is_finished() else ""
    return TrialRow(
        number=trial.number,
        name=attributes.get("name"),
        state=state_of(trial),
        value=best["score"] if best else None,
        params=trial.params,
        recipe=attributes.get("recipe"),
        scores=trial.intermediate_values,
        best_epoch=best["epoch"] if best else None,
        val={name: nan if v is None else v for name, v in best["val"].items()} if best else {},
        seconds=sum(attributes.get("seconds", [])),
        prefix=summed(attributes.get("prefix", [])),
        ended=ended.partition(": ")[2],
        cost=attributes.get("cost"),
    )


def best_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an epoch that is a trial's best, or of all folds so far.

    None for NaN, which JSON does not have, and for the epoch where there are folds.
    """
    folds = {name: result[name] for name in ("scores", "epochs") if name in result}
    return {
        **folds,
        "epoch": None if folds else result["epoch"],
        "score": result["search_score"],
        "threshold": result["threshold"],
        "val": {name: v if isfinite(v) else None for name, v in result["val"].items()},
    }


def has_ended(trial: FrozenTrial, *, epochs: int, folds: int | None) -> bool:
    """Whether a trial has nothing left to train; `epochs` is for a recipe that names none."""
    wanted = folds or trial.user_attrs["recipe"]["epochs"] or epochs
    return "stopped" in trial.user_attrs or (trial.last_step or 0) >= wanted


def read_rows(storage: Path | str | BaseStorage, *, name: str) -> list[TrialRow]:
    """Every trial of a study by number, for who only reads; a run may be writing meanwhile.

    Raises:
        RunError: the storage cannot be opened, or has no study of this name.
    """
    with closing(open_storage(storage, must_exist=name)) as opened:
        trials = opened.get_all_trials(opened.get_study_id_from_name(name))
        return [row_of(trial) for trial in trials]
