"""What does a run leave for people and programs? trials.csv, result.json and report.html."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.errors import TrialsError
from search.finish import Finished, choose_winner
from search.opening import read_openings
from search.plan import Plan
from search.result import build_result
from search.rundir import RunDir
from search.trials import TrialRow
from search.trials_csv import trials_csv

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset, Loading


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


def write_trials(context: Context, rows: Sequence[TrialRow]) -> None:
    """Writes trials.csv; after every trial, so that a killed run has one too."""
    context.run.write_text(context.run.trials, trials_csv(rows, context.columns))


def write_outcome(
    context: Context,
    rows: Sequence[TrialRow],
    finished: Finished | None,
    *,
    interrupted: bool = False,
) -> dict[str, Any]:
    """Writes all three.

    Args:
        context: of the run.
        rows: every trial.
        finished: the winner and its test; None: there is none, or not yet.
        interrupted: the search ended from outside, and can be resumed.

    Returns:
        The content of result.json.
    """
    from search.report import write_report

    plan, run, loading = context.plan, context.run, context.loading
    notes = read_openings(run)
    last = notes[-1] if notes else {}
    best = finished.best if finished else _best(rows)
    tested = finished is None and best is not None and last.get("trial") == best.number
    marks = ["DEMO, SYNTHETIC IMAGES"] if plan.demo else []
    result = build_result(
        name=run.name,
        demo=plan.demo,
        seed=plan.options.seed,
        objective=plan.objective,
        positive=None if context.data.positive is None else context.data.classes[1],
        rows=rows,
        opened=finished.opened if finished else len(notes),
        interrupted=interrupted,
        marks=[*marks, *loading.marks, *(finished.marks if finished else ())],
        best=best,
        corrected=finished.corrected if finished else None,
        threshold=finished.threshold if finished else None,
        test=finished.test if finished else last.get("test") if tested else None,
        controls=finished.controls if finished else last.get("controls") if tested else None,
        data=loading.summary(),
        seconds={"total": time.monotonic() - context.began, "decode": loading.seconds},
        counters={"images_decoded": loading.images_decoded},
    )
    write_trials(context, rows)
    run.write_json(run.result, result)
    write_report(run.root)
    return result


def _best(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The best so far, of a search that was ended before it was finished."""
    try:
        return choose_winner(rows)
    except TrialsError:
        return None
