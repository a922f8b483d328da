"""What is known of an image before it is decoded?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xfer.data.decode import Kind

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image with its label."""

    name: str
    """Path below the source's folder, with `/`; for arrays split and row. Unique in its source."""
    label: int
    """Position in `Source.classes`."""
    split: Split | None
    """Where the source puts it; None where the source has no splits."""
    patient: str
    """Images with the same one stay on one side of every split that is made."""
    subgroup: str | None
    """Stratum to report; None: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A file that was left out."""

    name: str
    """Path below the source's folder."""
    kind: Kind
    """`unreadable`, `not_image` or `oversized`."""
    reason: str
    """What was wrong, in words."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a place holds, before classes are numbered and names are looked into.

    The sequences run alike, one entry per image.
    """

    name: str
    """Of the place, for people."""
    names: Sequence[str]
    """Of the images."""
    classes: Sequence[str]
    """Each image's class, by name."""
    splits: Sequence[Split | None]
    """Each image's split."""
    patients: Sequence[str] | None
    """Each image's patient, where the place itself knows; None: look into file names."""
    has_file_names: bool
    """Whether names are of files, so that a pattern can be searched in them."""
    read: Callable[[int], bytes | np.ndarray]
    """As `Source.read`."""
    digest: Callable[[int], str] | None
    """As `Source.digest`, where that needs no pixels."""
    searched: Sequence[str] | None = None
    """Where patterns are searched, with `/`: of each file the path below its class folder, or below
    a table's root. None: the file's own name."""
    subgroups: Sequence[str | None] | None = None
    """Each image's stratum, where the place itself knows; None: look into file names."""
    skipped: Sequence[Skipped] = ()
    """Files left out while listing."""
    notes: Sequence[str] = ()
    """What should be said on screen, as sentences."""
    problems: Sequence[str] = ()
    """What makes the place unusable, as sentences."""


def unusable(name: str, problems: Sequence[str]) -> Listing:
    """The listing of a place that holds nothing usable, with the reasons."""
    return Listing(
        name=name,
        names=(),
        classes=(),
        splits=(),
        patients=None,
        has_file_names=False,
        read=lambda _: b"",
        digest=None,
        problems=problems,
    )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Labelled images, not decoded yet."""

    name: str
    """Where they are, for people."""
    items: tuple[Item, ...]
    """All images, in a fixed order."""
    classes: tuple[str, ...]
    """Names of classes, as the source spells them."""
    positive: int | None
    """Position in `classes` of the one that must not be missed."""
    skipped: tuple[Skipped, ...]
    """Files in class folders that are no images."""
    notes: tuple[str, ...]
    """What should be said on screen, as sentences."""
    unmatched: int
    """File names in which the patient pattern was not found: these images stand alone."""
    read: Callable[[int], bytes | np.ndarray]
    """The bytes or pixels of item i; raises DecodeError."""
    digest: Callable[[int], str]
    """32 hexadecimal digits for what `read` gives; equal content, equal digest; raises
    DecodeError."""
