"""Which threshold ships, and how much can the images it was chosen on promise for it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, hypot
from typing import Any

import numpy as np
import numpy.typing as npt

from xfer.evaluate.answers import BoolArray, FloatArray, check_binary
from xfer.evaluate.confusion import confusion_binary
from xfer.evaluate.cuts import make_cuts
from xfer.evaluate.intervals import lower_bound_by_patient, trials_needed
from xfer.evaluate.objectives import best_threshold
from xfer.evaluate.weighted import RANKED
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
    """One-sided 95 % lower bound of that recall (Clopper and Pearson); wider by what the scale of
    the scores may err by, where that is known. It takes the threshold as given; chosen on the same
    images, as by TargetRecall and BestScore, it is somewhat optimistic: the test part tells."""


def choose_threshold(
    rule: Rule,
    objective: Objective,
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    patients: Sequence[str] | None = None,
    subgroups: Sequence[str | None] | None = None,
    low: npt.ArrayLike | None = None,
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
        patients: (images,), whose they are: several of one patient vouch for less than as many of
            different ones (`lower_bound_by_patient`). None: each image is of another.
        subgroups: (images,), for an objective of the worst subgroup.
        low: (images,), scores that were brought to a model's scale, as low as that may err with
            95 % confidence (`xfer.evaluate.equating`); None: they are the model's own. At a
            threshold their recall lies below that of the scores by one margin, the lower bound for
            so many positives by another: the bound is below by the root of the sum of squares.

    Raises:
        DataError: as `check_binary` says, or labels of one class only.
    """
    values, truth = check_binary(scores, labels, both_classes=True)
    lowest = None if low is None else check_binary(low, labels)[0][truth]
    positives = int(truth.sum())
    whose = np.arange(len(truth)) if patients is None else np.asarray(patients)
    whose = whose[truth]

    def bounded(threshold: float) -> float:
        found = values[truth] >= threshold
        exact = lower_bound_by_patient(found, whose)
        if lowest is None:
            return exact
        share, surely = float(found.mean()), float((lowest >= threshold).mean())
        return share - hypot(share - exact, share - surely) if surely < share else exact

    supported = True
    match rule:
        case TargetRecall(recall=target):
            supported = lower_bound_by_patient(np.ones(positives, bool), whose) >= target
            threshold = _for_recall(target, values, truth, bounded if supported else None)
            if supported and lowest is not None and bounded(threshold) < target:
                # The scale may err by more than what lies between the scores and 0.
                threshold = float(np.nextafter(np.float32(lowest.min()), np.float32(0)))
        case BestScore():
            _, threshold = best_threshold(objective, values, truth, subgroups=subgroups)
        case FixedThreshold(value=threshold):
            pass
    found = int(confusion_binary(values, truth, threshold=threshold).tp)
    bound = bounded(threshold)
    return Chosen(
        value=threshold,
        rule=to_json(rule),
        supported=supported,
        said=_said(
            rule,
            objective,
            threshold=threshold,
            positives=positives,
            patients=len(np.unique(whose)),
            found=found,
            bound=bound,
            most=lower_bound_by_patient(np.ones(positives, bool), whose),
            supported=supported,
        ),
        positives=positives,
        recall=found / positives,
        lower_bound=bound,
    )


def _for_recall(
    target: float,
    scores: FloatArray,
    labels: BoolArray,
    bound: Callable[[float], float] | None,
) -> float:
    """The highest threshold whose recall, or whose lower bound of recall, reaches the target.

    The one below all scores where no lower bound does.
    """
    positives = int(labels.sum())
    hits = ceil(target * positives - 1e-9)  # .9 of 10 is 9, not the 9.000000000000002 of floats
    cuts = make_cuts(scores, labels)
    first = int(np.searchsorted(cuts.counts.tp, hits))
    if bound is None:
        return cuts.threshold(first)
    for cut in range(first, len(cuts.counts.tp)):  # by patient the bound may fall with a hit
        if bound(threshold := cuts.threshold(cut)) >= target:
            return threshold
    return cuts.threshold(len(cuts.scores) - 1)


def _said(
    rule: Rule,
    objective: Objective,
    *,
    threshold: float,
    positives: int,
    patients: int,
    found: int,
    bound: float,
    most: float,
    supported: bool,
) -> str:
    whose = "" if patients == positives else f" of {patients} patients"
    got = (
        f"at {threshold:.4g}, {found} of {positives} positive images{whose} are found "
        f"(recall {found / positives:.3f}, with 95 % confidence at least {_down(bound)})"
    )
    match rule:
        case TargetRecall(recall=target) if supported:
            return f"The highest threshold that vouches for a recall of {target:g}: {got}."
        case TargetRecall(recall=target):
            needed = f"{trials_needed(target)}{' patients' if whose else ''} without a miss"
            return (
                f"{positives} positive images{whose} cannot support a recall of {target:g}; "
                f"the most they support is {_down(most)}, and {needed} would be needed. Instead, "
                f"the highest threshold whose recall on these images reaches {target:g}: {got}."
            )
        case BestScore():
            ranked = objective.name in RANKED
            best = "balanced_accuracy" if ranked else objective.name
            return f"The threshold at which {best} is best on the images it was chosen on: {got}."
        case FixedThreshold():
            return f"A fixed threshold: {got}."


def _down(share: float) -> str:
    """Rounded down, so that no text promises more than the numbers do."""
    return f"{int(share * 1000) / 1000:.3f}"
