"""How much of the winner's score is luck?

A winner is scored on the images it was chosen on, at the threshold that was best on them, and after
the epoch that was: its score is too high. `corrected` repeats the choice with a part of the
patients in the bag and scores it on those out of the bag.

Source: I. Tsamardinos, E. Greasidou and G. Borboudakis, Bootstrapping the out-of-sample predictions
for efficient and accurate cross-validation, Machine Learning 107, 2018. Theirs are bootstrap bags:
drawn with replacement, 63 % of the images in them. A choice from such a bag is a worse one than
that from all images. Here the bags are four fifths of the patients, drawn without replacement.
Measured as bias in standard errors of one fixed model's score, mean of its size over 171 cases (1
to 200 trials of one epoch, of equal and of different skill, alike in their answers or not, 40 to
524 images; three objectives, 30 to 200 searches each, so that chance alone gives .1): chosen score
1.35; theirs .19, .42 low with 200 trials of different skill by weighted recall; chosen score less
the difference of in-bag and out-of-bag .47; .632 bootstrap .39; four fifths .11, nine tenths .11.
Nine tenths scatter more: root mean square error 1.07 against .92.

With epochs, in 14 cases (8 to 40 trials of 12 to 20 epochs of equal skill, or learning; alike in
their answers or not; 80 or 100 images, three objectives, 30 to 250 searches each, so that chance
alone gives .1): chosen score 1.9 to 3.0 too high; corrected among the trials' best epochs .5 to
1.2; among all epochs .14, mean of its size. Most was .42 low, in 60 searches of epochs that had
nothing in common; 250 searches of that case gave .05.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate.answers import BoolArray, FloatArray, IntArray
from xfer.evaluate.bags import bag_scores, columns, dealt, kinds_of, strata
from xfer.evaluate.objectives import SAME, Subgroups, best_threshold, score_at
from xfer.evaluate.selection import check_candidates
from xfer.recipe import Objective

FOLDS = 5
"""One of so many parts of the patients is out of a bag."""
_MOST_TIED = 10
"""Of more trials that are equally good in a bag so many speak for all: where many make no mistake,
scoring each of them took most of the time."""
_EVERY = slice(None)
_Z = 1.959964
"""Of a two-sided interval of 95 %."""


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """The winner's score on validation, and what is left of it without the luck of the choice."""

    naive: float
    """Search score of the best trial on all images."""
    corrected: float
    """What the winner, at its own threshold, can be expected to score on new images."""
    low: float
    """Lower end of the 95 % interval of `corrected`."""
    high: float
    """Upper end."""
    optimism: float
    """naive - corrected."""


