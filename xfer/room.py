"""What does the store hold, and what has to go so that something new fits?

Keys go by what they save: least seconds per byte first, aged by the days since somebody used them,

    seconds it took to make / bytes on disk / (1 + days since last use),

and of equal ones the least recently used. An hour of a network's features is then not thrown away
for images that are decoded again in a minute, be they used later; nor does it stay for ever. The
idea is that of Greedy-Dual-Size (Cao and Irani, Cost-Aware WWW Proxy Caching Algorithms, USITS
1997), which ages by what was evicted before; days do without a state that all processes share.

Nothing goes while a process has it open: a user holds lock `use` shared, eviction needs it for
itself. Room for what is about to be written is reserved in the keys' folders, so that two runs that
start at once do not both take the same gigabyte.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from xfer.chunks import blake2b, read_chunks, write_whole
from xfer.errors import StoreError
from xfer.pixels import lock_path

KEY_FILE = "key"
"""Of a key's folder: what the key is a digest of. Its time is when the key was last used."""
RESERVED = "reserved"
"""Of a key's folder: how many bytes it will have when who writes is done."""
_DAY = 24 * 60 * 60


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
    seconds: float
    """Wall seconds that making its rows took; 0 where that is not known."""

    def worth(self, now: float) -> float:
        """Seconds saved per byte, aged; `now` in seconds since 1970.

        >>> entry = Entry(key="", says={}, rows=1, bytes=10, used=0.0, seconds=50.0)
        >>> entry.worth(0.0), entry.worth(86_400.0)
        (5.0, 2.5)
        """
        days = max(now - self.used, 0.0) / _DAY
        return self.seconds / max(self.bytes, 1) / (1 + days)


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

    def reserve(self, needed: Mapping[str, int]) -> None:
        """Makes room for so many more bytes under each of some keys: for all of them, or for none.

        Their folders exist and are in use.

        Raises:
            StoreError: there is not enough room even without all that nobody has open, which then
                stays.
            OSError: the disk does not take even the reservations.
        """
        total = sum(needed.values())
        with self._deciding():
            entries = self.entries()
            held = sum(entry.bytes for entry in entries)
            if total > self._left(held):
                held -= self._make_room(total, held, entries)
            if total > self._left(held):  # others opened some of it, or filled the disk
                raise StoreError(self._too_small(total, self._left(held), held))
            before = {entry.key: entry.bytes for entry in entries}
            try:
                for key, more in needed.items():
                    write_whole(self.root / key / RESERVED, str(before.get(key, 0) + more))
            except BaseException:
                self.release(needed)
                raise

    def release(self, keys: Iterable[str]) -> None:
        """Takes reservations back: from now on what is on disk counts."""
        for key in keys:
            (self.root / key / RESERVED).unlink(missing_ok=True)

    def clear(self) -> int:
        """Removes every key that nobody has open; how many bytes that were."""
        with self._deciding():
            return sum(entry.bytes for entry in self.entries() if self._evict(entry.key))

    def check(self, total: int) -> None:
        """Whether so many more bytes could be had, if all went that nobody has open.

        Raises:
            StoreError: they could not.
        """
        with self._deciding():
            entries = self.entries()
            held = sum(entry.bytes for entry in entries)
            if total > self._left(held):
                self._going(total, held, entries)

    def _make_room(self, total: int, held: int, entries: Sequence[Entry]) -> int:
        """Evicts until so many bytes are left; how many that freed."""
        now, freed = time.time(), 0
        going = self._going(total, held, entries)
        for entry in sorted(going, key=lambda entry: entry.worth(now)):
            if total <= self._left(held - freed):
                break
            if self._evict(entry.key):
                freed += entry.bytes
        return freed

    def _going(self, total: int, held: int, entries: Sequence[Entry]) -> list[Entry]:
        """What nobody has open; raises StoreError where that would not make enough room."""
        unused = self._unused(entry.key for entry in entries)
        going = [entry for entry in entries if entry.key in unused]
        could = sum(entry.bytes for entry in going)
        if total > self._left(held, could):
            raise StoreError(self._too_small(total, self._left(held, could), held - could))
        return going

    def _left(self, held: int, freed: int = 0) -> int:
        free = self.free_bytes(self.root) + freed
        return free if self.budget_bytes is None else min(free, self.budget_bytes - held + freed)

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

    def _unused(self, keys: Iterable[str]) -> set[str]:
        """Those that nobody has open at this moment."""
        unused = set()
        for key in keys:
            with self._alone(key) as alone:
                if alone:
                    unused.add(key)
        return unused

    def _evict(self, key: str) -> bool:
        """Removes a key unless somebody has it open."""
        with self._alone(key) as alone:
            if not alone:
                return False
            gone = self.root / f"gone-{secrets.token_hex(8)}"
            try:
                (self.root / key).rename(gone)  # in one step: nobody sees half a key
            except OSError:
                return False
            shutil.rmtree(gone, ignore_errors=True)
        return True

    @contextmanager
    def _alone(self, key: str) -> Iterator[bool]:
        """Whether nobody has the key open; then nobody opens it meanwhile."""
        try:
            file = lock_path(self.root, key, "use").open("a+b")
        except OSError:
            yield False
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True

    @contextmanager
    def _deciding(self) -> Iterator[None]:
        with FileLock(str(self.root / "locks" / "room")):
            for gone in self.root.glob("gone-*"):  # of who was killed while evicting
                shutil.rmtree(gone, ignore_errors=True)
            yield


def row_bytes(folder: Path) -> int | None:
    """Size of a row of a key's folder; None where the folder does not say what it holds."""
    says = read_key(folder)
    try:
        return int(np.prod(says["shape"])) * np.dtype(says["dtype"]).itemsize
    except (KeyError, TypeError, ValueError):
        return None


def in_bytes(count: int) -> str:
    """A number of bytes for people.

    >>> in_bytes(1_204_224_000)
    '1.20 GB'
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def read_key(folder: Path) -> dict[str, Any]:
    """What a key's folder is named after: `key`, `shape`, `dtype`; nothing if it was damaged."""
    try:
        text = (folder / KEY_FILE).read_bytes()
        says = json.loads(text) if blake2b(text) == folder.name else {}
    except (OSError, ValueError):
        return {}
    return says if isinstance(says, dict) else {}


def _entry(folder: Path) -> Entry:
    on_disk = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            on_disk += path.stat().st_size
    with suppress(OSError, ValueError):
        on_disk = max(on_disk, int((folder / RESERVED).read_text()))
    size = row_bytes(folder)
    chunks = [] if size is None else list(read_chunks(folder, size))
    key = folder / KEY_FILE
    return Entry(
        key=folder.name,
        says=read_key(folder).get("key", {}),
        rows=sum(len(chunk.rows) for chunk in chunks),
        bytes=on_disk,
        used=(key if key.exists() else folder).stat().st_mtime,
        seconds=sum(chunk.seconds for chunk in chunks),
    )
