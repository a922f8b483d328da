"""What is every metric in each draw of the bootstrap? One sort of the scores serves all draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfer.evaluate import confusion as of
from xfer.evaluate.answers import BoolArray, FloatArray, IntArray, check_binary, check_classes
from xfer.evaluate.bootstrap import DRAWS, Resampled, draw_patients, number_patients
from xfer.evaluate.confusion import Confusion
from xfer.evaluate.metrics import METRICS, _of_counts, evaluate_binary, evaluate_classes

_NEEDS = {
    "recall": ("positive",),
    "precision": ("called",),
    "specificity": ("negative",),
    "f1": ("positive or called",),
    "f2": ("positive or called",),
    "accuracy": (),
    "average_precision": ("positive",),
}
"""What a draw must hold at least one image of to say something of a metric; one positive and one
negative for metrics that are not named."""

_OF_SEVERAL = ("specificity", "mcc", "auroc")
"""Metrics over classes of which a draw of a single class says nothing."""


def resample_binary(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: Sequence[str] | npt.ArrayLike,
    *,
    threshold: float,
    draws: int = DRAWS,
    seed: int = 0,
) -> Resampled:
    """Every metric of `evaluate_binary` in each draw; 5,000 images take 0.6 s of one core.

    Args:
        scores: (images,), probabilities of the positive class.
        labels: (images,), 1 for the positive class, 0 for all else.
        patients: (images,), whose each image is.
        threshold: from which on an image is called positive.
        draws: how many.
        seed: of the draws.

    Raises:
        DataError: as `evaluate_binary`, `number_patients` and `draw_patients` say.
    """
    measured = evaluate_binary(scores, labels, threshold=threshold)
    values, truth = check_binary(scores, labels)
    whose = number_patients(patients, len(truth))
    called = values >= threshold
    cells = _per_patient(2 * truth + called, 4, whose)  # tn, fp, fn, tp
    ranking = _rank(values, truth, whose)
    by_chunk = []
    for taken in draw_patients(whose, draws=draws, seed=seed):
        tn, fp, fn, tp = np.rint(taken @ cells).astype(np.int64).T
        by_chunk.append(_metrics(Confusion(tp=tp, fp=fp, fn=fn, tn=tn), *ranking.in_draws(taken)))
    return Resampled(
        values=measured,
        draws={name: np.concatenate([chunk[name] for chunk in by_chunk]) for name in METRICS},
        shares=_shares(called, truth, whose),
        rarest=dict.fromkeys(METRICS, _rarest(truth.astype(np.int64), whose)),
        labels=truth.astype(np.int64),
        patients=whose,
        seed=seed,
    )


def resample_classes(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    patients: Sequence[str] | npt.ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Resampled:
    """Every metric of `evaluate_classes` in each draw, per class too.

    Metrics over all classes are, in each draw, over the classes that it contains.

    Args:
        probabilities: (images, classes), at least two classes.
        labels: (images,), indices of classes.
        class_names: one name per column.
        patients: (images,), whose each image is.
        draws: how many.
        seed: of the draws.

    Raises:
        DataError: as `evaluate_classes`, `number_patients` and `draw_patients` say.
    """
    measured = evaluate_classes(probabilities, labels, class_names)
    values, truth = check_classes(probabilities, labels)
    whose = number_patients(patients, len(truth))
    classes, decisions = values.shape[1], values.argmax(axis=1)
    cells = _per_patient(truth * classes + decisions, classes * classes, whose)
    rankings = [_rank(values[:, c], truth == c, whose) for c in range(classes)]
    by_chunk = []
    for taken in draw_patients(whose, draws=draws, seed=seed):
        matrices = np.rint(taken @ cells).astype(np.int64).reshape(-1, classes, classes)
        ranked = [each.in_draws(taken) for each in rankings]
        found = _over_classes(matrices, ranked)
        for c, name in enumerate(class_names):
            of_class = _metrics(_against_rest(matrices, c), *ranked[c])
            found |= {f"{metric}/{name}": value for metric, value in of_class.items()}
        by_chunk.append(found)
    shares: dict[str, tuple[BoolArray, IntArray]] = {"accuracy": (decisions == truth, whose)}
    rarest: dict[str, int] = dict.fromkeys(METRICS, _rarest(truth, whose))
    for c, name in enumerate(class_names):
        of_class = _shares(decisions == c, truth == c, whose)
        shares |= {f"{metric}/{name}": share for metric, share in of_class.items()}
        fewest = _rarest((truth == c).astype(np.int64), whose)
        rarest |= {f"{metric}/{name}": fewest for metric in METRICS}
    return Resampled(
        values=measured,
        draws={name: np.concatenate([chunk[name] for chunk in by_chunk]) for name in measured},
        shares=shares,
        rarest=rarest,
        labels=truth,
        patients=whose,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ranking:
    """Images from the highest score to the lowest."""

    patients: IntArray
    """(images,): whose each is."""
    positive: BoolArray
    """(images,)."""
    ends: IntArray
    """(cuts,): the last image of each group of equal scores."""

    def in_draws(self, taken: IntArray) -> tuple[FloatArray, FloatArray]:
        """AUROC and average precision, both (draws,), of how often patients were taken.

        Formulas as in `xfer.evaluate.cuts`, images counted as often as their patient was taken.
        taken: (draws, patients).
        """
        weights = taken[:, self.patients]  # (draws, images)
        right = weights * self.positive
        called, tp = weights.cumsum(axis=1), right.cumsum(axis=1)
        if len(self.ends) == len(self.patients):
            new, new_tp = weights, right
        else:
            called, tp = called[:, self.ends], tp[:, self.ends]  # (draws, cuts)
            new, new_tp = np.diff(called, axis=1, prepend=0), np.diff(tp, axis=1, prepend=0)
        positives, images = tp[:, -1], called[:, -1]
        pairs = np.einsum("ij,ij->i", new - new_tp, 2 * tp - new_tp)
        auroc = of.ratio(pairs, 2.0 * positives * (images - positives))
        precision = tp / np.maximum(called, 1)  # nothing called: nothing right either
        return auroc, of.ratio(np.einsum("ij,ij->i", new_tp, precision), positives)


def _rank(scores: FloatArray, positive: BoolArray, patients: IntArray) -> _Ranking:
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    return _Ranking(patients=patients[order], positive=positive[order], ends=ends)


def _metrics(
    counts: Confusion, auroc: FloatArray, average_precision: FloatArray
) -> dict[str, FloatArray]:
    """All metrics of one class against the rest, each (draws,), NaN in draws that say nothing."""
    positive, negative = counts.tp + counts.fn > 0, counts.fp + counts.tn > 0
    called = counts.tp + counts.fp > 0
    there = {
        "positive": positive,
        "negative": negative,
        "called": called,
        "positive or called": positive | called,
    }
    ranked = {"auroc": auroc, "average_precision": average_precision}
    found = _of_counts(counts) | ranked
    for name in METRICS:
        for needed in _NEEDS.get(name, ("positive", "negative")):
            found[name] = np.where(there[needed], found[name], np.nan)
    return {name: found[name] for name in METRICS}


def _over_classes(
    matrices: IntArray, ranked: Sequence[tuple[FloatArray, FloatArray]]
) -> dict[str, FloatArray]:
    """Metrics over all classes, as `evaluate_classes` defines them, each (draws,).

    matrices: (draws, classes, classes); ranked: AUROC and average precision of each class.
    """
    classes = matrices.shape[1]
    present = matrices.sum(axis=2).T > 0  # (classes, draws)
    by_class: dict[str, list[FloatArray]] = {name: [] for name in METRICS}
    for c in range(classes):
        auroc, average_precision = ranked[c]
        of_class = _of_counts(_against_rest(matrices, c)) | {
            "auroc": auroc,
            "average_precision": average_precision,
        }
        for name in METRICS:
            by_class[name].append(np.where(present[c], of_class[name], 0.0))
    found = {name: np.sum(by_class[name], axis=0) / present.sum(axis=0) for name in METRICS}
    correct = np.trace(matrices, axis1=1, axis2=2)
    found["accuracy"] = of.ratio(correct, matrices.sum(axis=(1, 2)))
    found["balanced_accuracy"] = found["recall"]
    found["mcc"] = np.array([of.mcc_classes(matrix) for matrix in matrices])
    for name in _OF_SEVERAL:
        found[name] = np.where(present.sum(axis=0) > 1, found[name], np.nan)
    return found


def _against_rest(matrices: IntArray, label: int) -> Confusion:
    """Counts (draws,) of one class against all others, from matrices (draws, classes, classes)."""
    tp = matrices[:, label, label]
    fn = matrices[:, label, :].sum(axis=1) - tp
    fp = matrices[:, :, label].sum(axis=1) - tp
    return Confusion(tp=tp, fp=fp, fn=fn, tn=matrices.sum(axis=(1, 2)) - tp - fp - fn)


def _per_patient(cells: IntArray, count: int, patients: IntArray) -> FloatArray:
    """(patients, count): how many images of each are in which cell. Floats multiply faster."""
    people = int(patients.max()) + 1
    counted = np.bincount(patients * count + cells, minlength=people * count)
    return counted.reshape(people, count).astype(np.float64)


def _shares(
    called: BoolArray, truth: BoolArray, patients: IntArray
) -> Mapping[str, tuple[BoolArray, IntArray]]:
    """Successes and patients of the metrics that are shares of images."""
    return {
        "recall": (called[truth], patients[truth]),
        "precision": (truth[called], patients[called]),
        "specificity": (~called[~truth], patients[~truth]),
        "accuracy": (called == truth, patients),
    }


def _rarest(labels: IntArray, patients: IntArray) -> int:
    """Patients of the class that has fewest, of those that are there."""
    return min(len(np.unique(patients[labels == c])) for c in np.unique(labels))
