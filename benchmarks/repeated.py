"""Of configurations that are equally good, how often is one told apart from the first?

python -m benchmarks.repeated [FAMILIES]

Ten are compared with an eleventh, by accuracy; a family errs when any of the ten is called better
or worse. An image is as hard for all models as its own number says, and for each by chance beside;
each training is better or worse than its configuration by `spread`. Side by side: what
`search.compare` does (`xfer.evaluate.repeated`); percentiles of draws of patients, which know
nothing of trainings; and percentiles of draws of patients and of trainings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from xfer.evaluate.answers import FloatArray
from xfer.evaluate.bootstrap import Resampled, draw_patients
from xfer.evaluate.repeated import difference
from xfer.evaluate.trainings import common_spread, repeated

OTHERS = 10
"""Configurations beside the first."""
DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class World:
    """What configurations and images are like."""

    images: int = 300
    accuracy: float = 0.9
    """Of a configuration: the mean over its trainings, nearly."""
    alike: float = 0.5
    """Share of an answer's chance that all models have in common, in [0, 1]."""
    spread: float = 0.0
    """Standard deviation of the accuracy of trainings, about."""
    trainings: int = 3
    per_patient: int = 1
    """Images of each patient, equally hard for all models."""

    @property
    def patients(self) -> np.ndarray:
        """(images,): whose each is."""
        return np.arange(self.images) // self.per_patient


def right(world: World, models: int, generator: np.random.Generator) -> np.ndarray:
    """bool (models, images): trainings that are right."""
    middle = float(ndtri(world.accuracy))
    slope = np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi)
    by_training = generator.normal(0, world.spread / slope, (models, 1))
    hard = generator.normal(0, 1, world.patients.max() + 1)[world.patients]
    own = generator.normal(0, 1, (models, world.images))
    shared = np.sqrt(world.alike) * hard + np.sqrt(1 - world.alike) * own
    # Trainings that differ would be less right in the mean; this much is given back.
    middle *= np.sqrt(1 + (world.spread / slope) ** 2)
    return shared < middle + by_training


def resampled(correct: np.ndarray, taken: FloatArray, patients: np.ndarray) -> list[Resampled]:
    """Accuracies of models, of answers bool (models, images), patients drawn (draws, patients)."""
    weights = taken[:, patients]  # (draws, images)
    draws = (weights @ correct.T / weights.sum(axis=1, keepdims=True)).T
    return [
        Resampled(
            values={"accuracy": float(mine.mean())},
            draws={"accuracy": draw},
            shares={"accuracy": (mine, patients)},
            rarest={"accuracy": int(patients.max()) + 1},
            labels=np.zeros(len(mine), np.int64),
            patients=patients,
            seed=0,
        )
        for mine, draw in zip(correct, draws, strict=True)
    ]


def families(world: World, count: int, seed: int = 0) -> Iterator[tuple[bool, bool, bool]]:
    """Of each family whether the three ways err."""
    generator = np.random.default_rng(seed)
    patients, runs = world.patients, world.trainings
    taken = np.concatenate(list(draw_patients(patients, draws=DRAWS, seed=0))).astype(np.float64)
    confidence = 1 - 0.05 / OTHERS
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    for _ in range(count):
        found = resampled(right(world, (OTHERS + 1) * runs, generator), taken, patients)
        rows = [found[i : i + runs] for i in range(0, len(found), runs)]
        first, *others = [repeated(row, "accuracy") for row in rows]
        spread = common_spread([first, *others])
        ours = [
            difference(row, first, paired=True, confidence=confidence, spread=spread)
            for row in others
        ]
        draws = np.array([row.draws for row in (first, *others)])  # (rows, runs, draws)
        chosen = generator.integers(0, runs, draws.shape)
        both = np.take_along_axis(draws, chosen, axis=1).mean(axis=1)
        alone = draws.mean(axis=1)
        bare = [_apart(way[1:] - way[0], ends) for way in (alone, both)]
        yield any(each.low > 0 or each.high < 0 for each in ours), bare[0], bare[1]


def _apart(gaps: FloatArray, ends: list[float]) -> bool:
    low, high = np.quantile(gaps, ends, axis=1)
    return bool(((low > 0) | (high < 0)).any())


def main(count: int) -> None:
    """Prints a table: a row per world, the share of families that err."""
    print("| images | accuracy | alike | spread | trainings | ours | patients | both |")
    print("| --- " * 8 + "|")
    worlds = [
        World(trainings=n, spread=s, accuracy=a, per_patient=m)
        for a, m in ((0.9, 1), (0.97, 1), (0.9, 3))
        for s in (0.0, 0.02)
        for n in (1, 2, 3, 5)
        if s == 0 or n > 1
    ]
    for world in worlds:
        rates = np.mean(list(families(world, count)), axis=0)
        print(
            f"| {world.images} of {world.images // world.per_patient} | {world.accuracy} | "
            f"{world.alike} | {world.spread} | {world.trainings} | "
            + " | ".join(f"{rate:.3f}" for rate in rates)
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
