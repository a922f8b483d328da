"""What do the models of a space cost, where the cost is minimised?"""

from __future__ import annotations

from collections.abc import Sequence

from search.check.rules import model_problems
from search.check.walk import Walk
from search.plan import Plan
from xfer.cost import network_of

COUNTED = 40
"""Networks whose parameters are counted: a large one takes a quarter of a second."""


def cost_findings(
    plan: Plan, walks: Sequence[Walk], *, classes: int
) -> tuple[list[str], list[str]]:
    """What keeps these models from being ranked by their cost, and what they cost.

    Args:
        plan: what is asked for.
        walks: through the space.
        classes: outputs of the models.

    Returns:
        Problems, as sentences without an end, and notes; none where one objective is asked for.
    """
    what = plan.objective.minimise
    recipes = [walk.recipe for walk in walks if walk.recipe is not None]
    networks = list(
        dict.fromkeys(network_of(r) for r in recipes if what and not model_problems(plan, r))
    )
    if what is None or not networks:
        return [], []
    if len(networks) == 1:
        return _nothing_to_choose(plan, "is the same network")
    if what == "latency":
        return [], [
            "Each worker times one image before it trains, on its own device and threads and "
            "beside what else runs there: between unlike machines latencies cannot be compared. "
            "Trials of the same network share the first one's."
        ]
    from xfer.models.described import describe

    size, channels = plan.data.size, plan.data.channels
    counts = [
        describe(network, classes=classes, size=size, channels=channels).parameters
        for network in networks[:COUNTED]
    ]
    if len(networks) <= COUNTED and len(set(counts)) == 1:
        return _nothing_to_choose(plan, f"has {counts[0]:,} parameters")
    of = f"{len(counts):,} of the {len(networks):,}" if len(networks) > COUNTED else len(networks)
    return [], [f"Parameters: from {min(counts):,} to {max(counts):,}, in {of} networks tried."]


def _nothing_to_choose(plan: Plan, why: str) -> tuple[list[str], list[str]]:
    text = (
        f'Objective(minimise="{plan.objective.minimise}") has nothing to choose between: every '
        f"recipe {why}"
    )
    if plan.models is None:
        return [f"{text}; leave minimise out, or vary the model"], []
    return [], [f"{text}, of the models that are left."]  # by flags: the space has others
