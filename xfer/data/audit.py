"""What about these images should somebody know before they believe a result?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
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

    What was taken out of a part is told as a finding too, with what was done.

    Returns:
        `findings`, each with `kind`, `count`, `examples`, `effect`, `action`; `splits`, each with
        `images`, `patients` and, by class, the same two; and `made` and `marks`, the sentences of
        `Loading`.
    """
    found = [
        *_skipped(loading),
        *_copies(dataset, loading),
        *_leaks(dataset, loading),
        *_few(dataset),
    ]
    return {
        "findings": found,
        "splits": _splits(dataset),
        "made": list(loading.made),
        "marks": list(loading.marks),
    }


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
    """`duplicate`, `near_duplicate`, and `label_conflict` where labels of one picture differ."""
    findings = []
    copies, part = loading.copies, _parts(dataset)
    for kind, groups, alike in (
        ("duplicate", copies.exact, "pixel for pixel"),
        ("near_duplicate", copies.near, "but for encoding, size, brightness or contrast"),
    ):
        if groups:
            extra = sum(len(group) - 1 for group in groups)
            effect = f"{extra:,} {_images(extra, 'repeats', 'repeat')} another one {alike}."
            findings.append(
                _finding(
                    kind,
                    extra,
                    [_together(dataset, group) for group in groups],
                    effect=effect + _reach(dataset, loading, groups),
                    action=_left_out(loading, [i for g in groups for i in g if i not in part])
                    or "Remove the copies, those in train first.",
                )
            )
    torn = [group for group in copies.same if len({int(dataset.labels[i]) for i in group}) > 1]
    if torn:
        findings.append(
            _finding(
                "label_conflict",
                len(torn),
                [_together(dataset, group, classes=True) for group in torn],
                effect="The same picture has several labels: at most one of them is right.",
                action="Look at these images and keep one label.",
            )
        )
    return findings


def _reach(dataset: Dataset, loading: Loading, groups: Sequence[Sequence[int]]) -> str:
    """How many of val and test can, or could, be answered from memory, as sentences."""
    now, origin = _parts(dataset), dict(enumerate(loading.origins))
    were = Counter(loading.origins)
    said = ""
    for split in ("val", "test"):
        count = _met(groups, origin, split)
        if not count:
            continue
        if left := _met(groups, now, split):
            of = len(dataset.splits[split])
            said += (
                f" {left:,} of {of:,} in {split} {'has' if left == 1 else 'have'} a copy in train"
                f" and can be answered from memory: accuracy there may be up to"
                f" {100 * left / of:.1f} points too high."
            )
        else:
            said += (
                f" {count:,} of {were[split]:,} in {split} had a copy in train and could have been"
                " answered from memory."
            )
    return said or " None of them is in train and in val or test."


def _met(groups: Sequence[Sequence[int]], part: Mapping[int, str], split: str) -> int:
    """Images of a part that have a copy in train."""
    return sum(
        sum(part.get(i) == split for i in group)
        for group in groups
        if any(part.get(i) == "train" for i in group)
    )


def _left_out(loading: Loading, gone: Sequence[int]) -> str:
    """Where images were that are in no part now, as a sentence; empty where there are none."""
    origins = Counter(loading.origins[i] for i in gone)
    where = " and ".join(f"{count:,} of {part}" for part, count in sorted(origins.items()))
    return f"Those that stand in a later part too were left out: {where}." if gone else ""


def _images(count: int, one: str, many: str) -> str:
    return f"image {one}" if count == 1 else f"images {many}"


def _leaks(dataset: Dataset, loading: Loading) -> list[dict[str, Any]]:
    parts_of: defaultdict[str, set[str]] = defaultdict(set)
    for patient, origin in zip(dataset.patients, loading.origins, strict=True):
        parts_of[patient].add(origin)
    leaks = {p: parts for p, parts in parts_of.items() if len(parts) > 1}
    if not leaks:
        return []
    now = _parts(dataset)
    gone = [i for i, p in enumerate(dataset.patients) if p in leaks and i not in now]
    can, look = ("could", "would have looked") if gone else ("can", "look")
    return [
        _finding(
            "patient_leak",
            len(leaks),
            [f"{p}: {', '.join(sorted(parts))}" for p, parts in leaks.items()],
            effect=f"These patients are in several of the given parts: a model {can} know them by"
            f" sight, and scores {look} better than they are.",
            action=_left_out(loading, gone) or "Put each patient's images in one part.",
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
    """By position; what was taken out of every part has none."""
    return {int(i): split for split, positions in dataset.splits.items() for i in positions}


def _together(dataset: Dataset, group: Sequence[int], *, classes: bool = False) -> str:
    """Names of one picture's images, with what each is labelled."""
    return " = ".join(
        dataset.names[i] + (f" ({dataset.classes[dataset.labels[i]]})" if classes else "")
        for i in group
    )
