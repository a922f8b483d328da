"""Tiny images in a store, and backbones whose weights files are drawn instead of fetched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.xfer.tiny_data import CPU, OBJECTIVE, TinyData, tiny_data
from xfer.chunks import blake2b
from xfer.features import Features, FeatureStore
from xfer.models.assembly import assemble
from xfer.models.backbone import random_state
from xfer.models.net import Net
from xfer.models.weights import weights_file
from xfer.recipe import Head, HeadFirst, Pretrained, Recipe
from xfer.store import Store
from xfer.train import EpochResult, fit

FAST = 1.0
"""Multiply-adds per second of a machine on which every row pays."""


@dataclass(frozen=True)
class KeptData(TinyData):
    """Pixels are in a store, and every image has a digest."""

    pixels: Any
    image_digests: tuple[str, ...] = ()


def kept_data(root: Path, *, size: int = 64, channels: int = 3, **numbers: Any) -> KeptData:
    made = tiny_data(size=size, channels=channels, **numbers)
    return stored(root, made.pixels, made)


def stored(root: Path, pixels: np.ndarray, made: TinyData) -> KeptData:
    """These images, in the store under `root`."""
    digests = tuple(blake2b(image.tobytes()) for image in pixels)
    rows = Store(root).fill(
        {"what": "tiny"},
        digests,
        lambda missing: ((place, pixels[place]) for place in missing),
        shape=pixels.shape[1:],
    )
    return KeptData(
        pixels=rows, labels=made.labels, splits=made.splits, classes=made.classes,
        image_digests=digests,
    )  # fmt: skip


def draw_weights(name: str, *, seed: int = 1) -> None:
    """Puts a weights file where torchvision's would be, under a TORCH_HOME of the test's own."""
    path = weights_file(name).path
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(random_state(name, seed=seed), path)


@contextmanager
def home_with(folder: Path, *names: str) -> Iterator[None]:
    """Within it TORCH_HOME is this folder, and has drawn weights of these backbones."""
    before = os.environ.get("TORCH_HOME")
    os.environ["TORCH_HOME"] = str(folder)
    try:
        for name in names:
            draw_weights(name)
        yield
    finally:
        os.environ.pop("TORCH_HOME")
        if before is not None:
            os.environ["TORCH_HOME"] = before


def frozen_recipe(name: str = "squeezenet1_1", depth: int = 0, **changes: Any) -> Recipe:
    model = Pretrained(name, unfreeze_depth=depth)
    recipe = Recipe(model=model, head=Head(), lr=1e-3, batch_size=8, epochs=3)
    return replace(recipe, **changes)


HEAD_FIRST = frozen_recipe("resnet18", 1, head_first=HeadFirst(epochs=1, lr=1e-2))


def net_of(recipe: Recipe, *, size: int = 64) -> Net:
    return assemble(recipe, classes=2, size=size, channels=3, seed=0)


def features(data: KeptData, *, pays: bool = True, **settings: Any) -> Features:
    """Of a store in which every row pays, or none does."""
    speed = FAST if pays else 1e30
    store = FeatureStore(root=data.pixels.root, speed=speed, **settings)
    return Features.of_data(data, device=CPU, settings=store)


def trained(
    recipe: Recipe, data: KeptData, kept: Features | None, *, checkpoint: Path | None = None
) -> list[EpochResult]:
    return list(
        fit(recipe, data, OBJECTIVE, seed=0, checkpoint=checkpoint, device=CPU, features=kept)
    )


def told(results: list[EpochResult]) -> list[dict[str, Any]]:
    """All that does not depend on what is in the store."""
    return [{**result.to_dict(), "seconds": None, "prefix": None} for result in results]


def total(results: list[EpochResult], name: str) -> float:
    return sum(result.prefix[name] for result in results)
