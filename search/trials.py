"""What is known of a trial, as plain values that every part of `search` can read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

State = Literal["complete", "pruned", "failed", "infeasible", "waiting", "running"]
"""`infeasible`: out of memory or not finite. `waiting`: asked for and not begun, or interrupted;
goes on when the run is resumed."""


@dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A trial was proposed, or goes on after an interruption."""

    number: int
    name: str | None
    """The known configuration's name; None for what the sampler proposed."""
    params: Mapping[str, Any]
    recipe: Mapping[str, Any]
    """As `xfer.recipe.to_json` gives it."""


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """A trial finished an epoch or a fold, and the study has it."""

    number: int
    result: Mapping[str, Any]
    """An `xfer.train.EpochResult` as a dict: epoch, train, val, search_score, threshold, best,
    seconds, stopped; or an `xfer.cross_validate.FoldsResult`, which has the same."""


@dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial was told to the study, or put back to waiting."""

    number: int
    state: State
    ended: str
    """Why, in words."""


Event = TrialStarted | EpochDone | TrialEnded
Watcher = Callable[[Event], None]
"""Told of every event, in order, in the driver's process."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial as the study has it."""

    number: int
    name: str | None
    state: State
    value: float | None
    """Search score of the best epoch, or mean over folds; None where nothing was finished."""
    params: Mapping[str, Any]
    recipe: Mapping[str, Any] | None
    scores: Mapping[int, float] = field(default_factory=dict)
    """Search score by epoch; with folds the mean by the number of folds."""
    best_epoch: int | None
    """None where there is none, and with folds, each of which has its own."""
    val: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the best epoch on validation, or means over folds."""
    seconds: float
    """Spent in training and validation, over all epochs."""
    ended: str
    """Why it ended, in words; empty while it has not."""
    prefix: Mapping[str, float] = field(default_factory=dict)
    """What it asked of frozen blocks, as `xfer.features.Counts`, over all epochs."""
    cost: float | None = None
    """What the space minimises: the model's parameters, or milliseconds per image; None: not known
    yet, or the space maximises a score alone."""


def summed(each: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Numbers of the same name, added; one that is missing is 0.

    >>> summed([{"hits": 1}, {"hits": 2, "forwards": 4}])
    {'hits': 3, 'forwards': 4}
    """
    found: dict[str, float] = {}
    for numbers in each:
        for name, number in numbers.items():
            found[name] = found.get(name, 0) + number
    return found


def trial_seed(run: int, number: int) -> int:
    """Of a trial, below 2**32; unlike a sum, runs with neighbouring seeds share none."""
    return int.from_bytes(blake2b(f"{run}/{number}".encode(), digest_size=4).digest())
