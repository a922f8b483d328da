"""Which threshold ships, and how much can the images it was chosen on promise for it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from xfer.evaluate.answers import BoolArray, FloatArray, check_binary
from xfer.evaluate.confusion import confusion_binary
from xfer.evaluate.cuts import make_cuts
from xfer.evaluate.intervals import lower_bound, trials_needed
from xfer.evaluate.objectives import best_threshold
from xfer.recipe import BestScore, FixedThreshold, Objective, TargetRecall, to_json

Rule = TargetRecall | BestScore | FixedThreshold


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A threshold, and what is known of it."""

    value: float
    """An image is called positive where its score is at least this; in [0, 1]."""
    rule: Mapping[str, Any]
    """The rule that chose it, as `xfer.recipe.to_json` gives it."""
    supported: bool
    """False where a recall was asked for that so few positive images cannot vouch for, whatever
    the model."""
    said: str
    """What was done and what it promises, in a sentence."""
    positives: int
    """Positive images it was chosen on."""
    recall: float
    """Share of them that are called positive at this threshold."""
    lower_bound: float
    """One-sided 95 % lower bound of that recall (Clopper and Pearson). It takes the threshold as
    given; chosen on the same images, as by TargetRecall and BestScore, it is somewhat optimistic:
    the test part tells."""


def choose_threshold(
    rule: Rule, objective: Objective, scores: npt.ArrayLike, labels: npt.ArrayLike
) -> Chosen:
    """The threshold that ships, by one of three rules.

    * TargetRecall: the highest threshold whose lower bound of recall reaches the target. Where
      the positive images are too few to reach it even without a miss, the highest threshold whose
      observed recall does, `supported=False`, and `said` tells what they could support.
    * BestScore: the threshold of `best_threshold`.
    * FixedThreshold: its own.

    A threshold chosen from scores lies between two of them, as `Cuts.threshold` says.

    Args:
        rule: usually the objective's own.
        objective: what BestScore maximises.
        scores: (images,), probabilities of the positive class.
        labels: (images,), 1 for the positive class, 0 for all else.

    Raises:
        DataError: as `check_binary` says, or labels of one class only.
    """
    values, truth = check_binary(scores, labels, both_classes=True)
    positives = int(truth.sum())
    supported = True
    match rule:
        case TargetRecall(recall=target):
            supported = positives >= trials_needed(target)
            threshold = _for_recall(target, values, truth, bounded=supported)
        case BestScore():
            _, threshold = best_threshold(objective, values, truth)
        case FixedThreshold(value=threshold):
            pass
    found = int(confusion_binary(values, truth, threshold=threshold).tp)
    bound = lower_bound(found, positives)
    return Chosen(
        value=threshold,
        rule=to_json(rule),
        supported=supported,
        said=_said(
            rule,
            objective,
            threshold=threshold,
            positives=positives,
            found=found,
            bound=bound,
            supported=supported,
        ),
        positives=positives,
        recall=found / positives,
        lower_bound=bound,
    )


def _for_recall(target: float, scores: FloatArray, labels: BoolArray, *, bounded: bool) -> float:
    """The highest threshold whose recall, or whose lower bound of recall, reaches the target."""
    positives = int(labels.sum())
    if bounded:
        hits, most = 0, positives  # the bound rises with the hits: halve the range
        while hits < most:
            middle = (hits + most) // 2
            if lower_bound(middle, positives) >= target:
                most = middle
            else:
                hits = middle + 1
    else:
        hits = ceil(target * positives - 1e-9)  # .9 of 10 is 9, not the 9.000000000000002 of floats
    cuts = make_cuts(scores, labels)
    return cuts.threshold(int(np.searchsorted(cuts.counts.tp, hits)))


def _said(
    rule: Rule,
    objective: Objective,
    *,
    threshold: float,
    positives: int,
    found: int,
    bound: float,
    supported: bool,
) -> str:
    got = (
        f"at {threshold:.4g}, {found} of {positives} positive images are found "
        f"(recall {found / positives:.3f}, with 95 % confidence at least {_down(bound)})"
    )
    match rule:
        case TargetRecall(recall=target) if supported:
            return f"The highest threshold that vouches for a recall of {target:g}: {got}."
        case TargetRecall(recall=target):
            most = _down(lower_bound(positives, positives))
            return (
                f"{positives} positive images cannot support a recall of {target:g}; "
                f"the most they support is {most}, and {trials_needed(target)} without a miss "
                f"would be needed. Instead, the highest threshold whose recall on these images "
                f"reaches {target:g}: {got}."
            )
        case BestScore():
            ranked = objective.name in ("auroc", "average_precision")
            best = "balanced_accuracy" if ranked else objective.name
            return f"The threshold at which {best} is best on the images it was chosen on: {got}."
        case FixedThreshold():
            return f"A fixed threshold: {got}."


def _down(share: float) -> str:
    """Rounded down, so that no text promises more than the numbers do."""
    return f"{int(share * 1000) / 1000:.3f}"
