"""What does a backbone already know of these images? A linear model on its pooled features.

No network is trained: each image goes through the frozen backbone once, and logistic regression
with an L2 penalty is fitted on what comes out. What a search finds has to beat this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from xfer.models.assembly import assemble, describe
from xfer.models.table import TABLE
from xfer.recipe import Head, Pretrained, Recipe
from xfer.seen import to_images
from xfer.steps import Data, Rows, batches

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of the penalty, as scikit-learn's C over the number of training images times 100; the one with
the least loss on validation is taken."""
_MOST_STEPS = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """A fitted probe."""

    backbone: str
    """Whose features it sees."""
    strength: float
    """Of `STRENGTHS`, as validation chose it."""
    probabilities: dict[str, npt.NDArray[np.float64]]
    """By part, (images, classes), in the order of the split."""


def smallest(names: Sequence[str], *, size: int, channels: int) -> str | None:
    """Of backbones that take images of this size, the one with the fewest multiply-adds."""
    fitting = [name for name in names if TABLE[name].nearest_size(size) == size]
    costs = {
        name: describe(_recipe(name, "imagenet"), classes=2, size=size, channels=channels)
        for name in fitting
    }
    return min(costs, key=lambda name: costs[name].prefix_madds, default=None)


def probe(
    data: Data,
    backbone: str,
    *,
    asked: Sequence[str],
    device: torch.device | str,
    weights: Literal["imagenet", "none"] = "imagenet",
) -> Probe:
    """Fits on train, chooses the penalty on val, and answers for the parts that are asked.

    Args:
        data: with pixels as this backbone's weights expect them.
        backbone: a name in the table.
        asked: parts to answer for.
        device: where the backbone runs.
        weights: `none` for first weights drawn at random, which a test may want.

    Raises:
        WeightsError: the weights are not on this machine.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    parts = {name: data.splits[name] for name in dict.fromkeys(("train", "val", *asked))}
    _, size, _, channels = data.pixels[parts["train"][:1]].shape
    net = assemble(
        _recipe(backbone, weights), classes=len(data.classes), size=size, channels=channels, seed=0
    )
    net = net.to(device).eval()

    def features(rows: Rows) -> npt.NDArray[np.float64]:
        step = int(np.clip(2**22 // size**2, 32, 256))
        with torch.inference_mode():
            seen = [
                net.prefix(to_images(data.pixels[part], torch.device(device))).cpu().double()
                for part in batches(rows, step)
            ]
        return torch.cat(seen).numpy()

    values = {name: features(rows) for name, rows in parts.items()}
    mean, spread = values["train"].mean(axis=0), values["train"].std(axis=0)
    values = {name: (v - mean) / np.maximum(spread, 1e-6) for name, v in values.items()}
    labels = {name: data.labels[parts[name]] for name in ("train", "val")}
    best = None
    for strength in STRENGTHS:
        model = LogisticRegression(C=100 * strength / len(labels["train"]), max_iter=_MOST_STEPS)
        model.fit(values["train"], labels["train"])
        loss = log_loss(labels["val"], model.predict_proba(values["val"]), labels=model.classes_)
        if best is None or loss < best[0]:
            best = loss, strength, model
    assert best is not None
    _, strength, model = best
    found = {}
    for name in asked:
        probabilities = np.zeros((len(parts[name]), len(data.classes)))
        probabilities[:, model.classes_] = model.predict_proba(values[name])
        found[name] = probabilities
    return Probe(backbone=backbone, strength=strength, probabilities=found)


def _recipe(backbone: str, weights: Literal["imagenet", "none"]) -> Recipe:
    """All of the backbone frozen: the pool then belongs to the prefix, too."""
    return Recipe(
        model=Pretrained(backbone, unfreeze_depth=0, weights=weights), head=Head(), lr=1e-3
    )
