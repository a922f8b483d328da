"""What does a run ask of the cluster that it trains on? Room for trials, now and later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.amounts import counted
from search.options import Options
from search.screen import Say

if TYPE_CHECKING:
    from search.origin import Origin
    from search.workers import Slots
    from xfer.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A cluster, as those who run trials on it see it."""

    backbones: tuple[str, ...]
    """Whose pretrained weights its nodes are given."""
    grows: bool
    """Workers are as many as there is room for, also on nodes that come later."""

    def origin(self, data: Dataset) -> Origin:
        """What nodes get from this one. Ray must have been started."""
        from search.origin import origin_of

        return origin_of(data, self.backbones)

    def room(self, slots: Slots) -> Callable[[], int] | None:
        """Says how many such workers there can be now; None: as many as were asked for."""
        from search.nodes import alive, room

        return (lambda: room(alive(), slots)) if self.grows else None


def slots_of_cluster(options: Options, *, workers: int | None, say: Say) -> Slots:
    """Room for trials on the cluster at `options.address`, all of whose nodes can take part.

    Args:
        options: the command line's.
        workers: trials side by side; None: as many as there is room for.
        say: prints a line for people.

    Raises:
        OptionsError: there is no cluster, no room in it, or a node cannot take part.
    """
    from search.nodes import alive, check_nodes, room, share_out
    from search.starting import look_at
    from search.workers import own_share

    assert options.address is not None
    with look_at(options.address):
        nodes = alive()
        slots = share_out(nodes, workers=workers, gpus_per_trial=options.gpus_per_trial)
        check_nodes(nodes, Path(options.out).expanduser().absolute())
    there = room(nodes, slots)
    cores, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    each = counted(slots.threads, "core")
    each += f" and {slots.gpus_per_trial:g} GPU" if slots.gpus_per_trial else ""
    more = f", {slots.workers} are asked for" if slots.workers != there else ""
    say(
        f"Cluster: {counted(len(nodes), 'node')}, {cores} cores, {gpus:g} GPUs; "
        f"room for {there} trials of {each} side by side{more}."
    )
    if own_share(slots).device != slots.device:
        say("This node has no GPU: the forecast is for its processor, and GPUs are faster.")
    return slots
