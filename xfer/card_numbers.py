"""Which numbers stand in a model card? Sections of Markdown, each a list of lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from xfer.evaluate.calibration import Calibration
from xfer.evaluate.independent import gaps
from xfer.evaluate.metrics import METRICS
from xfer.evaluate.predictive import PREVALENCES
from xfer.evaluate.reliability import RELIABILITY

Metrics = Mapping[str, Mapping[str, Any]]
"""By part (`val` or `folds`, and `test`), then by name: a number, or a dict with `value`, `low` and
`high`."""

_PREDICTIVE = {"precision": "precision", "npv": "negative predictive value"}


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What a reader has to know of how the numbers came about."""

    marks: tuple[str, ...] = ()
    """Before anything else, as sentences: leaks that were kept, a second opening."""
    opened: int | None = None
    """How often the test part was, in the run that made the model; None: nobody counted."""
    caution: str | None = None
    """Why numbers on validation may be too good, besides having been chosen by, as a sentence."""


NOTHING = Notes()


def numbers(metrics: Metrics, notes: Notes) -> list[str]:
    """Every metric of each part, how often test was opened, and how far validation is above it."""
    parts = [part for part in metrics if any(name in metrics[part] for name in METRICS)]
    if not parts:
        return ["None were measured."]
    lines = _measures(METRICS, parts, metrics)
    if notes.opened is not None:
        lines += ["", f"The test part was opened {_times(notes.opened)} for this run."]
    for part in parts:
        if part == "test":
            continue
        lines += ["", f"Numbers on `{part}` are optimistic: the model was chosen by them."]
        apart = gaps(metrics[part], metrics.get("test", {}))
        if apart:
            told = (f"{name} {_signed(**gap)}" for name, gap in apart.items())
            lines[-1] += f" `{part}` less `test`: {', '.join(told)}."
        if notes.caution is not None:
            lines[-1] += f" {notes.caution}"
    return lines


def subgroups(positive: str | None, metrics: Metrics) -> list[str]:
    """Each subgroup by itself; empty where there are none."""
    part = judged(metrics)
    found = metrics.get(part, {}).get("subgroups")
    if not found:
        return []
    counts = ("images", "patients", *(("positives",) if positive else ()))
    measures = ("recall", "specificity") if positive else ("accuracy",)
    rows = [
        [
            name,
            *(f"{of[count]:,}" for count in counts),
            *(_number(of[measure]) for measure in measures),
        ]
        for name, of in found.items()
    ]
    below = [name for name, of in found.items() if (of[measures[0]] or {}).get("below")]
    said = (
        [f"Shown to be worse than the others by {measures[0]}: {', '.join(below)}.", ""]
        if below
        else []
    )
    return [
        "## Subgroups",
        "",
        f"On `{part}`, decided as shipped.",
        "",
        *table(["subgroup", *counts, *measures], rows),
        "",
        *said,
    ]


def judged(metrics: Metrics) -> str:
    """The part whose numbers count most: test, else what the model was chosen on."""
    return "test" if "test" in metrics else next(iter(metrics), "val")


def _measures(names: Sequence[str], parts: Sequence[str], metrics: Metrics) -> list[str]:
    rows = [
        [name, *(_number(metrics[part].get(name)) for part in parts)]
        for name in names
        if any(name in metrics[part] for part in parts)
    ]
    return table(["metric", *parts], rows) if rows else []


def predictive(positive: str | None, metrics: Metrics) -> list[str]:
    """What a decision means where the positive class is rarer; empty where nobody worked it out."""
    part = judged(metrics)
    measured = metrics.get(part, {})
    rows = [
        [f"{share:.0%}", *(_number(measured.get(f"{name}_at_{share:g}")) for name in _PREDICTIVE)]
        for share in PREVALENCES
        if all(f"{name}_at_{share:g}" in measured for name in _PREDICTIVE)
    ]
    if not rows:
        return []
    return [
        "## Where it is rarer",
        "",
        f"Worked out from recall and specificity on `{part}`, for other shares of {positive} than "
        "its own. Precision: share of positive answers that are right. Negative predictive value: "
        "share of negative answers that are.",
        "",
        *table([f"{positive} in use", *_PREDICTIVE.values()], rows),
        "",
    ]


def probabilities(
    calibration: Calibration | None, positive: str | None, metrics: Metrics
) -> list[str]:
    """How they were calibrated, and whether they hold."""
    if calibration is None:
        return ["They were not calibrated: they rank images, and are nobody's chance of anything."]
    lines = [calibration.said]
    if positive:
        lines += [
            "",
            f"Where {positive} is rarer or more frequent, say how frequent (P, in (0, 1)); the "
            "decisions stay the same:",
            "",
            "    python -m xfer.predict THIS_FOLDER IMAGE... --prevalence P",
        ]
    parts = [part for part in metrics if any(name in metrics[part] for name in RELIABILITY)]
    if not parts:
        return lines
    lines += ["", *_measures(RELIABILITY, parts, metrics)]
    for part in parts:
        ece = metrics[part].get("ece")
        if isinstance(ece, Mapping) and ece.get("expected") is not None:
            lines += [
                "",
                f"A perfect model would show an `ece` of {ece['expected']:.3f} "
                f"({ece['expected_low']:.3f} to {ece['expected_high']:.3f}) on as many images as "
                f"`{part}` has, in {ece['bins']} bins.",
            ]
    lines += [
        line
        for part in parts
        if part != "test"
        for line in ("", f"On `{part}` they are optimistic: the calibration was fitted there.")
    ]
    return lines


def _number(value: Any) -> str:
    """As 0.912, or 0.912 (0.85 to 0.95), or a dash where there is none.

    >>> _number({"value": 0.912, "low": 0.85, "high": 0.95})
    '0.912 (0.85 to 0.95)'
    """
    if isinstance(value, Mapping):
        low, high = value.get("low"), value.get("high")
        shown = _number(value.get("value"))
        return (
            shown
            if low is None or high is None or isnan(low)
            else f"{shown} ({low:.2f} to {high:.2f})"
        )
    return "–" if value is None or isnan(value) else f"{value:.3f}"


def _signed(*, value: float, low: float, high: float) -> str:
    """As in `+0.021 (-0.03 to +0.08)`."""
    return f"{value:+.3f} ({low:+.2f} to {high:+.2f})"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Its lines; all columns but the first are numbers."""
    ruled = ["---"] + ["---:"] * (len(head) - 1)
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in (head, ruled, *rows)]
    return [f"| {' | '.join(row)} |" for row in escaped]
