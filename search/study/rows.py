"""How does a trial of Optuna's read in this project's words?"""

from __future__ import annotations

from math import nan
from pathlib import Path

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.storage import closing, open_storage
from search.trials import State, TrialRow

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
}


def state_of(trial: FrozenTrial) -> State:
    """A trial's state; PRUNED with a constraint that is not met is infeasible."""
    if trial.state == TrialState.PRUNED and any(value > 0 for value in trial.constraints.values()):
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
        ended=ended.partition(": ")[2],
    )


def read_rows(storage: Path | str | BaseStorage, *, name: str) -> list[TrialRow]:
    """Every trial of a study by number, for who only reads; a run may be writing meanwhile.

    Raises:
        RunError: the storage cannot be opened, or has no study of this name.
    """
    with closing(open_storage(storage, must_exist=name)) as opened:
        trials = opened.get_all_trials(opened.get_study_id_from_name(name))
        return [row_of(trial) for trial in trials]
