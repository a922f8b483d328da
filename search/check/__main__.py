"""What does a space contain, and what is wrong with it and its data?

    python -m search.check SPACE [--data PATH] [run's other flags]

Exit code 2 if there is any problem, 0 otherwise.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from search.check.checked import Checked
from search.check.inspection import Inspection, inspect
from search.errors import SearchError
from search.messages import together
from search.options import parse
from search.plan import Plan, make_plan
from search.space import load_space
from xfer.errors import XferError
from xfer.recipe import ConvNet

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""Title, columns, rows."""


def main(argv: Sequence[str]) -> int:
    """Checks what a command line asks for; returns the exit code."""
    try:
        options = parse(argv, prog="python -m search.check")
        plan = make_plan(load_space(options.space), options)
        inspection = inspect(plan)
        if options.strict:
            inspection = _strict(inspection)
    except (SearchError, XferError) as error:
        print(error, file=sys.stderr)
        return 2
    show(plan, inspection)
    return 2 if inspection.checked.problems else 0


def _strict(inspection: Inspection) -> Inspection:
    """With what a listing shows of the audit's findings among the problems."""
    checked, splits = inspection.checked, inspection.splits
    removed = splits.removed if splits is not None else ()
    note = "--strict: a run reads the images first, and may find more than their names show."
    problems = (*checked.problems, *(f"--strict: {said.removesuffix('.')}" for said in removed))
    notes = (*(said for said in checked.notes if said not in removed), note)
    return replace(inspection, checked=replace(checked, problems=problems, notes=notes))


def show(plan: Plan, inspection: Inspection) -> None:
    """Prints tables where the output is a terminal, else a line per row; problems last."""
    checked = inspection.checked
    tables = [table for table in _tables(checked) if table[2]]
    if sys.stdout.isatty():
        _draw(tables)
    else:
        for title, columns, rows in tables:
            print(f"{title}: {' | '.join(columns)}")
            for row in rows:
                print("  " + " | ".join(row))
    for line in _data(plan, inspection):
        print(line)
    for note in checked.notes:
        print(f"note: {note}")
    sys.stdout.flush()
    if checked.problems:
        print(together(checked.problems), file=sys.stderr)
    else:
        print("No problems.")


def _tables(checked: Checked) -> Iterator[Table]:
    yield (
        "Hyperparameters",
        ("name", "range", "exists"),
        [(row.name, row.range, row.when) for row in checked.hyperparameters],
    )
    yield (
        "Sample recipes",
        ("model", "trained parameters", "of", "hyperparameters"),
        [
            (
                "ConvNet" if isinstance(s.recipe.model, ConvNet) else s.recipe.model.name,
                f"{s.trainable:,}",
                f"{s.parameters:,}",
                s.answers,
            )
            for s in checked.samples
        ],
    )


def _data(plan: Plan, inspection: Inspection) -> Iterator[str]:
    source, splits = inspection.source, inspection.splits
    if source is None:
        return
    counts = Counter(item.label for item in source.items)
    classes = ", ".join(f"{counts[i]:,} {name}" for i, name in enumerate(source.classes))
    yield f"Data: {len(source.items):,} images of {source.name}: {classes}."
    if source.positive is not None:
        yield f"Positive: {source.classes[source.positive]}."
    if splits is not None:
        parts = f"{len(splits.train):,} train, {len(splits.val):,} val, {len(splits.test):,} test"
        yield f"Splits: {parts}; {plan.data.size} x {plan.data.size} pixels."


def _draw(tables: Sequence[Table]) -> None:
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    console = Console()
    for title, columns, rows in tables:
        drawn = Drawn(title=title, title_justify="left")
        for column in columns:
            drawn.add_column(column, overflow="fold")
        for row in rows:
            drawn.add_row(*map(Text, row))  # as Text: a name with brackets is no markup
        console.print(drawn)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
