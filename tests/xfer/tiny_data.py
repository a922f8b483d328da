"""Images small enough to train on in a test, recipes for them, and short ways to train."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xfer.recipe import ConvNet, Head, Objective, Recipe
from xfer.train import EpochResult, fit

CPU = torch.device("cpu")
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75)


@dataclass(frozen=True)
class TinyData:
    """`pixels[rows]` and all else that `fit` reads."""

    pixels: np.ndarray
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    classes: tuple[str, ...] = ("square", "not")
    subgroups: tuple[str | None, ...] = ()
    digest: str = field(default="digest of tiny data")

    @property
    def patients(self) -> tuple[str, ...]:
        """Each image is of another one."""
        return tuple(str(row) for row in range(len(self.labels)))


def tiny_data(
    *, train: int = 24, val: int = 16, size: int = 16, channels: int = 1, classes: int = 2, seed=0
) -> TinyData:
    """Noise with a bright square: where it is says the class, and one in five is not told right."""
    images = train + val
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    pixels = generator.integers(0, 160, (images, size, size, channels), dtype=np.uint8)
    seen = np.where(generator.random(images) < 0.2, generator.permutation(labels), labels)
    side = size // classes
    for row, place in enumerate(seen):
        pixels[row, :side, place * side : (place + 1) * side] += 90
    return TinyData(
        pixels=pixels,
        labels=labels.astype(np.int64),
        splits={"train": np.arange(train), "val": np.arange(train, images)},
        classes=tuple(f"class{number}" for number in range(classes)),
    )


def tiny_recipe(**changes: Any) -> Recipe:
    model = ConvNet(kernels=(4, 8), batch_norm=True, dropout=0.1)
    recipe = Recipe(model=model, head=Head(dropout=0.2), lr=1e-2, batch_size=8, epochs=3)
    return replace(recipe, **changes)


def run(
    recipe: Recipe,
    data: TinyData,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    objective: Objective = OBJECTIVE,
) -> list[EpochResult]:
    return list(fit(recipe, data, objective, seed=seed, checkpoint=checkpoint, device=CPU))


def without_seconds(results: Iterable[EpochResult]) -> list[dict[str, Any]]:
    return [{**result.to_dict(), "seconds": None} for result in results]
