"""What stands in a CSV or Parquet file, as text?

CSV is UTF-8 with or without a byte order mark; its delimiter is the one of comma, semicolon and tab
that finds the wanted columns in the first line, or else the most columns. White space around a cell
does not count; rows without any text are passed over.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from xfer.errors import DataError

_DELIMITERS = ",;\t"
_PARQUET = b"PAR1"
"""What a Parquet file begins with."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Columns of a table, as text."""

    columns: tuple[str, ...]
    """All names, in the file's order."""
    texts: Mapping[str, Sequence[str]]
    """The cells of each wanted column that there is, row by row; empty where nothing stands."""
    lines: Sequence[int]
    """Where each row begins, from 1: the line of a CSV, its header included, or the row."""
    unit: Literal["line", "row"]
    """What `lines` counts."""
    problems: tuple[str, ...]
    """What is wrong with single rows, as sentences."""


def read_cells(path: Path, wanted: Sequence[str]) -> Cells:
    """The wanted columns, as far as there are such; a name that stands twice is not read.

    Raises:
        DataError: the file cannot be read, is empty, or is of another kind.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start == _PARQUET or path.suffix.lower() in (".parquet", ".pq"):
                return _parquet(path, wanted)
            raw = start + file.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if start == b"PK\x03\x04":
        raise DataError(f"{path} is a workbook or an archive, not a table; save it as CSV (UTF-8).")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: it is not UTF-8; save it as CSV (UTF-8).") from None
    return _csv(path, text, wanted)


def name_lines(unit: str, lines: Sequence[int], *, first: int = 3) -> str:
    """The first few of some lines, and how many more there are.

    >>> name_lines("line", [2, 5, 6, 9])
    'lines 2, 5, 6 and 1 more'
    """
    named = ", ".join(f"{line}" for line in lines[:first])
    more = f" and {len(lines) - first:,} more" if len(lines) > first else ""
    return f"{unit if len(lines) == 1 else unit + 's'} {named}{more}"


def _csv(path: Path, text: str, wanted: Sequence[str]) -> Cells:
    columns: tuple[str, ...] | None = None
    rows: list[list[str]] = []
    lines: list[int] = []
    uneven: list[int] = []
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=_delimiter(text, wanted), strict=True
    )
    line = 1
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if any(cells):
                if columns is None:
                    columns = tuple(cells)
                elif len(cells) != len(columns):
                    uneven.append(line)
                else:
                    rows.append(cells)
                    lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path} cannot be read from line {line} on: {error}. A quote that is opened has to be"
            " closed."
        ) from None
    if columns is None:
        raise DataError(f"{path} is empty; its first line must name the columns.")
    problems = []
    if uneven:
        problems.append(
            f"{len(uneven):,} of {len(rows) + len(uneven):,} rows do not have the header's"
            f" {len(columns)} cells"
            f" ({name_lines('line', uneven)}); text with a delimiter in it needs quotes"
        )
    return Cells(
        columns=columns,
        texts={
            name: [row[columns.index(name)] for row in rows]
            for name in wanted
            if columns.count(name) == 1
        },
        lines=lines,
        unit="line",
        problems=tuple(problems),
    )


def _delimiter(text: str, wanted: Sequence[str]) -> str:
    header = next((line for line in io.StringIO(text) if line.strip()), "")

    def fits(delimiter: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        return sum(name in names for name in wanted), len(names)

    return max(_DELIMITERS, key=fits)


def _parquet(path: Path, wanted: Sequence[str]) -> Cells:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"{path} is Parquet, which needs pyarrow: pip install pyarrow, or save it as CSV."
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            columns = tuple(file.schema_arrow.names)
            there = [name for name in dict.fromkeys(wanted) if columns.count(name) == 1]
            table = file.read(columns=there)
            kinds = {name: str(table.schema.field(name).type) for name in there}
            values = {name: table.column(name).to_pylist() for name in there}
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from None
    problems = [
        f"column {name!r} holds {kinds[name]}, not text or numbers"
        for name in there
        if not all(isinstance(value, str | int | float | Decimal | None) for value in values[name])
    ]
    texts = {name: [_text(value) for value in values[name]] for name in there}
    kept = [row for row in range(table.num_rows) if any(texts[name][row] for name in there)]
    return Cells(
        columns=columns,
        texts={name: [texts[name][row] for row in kept] for name in there},
        lines=[row + 1 for row in kept],
        unit="row",
        problems=tuple(problems),
    )


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):  # as data frames have it
        return ""
    return str(value).strip()
