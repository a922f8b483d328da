"""What did a study report of an experiment, by one metric, and how far is ours from it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfer.evaluate.independent import Apart


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A number, or the range that a study gave."""

    value: float | None
    """The number; None: there is a range only."""
    range: tuple[float, float] | None
    """Lowest and highest of several of the study's experiments."""
    low: float | None
    """Of Wilson's 95 % interval on the study's test images; None: it gave no matrix."""
    high: float | None
    """Likewise."""


def reported(published: Mapping[str, Any] | None, metric: str) -> Reported | None:
    """A metric as a study has it, or as its matrix gives it; None where neither does.

    Args:
        published: as result.json has it: by metric `value`, `low` and `high`, or `from` and `to`;
            and `matrix`, `[[tn, fp], [fn, tp]]`.
        metric: its name.

    >>> found = reported({"matrix": [[216, 22], [9, 632]]}, "accuracy")
    >>> round(found.value, 4), round(found.low, 3), round(found.high, 3)
    (0.9647, 0.95, 0.975)
    >>> reported({"accuracy": {"from": 0.6, "to": 0.7}, "matrix": None}, "accuracy").range
    (0.6, 0.7)
    """
    if published is None:
        return None
    if published["matrix"] is not None:
        return _of_matrix(published["matrix"], metric)
    told = published.get(metric)
    if told is None:
        return None
    if "from" in told:
        return Reported(value=None, range=(told["from"], told["to"]), low=None, high=None)
    return Reported(value=told["value"], range=None, low=told["low"], high=told["high"])


def apart_from(ours: tuple[float, float, float], theirs: Reported | None) -> Apart | None:
    """Ours less the study's, on other images; None where the study's has no interval.

    Args:
        ours: value, lower and upper end of its 95 % interval.
        theirs: the study's.
    """
    from xfer.evaluate.independent import apart

    if theirs is None or theirs.value is None or theirs.low is None or theirs.high is None:
        return None
    return apart(ours, (theirs.value, theirs.low, theirs.high))


def _of_matrix(matrix: Any, metric: str) -> Reported | None:
    """With an interval where it is a share of images, or the mean of two; None: it is of scores."""
    import numpy as np

    from xfer.evaluate import confusion as of
    from xfer.evaluate.independent import apart
    from xfer.evaluate.intervals import wilson

    (tn, fp), (fn, tp) = matrix

    def share(found: int, images: int) -> tuple[float, float, float]:
        return (found / images if images else 0.0, *wilson(found, images))

    shares = {
        "accuracy": (tp + tn, tp + tn + fp + fn),
        "recall": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "precision": (tp, tp + fp),
    }
    if metric in shares:
        value, low, high = share(*shares[metric])
        return Reported(value=value, range=None, low=low, high=high)
    if metric == "balanced_accuracy":
        # Half of recall less the share of false alarms, and a half.
        youden = apart(share(tp, tp + fn), share(fp, tn + fp))
        value, low, high = ((1 + end) / 2 for end in (youden.value, youden.low, youden.high))
        return Reported(value=value, range=None, low=low, high=high)
    counts = of.Confusion(
        tp=np.asarray(tp), fp=np.asarray(fp), fn=np.asarray(fn), tn=np.asarray(tn)
    )
    by_name = {"f1": of.fbeta(counts, 1.0), "mcc": of.mcc(counts)}
    if metric not in by_name:
        return None
    return Reported(value=float(by_name[metric]), range=None, low=None, high=None)
