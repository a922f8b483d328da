"""What does a trial cost, as far as the record knows?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from search.study.changing import Changing
from xfer.cost import network_of
from xfer.recipe import Recipe, from_json


class Costs:
    """The costs on record in one study, each with its network."""

    def __init__(self) -> None:
        self._changing = Changing()
        self._known: dict[Recipe, tuple[int, float]] = {}  # by network: the first trial's

    def of(self, recipe: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> float | None:
        """The cost on record of the first trial of the same network; None where there is none.

        Were each measured anew, a latency's scatter alone would put the luckier of two before the
        other.

        Args:
            recipe: as `xfer.recipe.to_json` gives it.
            trials: all of the study, by number.
        """
        for trial in self._changing.since(trials):
            attributes = trial.user_attrs
            if "cost" in attributes:
                network = network_of(from_json(attributes["recipe"]))
                first = self._known.get(network, (trial.number, 0.0))[0]
                if trial.number <= first:
                    self._known[network] = trial.number, attributes["cost"]
        known = self._known.get(network_of(from_json(recipe)))
        return None if known is None else known[1]