def corrected(
    answers: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: npt.ArrayLike | None,
    objective: Objective,
    *,
    seed: int,
    trials: Sequence[int] | None = None,
    repeats: int = 40,
    subgroups: Subgroups = None,
) -> Corrected:
    """The best trial's search score, corrected for having been chosen, epoch and threshold too.

    The patients of each class are dealt to FOLDS parts, `repeats` times. With each part left out,
    the search's rule is followed on the others: each trial's best epoch, the first of equals, then
    the trial with the best search score, at its best threshold there; of equally good trials the
    mean. Its score on the part left out follows from its scores on all images and on those in the
    bag: FOLDS * all - (FOLDS - 1) * bag, which for counts of right answers is the same as scoring
    the part, and for other objectives needs no score of few images.

    The interval has Wilson's form, with as many answers as give the standard error found: the
    greater of what the parts say of the choice and what they say of the winner as it is. They are
    at most as many as give that of a mean of the classes' recalls, c² / sum(1 / patients of class),
    so that a winner without a mistake has an interval too. Measured over 25 cases of 80 searches of
    trials with one epoch, it held the winner's true score in .93 of them; least, in .81 to .89, by
    weighted recall and F2 with 20 or 50 images of each class.

    Args:
        answers: to the same images, of every trial or of every epoch of every trial: (candidates,
            images), probabilities of the positive class, or (candidates, images, classes).
        labels: (images,), indices of classes.
        patients: (images,), whose image it is; None: each image is of another patient.
        objective: what the trials were ranked by, and their epochs.
        seed: of the dealing. The order of trials and images is of no effect.
        trials: (candidates,), the trial each is of; those of one trial are in the order of its
            epochs. None: each is a trial.
        repeats: how often patients are dealt.
        subgroups: (images,), of use to `over="worst_subgroup"` only: their positives are then dealt
            as classes are.

    Raises:
        DataError: other shapes, values outside [0, 1], or a class, or the positives of a subgroup
            that counts, of fewer than two patients.
    """
    values, truth = check_candidates(answers, labels)
    of_trial = np.arange(len(values)) if trials is None else np.asarray(trials)
    if of_trial.shape != (len(values),):
        raise DataError(
            f"trials must say of each candidate which trial it is of, got {of_trial.shape} for "
            f"{len(values)} candidates."
        )
    # Who answers as another does is no other choice.
    values, place = np.unique(values, axis=0, return_inverse=True)
    place = place.reshape(-1)
    kinds = kinds_of(objective, truth, subgroups)
    owner, class_of = strata(patients, kinds)
    sizes = np.unique(class_of, return_counts=True)[1]
    if sizes.min() < 2 or len(sizes) < len(np.unique(kinds)):
        raise DataError(
            "a chosen score can be corrected with two patients of each class, and of each subgroup"
            " that counts, or more."
        )
    folds = min(FOLDS, int(sizes.min()))
    rng = np.random.default_rng(seed)
    parts = np.concatenate([dealt(class_of, folds, rng)[owner] for _ in range(repeats)])
    bags = (parts.reshape(repeats, 1, -1) != np.arange(folds)[:, None]).reshape(-1, len(truth))

    def chosen(scores: FloatArray) -> IntArray:
        """Of scores (distinct answers,) the best trials' first best epochs."""
        best = np.flatnonzero(scores[place] >= scores.max() - SAME)
        first = np.unique(of_trial[best], return_index=True)[1]
        tied = np.unique(place[best[first]])
        return tied[np.linspace(0, len(tied) - 1, min(len(tied), _MOST_TIED)).astype(int)]

    asked = _asked(objective, truth, subgroups)
    in_bag = bag_scores(objective, values, truth, bags.astype(np.int64), subgroups=subgroups)
    left_out = np.empty(len(bags))
    for bag, (mask, scores) in enumerate(zip(bags, in_bag, strict=True)):
        full = [asked.at(asked.threshold(values[t], mask), values[t]) for t in chosen(scores)]
        left_out[bag] = folds * np.mean(full) - (folds - 1) * scores.max()

    everything = np.ones((1, len(truth)), np.int64)
    overall = bag_scores(objective, values, truth, everything, subgroups=subgroups)[0]
    variances = [
        _variance(asked, values[t], bags[: folds * min(repeats, 8)], folds) for t in chosen(overall)
    ]
    between = float(left_out.reshape(repeats, folds).var(axis=1, ddof=1).mean()) / folds
    naive, estimate = float(overall.max()), float(left_out.mean())
    # By subgroup it is the one of the fewest patients, against all negatives.
    fewest = sizes if objective.over != "worst_subgroup" else np.array([sizes[0], sizes[1:].min()])
    most = float(len(fewest) ** 2 / (1 / fewest).sum())
    low, high = _interval(estimate, max(between, float(np.mean(variances))), most)
    return Corrected(naive=naive, corrected=estimate, low=low, high=high, optimism=naive - estimate)


class _Asked(NamedTuple):
    """What one trial's answers are held against."""

    objective: Objective
    truth: IntArray
    named: npt.NDArray[np.object_]
    """(images,): the name of each one's subgroup, or None."""

    def threshold(self, value: FloatArray, rows: BoolArray | slice = _EVERY) -> float | None:
        """The best one on these rows; None where classes are several."""
        if value.ndim > 1:
            return None
        named = self.named[rows].tolist()
        return best_threshold(self.objective, value[rows], self.truth[rows], subgroups=named)[1]

    def at(
        self, threshold: float | None, value: FloatArray, rows: BoolArray | slice = _EVERY
    ) -> float:
        """The objective on these rows."""
        named = self.named[rows].tolist()
        shown = columns(value[rows])
        return score_at(self.objective, threshold, shown, self.truth[rows], subgroups=named)


def _asked(objective: Objective, truth: IntArray, subgroups: Subgroups) -> _Asked:
    named = np.full(len(truth), None, dtype=object)
    if subgroups is not None:
        named[:] = list(subgroups)
    return _Asked(objective, truth, named)


def _variance(asked: _Asked, value: FloatArray, bags: BoolArray, folds: int) -> float:
    """Of one trial's score at its threshold on all images: the jackknife, a part at a time."""
    threshold = asked.threshold(value)
    in_bag = np.array([asked.at(threshold, value, bag) for bag in bags])
    spread = in_bag.reshape(-1, folds).var(axis=1, ddof=1).mean()
    return float((folds - 1) ** 2 * spread / folds)


def _interval(share: float, variance: float, most: float) -> tuple[float, float]:
    """95 % interval: E. B. Wilson's of 1927 where the score is a share, else the normal one."""
    half = _Z * sqrt(variance)
    if not 0.0 <= share <= 1.0:
        return share - half, share + half
    around = share * (1 - share)
    trials = min(around / variance, most) if around > 0 and variance > 0 else most
    center = share + _Z * _Z / (2 * trials)
    half = _Z * sqrt(around / trials + (_Z / (2 * trials)) ** 2)
    below = 1 + _Z * _Z / trials
    return max((center - half) / below, 0.0), min((center + half) / below, 1.0)
