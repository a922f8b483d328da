"""What does a space contain, and what is wrong with it and its data?

    python -m search.check SPACE [--data PATH] [run's other flags]

Every image is read, as a run would: what is decoded here stays in the store for it. Exit code 2 if
there is any problem, 0 otherwise; the audit's findings are problems with --strict alone.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from search.check.checked import Checked
from search.check.inspection import Inspection, inspect
from search.check.look import Look, look
from search.errors import SearchError
from search.messages import together
from search.options import parse
from search.plan import Plan, make_plan
from search.space import load_space
from search.strict import faults
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
        images, problems = None, list(inspection.checked.problems)
        if inspection.splits is not None:  # else listing them has told what is wrong
            try:
                images = look(plan, inspection)
            except XferError as error:
                problems.append(str(error).removesuffix("."))
        if images is not None and options.strict:
            problems += faults(images.findings)
    except (SearchError, XferError) as error:
        print(error, file=sys.stderr)
        return 2
    show(plan, inspection, images)
    if problems:
        print(together(problems), file=sys.stderr)
        return 2
    print("No problems.")
    return 0


def show(plan: Plan, inspection: Inspection, images: Look | None) -> None:
    """Prints tables where the output is a terminal, else a line per row; then the images."""
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
    if images is not None:
        for line in images.lines(said=checked.notes):
            print(line)
    sys.stdout.flush()


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
        yield f"Splits, by names: {parts}; {plan.data.size} x {plan.data.size} pixels."


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
