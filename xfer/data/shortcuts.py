"""Can classes be told apart by facts about the files, without a look at what is shown?

A small tree over size, mode, format, JPEG quantization, bytes, mean and contrast, cross-validated
by patient. What it finds is possible, not proven: contrast may be the disease, and bytes grow with
detail (600 chest X-rays, all saved alike at 224 x 224: bytes alone have an AUROC of .84). Size,
mode, format and quantization are asked alone too: they say how a file was made. So does the header
of DICOM files that are not compressed: their bytes are those of size and header, and no disease.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from xfer.data.fact_table import CONTENT, NAMED, FactTable
from xfer.data.findings import Finding
from xfer.data.folds import folds_by_patient
from xfer.data.small_tree import fit_tree

TOLD = 0.65
"""A shortcut is told when the lower bound of its AUROC is above this."""
FOLDS = 5
ENOUGH_PATIENTS = 10
"""Of each class. Measured on random facts and labels, 200 draws each: with 8 or 10 patients of each
of two classes up to 1 % are told, with 15 and more, or three classes, one of 3,200."""
DRAWS, _AT_ONCE = 1000, 50
"""Bootstrap samples behind an interval, and in memory."""
_TELLING = 0.1
"""Facts with a smaller share of the tree's importance are not named."""


class Auroc(NamedTuple):
    """With its 95 % interval by bootstrap over patients; several classes: the mean of each one's
    against the rest."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} (95 % interval {self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """What file facts predict, told or not."""

    auroc: Auroc
    """Of all facts, out of fold."""
    made: Auroc
    """Of size, mode, format, quantization and header alone, out of the same folds."""
    facts: tuple[str, ...]
    """Those that the tree of all images uses, the most telling first; without those that hardly
    matter."""
    examples: tuple[str, ...]
    """For each of `facts`, what it is in each class."""
    images: int
    """Asked."""
    folds: int
    """Of the cross-validation."""

    @property
    def told(self) -> bool:
        """The classes can be told apart by more than chance would do."""
        return self.auroc.low > TOLD


def facts_only(
    table: FactTable, labels: np.ndarray, *, rows: np.ndarray, asked: np.ndarray, classes: int
) -> np.ndarray:
    """What the tree answers that knows file facts only: a control that a model has to beat.

    Args:
        table: of all images.
        labels: int64 (images,); only those of `rows` are looked at.
        rows: positions it is fitted on, at least one.
        asked: positions it answers for.
        classes: how many there are.

    Returns:
        float64 (asked, classes), probabilities; where there is a positive class, column 1 is its.
    """
    tree = fit_tree(table.values[rows], labels[rows], classes=classes)
    return tree.probabilities(table.values[asked])


def find_shortcut(
    table: FactTable,
    labels: np.ndarray,
    patients: Sequence[str],
    *,
    rows: np.ndarray,
    positive: int | None,
    classes: Sequence[str],
    seed: int,
) -> Shortcut | str:
    """How well file facts alone tell the classes apart; the order of images says nothing.

    Args:
        table: of all images.
        labels: int64 (images,), positions in `classes`.
        patients: of all images; nobody is on two sides of a fold.
        rows: positions that are asked: those of train and val, never of test.
        positive: whose AUROC it is; None: the mean of each class against the rest.
        classes: names.
        seed: of folds and of the bootstrap.

    Returns:
        what was found, or in a sentence why it cannot be asked.
    """
    values, truth = table.values[rows], labels[rows]
    whose = np.unique([patients[i] for i in rows], return_inverse=True)[1].reshape(-1)
    fewest = [len(np.unique(whose[truth == label])) for label in range(len(classes))]
    if min(fewest) < ENOUGH_PATIENTS:
        label = int(np.argmin(fewest))
        return (
            f"What file facts predict was not asked: {classes[label]!r} has {fewest[label]:,}"
            f" patients in train and val, and {ENOUGH_PATIENTS} are needed."
        )
    fold = folds_by_patient(truth, whose, folds=FOLDS, seed=seed)
    asked = range(len(classes)) if positive is None else (positive,)
    made = [i for i, name in enumerate(table.names) if name not in CONTENT]
    whole, part = (
        _cross_validated(
            values[:, columns], truth, whose, fold, classes=len(classes), asked=asked, seed=seed
        )
        for columns in (list(range(len(table.names))), made)
    )
    importance = fit_tree(values, truth, classes=len(classes)).importance
    order = [i for i in np.argsort(-importance, kind="stable") if importance[i] >= _TELLING]
    return Shortcut(
        auroc=whole,
        made=part,
        facts=tuple(table.names[i] for i in order),
        examples=tuple(_by_class(table.names[i], values[:, i], truth, classes) for i in order),
        images=len(rows),
        folds=FOLDS,
    )


def _cross_validated(
    values: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    fold: np.ndarray,
    *,
    classes: int,
    asked: Sequence[int],
    seed: int,
) -> Auroc:
    """The AUROC of answers out of fold, by classes."""
    cell = np.empty(len(labels), dtype=np.int64)
    shares = np.empty((0, classes))
    for number in np.unique(fold):
        out = fold == number
        tree = fit_tree(values[~out], labels[~out], classes=classes)
        cell[out] = len(shares) + tree.leaves(values[out])
        shares = np.concatenate([shares, tree.shares])
    drawn = _samples(cell * classes + labels, patients, len(shares) * classes, seed=seed)
    samples = drawn.reshape(len(drawn), len(shares), classes)
    value, *draws = np.mean([_aurocs(samples, shares, label) for label in asked], axis=0)
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return Auroc(float(value), float(low), float(high))


def _samples(codes: np.ndarray, patients: np.ndarray, different: int, *, seed: int) -> np.ndarray:
    """How often each code is there, and in each bootstrap sample of patients.

    Args:
        codes: int64 (images,), in [0, different).
        patients: int64 (images,).
        different: codes there may be.
        seed: of the draws.

    Returns:
        float64 (1 + DRAWS, different).
    """
    order = np.lexsort((codes, patients))
    starts = np.flatnonzero(np.diff(patients[order])) + 1
    ordered = codes[order]
    # Patients with the same codes are drawn as one kind: most are, and then it takes no time.
    number_of = Counter(
        ordered[start:stop].tobytes()
        for start, stop in pairwise((0, *starts.tolist(), len(ordered)))
    )
    keys = sorted(number_of)
    number = np.array([number_of[key] for key in keys])
    kinds = np.zeros((len(keys), different))
    for kind, key in zip(kinds, keys, strict=True):
        np.add.at(kind, np.frombuffer(key, dtype=codes.dtype), 1)
    rng = np.random.default_rng((seed, different))
    found = [number[None] @ kinds]
    for _ in range(0, DRAWS, _AT_ONCE):
        found.append(rng.multinomial(number.sum(), number / number.sum(), size=_AT_ONCE) @ kinds)
    return np.concatenate(found)


def _aurocs(samples: np.ndarray, shares: np.ndarray, label: int) -> np.ndarray:
    """Of one class against the rest, (samples,), from counts (samples, cells, classes)."""
    level = np.unique(shares[:, label], return_inverse=True)[1].reshape(-1)
    merged = np.zeros((level.max() + 1, *samples[:, 0].shape))
    np.add.at(merged, level, samples.swapaxes(0, 1))
    yes = merged[..., label]
    no = merged.sum(axis=2) - yes
    above = no.cumsum(axis=0) - no / 2
    pairs = yes.sum(axis=0) * no.sum(axis=0)
    return np.where(pairs > 0, (yes * above).sum(axis=0) / np.maximum(pairs, 1), np.nan)


def _by_class(name: str, values: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> str:
    """What a fact is in each class, as in `width: median 1,024 in NORMAL, 1,320 in PNEUMONIA`."""
    here = [values[labels == label] for label in range(len(classes))]
    if name.startswith(NAMED):
        said = [f"{part.mean():.1%} of {c}" for part, c in zip(here, classes, strict=True)]
        return f"{name}: {', '.join(said)}"
    said = [f"{_short(np.median(part))} in {c}" for part, c in zip(here, classes, strict=True)]
    return f"{name}: median {', '.join(said)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 or value == round(value) else f"{value:.3g}"


_HOW_MADE = "Size, mode, format, quantization and header"


def shortcut_finding(shortcut: Shortcut) -> Finding:
    """A shortcut that is told.

    Raises:
        ValueError: it is not told.
    """
    if not shortcut.told:
        raise ValueError(f"an AUROC of {shortcut.auroc} is not told")
    effect = (
        f"A small tree that asks for file facts only, most of all {_listed(shortcut.facts)}, and"
        f" never sees an image reaches an AUROC of {shortcut.auroc}, in {shortcut.folds} folds by"
        " patient."
    )
    if shortcut.made.low > TOLD:
        effect += (
            f" {_HOW_MADE} alone, which cannot be the disease, reach {shortcut.made}: a model may"
            " learn where an image comes from, and scores look better than they are."
        )
        action = (
            "Find out why the classes' files differ, and make all alike from the originals; judge"
            " a model by how far it beats the control 'file facts only'."
        )
    else:
        effect += (
            f" {_HOW_MADE} alone reach {shortcut.made}: it may be the disease that is seen in"
            " contrast, brightness or detail, or how the images were taken."
        )
        action = (
            "Judge a model by how far it beats the control 'file facts only'; train with changed"
            " brightness and contrast if they should not count."
        )
    return Finding(
        kind="shortcut_possible",
        count=shortcut.images,
        examples=shortcut.examples,
        effect=effect,
        action=action,
        refused=shortcut.made.low > TOLD,
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
