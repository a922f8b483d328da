"""How are training images changed at random?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from xfer.recipe.problems import Problems, tupled

AugmentMode = Literal["none", "views", "fresh"]


@dataclass(frozen=True)
class Augment:
    """Random changes to training images; validation and prediction see images as they are.

    Every range is drawn from evenly, for each image anew. What comes in from outside an image is
    black, before brightness, contrast and noise. The presets take their numbers from STUDIES.md,
    and the studies' own way: where one made a fixed number of images of each, so does its preset.
    """

    mode: AugmentMode = "none"
    """`fresh` changes each image anew in every epoch. `views` makes a fixed number of images of
    each, the same in every epoch, and an epoch trains on all of them: what is elsewhere done by
    writing augmented copies to disk. `none` changes nothing, and every range must stay as it is."""
    views: int = field(default=1, kw_only=True)
    """Of `views`, in [2, 100]: images made of each one, the first of them the image itself. An
    epoch has so many times the steps. 1 in the other modes."""
    flip_horizontal: bool = field(default=False, kw_only=True)
    """Left becomes right in half of the images; with `one_of` in all for which it is chosen."""
    flip_vertical: bool = field(default=False, kw_only=True)
    """Likewise top and bottom."""
    rotation: float = field(default=0.0, kw_only=True)
    """Largest angle to either side, in degrees, in [0, 180]."""
    shift: float = field(default=0.0, kw_only=True)
    """Largest way along each side, to both ends, as a share of that side, in [0, 1]."""
    shear: float = field(default=0.0, kw_only=True)
    """Largest angle by which upright lines lean to either side, in degrees, in [0, 60]."""
    zoom: float | tuple[float, float] = field(default=0.0, kw_only=True)
    """Least and largest factor of what is seen, in [0.1, 10], above 1 larger; or one number z in
    [0, 0.9] for 1 - z to 1 + z."""
    brightness: float = field(default=0.0, kw_only=True)
    """Most that is added to or taken from all pixels, as a share of their range, in [0, 1]."""
    contrast: float = field(default=0.0, kw_only=True)
    """Most by which the factor of a pixel's distance from middle gray differs from 1, in [0, 1]."""
    noise: float = field(default=0.0, kw_only=True)
    """Standard deviation of what is added to each pixel and channel, as a share of the range, in
    [0, 1]."""
    erase: float = field(default=0.0, kw_only=True)
    """Largest share of the image that one rectangle makes black, in [0, 0.9]."""
    one_of: bool = field(default=False, kw_only=True)
    """Each image gets one of the changes that have a range, drawn evenly; otherwise all."""

    def __post_init__(self) -> None:
        tupled(self, "zoom")
        problems = Problems("Augment")
        problems.one_of("mode", self.mode, get_args(AugmentMode))
        if self.mode == "views":
            problems.number("views", self.views, 2, 100, whole=True)
        else:
            problems.unless(
                type(self.views) is int and self.views == 1,
                f"views must stay 1 with mode={self.mode!r}, got {self.views!r}; mode='views' "
                "makes so many images of each",
            )
        for name in ("flip_horizontal", "flip_vertical", "one_of"):
            value = getattr(self, name)
            problems.unless(isinstance(value, bool), f"{name} must be a bool, got {value!r}")
        for name, high in _HIGHEST.items():
            problems.number(name, getattr(self, name), 0.0, high)
        if isinstance(self.zoom, tuple):
            _check_zoom(problems, self.zoom)
        else:
            problems.number("zoom", self.zoom, 0.0, 0.9)
        if not problems.found:
            given = [*self.changes, *(["one_of"] if self.one_of else [])]
            problems.unless(
                self.mode != "none" or not given,
                f"mode='none' changes nothing, so {', '.join(given)} must stay at the default; "
                "mode='fresh' and mode='views' use what is given",
            )
            problems.unless(
                self.mode == "none" or bool(self.changes),
                f"mode={self.mode!r} needs at least one change, such as rotation=10; mode='none' "
                "needs none",
            )
        problems.tell()

    @property
    def changes(self) -> tuple[str, ...]:
        """Names of the fields that change images."""
        names = ("flip_horizontal", "flip_vertical", *_HIGHEST)
        found = tuple(name for name in names if getattr(self, name))
        return found if self.zooms == (1.0, 1.0) else (*found, "zoom")

    @property
    def zooms(self) -> tuple[float, float]:
        """Least and largest factor."""
        if isinstance(self.zoom, tuple):
            return self.zoom
        return (1.0 - self.zoom, 1.0 + self.zoom)

    @classmethod
    def light(cls) -> Augment:
        """Changes that a second picture of the same thing could show; nothing is mirrored."""
        return cls("fresh", rotation=10, shift=0.05, zoom=0.1, brightness=0.1, contrast=0.1)

    @classmethod
    def strong(cls) -> Augment:
        """All that can be drawn, but upside down; for classes that have no left and right."""
        return cls(
            "fresh", flip_horizontal=True, rotation=20, shift=0.1, shear=10, zoom=0.2,
            brightness=0.2, contrast=0.2, noise=0.02, erase=0.2,
        )  # fmt: skip

    @classmethod
    def study_a(cls) -> Augment:
        """Study A's rotation (A5). It gives no angle: 10 degrees, those of study F."""
        return cls("fresh", rotation=10)

    @classmethod
    def study_c(cls) -> Augment:
        """Study C's five images of each, the original and four changed ones.

        Rotation to 15 degrees, shift 0.1, shear 0.2, zoom 0.2, horizontal flip. Unlike the study's
        they are made of training images alone, after the split.
        It gives no unit of the shear: degrees, as Keras's `random_shear` takes them. On its 64
        pixels 0.2 degrees move nothing by more than 0.11 pixels.
        """
        return cls(
            "views", views=5, flip_horizontal=True, rotation=15, shift=0.1, shear=0.2, zoom=0.2
        )

    @classmethod
    def study_d(cls) -> Augment:
        """Study D's 50 images of each: one of flip, rotation to 30 degrees, zoom from 0.75 to 1.25.

        It does not say which flip: the horizontal one; nor whether the original is among the 50:
        it is.
        """
        return cls(
            "views", views=50, flip_horizontal=True, rotation=30, zoom=(0.75, 1.25), one_of=True
        )

    @classmethod
    def study_f(cls) -> Augment:
        """Study F's: rotation to 10 degrees at each load (F2, F3)."""
        return cls("fresh", rotation=10)


_HIGHEST = {
    "rotation": 180.0, "shift": 1.0, "shear": 60.0, "brightness": 1.0, "contrast": 1.0,
    "noise": 1.0, "erase": 0.9,
}  # fmt: skip


def _check_zoom(problems: Problems, zoom: tuple[object, ...]) -> None:
    if len(zoom) != 2:
        problems.found.append(
            f"{problems.owner}.zoom must be a number, or the least and the largest factor, got "
            f"{zoom!r}"
        )
        return
    before = len(problems.found)
    for number, factor in enumerate(zoom):
        problems.number(f"zoom[{number}]", factor, 0.1, 10.0)
    if len(problems.found) == before:
        low, high = zoom
        problems.unless(
            low <= high,  # type: ignore[operator]
            f"zoom must be the least factor, then the largest, got {zoom!r}",
        )
