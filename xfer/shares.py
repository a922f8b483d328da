"""Who makes which rows, where several processes want the same ones? Each takes a share.

A share is a file beside the store's locks, which names rows and is locked for as long as its maker
lives. Who finds nothing that is missing and in nobody's share waits for one of the others.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock


@contextmanager
def share_of(
    folder: Path, name: str, missing: Callable[[], Sequence[str]], *, most: int
) -> Iterator[list[str]]:
    """Rows that this process is to make and write within; nobody else takes them meanwhile.

    Args:
        folder: of locks; it exists.
        name: of what is shared out.
        missing: rows that are not there at the moment, in the order in which they are to be made.
        most: rows of one share.

    Yields:
        At most so many rows. None where none is left, or, after waiting for a maker to end, where
        all that are missing were in others' shares: ask again.
    """
    with FileLock(str(folder / f"{name}.sharing")):
        others = _others(folder, name)
        taken = {row for _, rows in others for row in rows}
        lacking = missing()
        mine = [row for row in lacking if row not in taken][:most]
        file = _open(folder / f"{name}.share-{os.getpid()}-{secrets.token_hex(4)}", mine)
    if file is None:
        for other, _ in others[:1] if lacking else ():
            _wait(other)
        yield []
        return
    try:
        yield mine
    finally:
        with suppress(FileNotFoundError):
            Path(file.name).unlink()
        file.close()


def _others(folder: Path, name: str) -> list[tuple[Path, list[str]]]:
    """Shares of living makers; those of dead ones are removed."""
    found = []
    for path in sorted(folder.glob(f"{name}.share-*")):
        try:
            with path.open(encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except BlockingIOError:
            with suppress(FileNotFoundError):  # removed before it was unlocked: its rows are there
                found.append((path, json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:  # it was done in this moment
            continue
    return found


def _open(path: Path, rows: list[str]) -> IO[str] | None:
    """A share's file, locked; None where it has no rows."""
    if not rows:
        return None
    file = path.open("w", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX)
    json.dump(rows, file)
    file.flush()
    return file


def _wait(path: Path) -> None:
    """Until the share's maker is done, or dead."""
    with suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
