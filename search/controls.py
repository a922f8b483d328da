"""What does the winner have to beat? Scored on the test part in the same opening as the winner.

A control is treated as the winner is: fitted on train, its threshold chosen by the objective's rule
on val, or out of fold where the winner's is, and only then asked about test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from search.answer import PROBE
from search.basis import basis_of
from search.keeping import first_known
from search.refits import Final
from search.rundir import RunDir
from search.scores import Measured, measured
from search.trials import TrialRow
from xfer.recipe import Objective, from_json

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset
    from xfer.data.fact_table import FactTable
    from xfer.data.folds import Fold

CONSTANT = "best constant"
"""The same answer for every image: the better of all positive and none, or the commonest class."""
FACTS = "file facts only"
"""A small tree over size, bytes, mode, mean and contrast: it never sees an image."""
FIRST = "first known configuration"
"""Somebody's own choice, trained as the search trains it."""
ENSEMBLE = "ensemble"
"""The mean of the finalists' calibrated probabilities: no control, but scored like one."""
_SMALLEST = 32  # pixels of a side, for the linear probe


@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """Answers of something that needs no search."""

    name: str
    """One of the above, or `search.answer.PROBE`: logistic regression on what the smallest frozen
    backbone at hand makes of an image."""
    rows: np.ndarray
    """int64 (images,), positions of the images on which its threshold is chosen."""
    chosen_on: np.ndarray
    """Probabilities (images, classes) of these."""
    test: np.ndarray
    """Likewise of test."""


def score_controls(
    controls: Iterable[Control], data: Dataset, objective: Objective
) -> dict[str, Measured]:
    """By name, metrics of each control on the test part."""
    from xfer.evaluate.thresholds import choose_threshold
    from xfer.steps import strata

    test = data.labels[data.splits["test"]]
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
                control.chosen_on[:, 1],
                data.labels[control.rows],
                patients=[data.patients[i] for i in control.rows],
                subgroups=strata(objective, data, control.rows),
            )
            threshold = chosen.value
        found[control.name] = measured(
            control.test, test, patients, data.classes, threshold=threshold
        )
    return found


def unbeaten(controls: Mapping[str, Any]) -> list[str]:
    """What has to be said where a winner is not shown to beat what never looks at an image.

    Args:
        controls: by name, as `search.finish.Finished` has them.
    """
    return [
        f"On the test part the winner is not shown to beat the control {name!r}, which looks at no "
        "image: do not rely on this model."
        for name in (CONSTANT, FACTS)
        if name in controls and not controls[name]["difference"]["beaten"]
    ]


def answer_as_controls(
    data: Dataset,
    objective: Objective,
    *,
    facts: FactTable | None = None,
    folds: Sequence[Fold] = (),
    run: RunDir | None = None,
    rows: Sequence[TrialRow] = (),
    winner: TrialRow | None = None,
    final: Final | None = None,
    ensemble: Sequence[TrialRow] = (),
) -> Iterator[Control]:
    """Every control that can be had here, one after another; the test part is read.

    Args:
        data: with its test part, and with pixels for every model of the space.
        objective: by which the best constant is chosen, on val.
        facts: of all images; None: there is no control by them.
        folds: their thresholds are chosen out of fold, as the winner's is; without, on val.
        run: with the checkpoints of trials; None: no trial is a control.
        rows: every trial; the first known configuration is among them where it was finished.
        winner: no control, also where it is the first known configuration.
        final: what came of training the best again; None: they were not.
        ensemble: trials whose answers are averaged; none where they are fewer than two.
    """
    yield _constant(data, objective)
    if facts is not None:
        yield _by_facts(data, facts, folds)
    probed = _probe(data, folds)
    if probed is not None:
        yield probed
    first = first_known(rows)
    if winner is not None and first is not None and first.number == winner.number:
        first = None
    if run is not None and first is not None and run.checkpoint(first.number).is_dir():
        yield average(FIRST, run, [first], data, final=final)
    if run is not None and len(ensemble) > 1:
        yield average(ENSEMBLE, run, ensemble, data, final=final)


