"""Who has a study open to write to it, and was it made for the same search?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import optuna
from optuna import Study
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.errors import RunError
from search.study.patient import Patient
from search.study.storage import close_storage, describe, open_storage, sqlite_file
from search.study.write_through import WriteThrough
from search.study.writer import Lease, LockFile, Writer
from xfer.recipe.objective import Cost

_SCORE, _COST = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


class OpenStudy:
    """One study, its only writer being this object. Leave it with `close`, or by `with`."""

    def __init__(
        self,
        storage: Path | str | BaseStorage,
        *,
        name: str,
        seed: int,
        minimise: Cost | None,
        about: Mapping[str, Any],
        sampler: BaseSampler,
        pruner: BasePruner,
    ) -> None:
        """Opens a study, or makes it.

        Args:
            storage: A SQLite file, a URL of Optuna's, or one that is open, to us alone.
            name: The study's name.
            seed: Of the sampler; the same on resuming.
            minimise: The second objective; None: there is one. The same on resuming.
            about: What `optuna-dashboard` shows as the study's attributes. `begun`, the time at
                which the run was begun that the study belongs to, is the same on resuming.
            sampler: Of the study.
            pruner: Of the study.

        Raises:
            RunError: the storage cannot be opened, another process writes to it, or the study was
                made with another seed or other objectives, or by another run.
        """
        self.seed, self.minimise = seed, minimise
        where = f"study {name!r} in {describe(storage)}"
        self._writer: Writer | None = None
        file = sqlite_file(storage)
        if file is not None:
            self._writer = LockFile(Path(f"{file}.lock"), study=f"the {where}")
        self._opened = None
        try:
            self._storage = open_storage(storage)
            self._opened = None if self._storage is storage else self._storage
            if isinstance(self._opened, RDBStorage):
                self._storage = WriteThrough(self._opened)
            directions = (_SCORE,) if minimise is None else (_SCORE, _COST)
            self.study = optuna.create_study(
                storage=self._storage, study_name=name, directions=directions, load_if_exists=True,
                sampler=sampler, pruner=pruner,
            )  # fmt: skip
            self._id = self._storage.get_study_id_from_name(name)
            if isinstance(self._opened, Patient):
                self._writer = _leased(self._opened, self._id, study=f"the {where}")
            begun = about.get("begun")
            _check_made_so(self.study, where, seed=seed, minimise=minimise, begun=begun)
            made = {"seed": seed} if minimise is None else {"seed": seed, "minimise": minimise}
            for key, value in {**made, **about}.items():
                self.study.set_user_attr(key, value)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the storage and of the right to write to it."""
        if self._writer is not None:
            self._writer.release()
        if self._opened is not None:
            close_storage(self._opened)

    def _check(self) -> None:
        writer = self._writer
        if isinstance(self._opened, Patient) and writer is not None:
            self._opened.patiently(lambda again: writer.check())
        elif writer is not None:
            writer.check()

    def _set(self, number: int, key: str, value: Any) -> None:
        self._check()
        self._storage.set_trial_user_attr(self._trial_id(number), key, value)

    def _set_step(self, number: int, step: int, score: float, attributes: dict[str, Any]) -> None:
        """Writes what comes with a step, then its score: with that it is on record."""
        self._check()
        trial_id, storage = self._trial_id(number), self._storage
        if isinstance(storage, WriteThrough):
            storage.set_step(trial_id, step, score, attributes)
            return
        for key, value in attributes.items():
            storage.set_trial_user_attr(trial_id, key, value)
        storage.set_trial_intermediate_value(trial_id, step, score)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))


def _leased(storage: Patient, study_id: int, *, study: str) -> Lease:
    """The lease of a study on a server; nothing is repeated there before it is renewed."""
    lease = Lease(lambda decide: storage.exchange(study_id, "lease", decide), study=study)
    storage.before_again = lease.renew
    return lease


def _check_made_so(
    study: Study, where: str, *, seed: int, minimise: Cost | None, begun: str | None
) -> None:
    made = study.user_attrs
    if begun is not None and made.get("begun", begun) != begun:
        raise RunError(
            f"the {where} belongs to another run, which was begun at {made['begun']}; give this "
            "one a name of its own with --name."
        )
    if made.get("seed", seed) != seed:
        raise RunError(
            f"the {where} was made with seed {made['seed']}, not {seed}; resume it with the same "
            "seed."
        )
    # Optuna opens a study whatever its directions are.
    two = len(study.directions) > 1
    before = made.get("minimise", minimise) if two else None
    if two != (minimise is not None) or before != minimise:
        had = f"minimise={before!r}" if before is not None or not two else "a second objective"
        raise RunError(
            f"the {where} was made with {had}, not with minimise={minimise!r}; resume it with the "
            "same objective."
        )
