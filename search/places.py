"""Where are the images that a space and its options mean?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xfer.recipe import Table, is_local


def place_of(of_space: str | Table, asked: str | None, notes: list[str]) -> str | Table:
    """Where a space's images are, absolute; what `--data` asks for replaces a table's file.

    Where that is no table itself, the columns have no meaning, and a note says so.

    Args:
        of_space: `Images.path`.
        asked: `--data`; None: the space's.
        notes: sentences for people, added to.
    """
    if not isinstance(of_space, Table):
        return _absolute(of_space if asked is None else asked)
    if asked is not None and _is_no_table(asked):
        lost = "" if of_space.patient is None else f", patients ({of_space.patient!r}) among them"
        notes.append(f"--data {asked} is no table: the space's columns do not apply{lost}.")
        return _absolute(asked)
    return replace(
        of_space,
        file=_absolute(of_space.file if asked is None else asked),
        root=None if of_space.root is None else _absolute(of_space.root),
    )


def _is_no_table(path: str) -> bool:
    built_in = path.startswith("builtin:")
    return built_in or path.lower().endswith(".npz") or Path(path).expanduser().is_dir()


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if is_local(path) else path
