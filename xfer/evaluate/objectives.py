"""How good is an epoch in the eyes of the objective, and what would a constant answer get?"""

from __future__ import annotations

from math import inf

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate import confusion as of
from xfer.evaluate.answers import FloatArray, IntArray, check_binary, check_classes
from xfer.evaluate.confusion import Confusion, confusion_binary, confusion_matrix
from xfer.evaluate.cuts import auroc, average_precision, make_cuts
from xfer.evaluate.metrics import mean_defined
from xfer.recipe import Objective

_SAME = 1e-12
"""Objectives closer than this are equally good: they differ by rounding only."""

_RANKING = {"auroc": auroc, "average_precision": average_precision}
"""Objectives that no threshold changes."""


def search_score(
    objective: Objective, probabilities: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[float, float | None]:
    """The score that ranks and prunes, and the threshold it was reached at.

    Two classes: the objective at its own best threshold, over every way to part the scores of
    class 1 (and the answer "none is positive", where no score is 1). Of equally good thresholds
    the lowest is taken, the one with the highest recall; it lies midway between the scores on its
    two sides. `auroc` and `average_precision` need no threshold: theirs is the one with the best
    balanced accuracy.

    More classes: the mean over classes, each against the rest, each image called the class of its
    highest probability; `mcc` is Gorodkin's. The threshold is None.

    Optimistic by construction: never an estimate of how good the model is.

    Args:
        objective: what is maximised.
        probabilities: (images, classes), float.
        labels: (images,), indices of classes.

    Raises:
        DataError: as `check_classes` says, or labels of one class only.
    """
    values, truth = check_classes(probabilities, labels, both_classes=True)
    if values.shape[1] > 2:
        return _macro(objective, values, truth), None
    return best_threshold(objective, values[:, 1], truth)


def best_threshold(
    objective: Objective, scores: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[float, float]:
    """`search_score` of scores (images,) of the positive class and labels (images,) in 0, 1.

    Raises:
        DataError: as `check_binary` says, or labels of one class only.
    """
    values, truth = check_binary(scores, labels, both_classes=True)
    cuts = make_cuts(values, truth)
    ranking = _RANKING.get(objective.name)
    by_cut = of.balanced_accuracy(cuts.counts) if ranking else at_counts(objective, cuts.counts)
    best = int(np.flatnonzero(by_cut >= by_cut.max() - _SAME)[-1])
    score, threshold = float(by_cut[best]), cuts.threshold(best)
    if ranking:
        return ranking(cuts), threshold
    highest = float(values.max())
    if highest < 1.0:
        none = _none_positive(truth)
        score_of_none = float(at_counts(objective, none))
        if score_of_none > score + _SAME:
            middle = float(np.float32((highest + 1.0) / 2))
            score, threshold = score_of_none, middle if middle > highest else 1.0
    return score, threshold


def score_at(
    objective: Objective,
    threshold: float | None,
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
) -> float:
    """The objective at a given threshold; probabilities (images, classes), labels (images,).

    `auroc` and `average_precision` do not depend on it, nor does any objective of more than two
    classes: pass None there.

    Raises:
        DataError: as `check_classes` says, labels of one class only, or no threshold where one is
            needed.
    """
    values, truth = check_classes(probabilities, labels, both_classes=True)
    if values.shape[1] > 2:
        return _macro(objective, values, truth)
    if ranking := _RANKING.get(objective.name):
        return ranking(make_cuts(values[:, 1], truth == 1))
    if threshold is None:
        raise DataError(f"{objective.name} of two classes needs a threshold, got None.")
    counts = confusion_binary(values[:, 1], truth, threshold=threshold)
    return float(at_counts(objective, counts))


def best_constant(objective: Objective, labels: npt.ArrayLike, *, classes: int) -> float:
    """The objective of the best answer that is the same for every image.

    Two classes: always or never positive. More: always the same class. Ranked by equal scores,
    AUROC is 0.5 and average precision the prevalence.

    Args:
        objective: what is maximised.
        labels: (images,), indices of classes.
        classes: how many there are.

    Raises:
        DataError: labels of one class only, or outside [0, classes - 1].

    >>> best_constant(Objective("recall_weighted", recall_weight=0.75), [0, 0, 1], classes=2)
    0.75
    """
    count = len(np.asarray(labels))
    equal, truth = check_classes(np.full((count, classes), 1 / classes), labels, both_classes=True)
    if classes == 2:
        if objective.name in _RANKING:
            return score_at(objective, None, equal, truth)
        none = _none_positive(truth)
        every = Confusion(tp=none.fn, fp=none.tn, fn=none.tp, tn=none.fp)
        return max(float(at_counts(objective, each)) for each in (none, every))
    if objective.name in _RANKING:
        return _macro(objective, equal, truth)
    return max(_macro(objective, _always(label, count, classes), truth) for label in range(classes))


def cost_ratio(recall_weight: float, prevalence: float) -> float:
    """How many false alarms a miss is worth: w / (1 - w) * (1 - p) / p; inf where w is 1.

    `w * recall + (1 - w) * specificity` loses w / positives by a miss and (1 - w) / negatives by a
    false alarm; this is the first over the second.

    Args:
        recall_weight: w of `recall_weighted`, in [0, 1].
        prevalence: share of positive images, in (0, 1).

    Raises:
        DataError: either is out of range.

    >>> cost_ratio(0.75, 0.5)
    3.0
    """
    if not (0.0 <= recall_weight <= 1.0 and 0.0 < prevalence < 1.0):
        raise DataError(
            f"a cost ratio needs a recall weight in [0, 1] and a prevalence in (0, 1), "
            f"got {recall_weight!r} and {prevalence!r}."
        )
    if recall_weight == 1.0:
        return inf
    return recall_weight / (1 - recall_weight) * (1 - prevalence) / prevalence


def at_counts(objective: Objective, counts: Confusion) -> FloatArray:
    """An objective that needs decisions only, in the shape of the counts."""
    match objective.name:
        case "recall_weighted":
            weight = objective.recall_weight
            return weight * of.recall(counts) + (1 - weight) * of.specificity(counts)
        case "balanced_accuracy":
            return of.balanced_accuracy(counts)
        case "fbeta":
            return of.fbeta(counts, objective.beta)
        case "mcc":
            return of.mcc(counts)
        case _:
            raise ValueError(f"{objective.name} is not computed from decisions")


def _macro(objective: Objective, probabilities: FloatArray, labels: IntArray) -> float:
    """The mean over the classes that labels contain, each against the rest; MCC is Gorodkin's."""
    classes = probabilities.shape[1]
    if ranking := _RANKING.get(objective.name):
        present = np.unique(labels)
        by_class = [ranking(make_cuts(probabilities[:, c], labels == c)) for c in present]
        return mean_defined(np.array(by_class))
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), classes=classes)
    if objective.name == "mcc":
        return of.mcc_classes(matrix)
    counts = of.one_against_rest(matrix)
    # Balanced accuracy of several classes is their mean recall, by definition.
    balanced = objective.name == "balanced_accuracy"
    by_class = of.recall(counts) if balanced else at_counts(objective, counts)
    return float(by_class[matrix.sum(axis=1) > 0].mean())


def _always(label: int, images: int, classes: int) -> FloatArray:
    """Probabilities (images, classes) of the answer `label`."""
    answer = np.zeros((images, classes))
    answer[:, label] = 1.0
    return answer


def _none_positive(labels: npt.NDArray[np.generic]) -> Confusion:
    """Counts where no image is called positive."""
    positives = np.count_nonzero(labels)
    nothing = np.asarray(0)
    return Confusion(
        tp=nothing,
        fp=nothing,
        fn=np.asarray(positives),
        tn=np.asarray(len(labels) - positives),
    )
