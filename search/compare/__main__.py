"""Sets runs and experiments side by side, with what is known of their differences.

    python -m search.compare runs/beans runs/beans-2 runs/beans-3 --metric accuracy --against E9

A row per experiment (a known configuration of a run with --known-only): runs of other seeds are
trainings of one row. A run that was a search is a row, too, its winner. Rows are compared with the
first, or with that of --against.

Exit codes: 0 done; 2 what was given is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from search.compare.comparison import BINARY, SEVERAL, Comparison, compare
from search.compare.contenders import Contender, gather
from search.compare.finished_run import FinishedRun, read_finished
from search.compare.notes import notes
from search.compare.table import markdown, plain
from search.errors import OptionsError, SearchError
from search.messages import near, together
from xfer.errors import XferError

DRAWS = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m search.compare",
        description="Set runs and experiments side by side, by what they answered on test.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder: runs/beans")
    parser.add_argument(
        "--metric", default="accuracy", metavar="M",
        help=f"one of {', '.join(BINARY)}; with several classes {', '.join(SEVERAL)} (accuracy)",
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="NAME", help="the row that others are compared with (the first)"
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown, for a page")
    asked = parser.parse_args(argv)
    try:
        comparison, runs = compared(asked.runs, metric=asked.metric, against=asked.against)
    except (SearchError, XferError) as error:
        print(error, file=sys.stderr)
        return 2
    drawn = markdown if asked.markdown else plain
    print(drawn(comparison, notes(comparison, runs)))
    return 0


def compared(
    folders: Sequence[str], *, metric: str, against: str | None, draws: int = DRAWS
) -> tuple[Comparison, list[FinishedRun]]:
    """The comparison of runs, and the runs.

    Args:
        folders: of finished runs.
        metric: of `search.compare.comparison.BINARY`, or `SEVERAL`.
        against: name of a row; None: the first that has answers.
        draws: of the bootstrap.

    Raises:
        OptionsError: runs that cannot be read or compared, no such metric or row; all at once.
    """
    runs, problems = read_finished(folders)
    problems += _unlike(runs)
    allowed = BINARY if not runs or runs[0].tested.binary else SEVERAL
    if metric not in allowed:
        several = " of several classes" if metric in BINARY else ""
        problems.append(
            f"--metric{several} must be one of {', '.join(allowed)}, got {metric!r}"
            f"{near(metric, allowed)}"
        )
    rows: list[Contender] = []
    if not _unlike(runs):
        rows, wrong = gather(runs)
        problems += wrong
    reference = next((row for row in rows if row.sheet is not None), None)
    if against is not None and rows:
        names = [row.name for row in rows]
        if against not in names:
            problems.append(
                f"--against must be one of {', '.join(map(repr, names))}, got {against!r}"
                f"{near(against, names)}"
            )
        else:
            reference = rows[names.index(against)]
            if reference.sheet is None:
                problems.append(f"--against {against!r} was finished in no run: choose another row")
    elif rows and reference is None:
        problems.append("no experiment of these runs was finished: there is nothing to compare")
    if problems or reference is None:
        raise OptionsError(together(problems))
    return compare(rows, metric, reference, draws=draws), runs


def _unlike(runs: Sequence[FinishedRun]) -> list[str]:
    """Runs that answer another question than the first."""
    return [
        f"{run.label} cannot be set beside {runs[0].label}: its {_question(run)}, and there "
        f"{_question(runs[0])}"
        for run in runs[1:]
        if _question(run) != _question(runs[0])
    ]


def _question(run: FinishedRun) -> str:
    tested = run.tested
    classes = f"classes are {', '.join(map(repr, tested.classes))}"
    return f"{classes} with {tested.classes[1]!r} positive" if tested.binary else classes


if __name__ == "__main__":
    sys.exit(main())
