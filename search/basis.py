"""On which answers are a model's probabilities calibrated, and its threshold chosen?

On those of its own to validation; where these are few, on those of fold models to all images of
train and validation, none of which has seen the image it answers for. Fold models are other models:
where what is fitted to their answers does not hold for the model that ships, its own are taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from search.refits import Final
from search.rundir import RunDir
from search.trials import TrialRow

if TYPE_CHECKING:
    import numpy as np

    from xfer.cross_validate import OutOfFold
    from xfer.data.dataset import Dataset

FEW = 150
"""Patients of the positive class, or of the rarest, in validation; below it fold models answer."""


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
    mark: str = ""
    """What has to be known of the choice; empty where nothing has."""


def basis_of(
    run: RunDir, row: TrialRow, data: Dataset, *, final: Final | None, own: bool = False
) -> Basis:
    """The answers of a trial's model, or of the fold models that stand for it.

    Args:
        run: its folder; with the trial's checkpoint.
        row: the trial.
        data: that was trained on.
        final: what came of training the best again; None: they were not.
        own: the model's own, also where they are few.
    """
    refit = None if final is None or own or not has_few(data) else final.of(row)
    return chosen_basis(run.checkpoint(row.number), data, None if refit is None else refit.answers)


def chosen_basis(checkpoint: Path, data: Dataset, out_of_fold: OutOfFold | None) -> Basis:
    """The answers of fold models, where what they say holds for this one; else its own.

    Args:
        checkpoint: of the model that ships.
        data: that was trained on.
        out_of_fold: of the same recipe; None: there are none, or they are not wanted.
    """
    from xfer.checkpoint import read_best

    kept = read_best(checkpoint)
    own = Basis(
        logits=kept.logits,
        labels=kept.labels,
        rows=data.splits["val"],
        part="val",
        said=f"validation, {len(kept.labels)} images",
    )
    if out_of_fold is None:
        return own
    folds = Basis(
        logits=out_of_fold.logits,
        labels=out_of_fold.labels,
        rows=out_of_fold.rows,
        part="folds",
        said=(
            f"{len(out_of_fold.labels)} images of {out_of_fold.folds} folds, each answered by a "
            "model that had not seen it"
        ),
    )
    if _holds(folds, own):
        return folds
    return replace(
        own,
        mark=(
            f"The fold models' probabilities are not the model's: its own {len(own.labels)} "
            "validation images contradict a calibration by their answers. Calibration and "
            "threshold come from these few images instead."
        ),
    )


def _holds(folds: Basis, own: Basis) -> bool:
    """Whether a calibration by fold models is not contradicted by a model's own answers.

    Likelihood ratio test at 5 % against the calibration that fits these best. Labels are smoothed
    as in the fit, or a part without a mistake would contradict whatever is not certain of it.
    """
    import numpy as np
    from scipy.stats import chi2

    from xfer.evaluate.calibration import fit_calibration

    classes = own.logits.shape[1]
    counts = np.bincount(own.labels, minlength=classes)
    if (counts == 0).any():
        return True  # nothing of it could be fitted
    smooth = 1 / (counts[own.labels] + 2)
    shares = np.repeat((smooth / (classes - 1))[:, None], classes, axis=1)
    shares[np.arange(len(own.labels)), own.labels] = 1 - smooth

    def loss(basis: Basis) -> float:
        probabilities = fit_calibration(basis.logits, basis.labels).apply(own.logits)
        return float(-(shares * np.log(np.maximum(probabilities, 1e-300))).sum())

    parameters = 2 if classes == 2 else 1
    return 2 * (loss(folds) - loss(own)) <= float(chi2.ppf(0.95, parameters))


def has_few(data: Dataset) -> bool:
    """Whether validation is too small for a threshold of its own."""
    rows = data.splits["val"]
    of_class: list[set[str]] = [set() for _ in data.classes]
    for row in rows.tolist():
        of_class[int(data.labels[row])].add(data.patients[row])
    counts = [len(patients) for patients in of_class]
    return (min(counts) if data.positive is None else counts[data.positive]) < FEW
