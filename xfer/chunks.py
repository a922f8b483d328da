"""What is a chunk of the store, and when is one believed?

A chunk is two files: `NAME.raw`, equal rows one after another, and `NAME.json`, which names the
rows and holds size and digest of the data, and what making it took. Both are written under another
name, flushed and renamed, the JSON last: a chunk without a whole JSON, or whose data has another
size, is as good as absent.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHUNK_BYTES = 64 * 2**20
"""A chunk is closed when it has grown to this."""
TEMPORARY = ".tmp-"
"""Part of the name of every file that is still being written."""


def blake2b(*parts: bytes | memoryview) -> str:
    """32 hexadecimal digits for the parts, one after another."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(part)
    return state.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A chunk that is believed."""

    name: str
    """Of both files, without ending; made of their content, so no other data ever has it."""
    rows: tuple[str, ...]
    """Digest of what each row was made of, in the order of the data."""
    data: str
    """Digest of the data."""
    seconds: float
    """Wall seconds that making the rows took; 0 where that is not known."""


def read_chunk(manifest: Path, row_bytes: int) -> Chunk | None:
    """The chunk, or None where manifest or data are not what they should be."""
    try:
        body = json.loads(manifest.read_text(encoding="utf-8"))
        rows = tuple(body["rows"])
        whole = rows and all(isinstance(row, str) for row in rows)
        size = manifest.with_suffix(".raw").stat().st_size
        if not whole or body["bytes"] != size or size != len(rows) * row_bytes:
            return None
        return Chunk(
            name=manifest.stem,
            rows=rows,
            data=str(body["data"]),
            seconds=_seconds(body.get("seconds")),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_chunks(folder: Path, row_bytes: int) -> Iterator[Chunk]:
    """Every chunk that is believed, by name."""
    for manifest in sorted(folder.glob("*.json")):
        chunk = read_chunk(manifest, row_bytes)
        if chunk is not None:
            yield chunk


def _seconds(value: object) -> float:
    """0 for what is no time: it decides what is evicted first, not what is believed."""
    if isinstance(value, int | float) and 0 <= value < math.inf:
        return float(value)
    return 0.0


def sweep(folder: Path, believed: set[str]) -> None:
    """Removes what belongs to no believed chunk. Only for who holds the folder's write lock."""
    for path in folder.iterdir():
        if TEMPORARY in path.name or path.stem not in believed:
            path.unlink(missing_ok=True)


def data_digest(raw: Path) -> str:
    """Digest of a chunk's data as it is on disk now; raises OSError."""
    with raw.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is either there with all of this text, or as it was before."""
    temporary = path.with_name(f"{path.name}{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Makes renames in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class ChunkWriter:
    """A chunk in the making: rows go to disk as they come, memory holds their names only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bytes = 0
        self.seconds = 0.0
        self.rows: list[str] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._path = folder / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        self._file = self._path.open("wb")

    def add(self, row: str, values: np.ndarray, *, seconds: float) -> None:
        """Appends one row that took so long to make; raises OSError."""
        data = np.ascontiguousarray(values).tobytes()
        self._file.write(data)
        self._digest.update(data)
        self.rows.append(row)
        self.bytes += len(data)
        self.seconds += seconds

    def finish(self) -> Chunk:
        """Makes the chunk one that is believed; raises OSError. There has to be a row."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        data = self._digest.hexdigest()
        rows = tuple(self.rows)
        name = blake2b(data.encode(), *(row.encode() for row in rows))
        raw = self.folder / f"{name}.raw"
        self._path.replace(raw)
        body = {"bytes": self.bytes, "data": data, "rows": rows, "seconds": self.seconds}
        try:
            write_whole(raw.with_suffix(".json"), json.dumps(body))
        except OSError:
            raw.unlink(missing_ok=True)  # the disk is full: do not keep what nobody can use
            raise
        return Chunk(name=name, rows=rows, data=data, seconds=self.seconds)

    def abandon(self) -> None:
        """Leaves nothing of an unfinished chunk."""
        with suppress(OSError):  # closing writes what was buffered, and the disk may be full
            self._file.close()
        self._path.unlink(missing_ok=True)
