"""What if the server that keeps the study goes away for a while? Its storage waits, and asks again.

A write whose answer was lost may stand or not. Most of Optuna's writes say what shall be, and are
repeated; of the others it is looked first whether they stand:

* A new trial carries a mark of the call that made it. The mark is looked for in the transaction
  that would make the trial, in which the study is locked, so that no trial is made twice and none
  is left RUNNING that nobody knows of.
* A trial that is RUNNING (or told) already cannot be made so again. We are the only ones who write
  to the study, so a state that is found as it was wanted was written by us.

Nothing is repeated before the right to write has been renewed: while the server was away, its time
may have run out and another process may have it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar, cast

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import exc

from search.study.writer import Decide

log = logging.getLogger(__name__)

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])

PATIENCE_S = 120.0
"""So long a server that has gone away is waited for: a restart, a move to another machine."""
MADE = "made"
"""System attribute of a trial: the mark of the call that made it."""
_STUDIES = sqlalchemy.table("studies", sqlalchemy.column("study_id"))
_NOTES = sqlalchemy.table(
    "study_user_attributes",
    sqlalchemy.column("study_id"), sqlalchemy.column("key"), sqlalchemy.column("value_json"),
)  # fmt: skip


def is_away(error: BaseException) -> bool:
    """Whether an error says that the server was not there, or had to give up what it did."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, exc.DBAPIError) and cause.connection_invalidated:
        return True
    kinds = (exc.OperationalError, exc.InterfaceError, exc.PendingRollbackError, exc.TimeoutError)
    return isinstance(cause, kinds)


def reason_of(error: BaseException) -> str:
    """The first line of what a database said."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    said = getattr(cause, "orig", None) or cause or error
    return (str(said).strip() or type(said).__name__).partition("\n")[0]


def _patient(method: Method) -> Method:
    """A method of Optuna's that may be repeated as often as one likes."""

    @wraps(method)
    def waiting(self: Patient, *args: Any, **kwargs: Any) -> Any:
        return self.patiently(lambda again: method(self, *args, **kwargs))

    return cast(Method, waiting)


