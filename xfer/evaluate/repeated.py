"""How good is a configuration that was trained several times, and is it better than another?

Trainings of one configuration differ by their seed only, and answer the same test images. Its
metric is the mean over them. Other patients would change it, and so would other seeds:

    variance = what patients do to the mean + (spread of trainings - their part of it) / trainings

Patients are resampled, the same draws for all (`xfer.evaluate.bootstrap`), which holds what they do
to this mean of these models. The spread is the variance of the trainings' metrics. A part of it is
that models err on other patients, which the draws hold already, and give by themselves: what a
draw does to a training beyond what it does to all. Trainings are few, so Student's quantiles are
taken, at the degrees of freedom of Satterthwaite. Resampling two to five trainings, too, would lose
a half to a fifth of their spread. Measured by `python -m benchmarks.repeated 250`: of 250 families
of ten comparisons between equals, in 21 worlds, at most .044 have one that is told apart; .208
where trainings are resampled, too, and .884 where they are taken as they are.

Of one training nothing is known of the spread, and the interval is of this one model.

Sources: S. L. Hillis, Statistics in Medicine 26, 2007, and 33, 2014, for readers nested within
tests, who are here trainings: variances, and degrees of freedom; F. E. Satterthwaite, Biometrics
Bulletin 2, 1946; D. G. Bonett and R. M. Price, Journal of Educational and Behavioral Statistics 37,
2012, for the two added patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan, sqrt

import numpy as np
from scipy.special import ndtri, stdtrit

from xfer.errors import DataError
from xfer.evaluate.independent import Apart, apart
from xfer.evaluate.intervals import proportion_by_patient, score_interval
from xfer.evaluate.trainings import UNKNOWN, Repeated, Spread, beyond_patients, check_alike

_ADDED = 2
"""Patients on whom one is right and the other wrong, one each way, added to a paired difference.
Without them answers that differ on five of 300 images, all one way, are told apart (exact test:
.06), and at the confidence of ten differences at once those that differ on eight (.008)."""


def interval(
    measured: Repeated, *, confidence: float = 0.95, spread: Spread = UNKNOWN
) -> tuple[float, float]:
    """Low and high of the metric of new trainings on new patients; of one training, of this model.

    Wilson's interval on the number of images of which such a share would have the variance. Of one
    training it is what `xfer.evaluate.bootstrap.intervals` gives. (NaN, NaN) where the metric is.

    Measured, coverage (1,000 samples, 300 images of 300 or 100 patients, accuracy .88, no other
    configuration): .94 to .98 for three and five trainings that spread by 0 to .03, and for two
    that spread by up to .01; .925 for two that spread by .03.

    Args:
        measured: the metric.
        confidence: of the interval.
        spread: of this and other configurations, as `common_spread` gives it.
    """
    value = measured.value
    lowest, highest = measured.bounds
    if isnan(value):
        return nan, nan
    first, count = measured.trainings[0], len(measured.trainings)
    if first.patients.max() == 0:
        return lowest, highest
    width = highest - lowest
    share = (value - lowest) / width
    number = _number(measured, share, confidence)
    if number is None:
        return lowest, highest
    if count > 1 and 0 < share < 1:
        of_patients = share * (1 - share) / number
        own, beyond, known = beyond_patients(measured, spread)
        variance = of_patients + beyond / width**2
        freedom = _freedom(variance, [(own / width**2, known)])
        quantile = (1 + confidence) / 2
        wider = float(stdtrit(freedom, quantile) / ndtri(quantile))
        number = share * (1 - share) / (variance * wider**2)
    low, high = score_interval(np.asarray(share), np.asarray(float(number)), confidence)
    return lowest + width * float(low), lowest + width * float(high)


def difference(
    first: Repeated,
    second: Repeated,
    *,
    paired: bool,
    confidence: float = 0.95,
    spread: Spread = UNKNOWN,
) -> Apart:
    """The first's metric less the second's, of new trainings on new patients.

    Args:
        first: of either.
        second: the same metric.
        paired: both answered the same images in the same order, and were resampled alike, so what
            is hard for both is not in the difference. Otherwise the images are others, and the two
            intervals are put together (`xfer.evaluate.independent`).
        confidence: of the interval. For k differences that shall all hold together at .95, as
            Bonferroni says, 1 - .05 / k.
        spread: as `interval` says.

    Returns:
        NaN where either metric is; the widest that can be where no draw says anything.

    Raises:
        DataError: other metrics; or paired, and other images or draws.
    """
    if first.name != second.name:
        raise DataError(f"{first.name} and {second.name} are no pair of one metric.")
    value = first.value - second.value
    if isnan(value):
        return Apart(value=nan, low=nan, high=nan)
    if not paired:
        one, two = (
            (each.value, *interval(each, confidence=confidence, spread=spread))
            for each in (first, second)
        )
        return apart(one, two)
    check_alike(first.trainings[0], second.trainings[0])
    half = _half(first, second, confidence, spread)
    widest = first.bounds[1] - first.bounds[0]
    return Apart(value=value, low=max(value - half, -widest), high=min(value + half, widest))


def _half(first: Repeated, second: Repeated, confidence: float, spread: Spread) -> float:
    """Half of a paired difference's interval; infinite where nothing is known."""
    one, two = first.draws, second.draws
    said = ~(np.isnan(one).any(axis=0) | np.isnan(two).any(axis=0))
    patients = min(_patients(each) for each in (first, second))
    if not said.any() or patients < 2:
        return float("inf")
    gaps = one[:, said].mean(axis=0) - two[:, said].mean(axis=0)
    of_patients = float(gaps.var()) * patients / (patients - 1)
    parts = [(of_patients, patients - 1)]
    variance = of_patients + _ADDED * max(_one_patient(first), _one_patient(second))
    for each in (first, second):
        if len(each.trainings) > 1:
            own, beyond, known = beyond_patients(each, spread)
            variance += beyond
            parts.append((own, known))
    freedom = _freedom(variance, parts)
    return float(stdtrit(freedom, (1 + confidence) / 2)) * sqrt(variance)


