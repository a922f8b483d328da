"""What did each trial answer on validation? Kept of every finished trial, long after its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.rundir import RunDir
from search.trials import TrialRow
from xfer.recipe import Objective

if TYPE_CHECKING:
    import numpy as np

    from xfer.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Of the epoch that counts, or of all folds."""

    logits: np.ndarray
    """float64 (images, classes)."""
    labels: np.ndarray
    """int64 (images,)."""
    rows: np.ndarray
    """int64 (images,), positions in the data."""
    eligible: bool
    """They are shown to be better than the same answer for every image."""
    epochs: np.ndarray | None
    """float32 (epochs, images, classes), in their order, of each epoch that
    `xfer.epoch_answers` keeps; None: with folds, or of a trial that began before they were kept."""


def keep_answers(
    run: RunDir, row: TrialRow, data: Dataset, objective: Objective, *, folds: bool
) -> None:
    """Copies a finished trial's answers out of its checkpoint, and judges them; once is enough.

    Args:
        run: its folder.
        row: the trial.
        data: of the answers.
        objective: by which they are shown to be better than a constant, or not.
        folds: the trial was scored on folds.
    """
    if run.answers(row.number).exists() or not run.checkpoint(row.number).is_dir():
        return
    logits, labels, rows, epochs = _of_checkpoint(run, row, data, folds=folds)
    write_answers(
        run, row.number, data, objective, logits=logits, labels=labels, rows=rows, epochs=epochs
    )


def judge(
    run: RunDir, row: TrialRow, data: Dataset, objective: Objective, *, folds: bool
) -> str | None:
    """What has to be said of a trial that was never finished, and wins for want of another.

    Its answers so far are judged, and are not kept: it may be gone on with.

    Args: as of `keep_answers`.

    Returns:
        a mark; None where it is shown to be better than the same answer for every image.
    """
    logits, labels, rows, _ = _of_checkpoint(run, row, data, folds=folds)
    if is_better_than_constant(data, objective, logits, labels, rows):
        return None
    return (
        f"Trial {row.number} is not shown to be better than the same answer for every image: do "
        "not use this model."
    )


def _of_checkpoint(
    run: RunDir, row: TrialRow, data: Dataset, *, folds: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Logits of the epoch that counts, or of all folds so far; labels, positions, and all epochs.

    Those of folds have nothing to do with these images.
    """
    from xfer.checkpoint import read_best
    from xfer.cross_validate import read_out_of_fold

    checkpoint = run.checkpoint(row.number)
    if folds:
        out = read_out_of_fold(checkpoint, len(row.scores))
        return out.logits, out.labels, out.rows, None
    best = read_best(checkpoint)
    return best.logits, best.labels, data.splits["val"], best.epochs


def write_answers(
    run: RunDir,
    number: int,
    data: Dataset,
    objective: Objective,
    *,
    logits: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    epochs: np.ndarray | None = None,
) -> None:
    """Judges a trial's answers, and writes them.

    Args:
        run: its folder.
        number: the trial's.
        data: whose patients and subgroups they are.
        objective: by which they are shown to be better than a constant, or not.
        logits: float64 (images, classes).
        labels: int64 (images,).
        rows: int64 (images,), positions in the data.
        epochs: float32 (epochs, images, classes), those of all epochs; None: they are not known.
    """
    import numpy as np

    file = run.answers(number)
    better = is_better_than_constant(data, objective, logits, labels, rows)
    file.parent.mkdir(exist_ok=True)
    writing = file.with_suffix(".writing")
    known: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    with writing.open("wb") as opened:
        np.savez(opened, logits=logits, labels=labels, rows=rows, eligible=better, **known)
    writing.replace(file)


def is_better_than_constant(
    data: Dataset,
    objective: Objective,
    logits: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
) -> bool:
    """Whether answers are shown to be better than the same answer for every image.

    Args:
        data: whose patients and subgroups they are.
        objective: by which it is shown.
        logits: float64 (images, classes).
        labels: int64 (images,).
        rows: int64 (images,), positions in the data.
    """
    from xfer.evaluate.answers import ranked as as_ranked
    from xfer.evaluate.eligible import eligible
    from xfer.steps import strata

    return eligible(
        objective,
        as_ranked(objective, logits),
        labels,
        whose(data, labels, rows),
        seed=_SEED,
        subgroups=strata(objective, data, rows),
    )


def may_win(run: RunDir, number: int) -> bool:
    """Whether a trial is shown to be better than the same answer for every image.

    It is asked of every trial whenever one ends, so a file is opened once: of 1,000 trials of 500
    images it takes .015 s then, and .5 s where all of every file is read each time.
    """
    file = run.answers(number)
    return file.exists() and _eligible(file, file.stat().st_mtime_ns)


@cache
def _eligible(file: Path, written: int) -> bool:
    """Of a file as it was written at that time, in nanoseconds; only that array is read."""
    import numpy as np

    with np.load(file) as arrays:
        return bool(arrays["eligible"])


def read_answers(run: RunDir, number: int) -> Answers | None:
    """A trial's answers; None where it has none."""
    import numpy as np

    file = run.answers(number)
    if not file.exists():
        return None
    with np.load(file) as arrays:
        eligible = bool(arrays["eligible"])
        return Answers(
            logits=arrays["logits"],
            labels=arrays["labels"],
            rows=arrays["rows"],
            eligible=eligible,
            epochs=arrays.get("epochs"),
        )


def choose_eligible(run: RunDir, ranked: Sequence[TrialRow]) -> tuple[TrialRow, list[str]]:
    """The first trial that is shown to do more than give every image the same answer.

    Args:
        run: with answers, and with the checkpoints of those that may win.
        ranked: finished trials, best first; at least one.

    Returns:
        the trial, and what has to be said of those before it; the first trial where none is shown.
    """
    for place, row in enumerate(ranked):
        if may_win(run, row.number) and run.checkpoint(row.number).is_dir():
            passed = [other.number for other in ranked[:place]]
            return row, [_passed_over(passed)] if passed else []
    return ranked[0], [
        "No trial is shown to be better than the same answer for every image: do not use this "
        "model."
    ]


def _passed_over(numbers: Sequence[int]) -> str:
    trials = f"trial {numbers[0]} was" if len(numbers) == 1 else (
        f"trials {', '.join(map(str, numbers))} were"
    )  # fmt: skip
    return (
        f"{trials[0].upper()}{trials[1:]} passed over in spite of a higher search score: not shown "
        "to be better than the same answer for every image."
    )


def whose(data: Dataset, labels: np.ndarray, rows: np.ndarray) -> list[str] | None:
    """Patients of the images; None where most images are of patients who have several classes.

    Such patients are alike, and dealing them out anew says nothing of who is told from whom.
    """
    patients = [data.patients[i] for i in rows]
    classes: dict[str, set[int]] = {}
    for patient, label in zip(patients, labels.tolist(), strict=True):
        classes.setdefault(patient, set()).add(label)
    mixed = sum(len(classes[patient]) > 1 for patient in patients)
    return None if 2 * mixed > len(patients) else patients


_SEED = 0  # of draws: the same answers, the same verdict
