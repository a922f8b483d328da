"""What is a finding, and what is found by counting alone?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xfer.data.items import Skipped
from xfer.evaluate.intervals import wilson

EXAMPLES = 5
"""Names given with a finding in a run's `audit.json`; `search.check` gives all."""
ENOUGH_POSITIVES, ENOUGH_IMAGES = 150, 30
"""In val. 150 positives: a recall of .95 has a 95 % interval of .90 to .98 (Wilson); 50: .85 to
.98."""
ENOUGH_IN_TEST = 30
"""Of a class: if all 30 are found, the interval of the recall begins at .89."""
DARK = 32
"""Of 255: mean and twice the deviation lie below. 12 bits in 16 reach 16 at most."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that somebody should know of the images before believing a result."""

    kind: str
    """One of those in docs/audit.md, such as `duplicate`."""
    count: int
    """How many images, groups or patients it is about."""
    examples: tuple[str, ...]
    """Their names, all of them."""
    effect: str
    """What it does to the numbers, as sentences."""
    action: str
    """What was done about it, or can be, as sentences."""
    refused: bool = True
    """`--strict` refuses such images; not where it may be nothing, or only more images would mend
    it."""

    def to_json(self) -> dict[str, Any]:
        """As in `audit.json`, with the first few examples."""
        return {
            "kind": self.kind,
            "count": self.count,
            "examples": list(self.examples[:EXAMPLES]),
            "effect": self.effect,
            "action": self.action,
        }


_ACTIONS = {
    "unreadable": "Fetch or export these files again.",
    "not_image": "Move them out of the class folders, or convert them to PNG or JPEG.",
    "oversized": "Make them smaller, or raise the limit with XFER_MAX_PIXELS.",
}


def find_skipped(skipped: Iterable[Skipped]) -> list[Finding]:
    """`unreadable`, `not_image` and `oversized`: files that are in no part."""
    names: dict[str, list[str]] = {kind: [] for kind in _ACTIONS}
    for skip in skipped:
        names[skip.kind].append(f"{skip.name}: {skip.reason}")
    return [
        Finding(
            kind=kind,
            count=len(names[kind]),
            examples=tuple(names[kind]),
            effect="They are left out of every part.",
            action=action,
        )
        for kind, action in _ACTIONS.items()
        if names[kind]
    ]


def find_small_validation(
    train: np.ndarray, val: np.ndarray, *, positive: int | None, folds: int | None = None
) -> list[Finding]:
    """`small_validation`: too few images, or positives, to choose by.

    Args:
        train: (images,), labels of the training part.
        val: (images,), those of the validation part.
        positive: the label that must not be missed; None: every class is predicted.
        folds: of train and val together that trials are scored on; None: on val alone.
    """
    asked = val if folds is None else np.concatenate([train, val])
    positives = int((asked == positive).sum()) if positive is not None else None
    few_positives = positives is not None and positives < ENOUGH_POSITIVES
    if len(asked) >= ENOUGH_IMAGES and not few_positives:
        return []
    what = "images" if positives is None else "positives"
    if folds is None:
        where, more = "Validation has", f"More validation {what}"
        other = ", or --folds 5, which chooses by all of train and val"
    else:
        where, more, other = f"Train and val, asked in {folds} folds, have", f"More {what}", ""
    return [
        Finding(
            kind="small_validation",
            count=len(asked) if positives is None else positives,
            examples=(),
            effect=f"{where} {len(asked):,} images"
            + (f", {positives:,} of them positive" if positives is not None else "")
            + ": scores that differ by little may differ by chance, and the threshold is"
            " uncertain.",
            action=f"{more}, if they can be had{other}; intervals say how much it matters.",
            refused=False,
        )
    ]


def find_small_test(
    test: np.ndarray, classes: Sequence[str], *, positive: int | None
) -> list[Finding]:
    """`small_test`: a class of which the test part has so few that little can be said of it.

    Args:
        test: (images,), labels of the test part.
        classes: names of labels.
        positive: the label that must not be missed; None: every class is predicted.
    """
    counts = np.bincount(test, minlength=len(classes))
    asked = range(len(classes)) if positive is None else (positive,)
    few = [label for label in asked if counts[label] < ENOUGH_IN_TEST]
    if not few:
        return []
    label = min(few, key=lambda label: counts[label])
    count = int(counts[label])
    low, high = wilson(count, count)
    return [
        Finding(
            kind="small_test",
            count=count,
            examples=tuple(f"{classes[label]}: {counts[label]:,} in test" for label in few),
            effect=f"Test has {count:,} of {classes[label]!r}: even if all of them are found, the"
            f" recall may be anything from {low:.2f} to {high:.2f}.",
            action="More of them in test, if they can be had; the interval says how much it"
            " matters.",
            refused=False,
        )
    ]


def find_dark(names: Sequence[str], deep: np.ndarray, light: np.ndarray) -> list[Finding]:
    """`dark`: images of more than 8 bits that use only the lowest part of their range.

    Args:
        names: of the images.
        deep: bool (images,), whether a pixel of the file has more than 8 bits.
        light: (images, 2), mean and standard deviation of the decoded pixels, in [0, 255].
    """
    rows = np.flatnonzero(deep & (light[:, 0] + 2 * light[:, 1] < DARK))
    if not len(rows):
        return []
    return [
        Finding(
            kind="dark",
            count=len(rows),
            examples=tuple(names[i] for i in rows.tolist()),
            effect="They use only the lowest of the values that their bits allow, as 12-bit scans"
            " in 16-bit files do, and are nearly black to a model.",
            action="Save them again so that white is 65535 (12 bits: times 16).",
        )
    ]


def find_imbalance(train: np.ndarray, classes: Sequence[str]) -> list[Finding]:
    """`imbalance`: a class that training may pass over.

    Args:
        train: (images,), labels of the training part.
        classes: names of labels.
    """
    counts = np.bincount(train, minlength=len(classes))
    rarest = int(counts.argmin())
    if counts[rarest] >= 0.4 / len(classes) * len(train):  # of two classes: a fifth
        return []
    return [
        Finding(
            kind="imbalance",
            count=int(counts[rarest]),
            examples=(classes[rarest],),
            effect=f"{classes[rarest]!r} is {counts[rarest] / len(train):.1%} of train: accuracy"
            " says little, and training may pass it over.",
            action="Judge by recall, precision or the objective, not by accuracy.",
            refused=False,
        )
    ]
