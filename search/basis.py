"""On which answers are a model's probabilities calibrated, and its threshold chosen?

On those of its own to validation; where these are few, on those of fold models to all images of
train and validation, none of which has seen the image it answers for. Fold models are other models,
each with a scale of its own: their answers are brought to the scale of the model that ships first.
Where what is fitted to them does not hold for it even so, its own are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
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
FEWEST = 8
"""Patients of whom a model and its fold models must both have answered images, for a line between
their scales; fewer were not simulated (see `chosen_basis`)."""
_SURE = 0.99
"""Confidence with which a model's own answers must contradict its fold models' to replace them.

The test knows nothing of the line's error: where nothing but a line is between them, it contradicts
at .95 in 8 to 49 % of simulations, at .99 in 1 to 13 %; most with 8 to 16 images in validation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """Answers to images that the model which gave them was not fitted to."""

    logits: np.ndarray
    """float64 (images, classes), on the scale of the model that ships."""
    labels: np.ndarray
    """int64 (images,)."""
    rows: np.ndarray
    """int64 (images,), positions in the data."""
    part: Literal["val", "folds"]
    """What they are, for files."""
    said: str
    """What they are, for people."""
    low: np.ndarray | None = None
    """Of two classes, `logits` at the lower end of what that scale may err by; None: they are the
    model's own, or there are several classes."""
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

    Threshold for a recall of .95 by 50 positives of validation, or 250 out of fold, of models with
    an AUROC near .98. First, 1,000 simulations: log-odds differ by a deviation of 1, slopes by a
    factor of exp(.4), d' by 5 %. In brackets small networks on 127 draws from PneumoniaMNIST, by
    3,995 other positives. `kept`: recall was .95 or more.

    | answers of | recall | its deviation | kept |
    | --- | --- | --- | --- |
    | the model: validation, which can promise .94 | .945 (.936) | .031 (.033) | .51 (.42) |
    | fold models as they are | .968 (.962) | .036 (.049) | .81 (.80) |
    | these; where contradicted at .95, validation | .958 (.948) | .030 (.034) | .69 (.62) |
    | fold models, calibrated on what chose epochs | .971 (.972) | .016 (.017) | .91 (.92) |
    | fold models on the model's line: here | .975 (.974) | .012 (.015) | .96 (.93) |
    | the model: 250 others | .973 | .010 | .97 |

    With 8 positives in validation and 1,500 out of fold .92 are kept, without the line's error .72;
    with 4 and 250, .93 and .84.

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
    folds = _moved(out_of_fold, own, data.patients)
    if folds is not None and _holds(folds, own):
        return folds
    why = (
        "and cannot be brought to its scale"
        if folds is None
        else f"also on its own scale: its own {len(own.labels)} validation images contradict a "
        "calibration by their answers"
    )
    return replace(
        own,
        mark=f"The fold models' probabilities are not the model's, {why}. Calibration and "
        f"threshold come from {len(own.labels)} validation images instead.",
    )


def _moved(out_of_fold: OutOfFold, own: Basis, patients: Sequence[str]) -> Basis | None:
    """Fold models' answers on the scale of the model that ships; None where there is no telling."""
    import numpy as np

    from xfer.evaluate.equating import equate

    place = {row: i for i, row in enumerate(out_of_fold.rows.tolist())}
    both = np.array([row in place for row in own.rows.tolist()])
    shared = own.rows[both].tolist()
    whose = {patients[row] for row in shared}
    if len(whose) < FEWEST:
        return None
    found = equate(
        out_of_fold.logits,
        own.logits[both],
        sizes=out_of_fold.sizes,
        shared=np.array([place[row] for row in shared]),
        patients=len(whose),
    )
    if found is None:
        return None
    return Basis(
        logits=found.logits,
        low=found.low,
        labels=out_of_fold.labels,
        rows=out_of_fold.rows,
        part="folds",
        said=(
            f"{len(out_of_fold.labels)} images of {out_of_fold.folds} folds, each answered by a "
            "model that had not seen it, on this model's scale"
        ),
    )


def _holds(folds: Basis, own: Basis) -> bool:
    """Whether a calibration by fold models is not contradicted by a model's own answers.

    Likelihood ratio test against the calibration that fits these best. Labels are smoothed as in
    the fit, or a part without a mistake would contradict whatever is not certain of it.
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
    return 2 * (loss(folds) - loss(own)) <= float(chi2.ppf(_SURE, parameters))


def has_few(data: Dataset) -> bool:
    """Whether validation is too small for a threshold of its own."""
    rows = data.splits["val"]
    of_class: list[set[str]] = [set() for _ in data.classes]
    for row in rows.tolist():
        of_class[int(data.labels[row])].add(data.patients[row])
    counts = [len(patients) for patients in of_class]
    return (min(counts) if data.positive is None else counts[data.positive]) < FEW