class Patient(RDBStorage):
    """Optuna's storage on a server, of which we are the only writer to our study.

    Used by several threads; each has connections of its own.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S, **more: Any) -> None:
        """Opens it, without patience: what is wrong from the start is told at once.

        Args:
            url: Of SQLAlchemy's.
            patience_s: Seconds for which a server that has gone away is waited for.
            more: Optuna's.
        """
        self.before_again: Callable[[], None] | None = None
        """Called before anything is repeated; raises where we may not write any more."""
        self._patience_s = patience_s
        self._inside = threading.local()
        self._state = threading.Lock()
        self._away_since: float | None = None
        self._gave_up = False
        try:
            super().__init__(url, **more)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise

    def patiently(self, step: Callable[[bool], T]) -> T:
        """Takes a step, again and again while the server is away, and the patience lasts.

        Once it is over, steps are taken once, until one succeeds.

        Args:
            step: Its argument says whether it has been tried before, and may stand.

        Raises:
            StorageInternalError, SQLAlchemyError: as the storage does; patience is over.
        """
        if getattr(self._inside, "step", False):  # the outermost step is repeated as a whole
            return step(False)
        self._inside.step = True
        try:
            return self._repeated(step)
        finally:
            self._inside.step = False

    def _repeated(self, step: Callable[[bool], T]) -> T:
        again, until, pause = False, 0.0, 0.0
        while True:
            try:
                if again and self.before_again is not None:
                    self.before_again()
                found = step(again)
            except (StorageInternalError, exc.SQLAlchemyError) as error:
                if not is_away(error):
                    raise
                now = time.monotonic()
                until = until or now + self._patience_s
                self._is_gone(error, now)
                if self._gave_up or now + pause > until:
                    self._gave_up = True
                    raise
                again = True
                time.sleep(pause)
                pause = min(2 * pause or 0.1, 2.0)
            else:
                self._is_there()
                return found

    def _is_gone(self, error: BaseException, now: float) -> None:
        with self._state:
            if self._away_since is not None:
                return
            self._away_since = now
        log.warning(
            "the study's storage does not answer (%s); waiting up to %.0f s for it",
            reason_of(error), self._patience_s,
        )  # fmt: skip

    def _is_there(self) -> None:
        if self._away_since is None:
            return
        with self._state:
            away, self._away_since, self._gave_up = self._away_since, None, False
        if away is not None:
            log.warning("the study's storage answers again, %.0f s later", time.monotonic() - away)

    # ----------------------------------------------------------------------------------------------
    # Reads, and writes that say what shall be: the same once or twice. (A study or a parameter that
    # is there already is refused by the database, and Optuna goes on with what is there.)

    create_new_study = _patient(RDBStorage.create_new_study)
    set_study_user_attr = _patient(RDBStorage.set_study_user_attr)
    set_study_system_attr = _patient(RDBStorage.set_study_system_attr)
    set_trial_user_attr = _patient(RDBStorage.set_trial_user_attr)
    set_trial_system_attr = _patient(RDBStorage.set_trial_system_attr)
    set_trial_intermediate_value = _patient(RDBStorage.set_trial_intermediate_value)
    _set_trial_param = _patient(RDBStorage._set_trial_param)
    get_study_id_from_name = _patient(RDBStorage.get_study_id_from_name)
    get_study_name_from_id = _patient(RDBStorage.get_study_name_from_id)
    get_study_directions = _patient(RDBStorage.get_study_directions)
    get_study_user_attrs = _patient(RDBStorage.get_study_user_attrs)
    get_study_system_attrs = _patient(RDBStorage.get_study_system_attrs)
    get_all_studies = _patient(RDBStorage.get_all_studies)
    get_trial_id_from_study_id_trial_number = _patient(
        RDBStorage.get_trial_id_from_study_id_trial_number
    )
    get_trial = _patient(RDBStorage.get_trial)
    get_trial_param = _patient(RDBStorage.get_trial_param)
    get_trial_user_attrs = _patient(RDBStorage.get_trial_user_attrs)
    get_trial_system_attrs = _patient(RDBStorage.get_trial_system_attrs)
    _get_trials = _patient(RDBStorage._get_trials)
    _get_best_trial_id = _patient(RDBStorage._get_best_trial_id)

    # ----------------------------------------------------------------------------------------------
    # Writes of which it is looked first whether they stand

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """As Optuna's."""

        def step(again: bool) -> bool:
            if again and self.get_trial(trial_id).state == state:
                return True
            return RDBStorage.set_trial_state_values(self, trial_id, state, values)

        return self.patiently(step)

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        # Optuna's own repeats itself five times, whether or not there is a trial now.
        mark = uuid.uuid4().hex
        attribute = models.TrialSystemAttributeModel

        def step(again: bool) -> FrozenTrial:
            with _create_scoped_session(self.scoped_session) as session:
                models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
                trial = None
                if again:
                    trial = (
                        session.query(models.TrialModel)
                        .join(attribute, attribute.trial_id == models.TrialModel.trial_id)
                        .filter(models.TrialModel.study_id == study_id)
                        .filter(attribute.key == MADE, attribute.value_json == json.dumps(mark))
                        .one_or_none()
                    )
                if trial is None:
                    trial = self._get_prepared_new_trial(study_id, template_trial, session)
                    self._set_trial_attr_without_commit(
                        session, attribute, cast(int, trial.trial_id), MADE, mark
                    )
                return self._build_frozen_trial_from_trial_model(trial)

        return self.patiently(step)

    # ----------------------------------------------------------------------------------------------

    def exchange(self, study_id: int, key: str, decide: Decide) -> None:
        """Puts a note of the study in the place of the one that stands, at one instant for all.

        Without patience: who waits decides anew in the end, since what stands may have changed.

        Args:
            study_id: The study.
            key: The note's name among the user attributes.
            decide: What shall stand; what it raises leaves the note as it is.

        Raises:
            SQLAlchemyError: the server is away, say.
        """
        where = (_NOTES.c.study_id == study_id) & (_NOTES.c.key == key)
        with self.engine.begin() as connection:
            connection.execute(
                sqlalchemy.select(_STUDIES.c.study_id)
                .where(_STUDIES.c.study_id == study_id)
                .with_for_update()
            )
            found = connection.execute(sqlalchemy.select(_NOTES.c.value_json).where(where)).scalar()
            now = connection.execute(sqlalchemy.select(sqlalchemy.func.now())).scalar_one()
            note = decide(None if found is None else json.loads(found), _seconds(now))
            text = json.dumps(note)
            if note is None:
                connection.execute(sqlalchemy.delete(_NOTES).where(where))
            elif found is None:
                connection.execute(
                    sqlalchemy.insert(_NOTES).values(study_id=study_id, key=key, value_json=text)
                )
            else:
                connection.execute(sqlalchemy.update(_NOTES).where(where).values(value_json=text))


def _seconds(now: datetime) -> float:
    """Seconds since 1970; a database without time zones (MySQL) is taken to mean UTC.

    Whether it does is no matter: only its own times are compared with it.
    """
    return (now if now.tzinfo is not None else now.replace(tzinfo=UTC)).timestamp()
