"""Which nodes does a cluster have, can they take part, and for how many trials is there room?"""

from __future__ import annotations

import math
import platform
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from search.errors import OptionsError
from search.messages import together
from search.origin import on_node
from search.workers import MOST_CPU_WORKERS, Slots

LOOK_S = 120.0
"""A node that has not answered by then is not used."""
SAME = ("ray", "torch", "torchvision", "numpy", "pillow")
"""Packages of which every node must have the driver's version, or trials could not be compared."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the cluster, or what Ray was told is one."""

    id: str
    """Ray's."""
    name: str
    """Its address, for people."""
    cpus: int
    """Cores that Ray may give away."""
    gpus: float
    """Likewise."""


def alive() -> tuple[Node, ...]:
    """The nodes that there are now and that have cores, by name. Ray must have been started."""
    nodes = [
        Node(
            id=node["NodeID"],
            name=node["NodeManagerAddress"],
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=node["Resources"].get("GPU", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return tuple(sorted((n for n in nodes if n.cpus), key=lambda node: (node.name, node.id)))


def share_out(
    nodes: Sequence[Node],
    *,
    workers: int | None = None,
    gpus_per_trial: float | str | None = None,
) -> Slots:
    """Room for trials on a cluster.

    Every worker has as many cores as one of the smallest node has by the rule of a single machine:
    as many workers as cores, 4 at most, or one for each GPU.

    Args:
        nodes: of the cluster.
        workers: trials side by side; None: as many as there is room for. More than that wait for
            nodes that come, or that an autoscaler starts for them.
        gpus_per_trial: as `search.workers.plan` takes it.

    Raises:
        OptionsError: no node has room for a trial.
    """
    if isinstance(gpus_per_trial, str):
        raise OptionsError(
            f"--gpus-per-trial {gpus_per_trial} is not built yet; give a number, such as 0.5."
        )
    with_gpu = any(node.gpus for node in nodes)
    share = (1.0 if with_gpu else 0.0) if gpus_per_trial is None else float(gpus_per_trial)
    each = [
        max(1, node.cpus // max(1, _by_gpus(node, share) if share else MOST_CPU_WORKERS))
        for node in nodes
        if not share or _by_gpus(node, share)
    ]
    if not each:
        most = max((node.gpus for node in nodes), default=0)
        raise OptionsError(
            f"no node of the cluster has room for a trial: --gpus-per-trial {share:g}, and the "
            f"largest of {len(nodes)} nodes has {most:g} GPUs."
        )
    slots = Slots(
        workers=1, threads=min(each), gpus_per_trial=share, device="cuda" if share else "cpu"
    )
    there = room(nodes, slots)
    return replace(slots, workers=there if workers is None else workers)


def room(nodes: Sequence[Node], slots: Slots) -> int:
    """How many such workers these nodes have room for."""
    share = slots.gpus_per_trial
    return sum(
        min(node.cpus // slots.threads, _by_gpus(node, share) if share else node.cpus)
        for node in nodes
    )


def _by_gpus(node: Node, share: float) -> int:
    """Workers that a node's GPUs have room for."""
    gpus = int(node.gpus)
    return gpus * math.floor(1 / share + 1e-6) if share <= 1 else gpus // int(share)


def check_nodes(nodes: Sequence[Node], out: Path) -> None:
    """Looks whether every node can take part.

    Args:
        nodes: of the cluster.
        out: folder of the runs, absolute; made where it is missing.

    Raises:
        OptionsError: a node does not answer, does not see `out` or has other versions; all of them
            in one message.
    """
    with _token(out) as token:
        asked = {on_node(node.id, _look).remote(str(token)): node for node in nodes}
        done, late = ray.wait(list(asked), num_returns=len(asked), timeout=LOOK_S)
    problems = [f"{asked[task].name} did not answer within {LOOK_S:g} s" for task in late]
    ours = _look(None)
    for task in done:
        name = asked[task].name
        try:
            problems += _wrong(name, ours, ray.get(task), out)
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            problems.append(f"{name} could not be asked: {reason}")
    if problems:
        raise OptionsError(together(sorted(problems)))


@contextmanager
def _token(out: Path) -> Iterator[Path]:
    """A file in the folder of the runs; who sees it sees our folder and no other of its name."""
    token = out / f".seen-{secrets.token_hex(8)}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        token.touch()
    except OSError as error:
        raise OptionsError(f"--out {out} cannot be written to: {error.strerror}.") from error
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


def _look(token: str | None) -> dict[str, Any]:
    """What a node says of itself; runs there."""
    seen = {"python": platform.python_version(), "out": True}
    for package in SAME:
        try:
            seen[package] = version(package)
        except PackageNotFoundError:
            seen[package] = "not there"
    if token is not None:
        mine = Path(f"{token}-{socket.gethostname()}-{secrets.token_hex(4)}")
        try:
            seen["out"] = Path(token).is_file()
            if seen["out"]:
                mine.touch()
                mine.unlink()
        except OSError as error:
            seen["out"] = f"{error.strerror}"
    return seen


def _wrong(
    name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], out: Path
) -> Iterator[str]:
    """What keeps a node from taking part, in words."""
    if theirs["out"] is False:
        yield (f"{name} does not see {out}: --out must be a folder that all nodes share (NFS or "
               "the like), for trials keep their checkpoints there")  # fmt: skip
    elif theirs["out"] is not True:
        yield f"{name} cannot write to {out}: {theirs['out']}"
    for what in ("python", *SAME):
        if ours[what] != theirs[what]:
            yield f"{name} has {what} {theirs[what]}, the driver's node {ours[what]}"
