"""What about these images should somebody know before they believe a result?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xfer.data.dataset import Dataset, Loading
from xfer.data.duplicates import SMALLEST
from xfer.data.fact_table import FactTable, fact_table
from xfer.data.facts import misnamed_finding, statistics
from xfer.data.findings import (
    Finding,
    find_dark,
    find_imbalance,
    find_skipped,
    find_small_test,
    find_small_validation,
)
from xfer.data.overlaps import find_changed, find_copies, find_leaks
from xfer.data.prevalence import prevalence_finding
from xfer.data.shortcuts import Shortcut, find_shortcut, shortcut_finding

_SEED = 0  # of folds and draws: the same images, the same findings


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """What was found, and what there is."""

    findings: tuple[Finding, ...]
    """What is wrong, or may be; empty: nothing."""
    splits: dict[str, Any]
    """By part: `images`, `patients` and, by class, the same two."""
    files: dict[str, Any]
    """As `xfer.data.facts.statistics` gives it."""
    made: tuple[str, ...]
    """As in `Loading`."""
    marks: tuple[str, ...]
    """As in `Loading`."""
    notes: tuple[str, ...]
    """What was looked for without a finding, or was not, and why, as sentences."""
    facts: FactTable
    """Of all images: what the control "file facts only" knows."""

    def to_json(self) -> dict[str, Any]:
        """The content of a run's `audit.json`."""
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "splits": self.splits,
            "files": self.files,
            "made": list(self.made),
            "marks": list(self.marks),
            "notes": list(self.notes),
        }


def audit(dataset: Dataset, loading: Loading, *, folds: int | None = None) -> Audit:
    """Looks at all parts; of the test part at pixels, names and counts, at no model's answers.

    Args:
        dataset: what was loaded.
        loading: how that went.
        folds: that trials are scored on; None: they are scored on the validation part.
    """
    parts, classes = dataset.splits, dataset.classes
    table = fact_table(loading.facts, loading.light)
    shortcut = find_shortcut(
        table,
        dataset.labels,
        dataset.patients,
        rows=np.concatenate([parts["train"], parts["val"]]),
        positive=dataset.positive,
        classes=classes,
        seed=_SEED,
    )
    shift = prevalence_finding(
        dataset.labels, dataset.patients, parts, positive=dataset.positive, classes=classes
    )
    deep = np.array([mode.startswith(("I", "F", "uint16")) for mode in loading.facts.mode])
    misnamed = misnamed_finding(loading.facts, dataset.names)
    changed, looked = find_changed(dataset, loading)
    notes = [looked]
    if dataset.images.size < SMALLEST:
        notes.append(
            f"Near copies were not looked for: too many images of {dataset.images.size} pixels a "
            f"side look alike; {SMALLEST} or more are needed."
        )
    if isinstance(shortcut, str):
        notes.append(shortcut)
    return Audit(
        findings=(
            *find_skipped(loading.skipped),
            *([misnamed] if misnamed else []),
            *find_copies(dataset, loading),
            *changed,
            *find_leaks(dataset, loading),
            *(
                [shortcut_finding(shortcut)]
                if isinstance(shortcut, Shortcut) and shortcut.told
                else []
            ),
            *find_small_validation(
                *(dataset.labels[parts[name]] for name in ("train", "val")),
                positive=dataset.positive,
                folds=folds,
            ),
            *find_small_test(dataset.labels[parts["test"]], classes, positive=dataset.positive),
            *find_dark(dataset.names, deep, loading.light),
            *find_imbalance(dataset.labels[parts["train"]], classes),
            *([shift] if shift else []),
        ),
        splits=_splits(dataset),
        files=statistics(loading.facts, dataset.labels, classes),
        made=loading.made,
        marks=loading.marks,
        notes=tuple(notes),
        facts=table,
    )


def _splits(dataset: Dataset) -> dict[str, Any]:
    def count(positions: np.ndarray) -> dict[str, int]:
        return {"images": len(positions), "patients": len({dataset.patients[i] for i in positions})}

    def part(positions: np.ndarray) -> dict[str, Any]:
        by_class = {
            name: count(positions[dataset.labels[positions] == label])
            for label, name in enumerate(dataset.classes)
        }
        share = {}
        if dataset.positive is not None:
            positives = dataset.labels[positions] == dataset.positive
            share = {"prevalence": round(float(positives.mean()), 4)}
        return {**count(positions), **share, "classes": by_class}

    return {split: part(positions) for split, positions in dataset.splits.items()}
