"""What would each possible threshold decide? One sort answers for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfer.evaluate.answers import BoolArray, FloatArray, IntArray
from xfer.evaluate.confusion import Confusion, ratio, recall, specificity


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Every place where scores can be parted, from the highest threshold to the lowest.

    Equal scores are never parted. Cut i calls all images positive whose score is at least
    `scores[i]`; the last one calls every image positive. The cut that calls no image positive is
    not among them: see `with_none`.
    """

    scores: FloatArray
    """(cuts,): the distinct scores, falling."""
    counts: Confusion
    """(..., cuts): what is right and wrong at each; leading axes are those of the weights."""

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

    def with_none(self) -> Cuts:
        """The same with a first cut that calls no image positive; unchanged where a score is 1.

        Nothing in [0, 1] lies above a score of 1.
        """
        if self.scores[0] >= 1.0:
            return self
        c = self.counts
        nothing = np.zeros_like(c.tp[..., :1])
        return Cuts(
            scores=np.append(1.0, self.scores),
            counts=Confusion(
                tp=np.concatenate([nothing, c.tp], axis=-1),
                fp=np.concatenate([nothing, c.fp], axis=-1),
                fn=np.concatenate([c.tp[..., -1:], c.fn], axis=-1),
                tn=np.concatenate([c.fp[..., -1:], c.tn], axis=-1),
            ),
        )


def make_cuts(scores: FloatArray, labels: BoolArray, weights: IntArray | None = None) -> Cuts:
    """All cuts of scores (images,) with labels (images,); both already checked.

    Args:
        scores: of the positive class.
        labels: which images are positive; with weights also (..., images).
        weights: (..., images), how often each image counts, for many ways of counting at once;
            None: once.
    """
    order = np.argsort(-scores)
    falling = scores[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    if weights is None:
        tp = np.cumsum(labels[order], dtype=np.int64)[ends]
        fp = 1 + ends - tp
    else:
        times = weights[..., order]
        tp = np.cumsum(times * labels[..., order], axis=-1)[..., ends]
        fp = np.cumsum(times, axis=-1)[..., ends] - tp
    return Cuts(
        scores=falling[ends],
        counts=Confusion(tp=tp, fp=fp, fn=tp[..., -1:] - tp, tn=fp[..., -1:] - fp),
    )


def auroc(cuts: Cuts) -> float:
    """`area_roc` of one way of counting."""
    return float(area_roc(cuts.counts))


def average_precision(cuts: Cuts) -> float:
    """`area_precision` of one way of counting."""
    return float(area_precision(cuts.counts))


def area_roc(counts: Confusion) -> FloatArray:
    """Probability that a positive image scores above a negative one, ties counting half.

    Of counts (..., cuts); NaN where the labels hold one class only.

    Source: J. A. Hanley and B. J. McNeil, Radiology 143, 1982.
    """
    tp, fp = counts.tp, counts.fp
    new_negatives = np.diff(fp, prepend=0)
    won_twice = (new_negatives * (2 * tp - np.diff(tp, prepend=0))).sum(axis=-1)
    pairs_twice = (2 * tp[..., -1] * fp[..., -1]).astype(float)
    # Divided by 0 it is not a number: with one class there is nothing to rank.
    nothing = np.full(pairs_twice.shape, np.nan)
    return np.divide(won_twice, pairs_twice, out=nothing, where=pairs_twice != 0)


def area_precision(counts: Confusion) -> FloatArray:
    """Mean of the precision at each positive image: sum of (R_n - R_(n-1)) P_n over cuts.

    Of counts (..., cuts); 0.0 where no image is positive. Source: scikit-learn's
    average_precision_score.
    """
    tp, fp = counts.tp, counts.fp
    new_positives = np.diff(tp, prepend=0)
    return ratio((new_positives * ratio(tp, tp + fp)).sum(axis=-1), tp[..., -1])


def area_above_recall(counts: Confusion, above: float) -> FloatArray:
    """Area under the ROC curve where recall is at least `above`; 0.5 for chance, 1 at most.

    Of counts (..., cuts); NaN where the labels hold one class only. With m = 1 - above and A the
    integral of specificity over recall from `above` to 1: (1 + (A - m²/2) / (m - m²/2)) / 2.
    Between two cuts the curve is a straight line.

    Source: Y. Jiang, C. E. Metz and R. M. Nishikawa, Radiology 201, 1996; standardised as by
    D. K. McClish, Medical Decision Making 9, 1989. With the classes exchanged it is scikit-learn's
    roc_auc_score with max_fpr = 1 - above.
    """
    hit, kept = recall(counts), specificity(counts)
    origin = hit[..., :1] * 0  # the curve begins where no image is called positive
    from_hit = np.concatenate([origin, hit[..., :-1]], axis=-1)
    from_kept = np.concatenate([origin + 1, kept[..., :-1]], axis=-1)
    begin = np.maximum(from_hit, above)
    along = ratio(begin - from_hit, hit - from_hit)
    begin_kept = from_kept + along * (kept - from_kept)
    width = np.maximum(hit - begin, 0.0)
    area = (width * (begin_kept + kept) / 2).sum(axis=-1)
    most = 1 - above
    chance = most**2 / 2
    standard = (1 + (area - chance) / (most - chance)) / 2
    both = (counts.tp[..., -1] > 0) & (counts.fp[..., -1] > 0)
    return np.where(both, standard, np.nan)
