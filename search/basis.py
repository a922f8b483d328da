"""On which answers are a model's probabilities calibrated, and its threshold chosen?

On those of its own to validation; where these are few, on those of fold models to all images of
train and validation, none of which has seen the image it answers for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from search.refits import Final
from search.rundir import RunDir
from search.trials import TrialRow

if TYPE_CHECKING:
    import numpy as np

    from xfer.cross_validate import OutOfFold
    from xfer.data.dataset import Dataset

FEW = 150
"""Validation images of the positive class, or of the rarest, below which fold models answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """Answers to images that the model which gave them was not fitted to."""

    logits: np.ndarray
    """float64 (images, classes)."""
    labels: np.ndarray
    """int64 (images,)."""
    rows: np.ndarray
    """int64 (images,), positions in the data."""
    part: Literal["val", "folds"]
    """What they are, for files."""
    said: str
    """What they are, for people."""


def basis_of(run: RunDir, row: TrialRow, data: Dataset, *, final: Final | None) -> Basis:
    """The answers of a trial's model, or of the fold models that stand for it.

    Args:
        run: its folder.
        row: the trial; with a checkpoint, where its own answers are asked for.
        data: that was trained on.
        final: what came of training the best again; None: they were not.
    """
    from xfer.checkpoint import read_best

    refit = None if final is None else final.of(row)
    if refit is not None and has_few(data):
        return folds_basis(refit.answers)
    kept = read_best(run.checkpoint(row.number))
    return Basis(
        logits=kept.logits,
        labels=kept.labels,
        rows=data.splits["val"],
        part="val",
        said=f"validation, {len(kept.labels)} images",
    )


def folds_basis(answers: OutOfFold) -> Basis:
    """Answers out of fold."""
    return Basis(
        logits=answers.logits,
        labels=answers.labels,
        rows=answers.rows,
        part="folds",
        said=(
            f"{len(answers.labels)} images of {answers.folds} folds, each answered by a model that "
            "had not seen it"
        ),
    )


def has_few(data: Dataset) -> bool:
    """Whether validation is too small for a threshold of its own."""
    import numpy as np

    counts = np.bincount(data.labels[data.splits["val"]], minlength=len(data.classes))
    return bool((counts.min() if data.positive is None else counts[data.positive]) < FEW)
