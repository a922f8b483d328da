"""Where is a study kept, and how is it opened? A SQLite file, or a URL of Optuna's."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing as closing_it
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from search.errors import RunError, StudyError
from search.passwords import hidden
from search.study.filesystem import MOUNTS, is_shared
from search.study.patient import PATIENCE_S, Patient, is_away, reason_of

_BUSY_S = 60
"""How long a write waits for somebody who reads (`optuna-dashboard`) before it fails."""
_LIBPQ = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}
"""A PostgreSQL server that does not answer is given up after 10 s, a cable that was pulled out is
noticed after 40; libpq would wait for minutes, or for ever. The URL's own values come first."""
_OPENINGS = 5
"""Where several make the tables of an empty database at once, all but one fail, and try again."""


def sqlite_file(storage: Path | str | BaseStorage) -> Path | None:
    """The file of a SQLite storage, absolute; None for all others.

    >>> sqlite_file("sqlite:////runs/a/study.db"), sqlite_file("postgresql://host/studies")
    (PosixPath('/runs/a/study.db'), None)
    """
    if isinstance(storage, str) and storage.startswith("sqlite:///"):
        storage = Path(storage.removeprefix("sqlite:///").partition("?")[0])
    return storage.absolute() if isinstance(storage, Path) else None


def describe(storage: Path | str | BaseStorage) -> str:
    """A storage for messages, without the password that a URL may hold.

    >>> describe("postgresql://me:secret@host/studies")
    'postgresql://me:***@host/studies'
    """
    return hidden(str(storage))


@contextmanager
def storage_told() -> Iterator[None]:
    """What goes wrong with a storage within it is told in a sentence.

    Raises:
        StudyError: a write or a read failed: a full disk, a database that went away.
    """
    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        raise StudyError(
            f"the study cannot be written any more: {hidden(reason_of(error))}. What was told "
            "before is safe; mend that (free some disk space, start the database again), then go "
            "on with --resume."
        ) from error


def open_storage(
    storage: Path | str | BaseStorage,
    *,
    must_exist: str | None = None,
    patience_s: float = PATIENCE_S,
    mounts: Path = MOUNTS,
) -> BaseStorage:
    """Opens a storage; one that is open already is returned as it is.

    A SQLite file is put into write-ahead mode: a write takes 1.5 ms instead of 17 (measured, ext4),
    is as durable, and does not wait for readers. Closing merges the extra files into the one. That
    mode is for the processes of one machine, which share memory; on a file system that several
    machines write to (NFS, say) the file keeps SQLite's rollback journal.

    Args:
        storage: A SQLite file, a URL of Optuna's, or a storage.
        must_exist: Name of a study that must be in it; nothing is made then.
        patience_s: How long a server that goes away later is waited for.
        mounts: What is mounted where on this machine.

    Raises:
        RunError: it cannot be opened, or the study is not there.
    """
    if isinstance(storage, BaseStorage):
        return storage
    file = sqlite_file(storage)
    if file is not None and must_exist and not file.is_file():
        raise RunError(f"no study at {file}.")
    try:
        opened = _open_file(file, mounts) if file else _open_server(str(storage), patience_s)
    except (
        ImportError, ValueError, RuntimeError, sqlite3.Error, OptunaError, SQLAlchemyError,
    ) as error:  # fmt: skip
        raise RunError(
            f"cannot open the study's storage {describe(storage)}: {_in_words(error)}"
        ) from error
    try:
        if must_exist:
            opened.get_study_id_from_name(must_exist)
    except KeyError:
        close_storage(opened)
        raise RunError(f"no study {must_exist!r} in {describe(storage)}.") from None
    return opened


def study_names(storage: str) -> frozenset[str]:
    """Names of all studies in a storage; a SQLite file that is not there has none, and stays so.

    An empty database of a server gets Optuna's tables: whether one may make them is known then.

    Raises:
        RunError: it cannot be opened.
    """
    file = sqlite_file(storage)
    if file is not None and not file.is_file():
        return frozenset()
    with storage_told(), closing(open_storage(storage, patience_s=0.0)) as opened:
        return frozenset(study.study_name for study in opened.get_all_studies())


def close_storage(storage: BaseStorage) -> None:
    """Ends the connections of a storage that has some."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def closing(storage: BaseStorage) -> Iterator[BaseStorage]:
    """Closes a storage on leaving."""
    try:
        yield storage
    finally:
        close_storage(storage)


def _open_file(file: Path, mounts: Path) -> RDBStorage:
    mode = "DELETE" if is_shared(file.parent, mounts=mounts) else "WAL"
    with closing_it(sqlite3.connect(file, timeout=_BUSY_S)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
    return RDBStorage(
        _braced(f"sqlite:///{file}"), engine_kwargs={"connect_args": {"timeout": _BUSY_S}}
    )


def _open_server(text: str, patience_s: float) -> Patient:
    url = make_url(text)
    if "@" in (url.host or ""):
        raise ValueError("an @ in its user or password must be written %40, a / %2F and a : %3A")
    arguments: dict[str, Any] = {"pool_pre_ping": True, "connect_args": _bounds(url)}
    for left in reversed(range(_OPENINGS)):
        try:
            return Patient(_braced(text), patience_s=patience_s, engine_kwargs=arguments)
        except (OptunaError, SQLAlchemyError) as error:
            if not left or is_away(error):
                raise
            time.sleep(random.uniform(0.1, 0.5))
    raise AssertionError("the last try returns or raises")


def _bounds(url: URL) -> dict[str, Any]:
    """How long each thing may take, for drivers that are made of libpq."""
    if url.get_dialect().driver not in ("psycopg", "psycopg2"):
        return {}
    return {name: value for name, value in _LIBPQ.items() if name not in url.query}


def _braced(url: str) -> str:
    """Optuna fills in templates."""
    return url.replace("{", "{{").replace("}", "}}")


def _in_words(error: Exception) -> str:
    """Why a storage cannot be opened, in a sentence."""
    said = hidden(reason_of(error)).rstrip(".")
    if isinstance(error, NoSuchModuleError):
        return f"{said.rpartition(':')[2]!r} is no database that SQLAlchemy knows; postgresql is."
    if isinstance(error, ArgumentError):
        return "it is no URL such as postgresql://USER@HOST:5432/DATABASE."
    if isinstance(error, ImportError):
        missing = getattr(error.__cause__ or error, "name", None) or "psycopg"
        if missing.startswith("psycopg") and missing != "psycopg2":
            return (
                "the extra `postgres`, which brings PostgreSQL's driver, is not installed: run "
                "`uv sync --extra postgres` or `pip install 'psycopg[binary]'`."
            )
        return f"its driver {missing} is not installed."
    if "password" in said and isinstance(error, OperationalError):
        return (
            f"{said}. A password is read from the URL, from PGPASSWORD or from ~/.pgpass; a run's "
            "files keep the URL without it."
        )
    return f"{said}."
