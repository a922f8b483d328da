"""Which trials does `benchmarks.against_stock` replay, and how is each side told of them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

NEGATIVE, POSITIVE = "NORMAL", "PNEUMONIA"
LOWEST_LR, HIGHEST_LR = 1e-5, 1e-1
"""Of the space; every trial lies in it."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """All that decides one trial, on either side, but for the seed."""

    backbone: str
    """By torchvision's name."""
    unfreeze_depth: int
    """Stages trained besides the head, 0 to 4."""
    lr: float
    """Of Adam, for all that is trained."""
    batch_size: int
    """Images per step."""
    epochs: int
    """Passes over the training part."""
    image_size: int
    """Side of the images, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What trials are drawn from, each by itself."""

    backbones: tuple[str, ...]
    """Evenly."""
    depths: tuple[int, ...]
    """Evenly; ascending."""
    lrs: tuple[float, float]
    """Lowest and highest, evenly in the logarithm."""
    batch_sizes: tuple[int, ...] = (16, 32)
    """Evenly."""
    epochs: int
    """Of every trial."""
    image_size: int
    """Likewise, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A list of trials, and what they are trained on."""

    name: str
    """As on the command line."""
    drawn: Drawn
    """What the trials are drawn from."""
    trials: tuple[Trial, ...]
    """In the order they are begun."""
    images: Literal["phantoms", "chest_xray", "pneumoniamnist"]
    """Where they come from: drawn, or real ones below XFER_DATA."""
    train: int
    """Images per class that are trained on."""
    val: int
    """Likewise, that score an epoch."""
    test: int
    """Likewise, that the best model is tested on in the end."""
    held_back: int = 0
    """Likewise, that neither side is given: models are judged on them afterwards."""
    random: tuple[str, ...] = ()
    """Backbones whose weights are random ones."""
    targets: tuple[float, ...] = ()
    """AUROCs on `held_back` that a search has to reach; it stops poor trials. None of them: all
    trials are trained to the end."""


def draw_trials(drawn: Drawn, count: int, *, seed: int) -> tuple[Trial, ...]:
    """A list of trials; a longer one begins with a shorter one of the same seed."""
    rng = np.random.default_rng(seed)
    low, high = np.log10(drawn.lrs)
    return tuple(
        Trial(
            backbone=drawn.backbones[rng.integers(len(drawn.backbones))],
            unfreeze_depth=drawn.depths[rng.integers(len(drawn.depths))],
            lr=float(f"{10 ** rng.uniform(low, high):.4g}"),
            batch_size=drawn.batch_sizes[rng.integers(len(drawn.batch_sizes))],
            epochs=drawn.epochs,
            image_size=drawn.image_size,
        )
        for _ in range(count)
    )


def workload(name: str, *, small: bool = False, seed: int = 0) -> Workload:
    """`head`, `real` or `mixed`.

    Args:
        name: of the workload.
        small: fewer trials, and where it takes hours fewer epochs and images.
        seed: of the list of trials.

    Raises:
        ValueError: another name.
    """
    if name == "head":
        drawn = Drawn(
            backbones=("resnet50",),
            depths=(0,),
            lrs=(1e-3, 1e-2),
            epochs=5,
            image_size=224,
        )
        return Workload(
            name=name,
            drawn=drawn,
            trials=draw_trials(drawn, 4 if small else 16, seed=seed),
            images="phantoms",
            train=64 if small else 128,
            val=32,
            test=32,
            random=("resnet50",),
        )
    if name == "real":
        drawn = Drawn(
            backbones=("squeezenet1_1",), depths=(0,), lrs=(3e-4, 1e-2), epochs=5, image_size=64
        )
        return Workload(
            name=name,
            drawn=drawn,
            trials=draw_trials(drawn, 4 if small else 16, seed=seed),
            images="chest_xray",
            train=200,
            val=50,
            test=50,
        )
    if name == "mixed":
        drawn = Drawn(
            backbones=("squeezenet1_1", "mobilenet_v2", "resnet18"),
            depths=(0, 1, 2, 3, 4),
            lrs=(1e-4, 1e-2),
            epochs=3 if small else 6,
            image_size=64,
        )
        return Workload(
            name=name,
            drawn=drawn,
            trials=draw_trials(drawn, 6 if small else 24, seed=seed),
            images="pneumoniamnist",
            train=100 if small else 250,
            val=50,
            test=30,
            held_back=500 if small else 1000,
            random=("resnet18",),
            targets=(0.9, 0.95) if small else (0.95, 0.96, 0.97, 0.98),
        )
    raise ValueError(f"the workload must be head, real or mixed, got {name!r}.")


def trials_json(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """For `benchmarks.stock`."""
    return [asdict(trial) for trial in trials]


def known_name(number: int) -> str:
    """What our search calls the trial at this place of the list."""
    return f"trial {number:03d}"


def space_text(work: Workload, trials: Sequence[Trial], data: Path) -> str:
    """A space file of so many trials, all of them known configurations.

    Args:
        work: what the space is like, whichever of its trials are run.
        trials: that are run.
        data: holds `train`, `val` and `test`.
    """
    known = {
        known_name(number): {
            "model": trial.backbone,
            "unfreeze_depth": trial.unfreeze_depth,
            "lr": trial.lr,
            "batch_size": trial.batch_size,
        }
        for number, trial in enumerate(trials)
    }
    drawn = work.drawn
    lowest, highest = drawn.depths[0], drawn.depths[-1]
    entries = "".join(f"    {name!r}: {entry!r},\n" for name, entry in known.items())
    # A budget of one epoch has no rung at which trials are judged; recipes name their own epochs.
    budget = drawn.epochs if work.targets else 1
    return f'''"""A list of trials that `benchmarks.against_stock` replays."""

from search.space import Budget, Trial
from xfer.recipe import Images, Objective, Pretrained, Recipe

DATA = Images({str(data)!r}, positive={POSITIVE!r}, size={drawn.image_size})
OBJECTIVE = Objective("auroc")
BUDGET = Budget(trials={len(trials)}, epochs={budget})
KNOWN = {{
{entries}}}


def space(trial: Trial) -> Recipe:
    return Recipe(
        model=Pretrained(
            trial.suggest_categorical("model", {list(drawn.backbones)!r}),
            unfreeze_depth=trial.suggest_int("unfreeze_depth", {lowest}, {highest}),
        ),
        lr=trial.suggest_float("lr", {LOWEST_LR!r}, {HIGHEST_LR!r}, log=True),
        batch_size=trial.suggest_categorical("batch_size", {list(drawn.batch_sizes)!r}),
        epochs={drawn.epochs},
    )
'''
