"""What about these images should somebody know before they believe a result?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xfer.data.dataset import Dataset, Loading
from xfer.data.findings import Finding, find_imbalance, find_skipped, find_small_validation
from xfer.data.overlaps import find_copies, find_leaks


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found, and what there is."""

    findings: tuple[Finding, ...]
    """What is wrong, or may be; empty: nothing."""
    splits: dict[str, Any]
    """By part: `images`, `patients` and, by class, the same two."""
    made: tuple[str, ...]
    """As in `Loading`."""
    marks: tuple[str, ...]
    """As in `Loading`."""

    def to_json(self) -> dict[str, Any]:
        """The content of a run's `audit.json`."""
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "splits": self.splits,
            "made": list(self.made),
            "marks": list(self.marks),
        }


def audit(dataset: Dataset, loading: Loading) -> Audit:
    """Looks at all parts; of the test part at pixels, names and counts, at no model's answers."""
    train, val = (dataset.labels[dataset.splits[part]] for part in ("train", "val"))
    return Audit(
        findings=(
            *find_skipped(loading.skipped),
            *find_copies(dataset, loading),
            *find_leaks(dataset, loading),
            *find_small_validation(val, positive=dataset.positive),
            *find_imbalance(train, dataset.classes),
        ),
        splits=_splits(dataset),
        made=loading.made,
        marks=loading.marks,
    )


def _splits(dataset: Dataset) -> dict[str, Any]:
    def count(positions: np.ndarray) -> dict[str, int]:
        return {"images": len(positions), "patients": len({dataset.patients[i] for i in positions})}

    return {
        split: {
            **count(positions),
            "classes": {
                name: count(positions[dataset.labels[positions] == label])
                for label, name in enumerate(dataset.classes)
            },
        }
        for split, positions in dataset.splits.items()
    }
