"""What does a run leave for people and programs? trials.csv, result.json and report.html."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.answer import problems_of
from search.controls import ENSEMBLE
from search.errors import TrialsError
from search.finish import choose_winner
from search.finished import Finished
from search.gap import gap_of
from search.known_tests import experiments_told
from search.ledger import Ledger, said
from search.opening import read_openings
from search.plan import Plan
from search.refits import Refitted
from search.result import build_result
from search.rundir import RunDir
from search.trials import TrialRow, summed
from search.trials_csv import trials_csv
from xfer.recipe import from_json

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset, Loading
    from xfer.data.findings import Finding
    from xfer.features import FeatureStore


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the steps after the images have in common."""

    run: RunDir
    """The run's folder."""
    plan: Plan
    """What was asked for."""
    data: Dataset
    """The images, test part included."""
    loading: Loading
    """How they were read."""
    columns: tuple[str, ...]
    """Every hyperparameter of the space, in the order of the tables."""
    began: float
    """When this command did, by `time.monotonic`."""
    constant: float | None = None
    """Search score of the best constant answer to the images that choose; None: nobody knows it."""
    findings: tuple[Finding, ...] | None = None
    """The audit's; None: nobody has looked."""
    features: FeatureStore | None = None
    """Where trials keep what frozen blocks make of images; None: they compute it."""


_NO_PREFIX = {"forwards": 0, "hits": 0, "seconds": 0.0}


def write_trials(context: Context, rows: Sequence[TrialRow]) -> None:
    """Writes trials.csv; after every trial, so that a killed run has one too."""
    text = trials_csv(rows, context.columns, constant=context.constant)
    context.run.write_text(context.run.trials, text)


def write_outcome(
    context: Context,
    rows: Sequence[TrialRow],
    finished: Finished | None,
    *,
    interrupted: bool = False,
    again: Refitted | None = None,
    worker_seconds: float | None = None,
) -> dict[str, Any]:
    """Writes all three.

    Args:
        context: of the run.
        rows: every trial.
        finished: the winner and its test; None: there is none, or not yet.
        interrupted: the search ended from outside, and can be resumed.
        again: what came of training the best again; None: nothing, or not yet.
        worker_seconds: that workers were there for, from the first epoch of the search to its last;
            None: not known. What they did not train or validate in is overhead.

    Returns:
        The content of result.json.
    """
    from search.report import write_report

    plan, run, data, loading = context.plan, context.run, context.data, context.loading
    again = again or Refitted()
    busy = sum(row.seconds for row in rows)
    trained = busy + again.seconds
    overhead = {} if worker_seconds is None else {"overhead": max(0.0, worker_seconds - busy)}
    prefix = summed([_NO_PREFIX, again.prefix, *(row.prefix for row in rows)])
    notes = read_openings(run)
    last = notes[-1] if notes else {}
    best = finished.best if finished else _best(rows)
    tested = finished is None and best is not None and last.get("trial") == best.number
    marks = ["DEMO, SYNTHETIC IMAGES"] if plan.demo else []
    test = finished.test if finished else last.get("test") if tested else None
    result = build_result(
        name=run.name,
        demo=plan.demo,
        seed=plan.options.seed,
        objective=plan.objective,
        positive=None if data.positive is None else data.classes[1],
        negative=_negative(data),
        rows=rows,
        opened=finished.opened if finished else len(notes),
        ledger=None if plan.demo else said(Ledger().look(_contents(context))),
        interrupted=interrupted,
        marks=list(dict.fromkeys([*marks, *loading.marks, *(finished.marks if finished else ())])),
        problems=None if context.findings is None else problems_of(context.findings),
        best=best,
        chosen_by="folds" if finished and finished.finalists else "validation",
        constant=context.constant,
        corrected=finished.corrected if finished else None,
        threshold=finished.threshold if finished else None,
        val=finished.val if finished else None,
        test=test,
        gap=gap_of(finished.val, test, data, part=finished.val_part) if finished else None,
        controls=finished.controls if finished else _controls(last) if tested else None,
        experiments=experiments_told(
            plan,
            rows,
            (finished.experiments if finished else last.get("experiments") if tested else None)
            or {},
            trained=lambda recipe: _trained(recipe, data),
        ),
        finalists=finished.finalists if finished else None,
        ensemble=finished.ensemble if finished else None,
        front=finished.front if finished else None,
        data=loading.summary(),
        seconds={
            "total": time.monotonic() - context.began,
            "decode": loading.seconds,
            "prefix": round(prefix["seconds"], 3),
            "training": round(trained - prefix["seconds"], 3),
            **overhead,
        },
        counters={
            "images_decoded": loading.images_decoded,
            "prefix_forwards": int(prefix["forwards"]),
            "prefix_hits": int(prefix["hits"]),
        },
    )
    write_trials(context, rows)
    run.write_json(run.result, result)
    write_report(run.root)
    return result


def _controls(opening: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of an opening on record, without the ensemble."""
    found = opening.get("controls")
    return None if found is None else {n: each for n, each in found.items() if n != ENSEMBLE}


def _trained(recipe: Mapping[str, Any], data: Dataset) -> int:
    """Parameters that a recipe trains."""
    from xfer.models.described import describe

    images = data.images
    return describe(
        from_json(recipe), classes=len(data.classes), size=images.size, channels=images.channels
    ).trainable


def _negative(data: Dataset) -> str | None:
    """The only class besides the positive one; None where there are several, or no positive one."""
    if data.positive is None or data.classes[0] == f"not {data.classes[1]}":
        return None
    return data.classes[0]


def _contents(context: Context) -> list[str]:
    """Digests of the test images, as the ledger knows them."""
    return [context.data.image_digests[i] for i in context.data.splits["test"]]


def _best(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The best so far, of a search that was ended before it was finished."""
    try:
        return choose_winner(rows)
    except TrialsError:
        return None
