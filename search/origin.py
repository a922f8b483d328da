"""What do workers on other nodes get from the driver's node, and how?

Each node has a store of its own: pixels and pretrained weights come from the driver's node, once
for each node; what frozen blocks make of images is made on each. Nodes need not see the images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

if TYPE_CHECKING:
    from search.worker import Job
    from xfer.data.dataset import Dataset
    from xfer.models.carried import Carried
    from xfer.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the driver is, and what other nodes get from there."""

    node: str
    """Ray's id of its node."""
    keys: Mapping[str, Mapping[str, Any]]
    """What pixels are kept under, by interpolation (`xfer.data.elsewhere`)."""
    weights: tuple[Carried, ...]
    """Pretrained weights of all backbones of the space."""


def origin_of(data: Dataset, backbones: Sequence[str]) -> Origin:
    """This process as the driver. Ray must have been started.

    Args:
        data: of the run.
        backbones: whose pretrained weights trials start from.
    """
    from xfer.data.elsewhere import keys_of
    from xfer.models.carried import to_carry

    return Origin(
        node=ray.get_runtime_context().get_node_id(),
        keys=keys_of(data),
        weights=tuple(to_carry(name) for name in backbones),
    )


def settled(job: Job, recipe: Recipe) -> Job:
    """The job as a trial on this node can use it: with images, and weights, that are here.

    Raises:
        StoreError, WeightsError: they cannot be kept here.
    """
    from xfer.models.carried import carry
    from xfer.recipe import Pretrained
    from xfer.store import default_root

    origin = job.origin
    if origin is None or origin.node == ray.get_runtime_context().get_node_id():
        return job
    model = recipe.model
    for weights in origin.weights:
        if isinstance(model, Pretrained) and model.name == weights.name:
            carry(weights, partial(_ask, on_node(origin.node, _read_bytes)))
    features = job.features
    return replace(
        job,
        data=_brought(_Remembered(job.data.digest, job.data, origin)),
        features=None if features is None else replace(features, root=default_root()),
    )


@dataclass(frozen=True)
class _Remembered:
    """Data that a cache knows again: Ray unpickles the job for every trial."""

    digest: str
    data: Dataset = field(compare=False)
    origin: Origin = field(compare=False)


@lru_cache(maxsize=1)
def _brought(known: _Remembered) -> Dataset:
    """Once per process."""
    from xfer.data.elsewhere import brought
    from xfer.store import Store, default_root

    there, where = known.data, known.origin
    pixels = there.decoded

    def read(interpolation: str, positions: np.ndarray) -> np.ndarray:
        return ray.get(on_node(where.node, _read_rows).remote(pixels[interpolation], positions))

    return brought(there, where.keys, store=Store(default_root()), read=read)


def _ask(task: Any, *values: Any) -> Any:
    return ray.get(task.remote(*values))


def on_node(node: str, function: Callable[..., Any]) -> Any:
    """A function as a task of a node; it needs none of its cores."""
    where: Any = NodeAffinitySchedulingStrategy(node_id=node, soft=False)  # not in Ray's annotation
    return ray.remote(num_cpus=0, scheduling_strategy=where)(function)


def _read_rows(pixels: Any, positions: np.ndarray) -> np.ndarray:
    """Runs on the driver's node."""
    return pixels[positions]


def _read_bytes(path: str, start: int, count: int) -> bytes:
    """Runs on the driver's node."""
    with Path(path).open("rb") as file:
        file.seek(start)
        return file.read(count)
