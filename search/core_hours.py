"""What will a search cost on a cluster? The forecast of this machine, at the cluster's speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from search.amounts import counted, duration, roughly
from search.check.inspection import Inspection
from search.forecast import Forecast
from search.plan import Plan
from search.probe import ProbedNode


@dataclass(frozen=True, kw_only=True)
class Here:
    """The search on this machine."""

    forecast: Forecast
    """With no limit of time."""
    threads: int
    """Cores of each of its workers."""
    step: float
    """Seconds of the probe's small training step, in one thread."""


def here(plan: Plan, inspection: Inspection) -> Here:
    """Forecasts the search for this machine's processor, and times the probe's step.

    Raises:
        SearchError: this machine's speed cannot be measured.
        ValueError: the images are not here, or there is no torch.
    """
    from search.outlook import foresee
    from search.probe_script import steps
    from search.workers import plan as plan_slots

    unlimited = replace(plan, budget=replace(plan.budget, minutes=None))
    ahead, measured = foresee(unlimited, inspection, plan_slots(gpus=0), asked=True)
    step = steps("cpu")
    if step is None:
        raise ValueError("torch is not installed here")
    return Here(forecast=ahead, threads=measured.slots.threads, step=step)


def cost_lines(here: Here, nodes: Sequence[ProbedNode], *, minutes: float | None) -> list[str]:
    """Core hours or GPU hours, and on what they rest.

    Args:
        here: the search on this machine.
        nodes: of the cluster.
        minutes: after which the search ends anyway.
    """
    ahead = here.forecast
    cores = ahead.workers * here.threads
    base = (
        f"a forecast for this machine (about {roughly(ahead.seconds)} on "
        f"{counted(cores, 'core')}), times what one small training step takes there over what it "
        "takes here"
    )
    if any(node.gpus for node in nodes) and not any(node.gpu_seconds for node in nodes):
        return ["cost: not known, because no GPU of the cluster was free to time a training step"]
    lines = []
    for kind, times, count in (
        ("GPU", [n.gpu_seconds for n in nodes if n.gpu_seconds], sum(n.gpus for n in nodes)),
        ("core", [n.seconds for n in nodes if n.seconds], sum(n.cpus for n in nodes)),
    ):
        if not times or not count or lines:
            continue
        ratio = median(times) / here.step
        low, middle, high = (
            _hours(seconds * cores * ratio) for seconds in (ahead.low, ahead.seconds, ahead.high)
        )
        lines.append(f"cost: about {middle} {kind} hours ({low} to {high}): {base} ({ratio:.3g})")
        if kind == "GPU":
            lines.append(
                "That is rough: how much faster a GPU is depends on the model, and here one small "
                "network stands for all."
            )
        if minutes is not None:
            most = _hours(minutes * 60 * count)
            lines.append(
                f"The search ends after {duration(60 * minutes)} in any case: at most {most} "
                f"{kind} hours on all {counted(int(count), kind)} of the cluster, without start "
                "and end."
            )
    return lines or ["cost: not known, because no node could time a training step"]


def _hours(seconds: float) -> str:
    """Two digits.

    >>> [_hours(s) for s in (90, 5_000, 400_000)]
    ['0.025', '1.4', '111']
    """
    hours = seconds / 3600
    return f"{hours:.0f}" if hours >= 10 else f"{hours:.2g}"
