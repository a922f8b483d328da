"""What is printed before and after the trials? Lines for people, most important first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from search.amounts import bound, setting, share
from search.check.inspection import Inspection
from search.check.objective import in_words
from search.plan import Plan
from search.rundir import RunDir
from search.scores import compared_said, corrected_said
from search.sentences import (
    finalists_said,
    front_said,
    gap_said,
    skill_said,
    subgroups_said,
)
from search.space import Budget
from search.studied import Experiments, differences, heads, rows

if TYPE_CHECKING:
    from xfer.data.dataset import Loading
    from xfer.data.findings import Finding

Say = Callable[[str], None]

_SHOWN = (
    "recall", "specificity", "precision", "balanced_accuracy", "accuracy", "f2", "auroc",
    "average_precision",
)  # fmt: skip


def tell_plan(plan: Plan, inspection: Inspection, say: Say) -> None:
    """What will run, on what data, and what should be known of it."""
    checked, source, splits = inspection.checked, inspection.source, inspection.splits
    for note in plan.notes:
        say(note)
    known = ", ".join(plan.known) or "none"
    say(
        f"Space {plan.space.path.stem}: {len(checked.hyperparameters)} hyperparameters; known "
        f"configurations, tried first: {known}; maximises {in_words(plan.objective)}."
    )
    if source is not None and splits is not None:
        parts = ", ".join(
            f"{len(rows):,} {name}"
            for name, rows in (("train", splits.train), ("val", splits.val), ("test", splits.test))
        )
        what = f"positive is {source.classes[source.positive]}" if source.positive is not None \
            else f"{len(source.classes)} classes"  # fmt: skip
        say(f"Data {source.name}: {parts}; {what}; {plan.data.size} x {plan.data.size} pixels.")
    for note in checked.notes:
        if note not in plan.notes:
            say(f"note: {note}")


def used_up(told: int, seconds: float, budget: Budget) -> str | None:
    """Why a search has nothing left to do; None: it has.

    Args:
        told: trials that have ended.
        seconds: of the search so far.
        budget: of it.
    """
    if budget.trials <= told:
        return f"All {budget.trials} trials are told; --trials with a larger number adds some."
    if budget.minutes is not None and seconds >= 60 * budget.minutes:
        return f"The {budget.minutes:g} minutes are used; --minutes with a larger number adds some."
    return None


def tell_parts(inspection: Inspection, loading: Loading, say: Say) -> None:
    """How the parts were made, where reading the images has changed what was told of it before."""
    told = {note.replace("are to be", "were") for note in inspection.checked.notes}
    for line in (*loading.made, *loading.marks):
        if line not in told:
            say(f"note, now that the images are read: {line}")


def tell_findings(findings: Iterable[Finding], say: Say) -> None:
    """What was wrong with the data, a line each."""
    for finding in findings:
        examples = ", ".join(finding.examples[:3])
        where = f" ({examples})" if examples else ""
        say(f"data: {finding.kind}{where}: {finding.effect} {finding.action}")


def tell_end(run: RunDir, result: Mapping[str, Any], say: Say) -> None:
    """The answer, the numbers behind it, and where everything is."""
    if result["experiments"]:
        tell_experiments(result["experiments"], say)
    say("")
    say(result["answer"])
    test, best = result["test"], result["best"]
    if test is not None:
        for name in _SHOWN:
            metric = test.get(name)
            if metric is None or metric["value"] is None:
                continue
            low, high = metric["low"], metric["high"]
            interval = f"  ({bound(low)} to {bound(high)})" if low is not None else ""
            say(f"  test {name:<18} {share(metric['value']):>6}{interval}")
        for line in subgroups_said(test.get("subgroups") or {}):
            say(f"  {line}")
    for name, control in (result["controls"] or {}).items():
        say(f"  {compared_said(name, control['difference'])}")
    if result["ensemble"] is not None:
        say(f"  {result['ensemble']['said']}")
    if result["gap"] is not None:
        say(f"  {gap_said(result['gap'])}")
    threshold = result["threshold"]
    for mark in result["marks"]:
        if threshold is None or mark != threshold["said"]:
            say(f"mark: {mark}")
    if result["ledger"] and result["ledger"] not in result["marks"]:
        say(result["ledger"])
    if best is not None:
        name = f" ({best['name']})" if best["name"] else ""
        params = ", ".join(f"{key}={setting(value)}" for key, value in best["params"].items())
        epoch = "" if best["epoch"] is None else f", epoch {best['epoch']}"
        say(f"Best: trial {best['number']}{name}{epoch}: {params}")
        for line in (
            corrected_said(best),
            skill_said(best),
            finalists_said(result["finalists"], best["number"]) if _refitted(result) else None,
        ):
            if line is not None:
                say(line)
    for line in front_said(result["front"]) if result["front"] else ():
        say(f"  front: {line}")
    if threshold is not None:
        say(f"Threshold: {threshold['said']}")
    say(f"Model: {run.best}    python -m xfer.predict {run.best} IMAGE...")
    say(f"Report: {run.report}")


def tell_experiments(experiments: Experiments, say: Say) -> None:
    """Known configurations beside what a study reported of them, a row each."""
    table = [heads(experiments), *rows(experiments, ends=False)]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    say("")
    say("Experiments on the test part, after the winner was chosen; intervals are in the report.")
    for row in table:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        say(f"  {'  '.join(cells).rstrip()}")
    for line in differences(experiments):
        say(f"  {line}")


def _refitted(result: Mapping[str, Any]) -> bool:
    """Finalists were trained again, and the winner is one of them."""
    return bool(result["finalists"]) and result["best"]["chosen_by"] == "folds"


@contextmanager
def decoding() -> Iterator[Callable[[int, int], None] | None]:
    """Yields what draws a bar on a terminal; None where there is none."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Decoding images", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
