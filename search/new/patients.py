"""Do file names say who is on an image? A few well-known ways in which they do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

NEARLY_ALL = 0.95
"""Share of the names that a pattern must match."""
LEAST_PATIENTS = 6
"""Whom a pattern must tell apart, where its words alone do not say that it means patients."""
LARGEST = 0.2
"""Share of all images that one of them may have: what groups more is no patient but a class."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How some names say it."""

    pattern: str
    """Regular expression, as `Images.patient` takes it."""
    telling: bool
    """Its words mean patients and nothing else; else it must group several images."""


WAYS = (
    Way(pattern=r"(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+)", telling=True),
    Way(
        pattern=r"(?i)((?:patient|person|subject|case|sub|pid)[-_ ]?\d+(?:_(?:bacteria|virus))?)",
        telling=True,
    ),
    Way(pattern=r"(TCGA-\w{2}-\w{4})", telling=True),
    Way(pattern=r"(LIDC-IDRI-\d+)", telling=True),
    Way(pattern=r"^(\d+)[_-]\d+\.[^./]+$", telling=False),  # 00000013_005.png
    Way(pattern=r"^(p\d{3,})[_/-]", telling=False),  # p10000032/s50414267.jpg
    Way(pattern=r"^([^/]+)/", telling=False),  # a folder for each, in the class folder
)
"""The first that fits is taken."""


@dataclass(frozen=True, kw_only=True)
class Patients:
    """Who was found in names."""

    pattern: str
    """The regular expression."""
    matched: int
    """Names that it matches."""
    names: int
    """All of them."""
    patients: int
    """Different ones that it finds."""
    example: tuple[str, str]
    """A name, and the patient in it."""


def find_patients(texts: Sequence[str]) -> Patients | None:
    """The first of the ways that fits.

    Args:
        texts: of each image, what `Images.patient` is searched in.

    Returns:
        None where none fits.

    >>> found = find_patients([f"person{n // 2}_bacteria_{n}.jpeg" for n in range(20)])
    >>> found and (found.patients, found.example)
    (10, ('person0_bacteria_0.jpeg', 'person0_bacteria'))
    >>> find_patients([f"smoking_{n:04d}.jpg" for n in range(20)]) is None
    True
    """
    for way in WAYS:
        found = [match and match[1] for match in map(re.compile(way.pattern).search, texts)]
        counts = Counter(name for name in found if name)
        matched = sum(counts.values())
        if not texts or matched < NEARLY_ALL * len(texts):
            continue
        groups = matched > len(counts) >= LEAST_PATIENTS
        groups = groups and max(counts.values()) <= LARGEST * len(texts)
        if groups or (way.telling and len(counts) > 1):
            first = next(i for i, name in enumerate(found) if name)
            return Patients(
                pattern=way.pattern,
                matched=matched,
                names=len(texts),
                patients=len(counts),
                example=(texts[first], found[first] or ""),
            )
    return None
