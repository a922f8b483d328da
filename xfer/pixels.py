"""How does a process read rows of the store without holding them?

Chunks are mapped, not read: every worker of a machine shares the same pages, and they outlive it.
Whoever has rows of a key open holds a shared lock on the key, which keeps them from being evicted.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from xfer.errors import StoreError

_OPEN_CHUNKS = 128  # each map keeps a file open, and macOS gives a process 256


def lock_path(root: Path, key: str, purpose: str) -> Path:
    """Where a key's lock files are: outside of its folder, so that it can be removed under them."""
    return root / "locks" / f"{key}.{purpose}"


class OpenKey:
    """One key of the store, in use by this process."""

    def __init__(self, root: Path, key: str, *, wait: bool) -> None:
        self.folder = root / key
        try:
            handle = os.open(lock_path(root, key, "use"), os.O_RDWR | os.O_CREAT, 0o666)
            weakref.finalize(self, os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_SH | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError as error:
            raise StoreError(
                f"the store at {root} cannot be locked: {error.strerror}. Put it on a disk of this"
                " machine: XFER_CACHE=/path."
            ) from None
        self.map = lru_cache(maxsize=_OPEN_CHUNKS)(_map)


_open_keys: weakref.WeakValueDictionary[tuple[Path, str], OpenKey] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_key(root: Path, key: str) -> OpenKey:
    """This process's handle on a key; the key is in use for as long as somebody keeps it.

    Waits while somebody evicts the key.
    """
    return _open(root, key, wait=True)


def try_open_key(root: Path, key: str) -> OpenKey | None:
    """As `open_key`; None while somebody evicts the key."""
    try:
        return _open(root, key, wait=False)
    except BlockingIOError:
        return None


def _open(root: Path, key: str, *, wait: bool) -> OpenKey:
    with _opening:
        opened = _open_keys.get((root, key))
        if opened is None:
            opened = _open_keys[(root, key)] = OpenKey(root, key, wait=wait)
        return opened


def _map(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The chunk's rows, as a view of the file."""
    wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
        if size == wanted:
            return np.asarray(np.memmap(path, dtype=dtype, mode="r", shape=shape))
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}. The store was cleared, or is on another"
            " machine; start again, and what is missing is made again."
        ) from None
    raise StoreError(
        f"{path} has {size:,} bytes, not {wanted:,}: it was damaged while in use. Start again, and"
        " it is made again."
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """Rows of one key of the store, in the caller's order. Small to pickle: it holds no rows."""

    root: Path
    """The store's folder, absolute."""
    key: str
    """The key's folder in it."""
    chunks: tuple[tuple[str, int], ...]
    """Name and number of rows of each chunk."""
    chunk: np.ndarray
    """int32 (rows,): position in `chunks`; -1 for a row that could not be made."""
    row: np.ndarray
    """int32 (rows,): position in the chunk."""
    row_shape: tuple[int, ...]
    """Of one row: (height, width, channels) for images."""
    dtype: str
    """NumPy's name: `uint8` for images."""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, *row_shape)."""
        return (len(self), *self.row_shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, were they in memory."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def present(self) -> np.ndarray:
        """bool (rows,): which rows there are."""
        return self.chunk >= 0

    def take(self, indices: np.ndarray) -> Pixels:
        """Some of the rows, in that order, as `Pixels` again."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Pixels(**{**values, "chunk": self.chunk[indices], "row": self.row[indices]})

    def spread(self, positions: np.ndarray, count: int) -> Pixels:
        """These rows at `positions` of `count`; there is no row at the others."""
        chunk, row = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
        chunk[positions], row[positions] = self.chunk, self.row
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Pixels(**{**values, "chunk": chunk, "row": row})

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Copies rows into one contiguous array.

        Args:
            indices: whole numbers, (batch,).

        Returns:
            (batch, *row_shape).

        Raises:
            IndexError: an index is out of range, or of a row that could not be made.
            StoreError: the data is gone, or was damaged since this was made.
        """
        indices = np.asarray(indices)
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise IndexError(
                f"indices must be whole numbers (batch,), got {indices.dtype} {indices.shape}"
            )
        indices = indices.astype(np.int64, copy=False)
        chunk, row = self.chunk[indices], self.row[indices]
        if (chunk < 0).any():
            raise IndexError(f"row {indices[chunk < 0][0]} could not be made and is not stored")
        numbers = np.unique(chunk)
        if len(numbers) == 1:  # nearly always, and then they are copied once and not twice
            return self._mapped(numbers[0])[row]
        out = np.empty((len(indices), *self.row_shape), dtype=self.dtype)
        for number in numbers:
            here = chunk == number
            out[here] = self._mapped(number)[row[here]]
        return out

    def _mapped(self, number: int) -> np.ndarray:
        """All rows of a chunk, as a view of its file."""
        name, rows = self.chunks[number]
        path = self.opened.folder / f"{name}.raw"
        return self.opened.map(path, (rows, *self.row_shape), self.dtype)

    @cached_property
    def opened(self) -> OpenKey:
        """The handle that keeps the key from being evicted; made at first use in each process."""
        return open_key(self.root, self.key)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}
