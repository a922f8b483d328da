"""What would these metrics have been with other patients? The bootstrap, patients resampled.

A draw takes as many patients as there are, with replacement, and all images of each. Patients are
not drawn class by class: few patients of a class then tell by wider intervals. A draw in which a
metric would be divided by zero, as recall without a positive image, says nothing of it and is left
out for that metric.

Of one set of answers the draws give a metric's variance, and Wilson's interval is put around it:
percentiles are too short near 1, where draws seldom contain the errors that the answers could have
had. Of a difference they give its percentiles.

Source: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate.answers import BoolArray, FloatArray, IntArray
from xfer.evaluate.intervals import Proportion, proportion_by_patient, score_interval

DRAWS = 2000
"""The ends of a 95 % interval each have 50 draws beyond them."""

_CHUNK = 1 << 17  # weights of images at once, 1 MB: twice as fast as 2 MB and more, 5,000 images


@dataclass(frozen=True, kw_only=True, eq=False)
class Resampled:
    """Metrics of some answers, and what they would have been with other patients."""

    values: Mapping[str, float]
    """By name, of all images: as `xfer.evaluate.metrics` says."""
    draws: Mapping[str, FloatArray]
    """By name, (draws,): the metric of each draw; NaN where the draw says nothing of it."""
    shares: Mapping[str, tuple[BoolArray, IntArray]]
    """Of metrics that are shares of images: (images,) successes, and whose each image is."""
    rarest: Mapping[str, int]
    """By name, patients of the class that has fewest, of those the metric compares."""
    labels: IntArray
    """(images,): the classes."""
    patients: IntArray
    """(images,): whose they are, numbered from 0."""
    seed: int
    """Of the draws."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better are one set of answers than another, to the same images?"""

    value: float
    """The first's metric minus the second's; NaN where either is."""
    low: float
    """2.5 % of the draws are below; the widest that can be where no draw says anything."""
    high: float
    """2.5 % are above; likewise."""
    better: float
    """Share of draws in which the first is better; equal ones count half. NaN where no draw says
    anything."""


def intervals(resampled: Resampled) -> dict[str, tuple[float, float]]:
    """95 % intervals by name of metric.

    * Shares of images (recall, precision, specificity, accuracy): Wilson's interval on the
      effective number, as `proportion_by_patient` says.
    * All others, v in [0, 1]: Wilson's interval on the number of images of which a share v would
      have the variance of the draws, v (1 - v) / variance; but on no more than accuracy's effective
      number, and where no draw differs, as for answers without a fault, on no more than the rarer
      class has patients. (For AUROC no less can be meant: its variance is at most
      v (1 - v) / min(positives, negatives); Z. W. Birnbaum and O. M. Klose, Annals of Mathematical
      Statistics 28, 1957.) MCC is first mapped from [-1, 1] to [0, 1].
    * The whole range, where there is one patient only, or no draw says anything of the metric.
    * (NaN, NaN) where the metric itself is NaN.

    Measured, coverage of AUROC and of balanced accuracy (300 samples of normal scores, prevalence
    1/2): 100 images, AUROC .983, .977 and .967, where percentiles cover .867 and .903; 400 images,
    AUROC .998, .997 and .970, percentiles .877 and .950. Prevalence 1/8, 400 images, AUROC .998:
    .990 and .927, percentiles .803 and .787.
    """
    found = {}
    for name, value in resampled.values.items():
        if name in resampled.shares:
            share = share_of(resampled, name)
            found[name] = (share.low, share.high)
        elif np.isnan(value):
            found[name] = (float("nan"), float("nan"))
        else:
            found[name] = _around(resampled, name)
    return found


def share_of(resampled: Resampled, name: str) -> Proportion:
    """A metric that is a share of images, with its images, patients and effective number.

    Raises:
        KeyError: the metric is no share.
    """
    return proportion_by_patient(*resampled.shares[name])


