"""What is there? Images, listed, with a look at the headers of some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from search.basis import FEW
from search.new.listed import list_images, searched
from search.new.patients import Patients, find_patients
from search.new.positive import Guess, guess
from search.plan import SPLIT_SEED
from xfer.data.builtin import PREFIX
from xfer.data.decode import DecodeError, decode_image
from xfer.data.facts import read_facts
from xfer.data.items import SPLITS, Source
from xfer.data.sources import open_source
from xfer.recipe import Images, Table

SAMPLE = 120
"""Images whose headers are read."""
GRAY = 4
"""Most that two channels of a gray image may differ by, in [0, 255], once it is 32 pixels wide:
JPEG that keeps gray as colour is off by a few."""
_GRAY_MODES = ("1", "L", "I", "F", "MONOCHROME", "uint8", "uint16", "float32", "float64")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the images are that were looked at, in pixels."""

    looked: int
    """Images."""
    least: tuple[int, int]
    """Width and height of the one with the fewest pixels."""
    largest: tuple[int, int]
    """Of the one with the most."""
    shorter: int
    """Median of the shorter sides."""
    square: bool
    """Whether all are, within a tenth."""
    gray: int
    """Images without colour."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of the images before a space is written."""

    place: str | Table
    """Where they are, as it was typed."""
    source: Source
    """The images."""
    guess: Guess | None
    """Which of two classes was taken for the positive one; None: it was given, or there is none."""
    counts: Mapping[str, Sequence[int]]
    """Images by part as they come (`all` where they have no parts), of each class."""
    sizes: Sizes
    """Of a sample."""
    patients: Patients | None
    """Found in names; None: not there, or not needed."""
    told: bool
    """Patients are known without names: by a table's column, or by DICOM's tags."""
    example: str | None
    """A file's name, as patterns see it; None: these are no files."""

    @property
    def positive(self) -> str | None:
        """The class that must not be missed, by name."""
        at = self.source.positive
        return None if at is None else self.source.classes[at]

    def vouching(self, label: int) -> tuple[int, int]:
        """Patients of a class on whose answers the threshold will be chosen, about.

        Those of validation, or, where these are few, of all but the test part, once the best trials
        are trained again. Parts that are still to be cut count as the fifths that they will be.
        Where patients are not known, images.

        Args:
            label: position in the source's classes.

        Returns:
            Their number, and how many there are where no trial is trained again.
        """
        of_class = [item for item in self.source.items if item.label == label]
        owners = {
            part: len({item.patient for item in of_class if item.split == part})
            for part in (*SPLITS, None)
        }
        rest = owners["train"] + (owners[None] or 0)
        if not any(item.split == "test" for item in self.source.items):
            rest -= rest // 5
        both = rest + owners["val"]
        val = max(owners["val"], both // 5)  # one that is too small is cut anew
        return (val if val >= FEW else both), val


def look(place: str | Table, *, positive: str | None) -> Seen:
    """Lists the images, and looks at some.

    Args:
        place: where they are.
        positive: the class that must not be missed; None: of two it is guessed.

    Raises:
        DataError: they cannot be used; everything that is wrong, in one message.
    """
    listing = list_images(place)
    names = sorted(set(listing.classes)) if listing else []
    guessed = guess(names) if positive is None else None
    asked = positive or (guessed and guessed.name)
    source = open_source(Images(place, positive=asked), seed=SPLIT_SEED)
    told = any(item.patient != item.name for item in source.items)
    texts = searched(listing) if listing else []
    patients = None if told else find_patients(texts)
    if patients is not None:  # from now on the source's patients are those
        images = Images(place, positive=asked, patient=patients.pattern)
        source = open_source(images, seed=SPLIT_SEED)
    return Seen(
        place=place,
        source=source,
        guess=guessed,
        counts=_counts(source),
        sizes=_sizes(source),
        patients=patients,
        told=told or (isinstance(place, Table) and place.patient is not None),
        example=texts[0] if texts else None,
    )


def _counts(source: Source) -> dict[str, list[int]]:
    counts = Counter((item.split, item.label) for item in source.items)
    labels = range(len(source.classes))
    if not any(item.split for item in source.items):
        return {"all": [counts[None, label] for label in labels]}
    parts = {part: [counts[part, label] for label in labels] for part in SPLITS}
    loose = [counts[None, label] for label in labels]  # of a table; they count as train
    parts["train"] = [one + other for one, other in zip(parts["train"], loose, strict=True)]
    return {part: found for part, found in parts.items() if any(found)}


def _sizes(source: Source) -> Sizes:
    rows = _sample(source)
    sides, gray = [], 0
    facts = read_facts(source, rows)
    for at, row in enumerate(rows):
        width, height, mode = int(facts.width[at]), int(facts.height[at]), facts.mode[at]
        if source.name.startswith(PREFIX):  # drawn, or of a package: they have no headers
            pixels = np.asarray(source.read(row))
            height, width = pixels.shape[:2]
            mode = "L" if pixels.ndim == 2 else "RGB"
        if width and height:
            sides.append((width, height))
            plain = mode.startswith(_GRAY_MODES) and not mode.endswith(" x 3")
            gray += plain or _is_gray(source, row)
    sides.sort(key=lambda side: side[0] * side[1])
    if not sides:  # none can be read: the check says so
        sides = [(224, 224)]
    return Sizes(
        looked=len(sides),
        least=sides[0],
        largest=sides[-1],
        shorter=int(median(min(side) for side in sides)),
        square=all(max(side) <= 1.1 * min(side) for side in sides),
        gray=gray,
    )


def _sample(source: Source) -> list[int]:
    """Positions, of each class as many as of any other, evenly over its images."""
    rows: list[int] = []
    each = max(1, SAMPLE // len(source.classes))
    for label in range(len(source.classes)):
        of_class = [i for i, item in enumerate(source.items) if item.label == label]
        rows += of_class[:: -(-len(of_class) // each)]
    return rows[:SAMPLE] if len(source.classes) <= SAMPLE else rows


def _is_gray(source: Source, row: int) -> bool:
    """Whether the three channels are alike."""
    try:
        pixels = decode_image(source.read(row), size=32).astype(int)
    except DecodeError:
        return False
    return int(np.ptp(pixels, axis=2).max()) <= GRAY
