"""What do true and false answers, counted, say? Every metric that a count of decisions gives.

Zero-division rule of all of them: what would be divided by zero is 0.0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfer.evaluate.answers import FloatArray, IntArray, check_binary


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Decisions of one threshold, or of many at once: all four have the same shape."""

    tp: IntArray
    """Positive images that are called positive."""
    fp: IntArray
    """Negative images that are called positive."""
    fn: IntArray
    """Positive images that are missed."""
    tn: IntArray
    """Negative images that are called negative."""

    def __getitem__(self, index: int) -> Confusion:
        """The counts of one of many thresholds."""
        return Confusion(
            tp=np.asarray(self.tp[index]),
            fp=np.asarray(self.fp[index]),
            fn=np.asarray(self.fn[index]),
            tn=np.asarray(self.tn[index]),
        )


def confusion_binary(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, threshold: float
) -> Confusion:
    """Counts at `score >= threshold`, of scores (images,) and labels (images,) in 0, 1.

    Raises:
        DataError: as `check_binary` says.

    >>> confusion_binary([0.9, 0.5, 0.2], [1, 0, 1], threshold=0.5).fn.item()
    1
    """
    values, truth = check_binary(scores, labels)
    called = values >= threshold
    tp = np.count_nonzero(called & truth)
    fp = np.count_nonzero(called) - tp
    positives = np.count_nonzero(truth)
    tn = len(truth) - positives - fp
    return Confusion(
        tp=np.asarray(tp), fp=np.asarray(fp), fn=np.asarray(positives - tp), tn=np.asarray(tn)
    )


def confusion_matrix(labels: IntArray, decisions: IntArray, *, classes: int) -> IntArray:
    """Counts (classes, classes): rows are true classes, columns decisions.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    pairs = np.bincount(labels * classes + decisions, minlength=classes * classes)
    return pairs.reshape(classes, classes).astype(np.int64)


def one_against_rest(matrix: IntArray) -> Confusion:
    """Counts (classes,) of each class against all others, from a matrix (classes, classes)."""
    tp = np.diag(matrix)
    fp = matrix.sum(axis=0) - tp
    fn = matrix.sum(axis=1) - tp
    return Confusion(tp=tp, fp=fp, fn=fn, tn=matrix.sum() - tp - fp - fn)


def ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> FloatArray:
    """above / below, 0.0 where below is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(top, bottom, out=np.zeros(top.shape), where=bottom != 0)


def recall(counts: Confusion) -> FloatArray:
    """Share of positive images that are called positive."""
    return ratio(counts.tp, counts.tp + counts.fn)


def precision(counts: Confusion) -> FloatArray:
    """Share of images called positive that are."""
    return ratio(counts.tp, counts.tp + counts.fp)


def specificity(counts: Confusion) -> FloatArray:
    """Share of negative images that are called negative."""
    return ratio(counts.tn, counts.tn + counts.fp)


def fbeta(counts: Confusion, beta: float) -> FloatArray:
    """(1 + b²) tp / ((1 + b²) tp + b² fn + fp): recall counts beta times as much as precision.

    Source: C. J. van Rijsbergen, Information Retrieval, 2nd edition, 1979, chapter 7.
    """
    weight = beta * beta
    hits = (1 + weight) * counts.tp
    return ratio(hits, hits + weight * counts.fn + counts.fp)


def accuracy(counts: Confusion) -> FloatArray:
    """Share of right answers."""
    return ratio(counts.tp + counts.tn, counts.tp + counts.fp + counts.fn + counts.tn)


def balanced_accuracy(counts: Confusion) -> FloatArray:
    """Mean of recall and specificity."""
    return (recall(counts) + specificity(counts)) / 2


def mcc(counts: Confusion) -> FloatArray:
    """Matthews' correlation of labels and decisions, in [-1, 1].

    Source: B. W. Matthews, Biochimica et Biophysica Acta 405, 1975.
    """
    tp, fp, fn, tn = (np.asarray(n, float) for n in (counts.tp, counts.fp, counts.fn, counts.tn))
    below = np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))
    return ratio(tp * tn - fp * fn, below)


def mcc_classes(matrix: IntArray) -> float:
    """The same for several classes, from a matrix (classes, classes).

    Source: J. Gorodkin, Comparing two K-category assignments by a K-category correlation
    coefficient, Computational Biology and Chemistry 28, 2004; scikit-learn's matthews_corrcoef.
    """
    counts = matrix.astype(float)
    true, called, images = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    covariance = np.trace(counts) * images - true @ called
    spread = (images**2 - true @ true) * (images**2 - called @ called)
    return float(ratio(covariance, np.sqrt(spread)))
