"""Where are arrays kept that are costly to make, and who makes them?

One folder per key, a digest of everything that decided what the arrays are; in it, chunks of rows
named by the digest of what each was made of (`xfer.chunks`). A row is made once per machine: one
process writes, the others wait and then find it. Rows can be added to a key at any time.

Layout: `ROOT/KEY/` holds a key's chunks, `ROOT/locks/` its locks. Lock `use` is held, shared, by
every process that has the key's rows open (`xfer.pixels`); `write` by the one that writes; `room`
while it is decided what has to go (`xfer.room`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from xfer.chunks import (
    CHUNK_BYTES,
    Chunk,
    ChunkWriter,
    blake2b,
    data_digest,
    read_chunks,
    sweep,
    write_whole,
)
from xfer.errors import StoreError
from xfer.pixels import Pixels, lock_path, open_key
from xfer.room import KEY_FILE, RESERVED, Entry, Room, believed, in_bytes

__all__ = ["Entry", "Make", "Pixels", "Store", "default_root"]

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
        says = {"key": key, "shape": list(shape), "dtype": dtype}
        text = json.dumps(says, sort_keys=True, separators=(",", ":"))
        name = blake2b(text.encode())
        row_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        opened = open_key(self.root, name)  # from here on nobody evicts it
        folder = opened.folder
        chunks = list(read_chunks(folder, row_bytes))
        if _missing(digests, chunks):
            with self._writing(name):
                with self._told("cannot be written to"):
                    folder.mkdir(exist_ok=True)
                    chunks = list(read_chunks(folder, row_bytes))
                    sweep(folder, {chunk.name for chunk in chunks} | {KEY_FILE})
                    write_whole(folder / KEY_FILE, text)
                missing = _missing(digests, chunks)  # another process may have made them
                if missing:
                    full = f"is full: {in_bytes(len(missing) * row_bytes)} were to be added"
                    with self._told(full):
                        self.room.reserve(name, len(missing) * row_bytes)
                    try:
                        rows = _checked(make(missing), set(missing), tuple(shape), dtype)
                        chunks += self._write(folder, digests, rows, full)
                    finally:
                        (folder / RESERVED).unlink(missing_ok=True)
        with suppress(OSError):  # evicting in another order does no harm
            os.utime(folder / KEY_FILE)
        where = {row: (c, r) for c, chunk in enumerate(chunks) for r, row in enumerate(chunk.rows)}
        table = np.array([where.get(d, (-1, -1)) for d in digests], dtype=np.int32).reshape(-1, 2)
        pixels = Pixels(
            root=self.root,
            key=name,
            chunks=tuple((chunk.name, len(chunk.rows)) for chunk in chunks),
            chunk=table[:, 0].copy(),
            row=table[:, 1].copy(),
            row_shape=tuple(shape),
            dtype=dtype,
        )
        pixels.opened  # noqa: B018  the lock passes on to who reads
        return pixels

    def entries(self) -> list[Entry]:
        """What there is, least recently used first."""
        return self.room.entries()

    def clear(self) -> int:
        """Removes every key that nobody has open; how many bytes that were."""
        return self.room.clear()

    def verify(self) -> list[str]:
        """Compares all data with its digests and removes what differs; the files removed."""
        bad = []
        for entry in self.entries():
            opened = open_key(self.root, entry.key)
            with self._writing(entry.key):
                for chunk in believed(opened.folder):
                    raw = opened.folder / f"{chunk.name}.raw"
                    if data_digest(raw) != chunk.data:
                        raw.with_suffix(".json").unlink()
                        raw.unlink()
                        bad.append(str(raw))
        return bad

    def _write(
        self,
        folder: Path,
        digests: Sequence[str],
        rows: Iterator[tuple[int, np.ndarray]],
        full: str,
    ) -> list[Chunk]:
        chunks: list[Chunk] = []
        writer: ChunkWriter | None = None
        try:
            for position, values in rows:
                with self._told(full):
                    writer = writer or ChunkWriter(folder)
                    writer.add(digests[position], values)
                    if writer.bytes >= self.chunk_bytes:
                        chunks.append(writer.finish())
                        writer = None
            if writer is not None:
                with self._told(full):
                    chunks.append(writer.finish())
                writer = None
        finally:
            if writer is not None:
                writer.abandon()
        return chunks

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        lock = FileLock(str(lock_path(self.root, name, "write")))
        try:
            lock.acquire(timeout=5)
        except Timeout:
            _log.info("another process is filling the store at %s; waiting for it", self.root)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

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


def _missing(digests: Sequence[str], chunks: Sequence[Chunk]) -> list[int]:
    """The first position of each digest that no chunk has."""
    there = {row for chunk in chunks for row in chunk.rows}
    first: dict[str, int] = {}
    for position, digest in enumerate(digests):
        if digest not in there:
            first.setdefault(digest, position)
    return list(first.values())


def _checked(
    rows: Iterator[tuple[int, np.ndarray]], wanted: set[int], shape: tuple[int, ...], dtype: str
) -> Iterator[tuple[int, np.ndarray]]:
    for position, values in rows:
        if values.shape != shape or values.dtype != np.dtype(dtype):
            raise ValueError(f"a row must be {dtype} {shape}, got {values.dtype} {values.shape}")
        if position not in wanted:
            raise ValueError(f"row {position} was not asked for, or came twice")
        wanted.remove(position)
        yield position, values
