"""What does the winner have to beat? Scored on the test part in the same opening as the winner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.scores import measured
from xfer.recipe import Objective

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset
    from xfer.data.fact_table import FactTable

FACTS = "file facts only"
"""A small tree over size, bytes, mode, mean and contrast. What it reaches needs no look at what the
images show."""


def score_controls(
    facts: FactTable | None, data: Dataset, objective: Objective
) -> dict[str, dict[str, Any]]:
    """By name, metrics of each control on the test part, as `search.scores.measured` gives them.

    A control is treated as the winner is: fitted on train, its threshold chosen on val by the
    objective's rule.

    Args:
        facts: of all images; None: there is no such control.
        data: with its test part.
        objective: whose rule it is.
    """
    from xfer.data.shortcuts import facts_only
    from xfer.evaluate.thresholds import choose_threshold

    if facts is None:
        return {}
    parts, classes = data.splits, data.classes

    def answers(part: str) -> Any:
        return facts_only(
            facts, data.labels, rows=parts["train"], asked=parts[part], classes=len(classes)
        )

    threshold = None
    if data.positive is not None:
        labels = data.labels[parts["val"]]
        chosen = choose_threshold(objective.threshold, objective, answers("val")[:, 1], labels)
        threshold = chosen.value
    labels = data.labels[parts["test"]]
    return {FACTS: measured(answers("test"), labels, classes, threshold=threshold)}
