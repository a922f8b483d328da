"""What do several trainings of one configuration say together, and how far do they differ?

Two or three trainings are alike by chance, now and then. Where other configurations were trained
several times, too, a spread is not believed to be smaller than their mean (`common_spread`); and
where it is not shown to be larger, it is known as well as theirs together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from scipy.special import fdtri

from xfer.errors import DataError
from xfer.evaluate.answers import FloatArray
from xfer.evaluate.bootstrap import Resampled

METRICS = (
    "accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1", "mcc", "auroc",
)  # fmt: skip
"""Those that can be compared. More is better for each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeated:
    """One metric of one configuration."""

    name: str
    """Of the metric."""
    trainings: tuple[Resampled, ...]
    """At least one; answers to the same images, resampled alike."""

    @property
    def values(self) -> FloatArray:
        """(trainings,)."""
        return np.array([each.values[self.name] for each in self.trainings])

    @property
    def value(self) -> float:
        """The mean over trainings; NaN where one is."""
        return float(self.values.mean())

    @property
    def draws(self) -> FloatArray:
        """(trainings, draws); NaN where a draw says nothing."""
        return np.stack([each.draws[self.name] for each in self.trainings])

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that the metric can be."""
        return (-1.0, 1.0) if self.name == "mcc" else (0.0, 1.0)


def repeated(trainings: Sequence[Resampled], name: str) -> Repeated:
    """A metric of a configuration.

    Args:
        trainings: answers of each to the same images in the same order, resampled alike.
        name: of `METRICS`.

    Raises:
        DataError: no training, another metric, other images, or other draws.
    """
    if name not in METRICS:
        raise DataError(f"a metric must be among {', '.join(METRICS)}, got {name!r}.")
    if not trainings:
        raise DataError("a configuration needs a training.")
    for other in trainings[1:]:
        check_alike(trainings[0], other)
    return Repeated(name=name, trainings=tuple(trainings))


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far trainings of one configuration differ, the mean of several configurations."""

    beyond: float = 0.0
    """Variance of a training's metric beyond what patients do to it."""
    whole: float = 0.0
    """The same with that."""
    freedom: int = 0
    """Degrees of freedom: trainings - 1, summed; 0: nothing is known."""


UNKNOWN = Spread()
"""Nothing was trained twice."""


def common_spread(configurations: Iterable[Repeated]) -> Spread:
    """The spread of trainings of configurations, those with more trainings weighing more."""
    whole = of_patients = 0.0
    freedom = 0
    for each in configurations:
        count = len(each.trainings)
        if count > 1 and not isnan(each.value):
            own = _spread(each)
            whole += (count - 1) * count * own[0]
            of_patients += (count - 1) * count * own[1]
            freedom += count - 1
    if freedom == 0:
        return UNKNOWN
    beyond = max(0.0, whole - of_patients)
    return Spread(beyond=beyond / freedom, whole=whole / freedom, freedom=freedom)


def beyond_patients(measured: Repeated, common: Spread) -> tuple[float, float, int]:
    """What trainings add to the variance of their mean.

    Args:
        measured: of several trainings.
        common: of this and other configurations.

    Returns:
        their variance / trainings; of it what patients do not do; degrees of freedom of the first.
    """
    own, of_patients = _spread(measured)
    count = len(measured.trainings)
    freedom = count - 1
    if common.freedom > freedom:
        shown = common.whole * float(fdtri(freedom, common.freedom, 0.95))
        freedom = freedom if own * count > shown else common.freedom
    return own, max(own - of_patients, common.beyond / count), freedom


def _spread(measured: Repeated) -> tuple[float, float]:
    """Variance that several trainings give their mean: in all, and what patients do of it."""
    values, draws = measured.values, measured.draws
    count = len(values)
    said = draws[:, ~np.isnan(draws).any(axis=0)]
    spread = float(values.var(ddof=1)) / count
    if said.shape[1] == 0:
        return spread, 0.0
    from_all = said - said.mean(axis=0)  # (trainings, draws)
    return spread, float(from_all.var(axis=1).sum()) / (count - 1) / count


def check_alike(one: Resampled, other: Resampled) -> None:
    """Raises DataError for answers to other images, or other draws."""
    alike = (
        np.array_equal(one.labels, other.labels)
        and np.array_equal(one.patients, other.patients)
        and one.seed == other.seed
        and len(one.draws["accuracy"]) == len(other.draws["accuracy"])
    )
    if not alike:
        raise DataError(
            "only answers to the same images, in the same order and resampled alike, can be paired."
        )
