"""What does TensorBoard show of a run? A folder of curves per trial, one table for all trials.

    tensorboard --logdir runs/NAME/tensorboard

TensorBoard keeps one HParams experiment per folder it is pointed at, and a column that the
experiment does not name is not shown. So one experiment is written for the whole run, into the
folder itself, naming every hyperparameter, also those that only some trials have.

The table takes the last value of a series, and a trial's last epoch is not the one that counts.
So each epoch that is a trial's best so far also writes its metrics under `best/`, and the table
shows those: they are right while the trial runs, and after a `kill -9`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2, summary_v2
from tensorboard.plugins.hparams.metadata import (
    EXPERIMENT_TAG,
    NULL_TENSOR,
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    create_summary_metadata,
)
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from search.contact_sheets import SHEET_TAG, Sheet, sheet_summary
from search.skill import skill
from search.trials import EpochDone, Event, State, TrialEnded, TrialStarted

# Built when they are imported, so that a type checker cannot see into them.
_EventProto: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
_Summary: Any = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]
_Status: Any = api_pb2.Status  # pyright: ignore[reportAttributeAccessIssue]
_PluginData: Any = plugin_data_pb2.HParamsPluginData  # pyright: ignore[reportAttributeAccessIssue]
_SessionEnd: Any = plugin_data_pb2.SessionEndInfo  # pyright: ignore[reportAttributeAccessIssue]

_STATUS: dict[State, str] = {
    "complete": "STATUS_SUCCESS",
    "pruned": "STATUS_SUCCESS",
    "infeasible": "STATUS_FAILURE",
    "failed": "STATUS_FAILURE",
}
"""TensorBoard's word for a state; a trial that goes on later has none yet."""


class Interval(Protocol):
    """Where a number lies, both ends included; Optuna's distributions of numbers are such."""

    @property
    def low(self) -> float:
        """Smallest value."""
        ...

    @property
    def high(self) -> float:
        """Largest value."""
        ...


@runtime_checkable
class Choices(Protocol):
    """All values there are; Optuna's categorical distribution is such."""

    @property
    def choices(self) -> Sequence[Any]:
        """None, bools, numbers or strings."""
        ...


@dataclass
class _Trial:
    """One trial's event file while it is written, and what its folder already holds."""

    writer: EventFileWriter
    epochs: set[int] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)


