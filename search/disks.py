"""Which disks will be written to, how much, and how much is free on each?"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Need:
    """Disk space that will be written."""

    path: Path
    """Folder; it need not exist yet."""
    bytes: int
    """How much."""
    what: str
    """Of what: "decoded images"."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """One disk, and all that will be written to it."""

    path: Path
    """A folder on it."""
    needs: tuple[Need, ...]
    """What is written there."""
    free: int
    """Bytes free now."""

    @property
    def needed(self) -> int:
        """Bytes in all."""
        return sum(need.bytes for need in self.needs)


def disks(needs: Iterable[Need]) -> tuple[Disk, ...]:
    """The same needs, disk by disk."""
    by_device: dict[int, list[Need]] = {}
    for need in needs:
        by_device.setdefault(_there(need.path).stat().st_dev, []).append(need)
    return tuple(
        Disk(
            path=group[0].path,
            needs=tuple(group),
            free=shutil.disk_usage(_there(group[0].path)).free,
        )
        for group in by_device.values()
    )


def _there(path: Path) -> Path:
    """The nearest folder above that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
