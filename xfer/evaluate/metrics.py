"""How good are these answers? All metrics of one set of images as a flat dict.

Zero-division rule: what would be divided by zero is 0.0. AUROC where the labels hold one class
only is NaN: there is nothing to rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xfer.errors import DataError
from xfer.evaluate import confusion as of
from xfer.evaluate.answers import FloatArray, check_binary, check_classes
from xfer.evaluate.confusion import Confusion, confusion_binary, confusion_matrix
from xfer.evaluate.cuts import auroc, average_precision, make_cuts

__all__ = ["METRICS", "confusion_binary", "confusion_matrix", "evaluate_binary", "evaluate_classes"]

METRICS = (
    "recall", "precision", "specificity", "f1", "f2", "accuracy", "balanced_accuracy", "mcc",
    "auroc", "average_precision",
)  # fmt: skip
"""Names of all metrics, in the order in which they are shown. More is better for each."""


def evaluate_binary(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, threshold: float
) -> dict[str, float]:
    """Every metric of `METRICS`, at the decision `score >= threshold`.

    Args:
        scores: (images,), probabilities of the positive class.
        labels: (images,), 1 for the positive class, 0 for all else.
        threshold: NaN is refused; 0 calls every image positive, a number above 1 none.

    Raises:
        DataError: as `check_binary` says, or a threshold that is not a number.

    >>> evaluate_binary([0.9, 0.6, 0.4, 0.1], [1, 0, 1, 0], threshold=0.3)["recall"]
    1.0
    """
    values, truth = check_binary(scores, labels)
    if np.isnan(threshold):
        raise DataError("threshold must be a number, got NaN.")
    counts = confusion_binary(values, truth, threshold=threshold)
    cuts = make_cuts(values, truth)
    by_name = _of_counts(counts) | {
        "auroc": np.asarray(auroc(cuts)),
        "average_precision": np.asarray(average_precision(cuts)),
    }
    return {name: float(by_name[name]) for name in METRICS}


def evaluate_classes(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, class_names: Sequence[str]
) -> dict[str, float]:
    """Every metric of `METRICS` for several classes, and the same per class as `recall/NAME`.

    An image is called the class of its highest probability, the first one of equals. Per class,
    that class stands against all the rest. Without a class in the name: `accuracy` is the share of
    right answers, `mcc` Gorodkin's, and all others are the mean over the classes that the labels
    contain (AUROC: those where it exists; NaN where it exists for none).

    Args:
        probabilities: (images, classes), at least two classes.
        labels: (images,), indices of classes.
        class_names: one name per column.

    Raises:
        DataError: as `check_classes` says, or another number of names than of columns.
    """
    values, truth = check_classes(probabilities, labels)
    classes = values.shape[1]
    if len(class_names) != classes:
        raise DataError(
            f"class_names must name {classes} classes, got {len(class_names)}: {list(class_names)}."
        )
    matrix = confusion_matrix(truth, values.argmax(axis=1), classes=classes)
    cuts = [make_cuts(values[:, label], truth == label) for label in range(classes)]
    per_class = _of_counts(of.one_against_rest(matrix)) | {
        "auroc": np.array([auroc(each) for each in cuts]),
        "average_precision": np.array([average_precision(each) for each in cuts]),
    }
    present = matrix.sum(axis=1) > 0
    overall = {name: mean_defined(per_class[name][present]) for name in METRICS}
    overall["accuracy"] = float(of.ratio(np.trace(matrix), matrix.sum()))
    overall["balanced_accuracy"] = overall["recall"]  # its definition for several classes
    overall["mcc"] = of.mcc_classes(matrix)
    for name in METRICS:
        for label, class_name in enumerate(class_names):
            overall[f"{name}/{class_name}"] = float(per_class[name][label])
    return overall


def mean_defined(values: FloatArray) -> float:
    """Mean of the values that are not NaN; NaN where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _of_counts(counts: Confusion) -> dict[str, FloatArray]:
    """The metrics that need decisions only, each in the shape of the counts."""
    return {
        "recall": of.recall(counts),
        "precision": of.precision(counts),
        "specificity": of.specificity(counts),
        "f1": of.fbeta(counts, 1.0),
        "f2": of.fbeta(counts, 2.0),
        "accuracy": of.accuracy(counts),
        "balanced_accuracy": of.balanced_accuracy(counts),
        "mcc": of.mcc(counts),
    }
