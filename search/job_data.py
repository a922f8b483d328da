"""Where will a job find its images: on the cluster, or in what it takes along?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from search.amounts import size
from search.uploads import MOST_BYTES, files_of
from xfer.recipe import Table, is_local


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Images that a job needs, as far as it is known before the cluster is asked."""

    there: tuple[str, ...] = ()
    """Paths that the driver's node has to see, if they are not uploaded."""
    flag: str | None = None
    """What stands behind the job's `--data` where it sees them; None: nothing has to."""
    parts: tuple[tuple[Path, str], ...] = ()
    """What would be uploaded, each with its place in the working directory; empty: nothing can."""
    uploaded_flag: str | None = None
    """What stands behind `--data` then."""
    unfit: str = ""
    """Why no path on the cluster can serve; empty: it can."""

    @property
    def here(self) -> bool:
        """This machine has all that would be uploaded, and that is something."""
        return bool(self.parts) and all(path.exists() for path, _ in self.parts)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Where they are."""

    flag: str | None = None
    """What stands behind the job's `--data`; None: it is left out."""
    parts: tuple[tuple[Path, str], ...] = ()
    """What is uploaded, each with its place."""
    demo: bool = False
    """There are none, and built-in ones stand in for them."""
    notes: tuple[str, ...] = ()
    """What should be known."""
    problems: tuple[str, ...] = ()
    """Why the job would have no images."""


def wanted(of_space: str | Table, asked: str | None) -> Wanted:
    """What images a job needs.

    Args:
        of_space: `Images.path`.
        asked: `--data`, which replaces it, or the file of a table.
    """
    table = of_space if isinstance(of_space, Table) else None
    path = asked or (table.file if table is not None else str(of_space))
    if not is_local(path):  # the driver fetches it, wherever it is
        return Wanted(flag=asked)
    local = _local(path)
    flag = None if asked is None and _is_absolute(path) else _seen(path)
    if table is None or table.root is None:
        # Files in a table are relative to its folder.
        whole = local if table is None else local.parent
        place = f"data/{whole.name}"
        inside = place if table is None else f"{place}/{local.name}"
        return Wanted(
            there=(_seen(path),), flag=flag, parts=((whole, place),), uploaded_flag=inside
        )
    if _is_absolute(table.root):
        return Wanted(there=(_seen(path), table.root), flag=flag)
    place = f"data/{local.name}"
    outside = ".." in PurePosixPath(table.root).parts
    return Wanted(
        parts=() if outside else ((_local(table.root), table.root), (local, place)),
        uploaded_flag=place,
        unfit=f"Table.root is {table.root!r}, and relative to the job's working directory there is "
        "only what is uploaded (an absolute path is looked for on the cluster)",
    )


def find(wanted: Wanted, seen: Mapping[str, bool], *, demo: bool) -> Found:
    """Where the images are, now that the cluster was asked.

    Args:
        wanted: by the job.
        seen: of each path, whether the driver's node sees it.
        demo: the space shows built-in images where it finds none.
    """
    unseen = " and ".join(path for path in wanted.there if not seen.get(path))
    if not unseen and not wanted.unfit:
        return Found(flag=wanted.flag)
    why = wanted.unfit or f"the driver's node of the cluster does not see the images at {unseen}"
    if not wanted.here:
        if demo:
            note = f"{why}, and they are not here: the job will be a DEMO."
            return Found(demo=True, notes=(note[0].upper() + note[1:],))
        cannot = "they are not here either" if wanted.parts else "they cannot be uploaded either"
        return Found(problems=(f"{why}, and {cannot}; give a path that it sees with --data",))
    names = " and ".join(str(path) for path, _ in wanted.parts)
    if not _small(wanted.parts):
        return Found(
            problems=(
                f"{why}, and {names} is too large to be uploaded with the job (over "
                f"{size(MOST_BYTES)}): copy it to the cluster and give its path there with --data",
            )
        )
    note = f"{names} is uploaded with the job: {why}. It becomes --data {wanted.uploaded_flag}."
    return Found(flag=wanted.uploaded_flag, parts=wanted.parts, notes=(note,))


def _small(parts: Iterable[tuple[Path, str]]) -> bool:
    """Whether it fits by itself; counting ends where it does not."""
    total = 0
    for file in (file for path, place in parts for file in files_of(path, place)):
        total += file.bytes
        if total > MOST_BYTES:
            return False
    return True


def _local(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _seen(path: str) -> str:
    """As the cluster is asked for it: `~` is its own there."""
    return path if path.startswith("~") else str(_local(path))


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "~"))
