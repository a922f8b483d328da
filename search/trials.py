"""What is known of a trial, as plain values that every part of `search` can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    """A trial finished an epoch, and the study has it."""

    number: int
    result: Mapping[str, Any]
    """An `xfer.train.EpochResult` as a dict: epoch, train, val, search_score, threshold, best,
    seconds, stopped."""


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
    """Search score of the best epoch; None where no epoch was finished."""
    params: Mapping[str, Any]
    recipe: Mapping[str, Any] | None
    scores: Mapping[int, float] = field(default_factory=dict)
    """Search score by epoch."""
    best_epoch: int | None
    val: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the best epoch on validation."""
    seconds: float
    """Spent in training and validation, over all epochs."""
    ended: str
    """Why it ended, in words; empty while it has not."""
