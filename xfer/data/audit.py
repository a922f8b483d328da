"""What about these images should somebody know before they believe a result?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from xfer.data.dataset import Dataset, Loading

EXAMPLES = 5
"""Names given with a finding."""
ENOUGH_POSITIVES, ENOUGH_IMAGES = 150, 30
"""In val. 150 positives: a recall of .95 has a 95 % interval of .90 to .98 (Wilson); 50: .85 to
.98."""


def audit(dataset: Dataset, loading: Loading) -> dict[str, Any]:
    """Findings and counts, in the format of a run's `audit.json`.

    Returns:
        `findings`, each with `kind`, `count`, `examples`, `effect`, `action`; and `splits`, each
        with `images`, `patients` and, by class, the same two.
    """
    found = [*_skipped(loading), *_copies(dataset, loading), *_leaks(dataset), *_few(dataset)]
    return {"findings": found, "splits": _splits(dataset)}


def _finding(
    kind: str, count: int, examples: Iterable[str], *, effect: str, action: str
) -> dict[str, Any]:
    return {
        "kind": kind,
        "count": count,
        "examples": list(examples)[:EXAMPLES],
        "effect": effect,
        "action": action,
    }


_ACTIONS = {
    "unreadable": "Fetch or export these files again.",
    "not_image": "Move them out of the class folders, or convert them to PNG or JPEG.",
    "oversized": "Make them smaller, or raise the limit with XFER_MAX_PIXELS.",
}


def _skipped(loading: Loading) -> list[dict[str, Any]]:
    findings = []
    for kind, action in _ACTIONS.items():
        here = [f"{skip.name}: {skip.reason}" for skip in loading.skipped if skip.kind == kind]
        if here:
            effect = "They are left out of every part."
            findings.append(_finding(kind, len(here), here, effect=effect, action=action))
    return findings


def _copies(dataset: Dataset, loading: Loading) -> list[dict[str, Any]]:
    """Files with the same content: `duplicate`, and `label_conflict` where labels differ."""
    same: defaultdict[str, list[int]] = defaultdict(list)
    for i, digest in enumerate(loading.digests):
        same[digest].append(i)
    groups = [group for group in same.values() if len(group) > 1]
    part = _parts(dataset)
    torn = [group for group in groups if len({int(dataset.labels[i]) for i in group}) > 1]
    across = sum(len({part[i] for i in group}) > 1 for group in groups)
    findings = []
    if groups:
        extra = sum(len(group) - 1 for group in groups)
        effect = f"{extra:,} files repeat another one, {across:,} contents are in several parts."
        if across:
            effect += " What is in train and in another part makes that part look easier."
        action = "Remove the copies, those in train first."
        examples = [_together(dataset, group) for group in groups]
        findings.append(_finding("duplicate", extra, examples, effect=effect, action=action))
    if torn:
        examples = [_together(dataset, group) for group in torn]
        findings.append(
            _finding(
                "label_conflict",
                len(torn),
                examples,
                effect="The same content has several labels: at most one of them is right.",
                action="Look at these images and keep one label.",
            )
        )
    return findings


def _leaks(dataset: Dataset) -> list[dict[str, Any]]:
    part = _parts(dataset)
    parts_of: defaultdict[str, set[str]] = defaultdict(set)
    for i, patient in enumerate(dataset.patients):
        parts_of[patient].add(part[i])
    leaks = [f"{p}: {', '.join(sorted(parts))}" for p, parts in parts_of.items() if len(parts) > 1]
    if not leaks:
        return []
    return [
        _finding(
            "patient_leak",
            len(leaks),
            leaks,
            effect="These patients are in several of the given parts: a model can know them by"
            " sight, and scores look better than they are.",
            action="Put each patient's images in one part.",
        )
    ]


def _few(dataset: Dataset) -> list[dict[str, Any]]:
    """`small_validation` and `imbalance`."""
    findings = []
    val = dataset.labels[dataset.splits["val"]]
    positives = int((val == dataset.positive).sum()) if dataset.positive is not None else None
    few_positives = positives is not None and positives < ENOUGH_POSITIVES
    if len(val) < ENOUGH_IMAGES or few_positives:
        count = len(val) if positives is None else positives
        what = "images" if positives is None else "positives"
        findings.append(
            _finding(
                "small_validation",
                count,
                [],
                effect=f"Validation has {len(val):,} images"
                + (f", {positives:,} of them positive" if positives is not None else "")
                + ": scores that differ by little may differ by chance, and the threshold is"
                " uncertain.",
                action=f"More validation {what}, if they can be had; intervals say how much it"
                " matters.",
            )
        )
    train = dataset.labels[dataset.splits["train"]]
    counts = np.bincount(train, minlength=len(dataset.classes))
    rarest = int(counts.argmin())
    if counts[rarest] < 0.4 / len(dataset.classes) * len(train):  # of two classes: a fifth
        share = counts[rarest] / len(train)
        findings.append(
            _finding(
                "imbalance",
                int(counts[rarest]),
                [dataset.classes[rarest]],
                effect=f"{dataset.classes[rarest]!r} is {share:.1%} of train: accuracy says"
                " little, and training may pass it over.",
                action="Judge by recall, precision or the objective, not by accuracy.",
            )
        )
    return findings


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


def _parts(dataset: Dataset) -> dict[int, str]:
    return {int(i): split for split, positions in dataset.splits.items() for i in positions}


def _together(dataset: Dataset, group: list[int]) -> str:
    return " = ".join(dataset.names[i] for i in group)
