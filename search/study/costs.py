"""What does a trial cost, as far as the record knows?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from xfer.cost import network_of
from xfer.recipe import from_json


def known_cost(trials: Sequence[FrozenTrial], recipe: Mapping[str, Any]) -> float | None:
    """The cost on record of the first trial of the same network; None where there is none.

    Were each measured anew, a latency's scatter alone would put the luckier of two before the
    other.

    Args:
        trials: of the study.
        recipe: as `xfer.recipe.to_json` gives it.
    """
    network = network_of(from_json(recipe))
    for trial in trials:
        known = trial.user_attrs
        if "cost" in known and network_of(from_json(known["recipe"])) == network:
            return known["cost"]
    return None
