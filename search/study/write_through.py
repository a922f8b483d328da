"""How are trials read without asking the database? From memory, where all that is written stands.

Optuna's own cache reads every unfinished trial again, attribute by attribute, whenever trials are
looked at: with 64 of them and the sampler's questions that was 26 ms of the driver's time for each
result and 200 ms for each proposal (300 trials). A study has one writer here, so what was read once
and written since is what stands.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from search.study.patient import Patient


class WriteThrough(BaseStorage):
    """A database, and its trials in memory, for the only process that writes to the study.

    A write goes to the database first. Where that fails it is not known what stands there, so the
    study's trials are read anew. A trial that was given out is never changed: what is written makes
    another one. What a study says of itself is not kept: others write that, too.
    """

    def __init__(self, backend: RDBStorage) -> None:
        self._backend = backend
        self._trials: dict[int, list[FrozenTrial]] = {}  # by study, in the order of their numbers
        self._places: dict[int, tuple[int, int]] = {}  # by trial: study, and number in it
        self._waiting: dict[int, set[int]] = {}  # by study, numbers
        self._known: dict[int, dict[str, BaseDistribution]] = {}  # by study, of each hyperparameter

    # ----------------------------------------------------------------------------------------------
    # Trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As Optuna's."""
        there = self._of(study_id)
        with self._writing(study_id):
            trial_id = self._backend.create_new_trial(study_id, template_trial)
            trial = self._backend.get_trial(trial_id)
        there.append(trial)
        self._place(study_id, trial)
        return trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """As Optuna's."""
        study_id, _ = self._place_of(trial_id)
        known = self._known[study_id].get(param_name)
        if known is not None:
            check_distribution_compatibility(known, distribution)
        with self._writing(study_id):
            self._backend._set_trial_param(
                trial_id, param_name, param_value_internal, distribution, known
            )
        if known is not None and distribution == known:
            distribution = known  # one object for all saves most of a trial's memory
        else:
            distribution = json_to_distribution(distribution_to_json(distribution))
            self._known[study_id].setdefault(param_name, distribution)
        trial = self._changed(trial_id)
        trial.params = {
            **trial.params, param_name: distribution.to_external_repr(param_value_internal)
        }  # fmt: skip
        trial.distributions = {**trial.distributions, param_name: distribution}

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """As Optuna's. The trial is read again: the database's time of it is its own."""
        study_id, number = self._place_of(trial_id)
        with self._writing(study_id):
            changed = self._backend.set_trial_state_values(trial_id, state, values)
            trial = self._backend.get_trial(trial_id)
        self._of(study_id)[number] = trial
        self._place(study_id, trial)
        return changed

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """As Optuna's."""
        with self._writing(self._place_of(trial_id)[0]):
            self._backend.set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._came(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        with self._writing(self._place_of(trial_id)[0]):
            self._backend.set_trial_user_attr(trial_id, key, value)
        self._attributed(trial_id, {key: value})

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        with self._writing(self._place_of(trial_id)[0]):
            self._backend.set_trial_system_attr(trial_id, key, value)
        trial = self._changed(trial_id)
        trial.system_attrs = {**trial.system_attrs, key: _as_read(value)}

    def set_step(self, trial_id: int, step: int, score: float, attributes: dict[str, Any]) -> None:
        """Writes a step's score and the user attributes that come with it, all or nothing.

        One commit in place of five: it is what a result costs most of.
        """
        backend = self._backend

        def write(again: bool) -> None:  # twice is as good as once
            with _create_scoped_session(backend.scoped_session) as session:
                for key, value in attributes.items():
                    backend._set_trial_attr_without_commit(
                        session, models.TrialUserAttributeModel, trial_id, key, value
                    )
                backend._set_trial_intermediate_value_without_commit(session, trial_id, step, score)

        with self._writing(self._place_of(trial_id)[0]):
            if isinstance(backend, Patient):
                backend.patiently(write)
            else:
                write(False)
        self._attributed(trial_id, attributes)
        self._came(trial_id, step, score)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As Optuna's, but not to be changed."""
        study_id, number = self._place_of(trial_id)
        return self._of(study_id)[number]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """As Optuna's; by number."""
        there = self._of(study_id)
        if states == (TrialState.WAITING,):
            found = [there[number] for number in sorted(self._waiting[study_id])]
        elif states is not None:
            found = [trial for trial in there if trial.state in states]
        else:
            found = there
        return copy.deepcopy(found) if deepcopy else list(found)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """As Optuna's."""
        there = self._of(study_id)
        if not 0 <= trial_number < len(there):
            raise KeyError(f"No trial {trial_number} in study {study_id}.")
        return there[trial_number]._trial_id

    # ----------------------------------------------------------------------------------------------
    # Studies: the database is asked each time

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """As Optuna's."""
        return self._backend.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """As Optuna's."""
        self._forget(study_id)
        self._backend.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._backend.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._backend.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """As Optuna's."""
        return self._backend.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """As Optuna's."""
        return self._backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """As Optuna's."""
        return self._backend.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """As Optuna's."""
        return self._backend.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """As Optuna's."""
        return self._backend.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """As Optuna's."""
        return self._backend.get_all_studies()

    def remove_session(self) -> None:
        """As Optuna's."""
        self._backend.remove_session()

    # ----------------------------------------------------------------------------------------------

    def _of(self, study_id: int) -> list[FrozenTrial]:
        """A study's trials, read when they are first asked for."""
        if study_id not in self._trials:
            there = self._backend.get_all_trials(study_id, deepcopy=False)
            self._known[study_id], self._waiting[study_id] = {}, set()
            for trial in there:
                self._place(study_id, trial)
                for name, distribution in trial.distributions.items():
                    known = self._known[study_id].setdefault(name, distribution)
                    if known == distribution:
                        trial.distributions[name] = known
            self._trials[study_id] = there
        return self._trials[study_id]

    def _place(self, study_id: int, trial: FrozenTrial) -> None:
        self._places[trial._trial_id] = study_id, trial.number
        if trial.state == TrialState.WAITING:
            self._waiting[study_id].add(trial.number)
        else:
            self._waiting[study_id].discard(trial.number)

    def _place_of(self, trial_id: int) -> tuple[int, int]:
        """Study and number of a trial, with its study in memory."""
        if trial_id not in self._places:
            raise KeyError(f"No trial with id {trial_id}.")
        study_id, number = self._places[trial_id]
        self._of(study_id)
        return study_id, number

    def _changed(self, trial_id: int) -> FrozenTrial:
        """A copy in the trial's place, to be changed."""
        study_id, number = self._place_of(trial_id)
        trial = copy.copy(self._trials[study_id][number])
        self._trials[study_id][number] = trial
        return trial

    def _attributed(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        trial = self._changed(trial_id)
        read = {key: _as_read(value) for key, value in attributes.items()}
        trial.user_attrs = {**trial.user_attrs, **read}

    def _came(self, trial_id: int, step: int, score: float) -> None:
        trial = self._changed(trial_id)
        trial.intermediate_values = {**trial.intermediate_values, step: float(score)}

    @contextmanager
    def _writing(self, study_id: int) -> Iterator[None]:
        """Within it the database is written; what is in memory is dropped where that fails."""
        try:
            yield
        except BaseException:
            self._forget(study_id)
            raise

    def _forget(self, study_id: int) -> None:
        self._trials.pop(study_id, None)


def _as_read(value: Any) -> Any:
    """As JSON gives it back: a tuple is a list, keys are text."""
    return json.loads(json.dumps(value))
