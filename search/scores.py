"""How good are answers, in numbers with intervals, and are some better than others?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.amounts import bound, share
from search.result import finite, with_intervals
from search.sentences import signed
from xfer.recipe import Objective

if TYPE_CHECKING:
    import numpy as np

    from xfer.data.dataset import Dataset
    from xfer.evaluate.bootstrap import Resampled
    from xfer.evaluate.calibration import Calibration


HALF = "accuracy_at_0.5"
"""Name of the accuracy where the more probable of two classes is the answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Metrics of answers to some images."""

    metrics: dict[str, Any]
    """As `search.result.with_intervals` gives them."""
    resampled: Resampled
    """The same with other patients."""
    probabilities: np.ndarray
    """float (images, classes): the answers."""


def measured(
    probabilities: np.ndarray,
    labels: np.ndarray,
    patients: Sequence[str],
    classes: Sequence[str],
    *,
    threshold: float | None,
    subgroups: Sequence[str | None] | None = None,
) -> Measured:
    """Metrics with 95 % intervals, patients resampled.

    Args:
        probabilities: float (images, classes).
        labels: int64 (images,), positions in `classes`.
        patients: of the images.
        classes: names; the positive one is the second.
        threshold: from which on an image counts as positive; None: the most probable class counts.
        subgroups: of the images; where some have one, metrics hold `subgroups`, as
            `xfer.evaluate.subgroups` gives them. None: they are not asked for.
    """
    import numpy as np

    from xfer.evaluate.bootstrap import intervals, share_of
    from xfer.evaluate.confusion import confusion_binary, confusion_matrix
    from xfer.evaluate.predictive import Share, predictive_values
    from xfer.evaluate.reliability import measure_reliability
    from xfer.evaluate.resampled import resample_binary, resample_classes
    from xfer.evaluate.subgroups import measure_subgroups

    if threshold is not None:
        scores = probabilities[:, 1]
        decided = (scores >= threshold).astype(np.int64)
        counts = confusion_binary(scores, labels, threshold=threshold)
        confusion: dict[str, Any] = {k: int(getattr(counts, k)) for k in ("tp", "fp", "fn", "tn")}
        drawn = resample_binary(scores, labels, patients, threshold=threshold)
    else:
        decided = np.argmax(probabilities, axis=1)
        matrix = confusion_matrix(labels, decided, classes=len(classes))
        confusion = {"classes": list(classes), "matrix": matrix.tolist()}
        drawn = resample_classes(probabilities, labels, classes, patients)
    metrics = with_intervals(drawn.values, intervals(drawn), confusion)
    metrics |= finite(measure_reliability(probabilities, labels, patients=patients))
    if threshold is not None:
        # What others publish: the more probable class is the answer.
        half = resample_binary(probabilities[:, 1], labels, patients, threshold=0.5)
        low, high = intervals(half)["accuracy"]
        metrics[HALF] = {"value": half.values["accuracy"], "low": low, "high": high}
        recall, specificity = (
            Share(**{end: getattr(share_of(drawn, name), end) for end in ("value", "low", "high")})
            for name in ("recall", "specificity")
        )
        metrics |= finite(predictive_values(recall, specificity))
    if subgroups is not None:
        by_name = measure_subgroups(
            decided, labels, patients, subgroups, binary=threshold is not None
        )
        metrics |= {"subgroups": finite(by_name)} if by_name else {}
    return Measured(metrics=metrics, resampled=drawn, probabilities=probabilities)


def score(
    net: Any, data: Dataset, part: str, calibration: Calibration, *, threshold: float | None
) -> Measured:
    """Metrics of a model on one part of the data."""
    from xfer.logits import predict_logits

    rows = data.splits[part]
    device = next(net.parameters()).device
    logits = predict_logits(net, data.pixels, rows, device=device)
    probabilities = calibration.apply(logits.numpy())
    patients = [data.patients[i] for i in rows]
    return measured(
        probabilities,
        data.labels[rows],
        patients,
        data.classes,
        threshold=threshold,
        subgroups=[data.subgroups[i] for i in rows],
    )


def compare(winner: Measured, other: Measured, objective: Objective) -> dict[str, Any]:
    """How much better the winner is, patients resampled in pairs.

    By the objective where that is a metric of decisions as shipped, else by balanced accuracy.

    Returns:
        `metric`, its `value`, `low` and `high` as differences, `better`, the share of draws in
        which the winner is; and `beaten`: no doubt at 95 %.
    """
    from dataclasses import replace

    from xfer.evaluate.bootstrap import paired_differences

    def judged(measured: Measured) -> Resampled:
        drawn = measured.resampled
        if objective.name != "recall_weighted" or "specificity" not in drawn.values:
            return drawn
        weight = objective.recall_weight

        def weighed(values: Any) -> Any:
            return weight * values["recall"] + (1 - weight) * values["specificity"]

        return replace(
            drawn,
            values={**drawn.values, objective.name: weighed(drawn.values)},
            draws={**drawn.draws, objective.name: weighed(drawn.draws)},
        )

    differences = paired_differences(judged(winner), judged(other))
    name = objective.name if objective.name in differences else "balanced_accuracy"
    found = differences[name]
    return {
        "metric": name,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "better": found.better,
        "beaten": found.low > 0,
    }


def compared_said(name: str, difference: dict[str, Any]) -> str:
    """A sentence for people.

    >>> compared_said("linear probe", {"metric": "auroc", "value": 0.03, "low": -0.01,
    ...     "high": 0.07, "better": 0.93, "beaten": False})
    'linear probe: not shown to be beaten (auroc +.03, -.01 to +.07).'
    """
    metric = difference["metric"].replace("_", " ")
    verdict = "not shown to be beaten"
    if difference["beaten"]:
        verdict = "beaten"
    elif difference["high"] < 0:
        verdict = "better than the winner"
    return f"{name}: {verdict} ({metric} {signed(difference)})."


def corrected_said(best: Mapping[str, Any]) -> str | None:
    """What is left of the best search score without the luck of the choice, in a sentence.

    Args:
        best: as result.json has it; its `corrected` may be None.

    >>> told = {"value": 0.93, "low": 0.9, "high": 0.96, "naive": 0.95, "trials": 10}
    >>> said = corrected_said({"corrected": told | {"images": 400, "by": "finalists"}})
    >>> said.split("; ")[0]
    'To be expected of new images: a search score of .93 (.90 to .96)'
    >>> said.split("; ")[1]
    'its fold models have .95 on the 400 images of train, and it was chosen among 10 finalists.'
    """
    corrected = best.get("corrected")
    if not corrected:
        return None
    low, high = bound(corrected["low"]), bound(corrected["high"])
    trials, naive = corrected["trials"], share(corrected["naive"])
    if corrected["by"] == "finalists":
        among = "" if trials == 1 else f", and it was chosen among {trials} finalists"
        basis = (
            f"its fold models have {naive} on the {corrected['images']:,} images of train{among}"
        )
    else:
        which = (
            "the only trial that may win" if trials == 1
            else f"the best of the {trials} trials that may win"
        )  # fmt: skip
        basis = f"{which} has {naive} on the images that it was chosen on"
        if corrected["by"] == "validation":
            basis += ", which have chosen its epoch, too: that is not corrected"
    return (
        f"To be expected of new images: a search score of {share(corrected['value'])} ({low} to "
        f"{high}); {basis}."
    )