def _freedom(variance: float, parts: Sequence[tuple[float, int]]) -> float:
    """Degrees of freedom of a sum of variances, each with its own; at least the fewest of them."""
    uncertain = sum(part * part / freedom for part, freedom in parts)
    fewest = min(freedom for _, freedom in parts)
    return float("inf") if uncertain == 0 else max(fewest, variance * variance / uncertain)


def _number(measured: Repeated, share: float, confidence: float) -> float | None:
    """How many images would tell as much of these models as the patients do; None: unknown."""
    if measured.name in measured.trainings[0].shares:
        return _together(measured, measured.name, confidence)
    draws = measured.draws
    said = draws[:, ~np.isnan(draws).any(axis=0)].mean(axis=0)
    if said.size == 0:
        return None
    most = _together(measured, "accuracy", confidence)
    if said.min() == said.max():
        return min(most, measured.trainings[0].rarest[measured.name])
    width = measured.bounds[1] - measured.bounds[0]
    return min(most, share * (1 - share) * width**2 / float(said.var()))


def _together(measured: Repeated, name: str, confidence: float) -> float:
    """The effective number of all trainings' answers: a patient's belong together."""
    successes, patients = zip(*(each.shares[name] for each in measured.trainings), strict=True)
    return proportion_by_patient(
        np.concatenate(successes), np.concatenate(patients), confidence=confidence
    ).effective


def _patients(measured: Repeated) -> int:
    """How many the metric is of: of the rarest class, where it compares classes."""
    name = measured.name
    return min(
        len(np.unique(each.shares[name][1])) if name in each.shares else each.rarest[name]
        for each in measured.trainings
    )


def _one_patient(measured: Repeated) -> float:
    """The square of what it changes that one more patient is answered right.

    Of balanced accuracy that is summed over a patient of each class; of MCC, which is about
    2 x balanced accuracy - 1, likewise. Of AUROC, which few answers change from one end to the
    other, it is what a patient changes in the mean: variance / patients.
    """
    first, name = measured.trainings[0], measured.name
    if name == "auroc":
        draws = measured.draws
        return float(np.nanvar(draws, axis=1).mean()) / max(1, _patients(measured))
    if name in ("balanced_accuracy", "mcc"):
        present = np.unique(first.labels)
        each = [len(np.unique(first.patients[first.labels == c])) for c in present]
        squares = sum(1 / count**2 for count in each) / len(each) ** 2
        return squares * len(each) ** 2 if name == "mcc" else squares
    if name == "f1":
        return 1 / max(1, len(np.unique(first.patients[first.labels == 1]))) ** 2
    return 1 / max(1, _patients(measured)) ** 2
