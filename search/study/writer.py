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

from search.errors import RunError

log = logging.getLogger(__name__)

LEASE_S = 60.0
"""A lease that was not renewed for so long is free. Machines' clocks must agree to within half."""


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
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {_now()}\n")
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
    """A note in the study: its holder, and until when. A thread renews it."""

    def __init__(
        self,
        read: Callable[[], Mapping[str, Any] | None],
        write: Callable[[Mapping[str, Any] | None], None],
        *,
        study: str,
        seconds: float = LEASE_S,
    ) -> None:
        """Takes the lease.

        Args:
            read: Returns the note as it is in the study now.
            write: Replaces it; None removes it.
            study: What is leased, in words.
            seconds: How long a lease holds unless it is renewed.

        Raises:
            RunError: another process holds it; who, is said.
        """
        self._read, self._write, self._study, self._seconds = read, write, study, seconds
        self._token = uuid.uuid4().hex
        self._lost: str | None = None
        self._done = threading.Event()
        holder = read()
        if holder is not None and _is_alive(holder):
            raise RunError(
                f"{study} is being written by {_words(holder)}. One process at a time may write to "
                f"a study: wait for it to end, or stop it, and start again; what it leaves behind "
                f"is free after {seconds:g} s."
            )
        self._renew()
        time.sleep(min(1.0, seconds / 10))  # of two that came at once, the later write stands
        self.check_note()
        self.check()
        self._thread = threading.Thread(target=self._keep, name="study lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises RunError when another process has taken the lease."""
        if self._lost is not None:
            raise RunError(
                f"{self._study} was taken over by {self._lost}: this process had not renewed its "
                f"lease for {self._seconds:g} s. Nothing more is written from here."
            )

    def check_note(self) -> None:
        """Looks whether the note is still ours."""
        holder = self._read()
        if holder is None or holder.get("token") != self._token:
            self._lost = _words(holder or {})

    def release(self) -> None:
        """Stops renewing and removes the note, if it is still ours."""
        if self._done.is_set():
            return
        self._done.set()
        self._thread.join()
        self.check_note()
        if self._lost is None:
            self._write(None)

    def _renew(self) -> None:
        self._write({
            "token": self._token, "pid": os.getpid(), "host": socket.gethostname(),
            "since": _now(), "until": time.time() + self._seconds,
        })  # fmt: skip

    def _keep(self) -> None:
        while not self._done.wait(self._seconds / 3):
            try:
                self.check_note()
                if self._lost is not None:
                    return
                self._renew()
            except Exception:  # the storage may be away for a while; the next turn tries again
                log.warning("the lease of %s was not renewed", self._study, exc_info=True)


def _is_alive(holder: Mapping[str, Any]) -> bool:
    if holder["until"] < time.time():
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _words(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
