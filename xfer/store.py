"""Where are arrays kept that are costly to make, and who makes them?

One folder per key, a digest of everything that decided what the arrays are; in it, chunks of rows
named by the digest of what each was made of (`xfer.chunks`). A row is made once per machine: one
process writes, the others wait and then find it. Rows can be added to a key at any time, and to
several keys in one pass.

Layout: `ROOT/KEY/` holds a key's chunks, `ROOT/locks/` its locks. Lock `use` is held, shared, by
every process that has the key's rows open (`xfer.pixels`); `write` by the one that writes; `room`
while it is decided what has to go (`xfer.room`). Who writes several keys takes their `write` locks
in order of names, so that of two who want the same keys one waits for the other, never both.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from xfer.chunks import CHUNK_BYTES, data_digest, read_chunk, read_chunks, sweep
from xfer.errors import StoreError
from xfer.pixels import Pixels, lock_path, open_key, try_open_key
from xfer.room import KEY_FILE, Entry, Room, in_bytes, row_bytes
from xfer.rows import KeyRows, MakeMany, Request, checked, write_rows

__all__ = ["Entry", "Make", "MakeMany", "Pixels", "Request", "Store", "default_root"]

Make = Callable[[list[int]], Iterator[tuple[int, np.ndarray]]]
"""Given positions of the rows that are missing, yields (position, row) in any order; a position
that it leaves out could not be made."""

_log = logging.getLogger(__name__)


def default_root() -> Path:
    """XFER_CACHE, or `~/.cache/xfer`."""
    return Path(os.environ.get("XFER_CACHE") or "~/.cache/xfer").expanduser().absolute()


class Store:
    """Arrays on disk, shared by all processes of a machine."""

    def __init__(
        self,
        root: Path,
        *,
        budget_bytes: int | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        free_bytes: Callable[[Path], int] = lambda root: shutil.disk_usage(root).free,
    ) -> None:
        """Opens the store, making its folder if need be.

        Args:
            root: its folder.
            budget_bytes: what all keys together may take; None: what the disk has left.
            chunk_bytes: a chunk is closed when it has grown to this.
            free_bytes: asks the disk.

        Raises:
            StoreError: the folder cannot be made or written to.
        """
        self.root = Path(root).expanduser().absolute()
        self.chunk_bytes = chunk_bytes
        self.room = Room(root=self.root, budget_bytes=budget_bytes, free_bytes=free_bytes)
        with self._told("cannot be written to"):
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK):
                raise PermissionError(13, "Permission denied")

    @property
    def locks(self) -> Path:
        """Folder of locks; it exists."""
        return self.root / "locks"

    def fill(
        self,
        key: Mapping[str, Any],
        digests: Sequence[str],
        make: Make,
        *,
        shape: tuple[int, ...],
        dtype: str = "uint8",
    ) -> Pixels:
        """Rows for all digests; those that are not there yet are made, once, by one process.

        Args:
            key: all that decides what a row is but what it is made of; JSON.
            digests: of what each row is made of; equal ones share a row.
            make: makes missing rows.
            shape: of a row.
            dtype: NumPy's name.

        Raises:
            StoreError: no room within the budget or on the disk; chunks that were finished stay.
            ValueError: `make` yields another shape or type, or a position it was not asked for.
        """

        def make_one(missing: list[int]) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
            for position, values in make(missing):
                yield position, (values,)

        [pixels] = self.fill_many([Request(key, shape, dtype)], digests, make_one)
        return pixels

    def fill_many(
        self,
        requests: Sequence[Request],
        digests: Sequence[str],
        make: MakeMany,
        *,
        seconds: float = 0.0,
    ) -> list[Pixels]:
        """Rows of several keys for the same digests, made in one pass.

        A row that any of the keys lacks is made for all of them, and written to those that lack
        it. There is room for all of it before anything is made, or none is taken.

        Args:
            requests: the keys, each once.
            digests: of what each row is made of; equal ones share a row.
            make: makes missing rows. It may read the store; should it fill other keys, then none
                whose maker fills one of these, or the two would wait for each other.
            seconds: that making them has taken before `make` is asked.

        Returns:
            In the order of `requests`.

        Raises:
            StoreError: no room within the budget or on the disk; chunks that were finished stay.
            ValueError: two requests are for one key; `make` yields another number of arrays,
                another shape or type, or a position it was not asked for.
        """
        if len({request.name for request in requests}) < len(requests):
            raise ValueError("each key can be asked for once, and two of the requests are for one")
        # from here on nobody evicts them
        keys = [KeyRows(request, open_key(self.root, request.name)) for request in requests]
        short = [key for key in keys if key.missing(digests)]
        if short:
            with self._writing(*(key.request.name for key in short)):
                with self._told("cannot be written to"):
                    for key in short:
                        key.prepare()  # another process may have made them
                self._make(keys, digests, make, seconds)
        return [self._pixels(key, digests) for key in keys]

    def find(self, request: Request, digests: Sequence[str]) -> Pixels | None:
        """Rows that are all there already; None where one is not. Makes nothing, waits for nobody.

        Raises:
            StoreError: the store cannot be locked.
        """
        opened = try_open_key(self.root, request.name)
        if opened is None:
            return None
        key = KeyRows(request, opened)
        return None if key.missing(digests) else self._pixels(key, digests)

    def missing(self, requests: Sequence[Request], digests: Sequence[str]) -> list[str]:
        """Digests whose row some key lacks now, each once, in order; nothing is kept open."""
        there = None
        for request in requests:
            rows: set[str] = set()
            with suppress(FileNotFoundError):  # evicted meanwhile
                for chunk in read_chunks(self.root / request.name, request.row_bytes):
                    rows.update(chunk.rows)
            there = rows if there is None else there & rows
        return [digest for digest in dict.fromkeys(digests) if digest not in (there or ())]

    def entries(self) -> list[Entry]:
        """What there is, least recently used first."""
        return self.room.entries()

    def clear(self) -> int:
        """Removes every key that nobody has open; how many bytes that were."""
        return self.room.clear()

    def verify(self) -> list[str]:
        """Compares all data with its digests; removes what differs and what killed writers left.

        Waits for who is writing.

        Returns:
            The files of data that differed; `key`, where a folder does not say what it holds, in
            which case all of it has gone.

        Raises:
            StoreError: what differs cannot be removed.
        """
        bad = []
        for entry in self.entries():
            opened = open_key(self.root, entry.key)
            with self._writing(entry.key), self._told("cannot be written to"):
                bad += _verified(opened.folder)
        return bad

    def _make(
        self, keys: Sequence[KeyRows], digests: Sequence[str], make: MakeMany, seconds: float
    ) -> None:
        """Makes and writes what is missing in any of the keys; those that lack some are locked."""
        missing = {key.request.name: key.missing(digests) for key in keys}
        wanted: set[int] = set().union(*missing.values())
        if not wanted:
            return
        requests = [key.request for key in keys]
        needed = {r.name: len(missing[r.name]) * r.row_bytes for r in requests if missing[r.name]}
        full = f"is full: {in_bytes(sum(needed.values()))} were to be added"
        with self._told(full):
            self.room.reserve(needed)
        try:
            write_rows(
                keys,
                digests,
                checked(make(sorted(wanted)), wanted, requests),
                chunk_bytes=self.chunk_bytes,
                seconds=seconds / len(wanted),
                told=lambda: self._told(full),
            )
        finally:
            self.room.release(needed)

    def _pixels(self, key: KeyRows, digests: Sequence[str]) -> Pixels:
        with suppress(OSError):  # evicting in another order does no harm
            os.utime(key.opened.folder / KEY_FILE)
        table = key.locate(digests)
        pixels = Pixels(
            root=self.root,
            key=key.request.name,
            chunks=tuple((chunk.name, len(chunk.rows)) for chunk in key.chunks),
            chunk=table[:, 0].copy(),
            row=table[:, 1].copy(),
            row_shape=tuple(key.request.shape),
            dtype=key.request.dtype,
        )
        pixels.opened  # noqa: B018  the lock passes on to who reads
        return pixels

    @contextmanager
    def _writing(self, *names: str) -> Iterator[None]:
        """Holds the keys' write locks."""
        with ExitStack() as held:
            for name in sorted(names):
                lock = FileLock(str(lock_path(self.root, name, "write")))
                try:
                    lock.acquire(timeout=5)
                except Timeout:
                    _log.info("another process is filling the store at %s; waiting", self.root)
                    lock.acquire()
                held.callback(lock.release)
            yield

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """The system's errors, as the user's: what, where, why, and how to mend it."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            free = ""
            with suppress(OSError):
                free = f", {in_bytes(self.room.free_bytes(self.root))} are free"
            raise StoreError(
                f"the store at {self.root} {what}{free} ({error.strerror or error}). Free space on"
                " the disk, or put the store elsewhere with XFER_CACHE=/path."
            ) from error


def _verified(folder: Path) -> list[str]:
    """What of a key's folder differed and was removed. Only for who holds its write lock."""
    if not folder.is_dir():  # evicted before it was opened
        return []
    size = row_bytes(folder)
    manifests = sorted(folder.glob("*.json"))
    if size is None:
        sweep(folder, set())
        folder.rmdir()
        return [str(folder / KEY_FILE)] if manifests else []
    bad, kept = [], {KEY_FILE}
    for manifest in manifests:
        chunk, raw = read_chunk(manifest, size), manifest.with_suffix(".raw")
        try:
            whole = chunk is not None and data_digest(raw) == chunk.data
        except OSError:  # a disk that cannot give back what it took
            whole = False
        if whole:
            kept.add(manifest.stem)
        else:
            bad.append(str(raw))
    sweep(folder, kept)
    return bad