def _constant(data: Dataset, objective: Objective) -> Control:
    from xfer.evaluate.objectives import score_at
    from xfer.steps import strata

    classes = len(data.classes)
    rows = data.splits["val"]
    labels = data.labels[rows]

    def always(label: int, part: str) -> np.ndarray:
        answers = np.zeros((len(data.splits[part]), classes))
        answers[:, label] = 1.0
        return answers

    if data.positive is None:
        best = int(np.bincount(data.labels[data.splits["train"]], minlength=classes).argmax())
    else:
        subgroups = strata(objective, data, rows)
        scores = [
            score_at(objective, 0.5, always(label, "val"), labels, subgroups=subgroups)
            for label in (1, 0)
        ]
        best = 1 if scores[0] >= scores[1] else 0
    return Control(
        name=CONSTANT, rows=rows, chosen_on=always(best, "val"), test=always(best, "test")
    )


def _by_facts(data: Dataset, facts: FactTable, folds: Sequence[Fold]) -> Control:
    from xfer.data.shortcuts import facts_only

    def answers(train: np.ndarray, asked: np.ndarray) -> np.ndarray:
        classes = len(data.classes)
        return facts_only(facts, data.labels, rows=train, asked=asked, classes=classes)

    train, val = data.splits["train"], data.splits["val"]
    found = [answers(fold.train, fold.val) for fold in folds]
    return Control(
        name=FACTS,
        rows=_out_of_fold(folds) if folds else val,
        chosen_on=np.concatenate(found) if folds else answers(train, val),
        test=answers(train, data.splits["test"]),
    )


def _probe(data: Dataset, folds: Sequence[Fold]) -> Control | None:
    """None where no backbone that takes these images has its weights on this machine.

    Nor for images whose last feature map is a pixel: of 16-pixel digits mobilenet_v2 makes all the
    same features, and a control that knows nothing would be easy to beat.
    """
    from xfer.features import Features
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
    device = pick_device()
    found = probe(
        pixels,
        backbone,
        asked=("val", "test"),
        folds=folds,
        device=device,
        features=Features.of_data(pixels, device=device, exact=True),
    )
    answers = found.out_of_fold
    return Control(
        name=PROBE,
        rows=data.splits["val"] if answers is None else _out_of_fold(folds),
        chosen_on=found.probabilities["val"] if answers is None else answers,
        test=found.probabilities["test"],
    )


def _out_of_fold(folds: Sequence[Fold]) -> np.ndarray:
    return np.concatenate([fold.val for fold in folds])


def average(
    name: str, run: RunDir, rows: Sequence[TrialRow], data: Dataset, *, final: Final | None
) -> Control:
    """The mean of trials' calibrated probabilities; of one trial its own.

    Args:
        name: of the control.
        run: with the trials' checkpoints.
        rows: the trials.
        data: with its test part, and with pixels for every model of the space.
        final: what came of training the best again; None: they were not.
    """
    from xfer.checkpoint import restore_best
    from xfer.evaluate.calibration import fit_calibration
    from xfer.logits import predict_logits
    from xfer.models.interpolation import interpolation_of
    from xfer.numerics import pick_device

    device = pick_device()
    bases = [basis_of(run, row, data, final=final) for row in rows]
    if len({basis.part for basis in bases}) > 1:  # their answers must be to the same images
        bases = [basis_of(run, row, data, final=final, own=True) for row in rows]
    chosen_on, test = [], []
    for row, basis in zip(rows, bases, strict=True):
        calibration = fit_calibration(basis.logits, basis.labels)
        pixels = data.interpolated(interpolation_of(from_json(row.recipe).model)).pixels
        net = restore_best(run.checkpoint(row.number), device=device)
        logits = predict_logits(net, pixels, data.splits["test"], device=device)
        chosen_on.append(calibration.apply(basis.logits))
        test.append(calibration.apply(logits.numpy()))
    return Control(
        name=name,
        rows=bases[0].rows,
        chosen_on=np.mean(chosen_on, axis=0),
        test=np.mean(test, axis=0),
    )
