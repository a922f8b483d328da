"""What does a backbone already know of these images? A linear model on its pooled features.

No network is trained: each image goes through the frozen backbone once, and logistic regression
with an L2 penalty is fitted on what comes out. What a search finds has to beat this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from xfer.data.folds import Fold
from xfer.features import Features
from xfer.inputs import Inputs
from xfer.models.assembly import assemble
from xfer.models.described import describe
from xfer.models.table import TABLE
from xfer.recipe import Head, Pretrained, Recipe
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
    out_of_fold: npt.NDArray[np.float64] | None
    """Likewise of every fold's `val`, one fold after another; None without folds."""


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
    folds: Sequence[Fold] = (),
    weights: Literal["imagenet", "none"] = "imagenet",
    features: Features | None = None,
) -> Probe:
    """Fits on train, chooses the penalty on val, and answers for the parts that are asked.

    Args:
        data: with pixels as this backbone's weights expect them.
        backbone: a name in the table.
        asked: parts to answer for.
        device: where the backbone runs.
        folds: fitted on each one's train, the penalty chosen on its `stop`, to answer for its
            `val`.
        weights: `none` for first weights drawn at random, which a test may want.
        features: exact ones of these images, kept on disk; None: they are computed.

    Raises:
        WeightsError: the weights are not on this machine.
    """
    parts = {name: data.splits[name] for name in dict.fromkeys(("train", "val", *asked))}
    _, size, _, channels = data.pixels[parts["train"][:1]].shape
    recipe = _recipe(backbone, weights)
    net = assemble(recipe, classes=len(data.classes), size=size, channels=channels, seed=0)
    wanted = [*parts.values(), *(part for fold in folds for part in fold.parts)]
    rows: Rows = np.unique(np.concatenate(wanted))
    inputs = Inputs(
        net.to(device).eval(),
        recipe,
        data.pixels,
        train=rows[:0],
        val=rows,
        device=torch.device(device),
        seed=0,
        features=features,
        exact=True,
    )
    with torch.inference_mode():
        # Rounded features that hardly differ would differ by their rounding, once standardised.
        seen = [inputs.unchanged(part).cpu().double() for part in batches(rows, 256)]
    given = torch.cat(seen).numpy()

    def fitted(train: Rows, val: Rows) -> _Fitted:
        return _fit(
            given[np.searchsorted(rows, train)],
            data.labels[train],
            given[np.searchsorted(rows, val)],
            data.labels[val],
            classes=len(data.classes),
        )

    whole = fitted(parts["train"], parts["val"])
    return Probe(
        backbone=backbone,
        strength=whole.strength,
        probabilities={
            name: whole.answer(given[np.searchsorted(rows, parts[name])]) for name in asked
        },
        out_of_fold=np.concatenate(
            [
                fitted(fold.train, fold.stop).answer(given[np.searchsorted(rows, fold.val)])
                for fold in folds
            ]
        )
        if folds
        else None,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fitted:
    """Logistic regression on standardised features."""

    model: Any
    strength: float
    mean: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    classes: int

    def answer(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities (images, classes); 0 of a class that was not there to be learned."""
        probabilities = np.zeros((len(features), self.classes))
        given = (features - self.mean) / self.spread
        probabilities[:, self.model.classes_] = self.model.predict_proba(given)
        return probabilities


def _fit(
    train: npt.NDArray[np.float64],
    train_labels: npt.NDArray[np.int64],
    val: npt.NDArray[np.float64],
    val_labels: npt.NDArray[np.int64],
    *,
    classes: int,
) -> _Fitted:
    """With the penalty of the least loss on val; of equal ones the stronger."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    mean, spread = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-6)
    best = None
    for strength in STRENGTHS:
        model = LogisticRegression(C=100 * strength / len(train), max_iter=_MOST_STEPS)
        model.fit((train - mean) / spread, train_labels)
        found = model.predict_proba((val - mean) / spread)
        loss = log_loss(val_labels, found, labels=model.classes_)
        if best is None or loss < best[0]:
            best = loss, strength, model
    assert best is not None
    return _Fitted(model=best[2], strength=best[1], mean=mean, spread=spread, classes=classes)


def _recipe(backbone: str, weights: Literal["imagenet", "none"]) -> Recipe:
    """All of the backbone frozen: the pool then belongs to the prefix, too."""
    return Recipe(
        model=Pretrained(backbone, unfreeze_depth=0, weights=weights), head=Head(), lr=1e-3
    )
