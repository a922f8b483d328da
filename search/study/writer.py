"""Who may write to a study? One process at a time.

Beside a SQLite file stands a locked file; a storage behind a URL carries a lease that its holder
renews. A lock ends with its process, whatever happened to it; a lease ends when it runs out, or at
once where its holder was a process of this machine that is gone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.exc import SQLAlchemyError

from search.errors import RunError

log = logging.getLogger(__name__)

LEASE_S = 60.0
"""A lease that was not renewed for so long is free."""

Note = Mapping[str, Any]
"""Who holds a lease, and until when by the server's clock."""
Decide = Callable[[Any, float], Any]
"""Of the note that stands and the server's time in seconds, the note that shall; None: none."""


class Writer(Protocol):
    """The right to write."""

    def check(self) -> None:
        """Does nothing while the right is held.

        Raises:
            RunError: it was lost.
        """
        ...

    def release(self) -> None:
        """Gives it back; more than once does no harm."""
        ...


class LockFile:
    """A file locked by this process (flock); its text says who that is."""

    def __init__(self, path: Path, *, study: str) -> None:
        """Takes the lock.

        Args:
            path: The file; it is made, and removed on release.
            study: What is locked, in words.

        Raises:
            RunError: another process holds it; who, is said.
        """
        self._path = path
        self._file = None
        while True:
            # Closed by `release`; not inherited by processes that Ray starts (PEP 446).
            file = path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "another process"
                file.close()
                if not isinstance(error, BlockingIOError):
                    raise RunError(f"cannot lock {path}: {error}.") from error
                raise RunError(
                    f"{study} is being written by {holder}. One process at a time may write to a "
                    "study: wait for it to end, or stop it, and start again."
                ) from None
            if _is_same(file.fileno(), path):
                break
            file.close()  # its holder removed it between our opening and our locking
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {_time()}\n")
        file.flush()
        self._file = file

    def check(self) -> None:
        """A held lock cannot be lost."""

    def release(self) -> None:
        """Removes the file and lets go."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


class Lease:
    """A note in the study: its holder, and until when. A thread renews it.

    Times are the server's: what machines' clocks say is no matter. A lease that ran out while
    nobody wanted it is its holder's again with the next renewal, so it outlives a server that was
    away for less than two thirds of it whatever others do.
    """

    def __init__(
        self, exchange: Callable[[Decide], None], *, study: str, seconds: float = LEASE_S
    ) -> None:
        """Takes the lease.

        Args:
            exchange: Puts what it is told of the note that stands in its place, at one instant for
                all who want to (`Patient.exchange`).
            study: What is leased, in words.
            seconds: How long a lease holds unless it is renewed.

        Raises:
            RunError: another process holds it; who, is said.
        """
        self._exchange, self._study, self._seconds = exchange, study, seconds
        self._token = uuid.uuid4().hex
        self._lost: str | None = None
        self._renewed = _now()
        self._done = threading.Event()
        self._exchange(self._taken)
        self._thread = threading.Thread(target=self._keep, name="study lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Does nothing while it is ours; one that may have run out is renewed first.

        Raises:
            RunError: another process has it.
        """
        if self._lost is None and _now() - self._renewed > self._seconds / 2:
            self.renew()  # the server was away, or this process was stopped
        if self._lost is not None:
            raise RunError(self._lost)

    def renew(self) -> None:
        """Makes it last anew.

        Raises:
            RunError: another process has it, or had it since.
        """
        began = _now()
        self._exchange(self._kept)
        self._renewed = began

    def release(self) -> None:
        """Stops renewing and removes the note, if it is still ours and the server is there."""
        if self._done.is_set():
            return
        self._done.set()
        self._thread.join()
        try:
            self._exchange(self._given_back)
        except SQLAlchemyError as error:  # it runs out
            log.info("the lease of %s was not given back: %s", self._study, error)

    def _taken(self, note: Note | None, now: float) -> Note:
        if note is not None and _is_alive(note, now):
            raise RunError(
                f"{self._study} is being written by {_words(note)}. One process at a time may "
                "write to a study: wait for it to end, or stop it, and start again; what it leaves "
                f"behind is free after {self._seconds:g} s."
            )
        return self._note(now)

    def _kept(self, note: Note | None, now: float) -> Note:
        if note is None or note["token"] != self._token:
            self._lost = (
                f"{self._study} was taken over by {_words(note or {})}: this process had not "
                f"renewed its lease for {self._seconds:g} s. Nothing more is written from here."
            )
            raise RunError(self._lost)
        return self._note(now)

    def _given_back(self, note: Note | None, now: float) -> Note | None:
        return None if note is not None and note["token"] == self._token else note

    def _note(self, now: float) -> Note:
        return {
            "token": self._token, "pid": os.getpid(), "host": socket.gethostname(),
            "place": place(), "since": _time(), "until": now + self._seconds,
        }  # fmt: skip

    def _keep(self) -> None:
        pause = self._seconds / 3
        while not self._done.wait(pause):
            try:
                self.renew()
                pause = self._seconds / 3
            except RunError:
                return
            except SQLAlchemyError:  # away; who writes meanwhile says so. Soon again:
                pause = self._seconds / 60


def _is_alive(holder: Note, now: float) -> bool:
    if holder["until"] < now:
        return False
    if (holder["host"], holder.get("place")) != (socket.gethostname(), place()):
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def place() -> str:
    """Where a process id means the same process: one start of one kernel, one container.

    Containers may share a host's name. Empty where Linux does not tell.
    """
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{started} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _words(holder: Note) -> str:
    if not holder:
        return "another process"
    return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _now() -> float:
    """Seconds on a clock that also counts while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _time() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
