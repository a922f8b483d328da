"""What should somebody know before using this model? A page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from xfer.evaluate.calibration import Calibration
from xfer.evaluate.metrics import METRICS
from xfer.evaluate.predictive import PREVALENCES
from xfer.evaluate.reliability import RELIABILITY
from xfer.recipe import ConvNet, Fit, Recipe

DEMO = "DEMO, SYNTHETIC IMAGES"

Metrics = Mapping[str, Mapping[str, Any]]
"""By part (`val`, `test`), then by name: a number, or a dict with `value`, `low` and `high`."""
Counts = Mapping[str, Mapping[str, int]]
"""Images by part, then by class."""

_PREDICTIVE = {"precision": "precision", "npv": "negative predictive value"}
_FITTED: Mapping[Fit, str] = {
    "squash": "squashed to",
    "pad": "padded with black to",
    "crop": "cropped in the middle to",
}


def model_card(
    recipe: Recipe,
    *,
    data: str,
    size: int,
    fit: Fit,
    classes: Sequence[str],
    positive: str | None,
    counts: Counts,
    said: str,
    calibration: Calibration | None,
    metrics: Metrics,
    about: Mapping[str, Any],
    demo: bool,
) -> str:
    """The card, in Markdown.

    Args:
        recipe: what was trained.
        data: name of the data set.
        size: side of the images, in pixels.
        fit: how they became square.
        classes: names, in the order of the model's outputs.
        positive: the class that must not be missed; None where there is none.
        counts: images of each part and class.
        said: how the decision is made and what it promises, in words.
        calibration: how logits become probabilities; None: by softmax.
        metrics: what was measured; the names of `METRICS`, `RELIABILITY` and `predictive_values`
            are shown.
        about: further lines, by name: run, trial, seed, versions.
        demo: the images were drawn, not taken.
    """
    model = recipe.model
    if isinstance(model, ConvNet):
        kernels = ", ".join(str(n) for n in model.kernels)
        built = f"ConvNet, {kernels} kernels of {model.kernel_size} x {model.kernel_size}"
    else:
        trained = f"{model.unfreeze_depth} of 4 stages"
        if model.train is not None:
            trained = ", ".join(model.train)
        cut = "" if model.cut_after is None else f", cut after {model.cut_after}"
        built = f"{model.name}{cut}, {model.weights} weights, {trained} trained"
    title = f"finds {positive}" if positive else f"tells {', '.join(classes)} apart"
    total = sum(sum(by_class.values()) for by_class in counts.values())
    warning = (
        f"**{DEMO}.** This model has seen drawn images only. It shows how the search works; its "
        "numbers say nothing about any real image."
    )
    lines = [
        f"# A model that {title}",
        "",
        *([warning, ""] if demo else []),
        "## Intended use",
        "",
        f"To sort images like those of `{data}` into {_and(classes)}, as a research model and as a "
        "starting point. It is no medical device, and nothing here shows that it is safe to "
        "decide about people with it.",
        "",
        "    python -m xfer.predict THIS_FOLDER IMAGE...",
        "",
        "## Model and decision",
        "",
        f"{built}; images are {_FITTED[fit]} {size} x {size} pixels. `recipe.json` has all "
        "settings.",
        "",
        said,
        "",
        "## Data",
        "",
        f"{total:,} images. The model was trained on `train`; its epoch, its settings and its "
        "threshold were chosen on `val`.",
        "",
        *_table(
            ["part", *classes],
            [[part, *(f"{by.get(name, 0):,}" for name in classes)] for part, by in counts.items()],
        ),
        "",
        "## Numbers",
        "",
        *_numbers(metrics),
        "",
        *_predictive(positive, metrics),
        "## Probabilities",
        "",
        *_probabilities(calibration, positive, metrics),
        "",
        "## Limits",
        "",
        *_limits(classes, positive, counts, metrics),
    ]
    if about:
        lines += ["", "## Where it comes from", ""]
        lines += [f"* {name}: {value}" for name, value in about.items()]
    return "\n".join(lines) + "\n"


def _numbers(metrics: Metrics) -> list[str]:
    parts = [part for part in metrics if any(name in metrics[part] for name in METRICS)]
    if not parts:
        return ["None were measured."]
    lines = _measures(METRICS, parts, metrics)
    if "val" in parts:
        lines += ["", "Numbers on `val` are optimistic: the model was chosen by them."]
    return lines


def _measures(names: Sequence[str], parts: Sequence[str], metrics: Metrics) -> list[str]:
    rows = [
        [name, *(_number(metrics[part].get(name)) for part in parts)]
        for name in names
        if any(name in metrics[part] for part in parts)
    ]
    return _table(["metric", *parts], rows) if rows else []


def _predictive(positive: str | None, metrics: Metrics) -> list[str]:
    """What a decision means where the positive class is rarer; empty where nobody worked it out."""
    part = "test" if "test" in metrics else "val"
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
        *_table([f"{positive} in use", *_PREDICTIVE.values()], rows),
        "",
    ]


def _probabilities(
    calibration: Calibration | None, positive: str | None, metrics: Metrics
) -> list[str]:
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
    if "val" in parts:
        lines += ["", "On `val` they are optimistic: the calibration was fitted there."]
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


def _limits(
    classes: Sequence[str], positive: str | None, counts: Counts, metrics: Metrics
) -> list[str]:
    judged = "test" if "test" in metrics else "val"
    by_class = counts.get(judged, {})
    lines = []
    if judged == "val":
        lines.append("* It was not measured on images that had no part in choosing it.")
    if positive and judged in metrics:
        lines.append(
            f"* Recall was measured on {by_class.get(positive, 0):,} images of {positive} "
            f"(`{judged}`). Precision is that of their share there and falls where they are rarer."
        )
    lines += [
        "* Other cameras, sites or patients than those of the data can make it much worse; "
        "measure it there before use.",
        f"* It always answers {_or(classes)}, whatever the image shows.",
    ]
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    ruled = ["---"] + ["---:"] * (len(head) - 1)
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in (head, ruled, *rows)]
    return [f"| {' | '.join(row)} |" for row in escaped]


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]])


def _or(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]])
