"""Where are the images, and how are they looked at?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from xfer.recipe.problems import Problems, check_pattern

Fit = Literal["squash", "pad", "crop"]


def is_local(place: str) -> bool:
    """Whether a place of images is a file or folder, not built-in images and not a URL.

    >>> is_local("data/beans"), is_local("builtin:digits"), is_local("s3://bucket/images")
    (True, False, False)
    """
    return not place.startswith("builtin:") and "://" not in place


@dataclass(frozen=True)
class Table:
    """A table with a row for each image; stands in `Images` where a path would."""

    file: str
    """CSV (comma, semicolon or tab; UTF-8; a first line of column names) or Parquet."""
    path: str = field(kw_only=True)
    """Column of the images' files: relative to `root`, or absolute."""
    label: str = field(kw_only=True)
    """Column of the classes' names; numbers are taken as their text."""
    patient: str | None = field(default=None, kw_only=True)
    """Column of the patient, whose images stay on one side of every split; where it is empty the
    image stands alone."""
    split: str | None = field(default=None, kw_only=True)
    """Column of `train`, `val` or `test`; where it is empty the image has no split of its own."""
    subgroup: str | None = field(default=None, kw_only=True)
    """Column of a stratum to report."""
    root: str | None = field(default=None, kw_only=True)
    """Folder that files are relative to; None: the table's own."""

    def __post_init__(self) -> None:
        problems = Problems("Table")
        for name in ("file", "path", "label", "patient", "split", "subgroup", "root"):
            value = getattr(self, name)
            optional = value is None and name not in ("file", "path", "label")
            what = {"file": "a file", "root": "a folder, or None"}.get(name, "a column's name")
            problems.unless(
                optional or (isinstance(value, str) and bool(value)),
                f"{name} must be {what}, got {value!r}",
            )
        one = isinstance(self.path, str) and self.path == self.label
        problems.unless(not one, f"path and label must be two columns, got {self.path!r} for both")
        problems.tell()


@dataclass(frozen=True)
class Images:
    """Where the images are and how they are looked at."""

    path: str | Table
    """A folder of class folders (with or without train, val, test above them), a MedMNIST-style
    `.npz`, one of `builtin:digits`, `builtin:phantoms`, `builtin:brains`, or a `Table`."""
    positive: str | None = field(default=None, kw_only=True)
    """The class that must not be missed; all others together are the negatives. None: every class
    is predicted, by its own output."""
    size: int = field(default=224, kw_only=True)
    """Side of the square that a model sees, in pixels."""
    fit: Fit = field(default="squash", kw_only=True)
    """How another shape becomes square: `squash` scales both sides to `size`; `pad` scales the
    longer side and adds black on both sides of the shorter; `crop` scales the shorter side and
    keeps the middle."""
    channels: Literal[1, 3] = field(default=3, kw_only=True)
    """1 keeps gray values only; models whose weights expect three see them three times."""
    patient: str | None = field(default=None, kw_only=True)
    """Regular expression searched in a file's path below its class folder (`patient_017/1.png`; of
    a table in the path below its root), with `/`; what its group (or all of it) matches first names
    the images that must stay on one side of every split. None: a table's column says it, else each
    image stands alone."""
    subgroup: str | None = field(default=None, kw_only=True)
    """Regular expression of a stratum to report, searched in the same text; images without a match
    have none."""
    test_share: float = field(default=0.2, kw_only=True)
    """Share of the images that becomes the test part where they come without one, in [0.02, 0.8];
    validation is a fifth of the rest."""
    demo: bool = field(default=False, kw_only=True)
    """The space may run on phantoms where its data is missing. Every output then says so."""

    def __post_init__(self) -> None:
        problems = Problems("Images")
        place_good = isinstance(self.path, Table) or (isinstance(self.path, str) and self.path)
        problems.unless(bool(place_good), f"path must be a path or a Table(...), got {self.path!r}")
        positive_good = self.positive is None or (isinstance(self.positive, str) and self.positive)
        problems.unless(
            bool(positive_good), f"positive must be a class's name, got {self.positive!r}"
        )
        problems.number("size", self.size, 8, 4096, whole=True)
        problems.one_of("fit", self.fit, get_args(Fit))
        problems.one_of("channels", self.channels, (1, 3))
        problems.number("test_share", self.test_share, 0.02, 0.8)
        problems.unless(isinstance(self.demo, bool), f"demo must be a bool, got {self.demo!r}")
        check_pattern(problems, "patient", self.patient)
        check_pattern(problems, "subgroup", self.subgroup)
        for name in ("patient", "subgroup"):
            column = getattr(self.path, name) if isinstance(self.path, Table) else None
            problems.unless(
                column is None or getattr(self, name) is None,
                f"{name} is a pattern, and the table has the column {column!r} for it: leave one"
                " of them out",
            )
        problems.tell()

    @property
    def place(self) -> str:
        """The folder, file or built-in name; of a table its file."""
        return self.path.file if isinstance(self.path, Table) else self.path
