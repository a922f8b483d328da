"""What should somebody know before using this model? A page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xfer.card_numbers import (
    NOTHING,
    Metrics,
    Notes,
    judged,
    numbers,
    predictive,
    probabilities,
    subgroups,
    table,
)
from xfer.evaluate.calibration import Calibration
from xfer.recipe import ConvNet, Fit, Recipe

DEMO = "DEMO, SYNTHETIC IMAGES"

Counts = Mapping[str, Mapping[str, int]]
"""Images by part, then by class."""

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
    chosen_on: str = "val",
    notes: Notes = NOTHING,
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
            are shown, and `subgroups`, as `measure_subgroups` gives them.
        about: further lines, by name: run, trial, seed, versions.
        demo: the images were drawn, not taken.
        chosen_on: the images that the threshold was chosen on, in words.
        notes: what stands above and beside the numbers.
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
        *_marks(notes.marks),
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
        f"{total:,} images. The model was trained on `train`; its epoch was chosen on `val`, its "
        f"settings on `val` or folds, its threshold and calibration on "
        f"{'`val`' if chosen_on == 'val' else chosen_on}.",
        "",
        *table(
            ["part", *classes],
            [[part, *(f"{by.get(name, 0):,}" for name in classes)] for part, by in counts.items()],
        ),
        "",
        "## Numbers",
        "",
        *numbers(metrics, notes),
        "",
        *subgroups(positive, metrics),
        *predictive(positive, metrics),
        "## Probabilities",
        "",
        *probabilities(calibration, positive, metrics),
        "",
        "## Limits",
        "",
        *_limits(classes, positive, counts, metrics),
    ]
    if about:
        lines += ["", "## Where it comes from", ""]
        lines += [f"* {name}: {value}" for name, value in about.items()]
    return "\n".join(lines) + "\n"


def _marks(marks: Sequence[str]) -> list[str]:
    """Above all else; empty where there is none."""
    if not marks:
        return []
    return ["**Before you believe the numbers:**", "", *(f"* {mark}" for mark in marks), ""]


def _limits(
    classes: Sequence[str], positive: str | None, counts: Counts, metrics: Metrics
) -> list[str]:
    part = judged(metrics)
    by_class = counts.get(part, {})
    lines = []
    if part != "test":
        lines.append("* It was not measured on images that had no part in choosing it.")
    if positive and part in metrics and by_class:
        lines.append(
            f"* Recall was measured on {by_class.get(positive, 0):,} images of {positive} "
            f"(`{part}`). Precision is that of their share there and falls where they are rarer."
        )
    lines += [
        "* Other cameras, sites or patients than those of the data can make it much worse; "
        "measure it there before use.",
        f"* It always answers {_or(classes)}, whatever the image shows.",
    ]
    return lines


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]])


def _or(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]])
