"""What would a trial's score be on other patients, and what if its answers knew nothing?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate.answers import FloatArray, IntArray, check_classes
from xfer.evaluate.confusion import Confusion
from xfer.evaluate.cuts import make_cuts
from xfer.evaluate.objectives import Subgroups, best_threshold
from xfer.evaluate.weighted import (
    RANKED,
    REACHED,
    at_counts,
    by_cut,
    lowest_probability,
    over_classes,
    strata,
    without_threshold,
)
from xfer.recipe import Objective

Patients = Sequence[object] | npt.NDArray[np.generic] | None
"""A name for each image, of the patient it is of; None: each image is a patient."""

_AT_ONCE = 2_000_000
"""Numbers held at once, 16 MB: draws times images times subgroups."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One trial's answers, checked, and what counting them otherwise needs."""

    objective: Objective
    probabilities: npt.NDArray[np.generic]
    """(images, classes), to the precision of float32 in the type that they came in."""
    truth: IntArray
    """(images,)"""
    rows: IntArray
    """(strata, images), as `strata` says; one row of ones with several classes."""
    who: IntArray
    """(images,): the number of each one's patient."""
    draws: int
    subgroups: Subgroups

    @property
    def free(self) -> bool:
        """Whether the score of two classes is one that no threshold changes."""
        return self.objective.name in (*RANKED, *REACHED)

    @property
    def scores(self) -> FloatArray:
        """(images,), of class 1."""
        return self.probabilities[:, 1].astype(np.float64)

    def parts(self) -> Iterator[int]:
        """Numbers of draws that are held at once."""
        step = max(1, _AT_ONCE // self.rows.size)
        for start in range(0, self.draws, step):
            yield min(step, self.draws - start)


def make_case(
    objective: Objective,
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: Patients,
    *,
    draws: int,
    subgroups: Subgroups,
) -> Case:
    """A case of probabilities (images, classes) and labels, patients and subgroups (images,).

    Raises:
        DataError: as `search_score` says, another number of patients than of images, or fewer than
            100 draws.
    """
    given = np.asarray(probabilities)
    values, truth = check_classes(given, labels, both_classes=True)
    if draws < 100:
        raise DataError(f"draws must be at least 100, got {draws}.")
    names = range(len(truth)) if patients is None else list(patients)
    if len(names) != len(truth):
        raise DataError(
            f"patients must name one for each image, got {len(names)} for {len(truth)} images."
        )
    number: dict[object, int] = {}
    who = np.array([number.setdefault(name, len(number)) for name in names])
    if values.shape[1] == 2:
        rows = strata(objective, truth == 1, subgroups)
    else:
        rows = np.ones((1, len(truth)), np.int64)
    rounded = values.astype(np.float32)
    return Case(
        objective=objective,
        probabilities=rounded.astype(given.dtype) if given.dtype.kind == "f" else rounded,
        truth=truth,
        rows=rows,
        who=who,
        draws=draws,
        subgroups=subgroups,
    )


def redrawn(case: Case, generator: np.random.Generator) -> FloatArray:
    """Scores (draws,) of patients drawn with replacement, the threshold as it was chosen."""
    objective, truth, rows = case.objective, case.truth, case.rows
    floor = lowest_probability(case.probabilities)
    found = []
    if case.probabilities.shape[1] > 2:
        values = case.probabilities.astype(np.float64)
        for times in _draws(case, generator):
            found.append(over_classes(objective, values, truth, times, floor))
    elif case.free:
        scores, positive = case.scores, truth == 1
        for times in _draws(case, generator):
            weights = times[:, None] * rows
            found.append(without_threshold(objective, scores, positive, weights, floor))
    else:
        scores, positive = case.scores, truth == 1
        called = scores >= best_threshold(objective, scores, truth, subgroups=case.subgroups)[1]
        decided = (called & positive, called & ~positive, ~called & positive, ~called & ~positive)
        for times in _draws(case, generator):
            tp, fp, fn, tn = (times @ (rows * each).T for each in decided)
            counts = Confusion(tp=tp, fp=fp, fn=fn, tn=tn)
            found.append(at_counts(objective, counts).min(axis=-1))
    return np.concatenate(found)


def _draws(case: Case, generator: np.random.Generator) -> Iterator[IntArray]:
    """How often each image is drawn, (some draws, images) at a time."""
    who, kinds = case.who, np.vstack([case.truth, case.rows])
    kind = np.unique(kinds, axis=1, return_inverse=True)[1].reshape(-1)
    holds = np.zeros((who.max() + 1, kind.max() + 1), bool)
    holds[who, kind] = True
    alike = np.unique(holds, axis=0, return_inverse=True)[1].reshape(-1)
    groups = [np.flatnonzero(alike == group) for group in range(alike.max() + 1)]
    for count in case.parts():
        times = np.empty((count, len(alike)), np.int64)
        for group in groups:
            chances = np.full(len(group), 1 / len(group))
            times[:, group] = generator.multinomial(len(group), chances, size=count)
        yield times[:, who]


def dealt_out(case: Case, generator: np.random.Generator) -> FloatArray:
    """Search scores (draws,) with the labels dealt out anew; inf where a class or stratum is lost.

    Dealing labels out is dealing out, for each image, whose label it takes.
    """
    objective, truth, rows = case.objective, case.truth, case.rows
    floor = lowest_probability(case.probabilities)
    found = []
    for sources in _sources(case, generator):
        scores = np.full(len(sources), np.inf)
        if case.probabilities.shape[1] > 2:
            values, once, classes = case.probabilities.astype(np.float64), rows[0], set(truth)
            for draw, dealt in enumerate(truth[sources]):
                if set(dealt) == classes:
                    scores[draw] = over_classes(objective, values, dealt, once, floor)
        else:
            positive = (truth == 1)[sources][:, None]
            weights = np.moveaxis(rows[:, sources], 0, 1)
            hits = (weights * positive).sum(axis=-1)
            whole = ((hits > 0) & (hits < weights.sum(axis=-1))).all(axis=-1)
            positive, weights = positive[whole], weights[whole]
            if case.free:
                values = without_threshold(objective, case.scores, positive, weights, floor)
            else:
                cuts = make_cuts(case.scores, positive, weights).with_none()
                values = by_cut(objective, cuts.counts).max(axis=-1)
            scores[whole] = values
        found.append(scores)
    return np.concatenate(found)


def _sources(case: Case, generator: np.random.Generator) -> Iterator[IntArray]:
    """Whose label each image takes, (some draws, images) at a time."""
    images_of = np.argsort(case.who, kind="stable")
    sizes = np.bincount(case.who)
    first = np.cumsum(sizes) - sizes
    place = np.empty_like(images_of)
    place[images_of] = np.arange(len(images_of)) - first[case.who[images_of]]
    for count in case.parts():
        patients = generator.permuted(np.tile(np.arange(len(sizes)), (count, 1)), axis=1)
        other = patients[:, case.who]
        yield images_of[first[other] + place % sizes[other]]
