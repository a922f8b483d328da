"""Where are the images, and how are they looked at?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from xfer.recipe.problems import Problems, check_pattern

Fit = Literal["squash", "pad", "crop"]


@dataclass(frozen=True)
class Images:
    """Where the images are and how they are looked at."""

    path: str
    """A folder of class folders (with or without train, val, test above them), a MedMNIST-style
    `.npz`, or one of `builtin:digits`, `builtin:phantoms`."""
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
    """Regular expression searched in the file's own name, without its folders; what its group (or
    all of it) matches names the images that must stay on one side of every split. None: each image
    stands alone."""
    subgroup: str | None = field(default=None, kw_only=True)
    """Regular expression of a stratum to report; images without a match have none."""
    demo: bool = field(default=False, kw_only=True)
    """The space may run on phantoms where its data is missing. Every output then says so."""

    def __post_init__(self) -> None:
        problems = Problems("Images")
        problems.unless(isinstance(self.path, str) and bool(self.path), "path must not be empty")
        positive_good = self.positive is None or (isinstance(self.positive, str) and self.positive)
        problems.unless(
            bool(positive_good), f"positive must be a class's name, got {self.positive!r}"
        )
        problems.number("size", self.size, 8, 4096, whole=True)
        problems.one_of("fit", self.fit, get_args(Fit))
        problems.one_of("channels", self.channels, (1, 3))
        problems.unless(isinstance(self.demo, bool), f"demo must be a bool, got {self.demo!r}")
        check_pattern(problems, "patient", self.patient)
        check_pattern(problems, "subgroup", self.subgroup)
        problems.tell()
