"""Which rows does a key of the store hold, and how are some added to several keys in one pass?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xfer.chunks import Chunk, ChunkWriter, blake2b, read_chunks, sweep, write_whole
from xfer.pixels import OpenKey
from xfer.room import KEY_FILE

MakeMany = Callable[[list[int]], Iterator[tuple[int, tuple[np.ndarray, ...]]]]
"""Given positions of which some key lacks the row, yields (position, a row for each request) in any
order; a position that it leaves out could not be made."""


@dataclass(frozen=True)
class Request:
    """Rows of one key that somebody wants."""

    key: Mapping[str, Any]
    """All that decides what a row is but what it is made of; JSON."""
    shape: tuple[int, ...]
    """Of a row."""
    dtype: str = "uint8"
    """NumPy's name."""

    @cached_property
    def text(self) -> str:
        """What the key's folder is named after, in one spelling."""
        says = {"key": self.key, "shape": list(self.shape), "dtype": self.dtype}
        return json.dumps(says, sort_keys=True, separators=(",", ":"))

    @cached_property
    def name(self) -> str:
        """The key's folder in the store."""
        return blake2b(self.text.encode())

    @cached_property
    def row_bytes(self) -> int:
        """Size of a row."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class KeyRows:
    """The rows of one key, as far as this process knows; the key is in use while this lives."""

    def __init__(self, request: Request, opened: OpenKey) -> None:
        self.request, self.opened = request, opened
        self._writer: ChunkWriter | None = None
        self._read()

    def missing(self, digests: Sequence[str]) -> list[int]:
        """The first position of each digest whose row is not there."""
        first: dict[str, int] = {}
        for position, digest in enumerate(digests):
            if digest not in self._there:
                first.setdefault(digest, position)
        return list(first.values())

    def locate(self, digests: Sequence[str]) -> np.ndarray:
        """int32 (rows, 2): position in `chunks` and in the chunk; -1 where there is no row."""
        where = {
            row: (c, r) for c, chunk in enumerate(self.chunks) for r, row in enumerate(chunk.rows)
        }
        return np.array([where.get(d, (-1, -1)) for d in digests], dtype=np.int32).reshape(-1, 2)

    def prepare(self) -> None:
        """Makes the folder ready for new rows. Only for who holds the write lock; raises OSError.

        What others have written meanwhile is there afterwards; what a killed writer left is gone.
        """
        self.opened.folder.mkdir(exist_ok=True)
        self._read()
        sweep(self.opened.folder, {chunk.name for chunk in self.chunks} | {KEY_FILE})
        write_whole(self.opened.folder / KEY_FILE, self.request.text)

    def add(self, digest: str, values: np.ndarray, *, seconds: float, chunk_bytes: int) -> None:
        """Writes a row, unless it is there; raises OSError."""
        if digest in self._there:
            return
        self._writer = self._writer or ChunkWriter(self.opened.folder)
        self._writer.add(digest, values, seconds=seconds)
        self._there.add(digest)
        if self._writer.bytes >= chunk_bytes:
            self.finish()

    def finish(self) -> None:
        """Makes what was added last a chunk that is believed; raises OSError."""
        if self._writer is not None:
            self.chunks.append(self._writer.finish())
            self._writer = None

    def abandon(self) -> None:
        """Leaves nothing of a chunk that is not finished."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _read(self) -> None:
        self.chunks: list[Chunk] = list(read_chunks(self.opened.folder, self.request.row_bytes))
        self._there = {row for chunk in self.chunks for row in chunk.rows}


def write_rows(
    keys: Sequence[KeyRows],
    digests: Sequence[str],
    rows: Iterator[tuple[int, tuple[np.ndarray, ...]]],
    *,
    chunk_bytes: int,
    seconds: float = 0.0,
    told: Callable[[], AbstractContextManager[None]],
) -> None:
    """Adds each row to the keys that lack it.

    The time since the row before counts, in full, as what the row cost each of those keys: rows of
    several keys that come from one pass would each need that pass again, or most of it.

    Args:
        keys: prepared, in the order of each row's arrays.
        digests: of what each row is made of.
        rows: what was made.
        chunk_bytes: a chunk is closed when it has grown to this.
        seconds: that each row has taken before.
        told: turns the disk's errors, and not the maker's, into the user's.
    """
    before = time.monotonic()
    try:
        for position, arrays in rows:
            now = time.monotonic()
            with told():
                for key, values in zip(keys, arrays, strict=True):
                    key.add(
                        digests[position],
                        values,
                        seconds=now - before + seconds,
                        chunk_bytes=chunk_bytes,
                    )
            before = now
        with told():
            for key in keys:
                key.finish()
    finally:
        for key in keys:
            key.abandon()


def checked(
    rows: Iterator[tuple[int, tuple[np.ndarray, ...]]],
    wanted: set[int],
    requests: Sequence[Request],
) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """The same rows; raises ValueError at one that was not asked for."""
    for position, arrays in rows:
        if len(arrays) != len(requests):
            raise ValueError(
                f"a row must have an array for each of {len(requests)} keys, got {len(arrays)}"
            )
        for values, request in zip(arrays, requests, strict=True):
            if values.shape != tuple(request.shape) or values.dtype != np.dtype(request.dtype):
                raise ValueError(
                    f"a row must be {request.dtype} {tuple(request.shape)}, got {values.dtype}"
                    f" {values.shape}"
                )
        if position not in wanted:
            raise ValueError(f"row {position} was not asked for, or came twice")
        wanted.remove(position)
        yield position, arrays
