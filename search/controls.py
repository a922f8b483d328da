"""What does the winner have to beat? Scored on the test part in the same opening as the winner.

A control is treated as the winner is: fitted on train, its threshold chosen on val by the
objective's rule, and only then asked about test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from search.rundir import RunDir
from search.scores import Measured, measured
from search.trials import TrialRow
from xfer.recipe import Objective, from_json

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset
    from xfer.data.fact_table import FactTable

CONSTANT = "best constant"
"""The same answer for every image: the better of all positive and none, or the commonest class."""
FACTS = "file facts only"
"""A small tree over size, bytes, mode, mean and contrast: it never sees an image."""
PROBE = "linear probe"
"""Logistic regression on what the smallest frozen backbone at hand makes of an image."""
_SMALLEST = 32  # pixels of a side, for the linear probe
FIRST = "first known configuration"
"""Somebody's own choice, trained as the search trains it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """Answers of something that needs no search."""

    name: str
    """One of the above."""
    val: np.ndarray
    """Probabilities (images, classes) of the validation part."""
    test: np.ndarray
    """Likewise of test."""


def score_controls(
    controls: Iterable[Control], data: Dataset, objective: Objective
) -> dict[str, Measured]:
    """By name, metrics of each control on the test part."""
    from xfer.evaluate.thresholds import choose_threshold
    from xfer.steps import strata

    val, test = (data.labels[data.splits[part]] for part in ("val", "test"))
    patients = [data.patients[i] for i in data.splits["test"]]
    found = {}
    for control in controls:
        threshold = None
        if control.name == CONSTANT:
            threshold = None if data.positive is None else 0.5
        elif data.positive is not None:
            chosen = choose_threshold(
                objective.threshold,
                objective,
                control.val[:, 1],
                val,
                patients=[data.patients[i] for i in data.splits["val"]],
                subgroups=strata(objective, data, data.splits["val"]),
            )
            threshold = chosen.value
        found[control.name] = measured(
            control.test, test, patients, data.classes, threshold=threshold
        )
    return found


def answer_as_controls(
    data: Dataset,
    objective: Objective,
    *,
    facts: FactTable | None = None,
    run: RunDir | None = None,
    rows: Sequence[TrialRow] = (),
) -> Iterator[Control]:
    """Every control that can be had here, one after another; the test part is read.

    Args:
        data: with its test part, and with pixels for every model of the space.
        objective: by which the best constant is chosen, on val.
        facts: of all images; None: there is no control by them.
        run: with the checkpoints of trials; None: no trial is a control.
        rows: every trial; the first known configuration is among them where it was finished.
    """
    yield _constant(data, objective)
    if facts is not None:
        yield _by_facts(data, facts)
    probed = _probe(data)
    if probed is not None:
        yield probed
    first = first_known(rows)
    if run is not None and first is not None and run.checkpoint(first.number).is_dir():
        yield _trained(run, first, data)


def first_known(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The known configuration that was tried first, where it was finished."""
    named = [row for row in rows if row.name is not None]
    first = min(named, key=lambda row: row.number, default=None)
    return first if first is not None and first.state == "complete" else None


def _constant(data: Dataset, objective: Objective) -> Control:
    from xfer.evaluate.objectives import score_at
    from xfer.steps import strata

    classes = len(data.classes)
    labels = data.labels[data.splits["val"]]

    def always(label: int, part: str) -> np.ndarray:
        answers = np.zeros((len(data.splits[part]), classes))
        answers[:, label] = 1.0
        return answers

    if data.positive is None:
        best = int(np.bincount(data.labels[data.splits["train"]], minlength=classes).argmax())
    else:
        subgroups = strata(objective, data, data.splits["val"])
        scores = [
            score_at(objective, 0.5, always(label, "val"), labels, subgroups=subgroups)
            for label in (1, 0)
        ]
        best = 1 if scores[0] >= scores[1] else 0
    return Control(name=CONSTANT, val=always(best, "val"), test=always(best, "test"))


def _by_facts(data: Dataset, facts: FactTable) -> Control:
    from xfer.data.shortcuts import facts_only

    train, classes = data.splits["train"], len(data.classes)
    answers: Mapping[str, np.ndarray] = {
        part: facts_only(facts, data.labels, rows=train, asked=data.splits[part], classes=classes)
        for part in ("val", "test")
    }
    return Control(name=FACTS, **answers)


def _probe(data: Dataset) -> Control | None:
    """None where no backbone that takes these images has its weights on this machine.

    Nor for images whose last feature map is a pixel: of 16-pixel digits mobilenet_v2 makes all the
    same features, and a control that knows nothing would be easy to beat.
    """
    from xfer.linear_probe import probe, smallest
    from xfer.models.table import TABLE
    from xfer.models.weights import at_hand
    from xfer.numerics import pick_device

    if data.images.size < _SMALLEST:
        return None
    names = [n for n in TABLE if TABLE[n].interpolation in data.decoded and at_hand(n)]
    backbone = smallest(names, size=data.images.size, channels=data.images.channels)
    if backbone is None:
        return None
    pixels = data.interpolated(TABLE[backbone].interpolation)
    found = probe(pixels, backbone, asked=("val", "test"), device=pick_device())
    return Control(name=PROBE, **found.probabilities)


def _trained(run: RunDir, row: TrialRow, data: Dataset) -> Control:
    from xfer.checkpoint import read_best, restore_best
    from xfer.evaluate.calibration import fit_calibration
    from xfer.models.interpolation import interpolation_of
    from xfer.numerics import pick_device
    from xfer.steps import predict_logits

    folder, device = run.checkpoint(row.number), pick_device()
    kept = read_best(folder)
    calibration = fit_calibration(kept.logits, kept.labels)
    pixels = data.interpolated(interpolation_of(from_json(row.recipe).model)).pixels
    net = restore_best(folder, device=device)
    logits = predict_logits(net, pixels, data.splits["test"], device=device)
    test = calibration.apply(logits.numpy())
    return Control(name=FIRST, val=calibration.apply(kept.logits), test=test)