def paired_differences(first: Resampled, second: Resampled) -> dict[str, Difference]:
    """By name, how much better the first answers are; each draw compares both on its patients.

    Low and high are percentiles of the draws. What both have in common, such as hard patients, is
    not in the difference. Where no draw differs from another, as between answers that are the same
    or both without a fault, low equals high.

    Raises:
        DataError: answers to other images, other labels or patients, or other draws or metrics.
    """
    differ = [
        what
        for what, same in (
            ("labels", np.array_equal(first.labels, second.labels)),
            ("patients", np.array_equal(first.patients, second.patients)),
            ("metrics", list(first.values) == list(second.values)),
            ("seed", first.seed == second.seed),
            ("draws", _count(first) == _count(second)),
        )
        if not same
    ]
    if differ:
        raise DataError(
            f"only answers to the same images, in the same order and resampled alike, can be "
            f"compared: their {', '.join(differ)} differ."
        )
    found = {}
    for name, value in first.values.items():
        gap = first.draws[name] - second.draws[name]
        said = gap[~np.isnan(gap)]
        lowest, highest = _range(name)
        low, high = lowest - highest, highest - lowest
        if len(said) and first.patients.max() > 0:
            low, high = (float(end) for end in np.quantile(said, [0.025, 0.975]))
        better = float(((said > 0) + 0.5 * (said == 0)).mean()) if len(said) else float("nan")
        difference = value - second.values[name]
        if np.isnan(difference):
            low = high = better = float("nan")
        found[name] = Difference(value=difference, low=low, high=high, better=better)
    return found


def number_patients(patients: Sequence[str] | npt.ArrayLike, images: int) -> IntArray:
    """(images,): 0 for the first patient in the order of their names, and so on.

    Raises:
        DataError: not one patient per image.
    """
    whose = np.asarray(patients)
    if whose.shape != (images,):
        raise DataError(f"patients must name whose each of {images} images is, got {whose.shape}.")
    return np.unique(whose, return_inverse=True)[1]


def draw_patients(patients: IntArray, *, draws: int, seed: int) -> Iterator[IntArray]:
    """(some draws, patients): how often each is taken; together `draws` of them.

    The same for the same patients, draws and seed, whatever is computed of them.

    Args:
        patients: (images,), numbers from 0 on, as `number_patients` gives them.
        draws: at least 1.
        seed: any whole number from 0 on.

    Raises:
        DataError: fewer than 1 draw.
    """
    if draws < 1:
        raise DataError(f"draws must be at least 1, got {draws}.")
    count = int(patients.max()) + 1
    at_once = max(1, _CHUNK // len(patients))
    generator = np.random.default_rng(seed)
    for begin in range(0, draws, at_once):
        rows = min(at_once, draws - begin)
        taken = generator.integers(0, count, (rows, count))
        taken += np.arange(rows)[:, None] * count
        yield np.bincount(taken.ravel(), minlength=rows * count).reshape(rows, count)


def _around(resampled: Resampled, name: str) -> tuple[float, float]:
    """Wilson's interval of a metric that is no share; a function of the draws' variance."""
    lowest, highest = _range(name)
    draws = resampled.draws[name]
    said = draws[~np.isnan(draws)]
    if len(said) == 0 or resampled.patients.max() == 0:
        return lowest, highest
    width = highest - lowest
    share = (resampled.values[name] - lowest) / width
    _, slash, of_class = name.partition("/")
    most = share_of(resampled, f"accuracy{slash}{of_class}").effective
    if said.min() == said.max():
        number = min(most, resampled.rarest[name])
    else:
        number = min(most, share * (1 - share) * width**2 / float(said.var()))
    low, high = score_interval(np.asarray(share), np.asarray(float(number)), 0.95)
    return lowest + width * float(low), lowest + width * float(high)


def _count(resampled: Resampled) -> int:
    return len(next(iter(resampled.draws.values())))


def _range(name: str) -> tuple[float, float]:
    return (-1.0, 1.0) if name == "mcc" or name.startswith("mcc/") else (0.0, 1.0)
