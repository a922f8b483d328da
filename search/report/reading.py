"""What is on disk of a run? All that the page shows, with what is missing left empty."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from search.rundir import RunDir
from search.tensorboard import read_scalars, trial_folder
from search.trials_csv import CsvRow, read_trials_csv

CURVES = 5
"""Trials whose curves are drawn, best first."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One trial's epochs."""

    number: int
    label: str
    series: Mapping[str, Mapping[int, float]]
    """By tag (`val/search_score`), then by epoch."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A run, as its folder has it."""

    name: str
    result: Mapping[str, Any]
    """result.json; empty while the run is not finished."""
    manifest: Mapping[str, Any]
    audit: Mapping[str, Any]
    trials: tuple[CsvRow, ...]
    curves: tuple[Curve, ...]
    recipe: Mapping[str, Any]
    """Of the exported winner."""
    threshold: Mapping[str, Any]
    """Of the exported winner; holds what was said about it."""
    damaged: tuple[str, ...]
    """Files that are there and cannot be read, with the reason."""


def ranked(trials: Iterable[CsvRow]) -> list[CsvRow]:
    """Trials with a score, best first; infeasible and failed ones have no place."""
    scored = [
        (-row.value, row.number, row)
        for row in trials
        if row.value is not None
        and isfinite(row.value)
        and row.state not in ("infeasible", "failed")
    ]
    return [row for _, _, row in sorted(scored, key=lambda entry: entry[:2])]


def read_run(run: RunDir) -> Reading:
    """Everything of a run that the page shows. What cannot be read is named, not raised."""
    damaged: list[str] = []

    def document(path: Path) -> Mapping[str, Any]:
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            damaged.append(f"{path.name}: {error}")
            return {}
        if not isinstance(value, dict):
            damaged.append(f"{path.name}: is no JSON object")
            return {}
        return value

    rows: tuple[CsvRow, ...] = ()
    if run.trials.is_file():
        try:
            rows = tuple(read_trials_csv(run.trials.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError) as error:
            damaged.append(f"{run.trials.name}: {error}")
    curves = [_curve(run, row) for row in ranked(rows)[:CURVES]]
    return Reading(
        name=run.name,
        result=document(run.result),
        manifest=document(run.manifest),
        audit=document(run.audit),
        trials=rows,
        curves=tuple(curve for curve in curves if curve.series),
        recipe=document(run.best / "recipe.json"),
        threshold=document(run.best / "threshold.json"),
        damaged=tuple(damaged),  # evaluated last: the lines above fill it
    )


def _curve(run: RunDir, row: CsvRow) -> Curve:
    folder = trial_folder(run.tensorboard, row.number)
    return Curve(
        number=row.number, label=row.name, series=read_scalars(folder) if folder.is_dir() else {}
    )
