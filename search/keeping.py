"""What stays of trials that have ended: the models of the best, the answers of all finished."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from search.front import front
from search.rundir import RunDir
from search.trials import TrialRow
from search.validation import keep_answers, may_win
from xfer.data.dataset import Dataset
from xfer.recipe import Objective


def ranked(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Finished trials, best first; of equal ones the earlier."""
    return sorted(
        (row for row in rows if row.state == "complete" and row.value is not None),
        key=lambda row: (-(row.value or 0.0), row.number),
    )


def first_known(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The known configuration that was tried first, where it was finished."""
    named = [row for row in rows if row.name is not None]
    first = min(named, key=lambda row: row.number, default=None)
    return first if first is not None and first.state == "complete" else None


def finalists(run: RunDir, rows: Sequence[TrialRow], *, keep: int) -> list[TrialRow]:
    """The trials to be trained again: the best `keep` that may win, and the first known one.

    Two trials of one recipe count as one, and one whose model is gone, of a run that kept fewer,
    cannot ship. With two objectives they are of the front. Nobody where no trial may win: there is
    nothing to choose.
    """
    found: list[TrialRow] = []
    for row in front(rows, lambda number: may_win(run, number)) or ranked(rows):
        there = run.checkpoint(row.number).is_dir()
        if len(found) < keep and there and may_win(run, row.number):
            found += [row] if all(row.recipe != other.recipe for other in found) else []
    first = first_known(rows)
    if found and first is not None and all(first.recipe != other.recipe for other in found):
        found.append(first)
    return found


def keep_all_answers(
    run: RunDir, rows: Sequence[TrialRow], data: Dataset, objective: Objective, *, folds: bool
) -> None:
    """Keeps what every finished trial answered on validation, before its checkpoint goes."""
    for row in ranked(rows):
        keep_answers(run, row, data, objective, folds=folds)


def keep_best_checkpoints(
    run: RunDir, rows: Sequence[TrialRow], *, keep: int, refits: int = 0
) -> None:
    """Removes the checkpoints of trials that have ended, but for the best `keep`.

    Of those that may win as many stay, too, and the first known configuration's: the winner is
    compared with it. So do `refits` finalists, and with two objectives the front.
    """
    ended = [row for row in rows if row.state not in ("waiting", "running")]
    first = first_known(rows)
    best = ranked(rows)
    eligible = [row for row in best if may_win(run, row.number)]
    others = [*([first] if first else []), *finalists(run, rows, keep=refits)]
    others += front(rows, lambda number: may_win(run, number))
    kept = {row.number for row in (*best[:keep], *eligible[:keep], *others)}
    for row in ended:
        if row.number not in kept:
            shutil.rmtree(run.checkpoint(row.number), ignore_errors=True)
