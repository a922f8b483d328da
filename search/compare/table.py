"""How does a comparison look? A table of 100 columns for a terminal, and one in Markdown."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from textwrap import wrap
from typing import TYPE_CHECKING

from search.amounts import clock
from search.compare.comparison import Comparison, Line

if TYPE_CHECKING:
    from xfer.evaluate.independent import Apart

WIDTH = 100
_DASH = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column, and what stands in it."""

    head: str
    cell: Callable[[Line], Sequence[str]]
    """Of a row: texts that stand below one another, or beside one another in Markdown."""
    needed: Callable[[Line], bool] = lambda _: True
    """Of a row: it has something to show; a column that no row needs is left out."""
    plain_only: bool = False
    """Not in Markdown."""


def plain(comparison: Comparison, notes: Sequence[str]) -> str:
    """The table and its notes, at most `WIDTH` columns wide."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = _columns(comparison)
    for place, column in enumerate(columns):
        head = Text(column.head)
        table.add_column(head, overflow="fold", no_wrap=place > 0)
    for line in comparison.lines:
        table.add_row(*(Text("\n".join(_below(column.cell(line)))) for column in columns))
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None, legacy_windows=False).print(table)
    rows = [row.rstrip() for row in text.getvalue().splitlines()]
    told = [
        part for note in notes for part in wrap(note, WIDTH, subsequent_indent="  ")
    ]  # a line each
    return "\n".join([*_without_empty_ends(rows), "", *told])


def markdown(comparison: Comparison, notes: Sequence[str]) -> str:
    """The table and its notes, for a page."""
    columns = [column for column in _columns(comparison) if not column.plain_only]
    rows = [[column.head.replace("\n", " ") for column in columns], ["---"] * len(columns)]
    rows += [[_beside(column.cell(line)) for column in columns] for line in comparison.lines]
    table = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*table, "", *(f"* {_escaped(note)}" for note in notes)])


def metric_name(metric: str) -> str:
    """For people.

    >>> metric_name("balanced_accuracy"), metric_name("auroc")
    ('balanced accuracy', 'AUROC')
    """
    return {"auroc": "AUROC", "f1": "F1", "mcc": "MCC"}.get(metric, metric.replace("_", " "))


def number(value: float | None) -> str:
    """A metric with three digits, and never a 1 that is none.

    >>> [number(v) for v in (0.95, 1.0, 0.99961, -0.2, None)]
    ['.950', '1.000', 'over .999', '-.200', '–']
    """
    if value is None or not isfinite(value):
        return _DASH
    if 0.9995 <= value < 1:
        return "over .999"
    return _bare(f"{value:.3f}")


def signed(value: float) -> str:
    """A difference with three digits.

    >>> [signed(v) for v in (0.0123, -0.0123, -0.0001, 1.0)]
    ['+.012', '-.012', '+.000', '+1.000']
    """
    text = _bare(f"{abs(value):.3f}")
    return f"{'-' if value < 0 and text != '.000' else '+'}{text}"


def _columns(comparison: Comparison) -> list[Column]:
    reference = comparison.reference

    def compared(line: Line) -> Sequence[str]:
        if line.contender is reference:
            return ("reference",)
        if line.difference is None or line.verdict is None:
            return (_DASH,)
        return (*_apart(line.difference), *wrap(line.verdict, 14))

    found = [
        Column(head="experiment", cell=_named),
        Column(head="n", cell=lambda line: (str(len(line.contender.trainings)),)),
        Column(
            head=metric_name(comparison.metric).replace(" ", "\n"),
            cell=lambda line: _with_ends(line.value, line.low, line.high),
        ),
        Column(
            head="lowest,\nhighest",
            cell=lambda line: (
                (f"{number(line.lowest)},", number(line.highest))
                if line.value is not None
                else (_DASH,)
            ),
            needed=lambda line: len(line.contender.trainings) > 1,
        ),
        Column(head="published", cell=_reported, needed=lambda line: line.reported is not None),
        Column(
            head="less\npublished",
            cell=lambda line: (
                (_DASH,) if line.less_reported is None else _apart(line.less_reported)
            ),
            needed=lambda line: line.less_reported is not None,
        ),
        Column(
            head="difference",
            cell=compared,
            needed=lambda line: line.difference is not None,
        ),
        Column(head="trained,\ntime", cell=_cost, plain_only=True),
    ]
    return [each for each in found if any(each.needed(line) for line in comparison.lines)]


def _named(line: Line) -> Sequence[str]:
    row = line.contender
    demo = any(each.run.demo for each in row.trainings)
    return (f"{row.name} (DEMO)" if demo else row.name,)


def _with_ends(value: float | None, low: float | None, high: float | None) -> tuple[str, ...]:
    if value is None or low is None or high is None:
        return (number(value),)
    return number(value), f"({_bare(f'{low:.3f}')} to {_bare(f'{high:.3f}')})"


def _reported(line: Line) -> tuple[str, ...]:
    theirs = line.reported
    if theirs is None:
        return (_DASH,)
    if theirs.range is not None:
        return (f"{number(theirs.range[0])} to {number(theirs.range[1])}",)
    return _with_ends(theirs.value, theirs.low, theirs.high)


def _apart(difference: Apart) -> tuple[str, str]:
    return signed(difference.value), f"({_end(difference.low)} to {_end(difference.high)})"


def _end(value: float) -> str:
    """An end of an interval; one that is next to 0 shows on which side.

    >>> [_end(v) for v in (0.0123, -0.0003, 0.0, 0.0000001)]
    ['+.012', '-.0003', '+.000', '+1e-07']
    """
    if value == 0 or abs(value) >= 0.0005:
        return signed(value)
    return _bare(f"{value:+.4f}") if abs(value) >= 5e-5 else f"{value:+.0e}"


def _cost(line: Line) -> tuple[str, ...]:
    row = line.contender
    trained = ", ".join(f"{count:,}" for count in sorted(row.trained)) or _DASH
    seconds = clock(sum(row.seconds) / len(row.seconds)) if row.seconds else _DASH
    return trained, seconds


def _below(texts: Sequence[str]) -> Sequence[str]:
    """What stands below its number needs no brackets."""
    return [texts[0], *(text.strip("()") for text in texts[1:])]


def _beside(texts: Sequence[str]) -> str:
    """As in `+.012 (-.010 to +.034), better`: what follows an interval is set off."""
    text = texts[0]
    for before, part in pairwise(texts):
        text += f", {part}" if before.endswith(")") else f" {part}"
    return _escaped(text)


def _escaped(text: str) -> str:
    r"""For a cell or a line of Markdown.

    >>> print(_escaped("a|b_c*"))
    a\|b\_c\*
    """
    for mark in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _without_empty_ends(rows: Sequence[str]) -> list[str]:
    full = [place for place, row in enumerate(rows) if row]
    return list(rows[full[0] : full[-1] + 1])


def _bare(text: str) -> str:
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text