class TensorBoard:
    """A watcher that writes event files; one open file per running trial.

    A folder that exists is continued: what an earlier process wrote is not written twice.
    """

    def __init__(
        self,
        folder: Path,
        hyperparameters: Mapping[str, Interval | Choices],
        *,
        constant: float | None = None,
        sheet: Sheet | None = None,
    ) -> None:
        """Writes nothing before the first event.

        Args:
            folder: the run's `tensorboard` folder; made when it is missing.
            hyperparameters: every hyperparameter of the space and its range.
            constant: search score of the best constant answer; None: no `val/skill` is written.
            sheet: asked once for each trial; None shows no images.
        """
        self._folder = folder
        self._columns = {name: _column(values) for name, values in hyperparameters.items()}
        self._constant, self._sheet = constant, sheet
        self._trials: dict[int, _Trial] = {}
        self._described = folder.is_dir() and EXPERIMENT_TAG in _held(folder)[0]

    def __call__(self, event: Event) -> None:
        """Writes one event and flushes, so that people can watch."""
        if isinstance(event, TrialStarted):
            self._start(event)
        elif isinstance(event, EpochDone):
            self._epoch(event)
        elif event.state not in ("waiting", "running"):
            self._end(event)
        else:
            self._close(event.number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes what is open; a later event opens its file again."""
        for number in list(self._trials):
            self._close(number)

    def _start(self, event: TrialStarted) -> None:
        trial = self._open(event.number, event.name)
        if SESSION_START_INFO_TAG not in trial.tags:
            self._introduce(trial, event)
        if self._sheet is not None and SHEET_TAG not in trial.tags:
            summary = sheet_summary(self._sheet, event.number, event.recipe)
            if summary is not None:
                _write(trial, summary)

    def _introduce(self, trial: _Trial, event: TrialStarted) -> None:
        """Writes what stands at the head of a trial's file."""
        params = {name: self._value(name, value) for name, value in event.params.items()}
        folder = Path(trial.writer.get_logdir()).name
        _write(trial, summary_v2.hparams_pb(params, trial_id=folder))
        recipe = json.dumps(event.recipe, indent=2)
        _write(trial, text_pb("recipe", f"```json\n{recipe}\n```"))

    def _epoch(self, event: EpochDone) -> None:
        trial = self._open(event.number, None)
        result = event.result
        epoch = int(result["epoch"])
        if epoch in trial.epochs:
            return
        scalars = {f"train/{name}": value for name, value in result["train"].items()}
        scalars["train/lr"] = result.get("lr")
        val = dict(result["val"]) | {"search_score": result["search_score"]}
        if self._constant is not None:
            val["skill"] = skill(result["search_score"], self._constant)
        if result.get("threshold") is not None:
            val["threshold"] = result["threshold"]
        scalars |= {f"val/{name}": value for name, value in val.items()}
        if result["best"]:
            scalars |= {f"best/{n}": v for n, v in val.items() if _number(v) and isfinite(v)}
        # A class's own metrics are curves; ten columns for each would bury the rest.
        self._describe([name for name, value in val.items() if _number(value) and "/" not in name])
        values = [
            _Summary.Value(tag=tag, simple_value=value)
            for tag, value in scalars.items()
            if _number(value)
        ]
        # All of an epoch in one record: a kill leaves the whole of it, or nothing.
        _write(trial, _Summary(value=values), step=epoch)
        trial.epochs.add(epoch)

    def _end(self, event: TrialEnded) -> None:
        trial = self._open(event.number, None)
        if SESSION_END_INFO_TAG not in trial.tags:
            status = _Status.Value(_STATUS[event.state])
            end = _SessionEnd(status=status, end_time_secs=time.time())
            metadata = create_summary_metadata(_PluginData(session_end_info=end))
            value = _Summary.Value(tag=SESSION_END_INFO_TAG, metadata=metadata, tensor=NULL_TENSOR)
            _write(trial, _Summary(value=[value]))
            _write(trial, text_pb("ended", f"{event.state}: {event.ended}"))
        self._close(event.number)

    def _open(self, number: int, name: str | None) -> _Trial:
        if number not in self._trials:
            folder = trial_folder(self._folder, number, name)
            tags, epochs = _held(folder) if folder.is_dir() else (set(), set())
            self._trials[number] = _Trial(EventFileWriter(str(folder)), epochs, tags)
        return self._trials[number]

    def _close(self, number: int) -> None:
        trial = self._trials.pop(number, None)
        if trial is not None:
            trial.writer.close()

    def _describe(self, metrics: Sequence[str]) -> None:
        """Writes the experiment, with the first epoch: by then it is known what is measured."""
        if self._described:
            return
        first = ["search_score", "skill", "recall", "specificity", "precision"]
        ordered = [m for m in first if m in metrics] + [m for m in metrics if m not in first]
        summary = summary_v2.hparams_config_pb(
            [summary_v2.HParam(name, domain) for name, domain in self._columns.items()],
            [
                summary_v2.Metric(
                    f"best/{name}",
                    display_name=f"val/{name}",
                    description="Of the trial's best epoch.",
                )
                for name in ordered
            ],
        )
        writer = EventFileWriter(str(self._folder))
        writer.add_event(_EventProto(wall_time=time.time(), step=0, summary=summary))
        writer.close()
        self._described = True

    def _value(self, name: str, value: Any) -> bool | float | str:
        column = self._columns.get(name)
        return str(value) if column is not None and column.dtype is str else value


def trial_folder(folder: Path, number: int, name: str | None = None) -> Path:
    """Where a trial's curves are: the folder it already has, or `007`, or `007-its-known-name`.

    >>> trial_folder(Path("runs/x/tensorboard"), 7, "densenet, frozen").name
    '007-densenet-frozen'
    """
    stem = f"{number:03d}"
    there = [f for f in (folder / stem, *sorted(folder.glob(f"{stem}-*"))) if f.is_dir()]
    if there:
        return there[0]
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", name or "").strip("-.")[:60]
    return folder / (f"{stem}-{slug}" if slug else stem)


def read_scalars(folder: Path) -> dict[str, dict[int, float]]:
    """All series in one trial's folder: tag, then epoch, then value, epochs ascending.

    An unfinished last record, as a kill leaves it, is left out.
    """
    series: dict[str, dict[int, float]] = {}
    for step, value in _values(folder):
        if value.WhichOneof("value") == "simple_value":
            series.setdefault(value.tag, {})[step] = value.simple_value
    return {tag: dict(sorted(points.items())) for tag, points in series.items()}


def _values(folder: Path) -> Iterator[tuple[int, Any]]:
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                yield event.step, value


def _held(folder: Path) -> tuple[set[str], set[int]]:
    """Tags, and epochs with a value on validation, that a folder's files hold."""
    tags: set[str] = set()
    epochs: set[int] = set()
    for step, value in _values(folder):
        tags.add(value.tag)
        if value.tag == "val/search_score":
            epochs.add(step)
    return tags, epochs


def _write(trial: _Trial, summary: Any, *, step: int = 0) -> None:
    trial.writer.add_event(_EventProto(wall_time=time.time(), step=step, summary=summary))
    trial.writer.flush()
    trial.tags |= {value.tag for value in summary.value}


def _column(values: Interval | Choices) -> summary_v2.Domain:
    """A range, or values of one type; values of several types are shown as text."""
    if not isinstance(values, Choices):
        return summary_v2.RealInterval(float(values.low), float(values.high))
    choices = values.choices
    if all(isinstance(choice, bool) for choice in choices):
        return summary_v2.Discrete(choices, dtype=bool)
    if all(_number(choice) for choice in choices):
        return summary_v2.Discrete([float(choice) for choice in choices], dtype=float)
    return summary_v2.Discrete([str(choice) for choice in choices], dtype=str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
