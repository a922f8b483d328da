"""What did every trial do? One row each, for spreadsheets and for the report.

Columns: what is known of any trial, then `val/...` of its best epoch (with folds their means), then
every hyperparameter by its own name. A hyperparameter that a trial does not have is empty. One
whose name is a column already, or begins with `val/` or `params/`, has `params/` before it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.skill import skill
from search.trials import TrialRow

FIXED = ("number", "name", "state", "value", "skill", "best_epoch", "epochs", "seconds", "ended")
"""Columns that every run has; `skill` is empty where the best constant answer is not known."""


@dataclass(frozen=True, kw_only=True)
class CsvRow:
    """A row, read back."""

    number: int
    name: str
    """The known configuration's; empty for what the sampler proposed."""
    state: str
    value: float | None
    """Search score."""
    skill: float | None = None
    """What it is worth, as `search.skill` says."""
    best_epoch: int | None
    epochs: int
    """Finished epochs, or folds."""
    seconds: float
    ended: str
    val: Mapping[str, float]
    """Metrics of the best epoch, or means over the folds."""
    params: Mapping[str, float | str]
    """The hyperparameters it has; numbers where the text is one."""


def trials_csv(
    rows: Iterable[TrialRow],
    hyperparameters: Sequence[str] = (),
    *,
    constant: float | None = None,
) -> str:
    """The file's text.

    Args:
        rows: of the study; written by number.
        hyperparameters: of the space, in the order of its columns; those that only trials know
            follow them.
        constant: search score of the best constant answer to the images of validation.
    """
    ordered = sorted(rows, key=lambda row: row.number)
    metrics = _in_order(name for row in ordered for name in row.val)
    names = _in_order([*hyperparameters, *(name for row in ordered for name in row.params)])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIXED, *(f"val/{m}" for m in metrics), *(_column(name) for name in names)])
    for row in ordered:
        known: list[Any] = [
            row.number, row.name, row.state, row.value, skill(row.value, constant),
            row.best_epoch, len(row.scores), round(row.seconds, 3), row.ended,
        ]  # fmt: skip
        known += [row.val.get(metric) for metric in metrics]
        # A choice may be None: only what was not asked for is empty.
        known += [str(row.params[name]) if name in row.params else None for name in names]
        writer.writerow(known)
    return text.getvalue()


def read_trials_csv(text: str) -> list[CsvRow]:
    """The rows of a file that `trials_csv` made; none of an empty one."""
    return [_row(raw) for raw in csv.DictReader(io.StringIO(text))]


def _row(raw: Mapping[str, str]) -> CsvRow:
    rest = {name: text for name, text in raw.items() if name not in FIXED and text != ""}
    return CsvRow(
        number=int(raw["number"]),
        name=raw["name"],
        state=raw["state"],
        value=float(raw["value"]) if raw["value"] else None,
        skill=float(raw["skill"]) if raw.get("skill") else None,  # older files have none
        best_epoch=int(raw["best_epoch"]) if raw["best_epoch"] else None,
        epochs=int(raw["epochs"]),
        seconds=float(raw["seconds"]),
        ended=raw["ended"],
        val={name[4:]: float(text) for name, text in rest.items() if name.startswith("val/")},
        params={
            name.removeprefix("params/"): _number(text)
            for name, text in rest.items()
            if not name.startswith("val/")
        },
    )


def _column(name: str) -> str:
    taken = name in FIXED or name.startswith(("val/", "params/"))
    return f"params/{name}" if taken else name


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
