"""What have the folds so far brought a recipe that is cross-validated?"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class FoldsResult:
    """What the folds so far brought."""

    epoch: int
    """Folds that are finished; the first is 1. It is what a search counts as a step."""
    train: dict[str, float]
    """`loss` and `accuracy` of the chosen epochs, as `EpochResult.train`; means over the folds."""
    val: dict[str, float]
    """`loss` and all of `xfer.evaluate.metrics` of what was scored; means over the folds. With two
    classes each fold's are at its own best threshold."""
    search_score: float
    """Mean over the folds: it ranks and prunes, and estimates nothing."""
    scores: list[float]
    """The search score of each fold, in their order: paired with another recipe's."""
    epochs: list[int]
    """The epoch that each fold's training part chose."""
    lr: float
    """The head's learning rate in the last fold's chosen epoch."""
    seconds: float
    """The last fold's."""
    threshold: None = None
    """There is none: every fold has its own."""
    best: bool = True
    """Always: a mean over more folds takes the place of the one before."""
    stopped: None = None
    """Folds are not stopped early."""
    left_out: list[list[float]] = field(default_factory=list)
    """Of each fold, in their order, `EpochResult.left_out` of what was scored; empty of folds that
    were finished before there was such a thing."""
    prefix: dict[str, float] = field(default_factory=dict)
    """As `EpochResult.prefix`, of the last fold."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON holds without loss."""
        return asdict(self)
