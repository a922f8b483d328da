"""What is wrong with one value? All of it is told together."""

from __future__ import annotations

import re
from typing import Any

from xfer.errors import RecipeError


class Problems:
    """Gathers what is wrong with one value, then raises once."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.found: list[str] = []

    def unless(self, good: bool, message: str) -> None:
        """Notes `OWNER.message` where something is not as it must be."""
        if not good:
            self.found.append(f"{self.owner}.{message}")

    def number(
        self, name: str, value: Any, low: float, high: float, *, whole: bool = False
    ) -> None:
        """Wants a finite number in [low, high]; a bool is none."""
        kind = "a whole number" if whole else "a number"
        right_type = isinstance(value, int if whole else (int, float)) and not isinstance(
            value, bool
        )
        good = right_type and low <= value <= high  # no NaN is
        self.unless(good, f"{name} must be {kind} in [{low:g}, {high:g}], got {value!r}")

    def one_of(self, name: str, value: Any, allowed: tuple[Any, ...]) -> None:
        """Wants one of these."""
        self.unless(value in allowed, f"{name} must be one of {allowed}, got {value!r}")

    def tell(self) -> None:
        """Raises RecipeError with all that was noted; nothing where there is nothing."""
        if self.found:
            raise RecipeError("; ".join(self.found))


def tupled(value: object, *names: str) -> None:
    """Lists are taken for tuples, so that a recipe stays hashable whatever its author typed."""
    for name in names:
        if isinstance(getattr(value, name), list):
            object.__setattr__(value, name, tuple(getattr(value, name)))


def check_counts(problems: Problems, name: str, values: Any, *, at_least: int) -> None:
    """Wants a tuple of at least so many whole numbers in [1, 65536]."""
    good = isinstance(values, tuple) and len(values) >= at_least
    good = good and all(type(v) is int and 1 <= v <= 65_536 for v in values)
    size = "a tuple" if at_least == 0 else f"a tuple of at least {at_least}"
    problems.unless(good, f"{name} must be {size} of whole numbers in [1, 65536], got {values!r}")


def check_pattern(problems: Problems, name: str, value: str | None) -> None:
    """Wants a regular expression with at most one group, or None."""
    if value is None:
        return
    try:
        groups = re.compile(value).groups
    except (re.error, TypeError) as error:
        problems.found.append(f"{problems.owner}.{name} is not a regular expression: {error}")
        return
    problems.unless(groups <= 1, f"{name} must have at most one group, got {groups} in {value!r}")
