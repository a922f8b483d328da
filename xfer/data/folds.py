"""Which images are in which fold, when every image is to be scored by a model that has not seen it?

All but the test part is cut into folds of about equal size, by patient and picture, with shares of
classes kept as far as patients allow. The cut depends on the images and a seed alone, so all trials
of a search have the same folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfer.data.leaks import joined
from xfer.errors import DataError

Rows = npt.NDArray[np.int64]

STOP_SHARE = 5
"""One part in so many of what a fold trains on is held back, to choose the epoch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """One round of cross-validation: int64 positions, ascending, each in one part."""

    train: Rows
    """What is trained on."""
    stop: Rows
    """What chooses the epoch: of the fold's training part, so that no score is chosen by itself."""
    val: Rows
    """What is scored."""

    @property
    def parts(self) -> tuple[Rows, Rows, Rows]:
        """All three."""
        return self.train, self.stop, self.val


def cut_folds(
    rows: npt.ArrayLike,
    *,
    labels: Sequence[int] | Rows,
    patients: Sequence[str],
    folds: int,
    seed: int,
    same: Sequence[Sequence[int]] = (),
    classes: Sequence[str] = (),
) -> tuple[Fold, ...]:
    """Cuts positions into folds.

    Args:
        rows: positions to cut: train and val, never test.
        labels: of all positions.
        patients: of all positions; images of one patient stay together.
        folds: how many, 2 or more.
        seed: the same seed and images, the same folds.
        same: groups of positions that show the same picture; they stay together, too.
        classes: names of labels, for messages.

    Returns:
        as many folds; their `val` are disjoint and together `rows`.

    Raises:
        DataError: some part of some fold would be without a class.
    """
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    truth = np.asarray(labels)[rows]
    groups = _groups(rows, patients, same)
    everything = set(truth.tolist())
    cut = _cut(rows, truth, groups, folds, seed)
    parts = [part for fold in cut for part in fold.parts]
    of = np.asarray(labels)
    if len(cut) == folds and all(set(of[part].tolist()) == everything for part in parts):
        return cut
    names = [
        f"{len(np.unique(groups[truth == label])):,} of "
        f"{classes[label] if classes else f'class {label}'}"
        for label in sorted(everything)
    ]
    raise DataError(
        f"{folds} folds cannot be cut by patient: every fold needs every class in what it trains "
        "on, in what chooses the epoch and in what is scored, and train and val have "
        f"{' and '.join(names)} (patients). {folds} folds take at least "
        f"{max(folds, 4 if folds == 2 else 3)} patients of each class: ask for fewer, or add "
        "images."
    )


def _cut(rows: Rows, truth: Rows, groups: Rows, folds: int, seed: int) -> tuple[Fold, ...]:
    """Folds as they come; fewer where the training part of one cannot be cut again."""
    cut = []
    for others, scored in _rounds(truth, groups, folds, seed):
        inner = next(_rounds(truth[others], groups[others], STOP_SHARE, seed), None)
        if inner is None:
            break
        train, stop = inner
        cut.append(Fold(train=rows[others[train]], stop=rows[others[stop]], val=rows[scored]))
    return tuple(cut)


def _groups(rows: Rows, patients: Sequence[str], same: Sequence[Sequence[int]]) -> Rows:
    """A number for each row; equal for those that must stay together."""
    of_patient: dict[str, list[int]] = {}
    for row in rows.tolist():
        of_patient.setdefault(str(patients[row]), []).append(row)
    here = set(rows.tolist())
    pictures = [[row for row in group if row in here] for group in same]
    number = {
        row: i
        for i, group in enumerate(joined([*of_patient.values(), *filter(None, pictures)]))
        for row in group
    }
    return np.array([number[row] for row in rows.tolist()], dtype=np.int64)


def _rounds(truth: Rows, groups: Rows, folds: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """What stays and what is held out, in rounds; no round where a class has one group alone."""
    fewest = min(len(np.unique(groups[truth == label])) for label in np.unique(truth))
    folds = min(folds, fewest)
    if folds < 2:
        return
    number = np.unique(groups, return_inverse=True)[1].reshape(-1)
    fold = folds_by_patient(
        np.unique(truth, return_inverse=True)[1], number, folds=folds, seed=seed
    )
    for held in range(folds):
        yield np.flatnonzero(fold != held), np.flatnonzero(fold == held)


def folds_by_patient(
    labels: np.ndarray, patients: np.ndarray, *, folds: int, seed: int
) -> np.ndarray:
    """Each image's fold, int64 (images,): by patient, and with like shares of every class.

    A patient counts as the rarest of the classes that he has; the one with most images comes first
    and goes where fewest images of his class are.

    Args:
        labels: int64 (images,).
        patients: int64 (images,), numbers that do not depend on the order of images.
        folds: how many.
        seed: the same seed and patients, the same folds.
    """
    images = np.bincount(labels)
    count = np.zeros((patients.max() + 1, len(images)), dtype=np.int64)
    np.add.at(count, (patients, labels), 1)
    rarest = np.where(count > 0, images, len(labels) + 1).argmin(axis=1)
    fold = np.empty(len(count), dtype=np.int64)
    for label in range(len(images)):
        members = np.random.default_rng((seed, label)).permutation(np.flatnonzero(rarest == label))
        load = np.zeros(folds, dtype=np.int64)
        for patient in members[np.argsort(-count[members].sum(axis=1), kind="stable")]:
            fold[patient] = load.argmin()
            load[fold[patient]] += count[patient].sum()
    return fold[patients]
