"""What would each possible threshold decide? One sort answers for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfer.evaluate.answers import BoolArray, FloatArray
from xfer.evaluate.confusion import Confusion, ratio


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Every place where scores can be parted, from the highest threshold to the lowest.

    Equal scores are never parted. Cut i calls all images positive whose score is at least
    `scores[i]`; the last one calls every image positive. The cut that calls no image positive is
    not among them: see `above_all`.
    """

    scores: FloatArray
    """(cuts,): the distinct scores, falling."""
    counts: Confusion
    """(cuts,): what is right and wrong at each."""

    def threshold(self, index: int) -> float:
        """A threshold of cut `index`: midway between its lowest score and the next lower one.

        The score below the lowest is taken to be 0. The value is a float32 number, so that a
        comparison in float32 and one in float64 decide alike; where there is no float32 number
        between the two scores it is the upper score itself.
        """
        upper = float(self.scores[index])
        lower = float(self.scores[index + 1]) if index + 1 < len(self.scores) else 0.0
        middle = float(np.float32((lower + upper) / 2))
        return middle if lower < middle <= upper else upper


def make_cuts(scores: FloatArray, labels: BoolArray) -> Cuts:
    """All cuts of scores (images,) with labels (images,); both already checked."""
    order = np.argsort(-scores)
    falling = scores[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    tp = np.cumsum(labels[order], dtype=np.int64)[ends]
    fp = 1 + ends - tp
    return Cuts(
        scores=falling[ends],
        counts=Confusion(tp=tp, fp=fp, fn=tp[-1] - tp, tn=fp[-1] - fp),
    )


def auroc(cuts: Cuts) -> float:
    """Probability that a positive image scores above a negative one, ties counting half.

    NaN where the labels hold one class only.

    Source: J. A. Hanley and B. J. McNeil, Radiology 143, 1982.
    """
    tp, fp = cuts.counts.tp, cuts.counts.fp
    pairs = float(tp[-1]) * float(fp[-1])
    if pairs == 0:
        return float("nan")
    before = np.concatenate(([0], tp[:-1]))
    new_negatives = np.diff(fp, prepend=0)
    return float((new_negatives * (before + tp)).sum() / (2 * pairs))


def average_precision(cuts: Cuts) -> float:
    """Mean of the precision at each positive image: sum of (R_n - R_(n-1)) P_n over cuts.

    0.0 where no image is positive. Source: scikit-learn's average_precision_score.
    """
    tp, fp = cuts.counts.tp, cuts.counts.fp
    new_positives = np.diff(tp, prepend=0)
    return float(ratio((new_positives * ratio(tp, tp + fp)).sum(), tp[-1]))
