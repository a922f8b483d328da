"""What does the study say when it is asked for a trial?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A trial that is to be run, or to go on."""

    number: int
    """Its number in the study."""
    name: str | None
    """The known configuration's; None for what the sampler proposed."""
    params: Mapping[str, Any]
    """Hyperparameters by name."""
    recipe: Mapping[str, Any]
    """As `xfer.recipe.to_json` gives it; empty where the space's function failed."""
    scores: Mapping[int, float]
    """Search score of every epoch that is on record already."""
    cost: float | None
    """What the study minimises, of this trial or of one with the same network; None: it is still to
    be found, or nothing is minimised."""
    problem: str | None
    """What the space's function raised, in words."""

    @property
    def last_epoch(self) -> int:
        """The last epoch on record; 0: none."""
        return max(self.scores, default=0)
