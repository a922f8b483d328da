"""How good is each row, by how much is it better than another, and is that shown? The numbers.

Between rows intervals are Bonferroni's: of all differences together, at most one family in 20 has
one whose interval does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Literal

from search.compare.contenders import Contender, Sheet, Training
from search.compare.reported import Reported, apart_from, reported

if TYPE_CHECKING:
    from xfer.evaluate.bootstrap import Resampled
    from xfer.evaluate.independent import Apart
    from xfer.evaluate.trainings import Repeated

Verdict = Literal["better", "worse", "cannot be told apart"]
BINARY = (
    "accuracy", "recall", "specificity", "precision", "balanced_accuracy", "auroc", "f1", "mcc",
)  # fmt: skip
"""Metrics where there is a positive class."""
SEVERAL = ("accuracy", "balanced_accuracy", "auroc")
"""Metrics of several classes; AUROC is the mean of each class against the rest."""
ERROR = 0.05
"""Chance that any of the differences is told wrongly."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table, in numbers."""

    contender: Contender
    value: float | None
    """The metric, the mean over trainings; None: there is none."""
    low: float | None
    """Of its 95 % interval."""
    high: float | None
    """Likewise."""
    lowest: float | None
    """Of the trainings."""
    highest: float | None
    """Likewise."""
    reported: Reported | None
    """What the study reported."""
    less_reported: Apart | None
    """Ours less the study's, with a 95 % interval; None: the study gave no matrix."""
    difference: Apart | None
    """Less the reference; None: it is the reference, or one of both has no metric."""
    verdict: Verdict | None
    """Of the difference."""
    paired: bool
    """The test images are the reference's."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All rows, by one metric."""

    metric: str
    lines: tuple[Line, ...]
    reference: Contender
    """What the others are compared with."""
    compared: int
    """Differences, all told at once."""
    confidence: float
    """Of each of them."""


def compare(
    rows: Sequence[Contender], metric: str, reference: Contender, *, draws: int
) -> Comparison:
    """The rows by a metric.

    Args:
        rows: all of them.
        metric: of `BINARY` where they decide at thresholds, else of `SEVERAL`.
        reference: one of them, with a training.
        draws: of the bootstrap.
    """
    from xfer.evaluate.repeated import difference, interval
    from xfer.evaluate.trainings import common_spread, repeated

    found: dict[int, Repeated] = {
        id(row): repeated([_resampled(row.sheet, each, draws) for each in row.trainings], metric)
        for row in rows
        if row.sheet is not None
    }
    spread = common_spread(found.values())
    first = found[id(reference)]
    shown = [row for row in rows if id(row) in found and not isnan(found[id(row)].value)]
    compared = max(1, sum(row is not reference for row in shown))
    confidence = 1 - ERROR / compared
    lines = []
    for row in rows:
        theirs = reported(row.published, metric)
        if row not in shown:
            lines.append(_empty(row, theirs))
            continue
        mine = found[id(row)]
        low, high = interval(mine, spread=spread)
        paired = row.sheet is reference.sheet
        apart = None
        if row is not reference and not isnan(first.value):
            apart = difference(mine, first, paired=paired, confidence=confidence, spread=spread)
        lines.append(
            Line(
                contender=row,
                value=mine.value,
                low=low,
                high=high,
                lowest=float(mine.values.min()),
                highest=float(mine.values.max()),
                reported=theirs,
                less_reported=apart_from((mine.value, low, high), theirs),
                difference=apart,
                verdict=None if apart is None else verdict(apart.low, apart.high),
                paired=paired,
            )
        )
    return Comparison(
        metric=metric,
        lines=tuple(lines),
        reference=reference,
        compared=compared,
        confidence=confidence,
    )


def verdict(low: float, high: float) -> Verdict:
    """What an interval of a difference says.

    >>> verdict(0.01, 0.2), verdict(-0.2, -0.01), verdict(-0.01, 0.2)
    ('better', 'worse', 'cannot be told apart')
    """
    if low > 0:
        return "better"
    return "worse" if high < 0 else "cannot be told apart"


def _resampled(sheet: Sheet, training: Training, draws: int) -> Resampled:
    """All metrics of a training's answers, and of the same draws of patients for all of a sheet."""
    from xfer.evaluate.resampled import resample_binary, resample_classes

    if training.threshold is not None:
        return resample_binary(
            training.probabilities[:, 1],
            sheet.labels,
            sheet.patients,
            threshold=training.threshold,
            draws=draws,
        )
    return resample_classes(
        training.probabilities,
        sheet.labels,
        training.run.tested.classes,
        sheet.patients,
        draws=draws,
    )


def _empty(row: Contender, theirs: Reported | None) -> Line:
    return Line(
        contender=row, value=None, low=None, high=None, lowest=None, highest=None,
        reported=theirs, less_reported=None, difference=None, verdict=None, paired=True,
    )  # fmt: skip
