"""What does a job take along to the cluster, and does Ray accept that much?"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from search.amounts import size

MOST_BYTES = 100 * 1024**2
"""Ray's dashboard takes no larger request, and a working directory is one (Ray 2.60)."""
_SHOWN = 5
_CODE = ("search", "xfer")


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that is uploaded."""

    source: Path
    """Here."""
    place: str
    """In the job's working directory, relative."""
    bytes: int
    """Its size."""


@dataclass(frozen=True)
class Upload:
    """All that is uploaded."""

    files: tuple[File, ...]
    """In the order of their places."""

    @property
    def bytes(self) -> int:
        """Of the zip archive at most: sizes as if nothing could be compressed, and its entries."""
        return sum(file.bytes + 100 + 2 * len(file.place) for file in self.files)

    def largest(self) -> list[tuple[str, int]]:
        """What is largest in it, with its bytes; a folder of images counts as one."""
        sums: Counter[str] = Counter()
        for file in self.files:
            parts = PurePosixPath(file.place).parts
            folder = parts[0] == "data" and len(parts) > 2
            sums["/".join(parts[:2]) + "/" if folder else file.place] += file.bytes
        return sums.most_common(_SHOWN)

    def problem(self) -> str | None:
        """Why Ray would refuse it, and what is largest in it; None: it would not."""
        if self.bytes <= MOST_BYTES:
            return None
        largest = ", ".join(f"{name} {size(count)}" for name, count in self.largest())
        return (
            f"{size(self.bytes)} would have to be uploaded, and Ray takes at most "
            f"{size(MOST_BYTES)}; the largest of it: {largest}"
        )

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary folder that holds the files at their places."""
        with tempfile.TemporaryDirectory(prefix="xfer-job-") as name:
            for file in self.files:
                place = Path(name, file.place)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.source, place)
            yield Path(name)


def gather(space: Path, *, root: Path, data: Sequence[tuple[Path, str]] = ()) -> Upload:
    """The code, one space, and images where the cluster has none.

    Args:
        space: the space file, anywhere.
        root: folder of the project.
        data: files and folders of images, each with its place in the working directory.
    """
    wanted = [(root / name, name) for name in _CODE]
    wanted += [(root / "pyproject.toml", "pyproject.toml"), (space, space_place(space)), *data]
    files = {file.place: file for source, place in wanted for file in files_of(source, place)}
    return Upload(tuple(files[place] for place in sorted(files)))


def space_place(space: Path) -> str:
    """Where a space file stands in the working directory.

    >>> space_place(Path("/home/me/moles.py"))
    'spaces/moles.py'
    """
    return f"spaces/{space.name}"


def files_of(source: Path, place: str) -> Iterator[File]:
    """The file, or all files below the folder; without hidden ones and what Python compiled.

    Args:
        source: here; nothing is found where nothing is.
        place: of it in the working directory.
    """
    if source.is_file():
        yield File(source=source, place=place, bytes=source.stat().st_size)
        return
    for folder, below, names in os.walk(source, followlinks=True):
        below[:] = sorted(name for name in below if name[0] != "." and name != "__pycache__")
        inside = PurePosixPath(place, Path(folder).relative_to(source).as_posix())
        for name in sorted(names):
            path = Path(folder, name)
            if name[0] != "." and path.suffix != ".pyc" and path.is_file():
                yield File(source=path, place=str(inside / name), bytes=path.stat().st_size)
