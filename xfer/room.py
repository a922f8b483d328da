"""What does the store hold, and what has to go so that something new fits?

Keys go least recently used first, and never while a process has them open: a user holds lock `use`
shared, eviction needs it for itself. Room for what is about to be written is reserved in the key's
folder, so that two runs that start at once do not both take the same gigabyte.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from xfer.chunks import Chunk, read_chunks, write_whole
from xfer.errors import StoreError
from xfer.pixels import lock_path

KEY_FILE = "key"
"""Of a key's folder: what the key is a digest of. Its time is when the key was last used."""
RESERVED = "reserved"
"""Of a key's folder: how many bytes it will have when who writes is done."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the store holds under one key."""

    key: str
    """Its folder."""
    says: Mapping[str, Any]
    """What the key is a digest of; empty where that cannot be read."""
    rows: int
    """Rows that are believed."""
    bytes: int
    """On disk, or reserved by who is writing."""
    used: float
    """Seconds since 1970: last time somebody filled or found rows."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """The store's space on disk."""

    root: Path
    """The store's folder."""
    budget_bytes: int | None
    """What all keys together may take; None: what the disk has left."""
    free_bytes: Callable[[Path], int]
    """Asks the disk."""

    def entries(self) -> list[Entry]:
        """What there is, least recently used first."""
        found = []
        for folder in self.root.iterdir():
            if len(folder.name) == 32 and folder.is_dir():
                with suppress(FileNotFoundError):  # evicted meanwhile
                    found.append(_entry(folder))
        return sorted(found, key=lambda entry: entry.used)

    def reserve(self, key: str, needed: int) -> None:
        """Makes room for `needed` more bytes under a key, whose folder exists and is in use.

        Raises:
            StoreError: there is not enough room even without all that nobody has open.
            OSError: the disk does not take even the reservation.
        """
        with self._deciding():
            entries = self.entries()
            held = sum(entry.bytes for entry in entries)
            mine = sum(entry.bytes for entry in entries if entry.key == key)
            for entry in entries:
                if needed <= self._left(held):
                    break
                if entry.key != key and self._evict(entry.key):
                    held -= entry.bytes
            left = self._left(held)
            if needed > left:
                raise StoreError(self._too_small(needed, left, held))
            write_whole(self.root / key / RESERVED, str(mine + needed))

    def clear(self) -> int:
        """Removes every key that nobody has open; how many bytes that were."""
        with self._deciding():
            return sum(entry.bytes for entry in self.entries() if self._evict(entry.key))

    def _left(self, held: int) -> int:
        free = self.free_bytes(self.root)
        return free if self.budget_bytes is None else min(free, self.budget_bytes - held)

    def _too_small(self, needed: int, left: int, held: int) -> str:
        budget = (
            "" if self.budget_bytes is None else f" of a budget of {in_bytes(self.budget_bytes)}"
        )
        return (
            f"the store at {self.root} needs {in_bytes(needed)} more and has"
            f" {in_bytes(max(left, 0))} left{budget}; {in_bytes(held)} in it are in use. Raise the"
            " budget with --cache-gb, free space on the disk, put the store elsewhere with"
            " XFER_CACHE=/path, or make the images smaller."
        )

    def _evict(self, key: str) -> bool:
        """Removes a key unless somebody has it open."""
        with lock_path(self.root, key, "use").open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                gone = self.root / f"gone-{secrets.token_hex(8)}"
                (self.root / key).rename(gone)  # in one step: nobody sees half a key
            except OSError:
                return False
            shutil.rmtree(gone, ignore_errors=True)
        return True

    @contextmanager
    def _deciding(self) -> Iterator[None]:
        with FileLock(str(self.root / "locks" / "room")):
            for gone in self.root.glob("gone-*"):  # of who was killed while evicting
                shutil.rmtree(gone, ignore_errors=True)
            yield


def believed(folder: Path) -> list[Chunk]:
    """The chunks of a key's folder; none where it does not say what it holds."""
    says = _says(folder)
    try:
        row_bytes = int(np.prod(says["shape"])) * np.dtype(says["dtype"]).itemsize
    except (KeyError, TypeError, ValueError):
        return []
    return list(read_chunks(folder, row_bytes))


def in_bytes(count: int) -> str:
    """A number of bytes for people.

    >>> in_bytes(1_204_224_000)
    '1.20 GB'
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def _says(folder: Path) -> dict[str, Any]:
    try:
        says = json.loads((folder / KEY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return says if isinstance(says, dict) else {}


def _entry(folder: Path) -> Entry:
    size = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    with suppress(OSError, ValueError):
        size = max(size, int((folder / RESERVED).read_text()))
    key = folder / KEY_FILE
    return Entry(
        key=folder.name,
        says=_says(folder).get("key", {}),
        rows=sum(len(chunk.rows) for chunk in believed(folder)),
        bytes=size,
        used=(key if key.exists() else folder).stat().st_mtime,
    )
