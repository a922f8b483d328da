"""How far is the search? A live table on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.amounts import clock, duration, roughly, setting, share
from search.forecast import seconds_left
from search.skill import skill
from search.trials import EpochDone, Event, State, TrialEnded, TrialRow, TrialStarted

ROWS = 15
"""Trials shown at once: running ones, then the best."""
_STYLES: dict[State, str] = {
    "running": "cyan",
    "complete": "green",
    "pruned": "dim",
    "waiting": "dim",
    "infeasible": "yellow",
    "failed": "red",
}
_SHOWN = (("recall", "specificity"), ("accuracy", "balanced_accuracy"))
"""Two metrics beside the score: with a positive class, and with several classes."""


@dataclass
class _Line:
    """What is shown of one trial."""

    number: int
    label: str
    epochs: int
    state: State = "running"
    epoch: int = 0
    score: float | None = None
    best_epoch: int | None = None
    val: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Progress:
    """A watcher, and a context in which the table is on the screen.

    It writes to `stream` and nowhere else. Ctrl-C inside the context leaves the last table and
    a working terminal.
    """

    def __init__(
        self,
        *,
        run: str,
        trials: int,
        epochs: int,
        folds: int | None = None,
        several_classes: bool = False,
        constant: float | None = None,
        minutes: float | None = None,
        demo: bool = False,
        told: Iterable[TrialRow] = (),
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Shows nothing before the context is entered.

        Args:
            run: its name.
            trials: to be told in all, those in `told` included.
            epochs: of a recipe that names none.
            folds: trials report a mean after each of so many; None: they report epochs.
            several_classes: there is no positive class.
            constant: search score of the best constant answer.
            minutes: limit of the search.
            demo: say so.
            told: what the study already has, when a run is resumed.
            stream: standard output by default; a table where it is a terminal.
            now: seconds.
        """
        self._run, self._trials, self._epochs, self._folds = run, trials, epochs, folds
        self._step = "epoch" if folds is None else "fold"
        self._metrics = _SHOWN[several_classes]
        self._constant, self._demo, self._now = constant, demo, now
        self._limit = None if minutes is None else minutes * 60
        self._stream = sys.stdout if stream is None else stream
        self._lines = {row.number: self._line(row) for row in told}
        self._told_before = self._told()
        self._begun = now()
        self._paced: float | None = None  # when the first epoch began: the pace counts from there
        self._lock = threading.RLock()  # the table is drawn by a thread of its own
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._begun = self._now()
        console = Console(file=self._stream)
        # Asked of the stream itself: FORCE_COLOR makes rich call a log file a terminal.
        if self._stream.isatty() and not console.is_dumb_terminal:
            self._live = Live(
                console=console,
                get_renderable=self.render,
                refresh_per_second=2,
                vertical_overflow="crop",
            )
            self._live.start(refresh=True)
        elif self._demo:
            self._print("DEMO, SYNTHETIC IMAGES")
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()  # draws once more and gives the cursor back

    def __call__(self, event: Event) -> None:
        """Takes one event in, and prints a line of it where there is no table."""
        with self._lock:
            if isinstance(event, TrialStarted):
                line = self._started(event)
                text = f"trial {line.number} begins: {line.label}"
                text += f" (goes on after epoch {line.epoch})" if line.epoch else ""
            elif isinstance(event, EpochDone):
                self._epoch(event)
                text = None
            else:
                text = self._ended(event)
        if self._live is None and text is not None:
            self._print(text)

    def render(self) -> RenderableType:
        """The table as it is now, with what stands above it."""
        with self._lock:
            title = Text(self._run, style="bold")
            title.append(f"  {self._told()} of {self._trials} trials", style="not bold")
            counts = Counter(line.state for line in self._lines.values())
            for state, style in _STYLES.items():
                if counts[state]:
                    title.append(f"  {counts[state]} {state}", style=f"not bold {style}")
            parts: list[RenderableType] = [title, Text(f"{self._best_said()}  {self._time_said()}")]
            if self._demo:
                parts.insert(0, Text(" DEMO, SYNTHETIC IMAGES ", style="bold black on yellow"))
            return Group(*parts, self._table())

    def _table(self) -> Table:
        # Widths are fixed but for the last column's, which is cut where the terminal is narrow.
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", expand=True)
        widths = {"trial": 5, "state": 10, self._step: 7, "score": 5, "skill": 5, "seconds": 7}
        scored = ("score",) if self._constant is None else ("score", "skill")
        for name in ("trial", "state", self._step, *scored, *self._metrics, "seconds"):
            title = {"specificity": "spec.", "balanced_accuracy": "bal. acc."}.get(name, name)
            table.add_column(
                title,
                justify="left" if name == "state" else "right",
                no_wrap=True,
                width=widths.get(name, max(6, len(title))),
            )
        table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
        for line in self._first():
            table.add_row(
                str(line.number),
                Text(line.state, style=_STYLES[line.state]),
                f"{line.epoch}/{line.epochs}",
                share(line.score),
                *(share(skill(line.score, self._constant)) for _ in scored[1:]),
                *(share(line.val.get(name)) for name in self._metrics),
                f"{line.seconds:.0f}",
                Text(line.label),
            )
        return table

    def _first(self) -> list[_Line]:
        """Running trials by number, then the best of the others."""

        def place(line: _Line) -> tuple[bool, float, int]:
            if line.state == "running":
                return False, 0.0, line.number
            return True, -line.score if line.score is not None else float("inf"), line.number

        return sorted(self._lines.values(), key=place)[:ROWS]

    def _started(self, event: TrialStarted) -> _Line:
        line = self._lines.get(event.number)
        if line is None:
            label = _label(event.name, event.params)
            line = _Line(event.number, label, self._steps(event.recipe))
            self._lines[event.number] = line
        line.epochs = self._steps(event.recipe)  # of one that waits nobody has made a recipe yet
        line.state = "running"
        return line

    def _epoch(self, event: EpochDone) -> None:
        line = self._lines[event.number]
        result = event.result
        if result["epoch"] <= line.epoch:
            return  # a resumed trial tells its earlier epochs again
        if self._paced is None:
            self._paced = self._now() - float(result["seconds"])
        line.epoch = int(result["epoch"])
        line.seconds += float(result["seconds"])
        if result["best"] and isfinite(result["search_score"]):
            line.score = float(result["search_score"])
            line.best_epoch = int(result["epoch"]) if self._folds is None else None
            line.val = result["val"]

    def _ended(self, event: TrialEnded) -> str:
        # A trial that was put back before it began has no line yet.
        line = self._lines.setdefault(event.number, _Line(event.number, "", self._steps({})))
        line.state = event.state
        text = f"trial {line.number} {line.state}"
        if line.score is not None:
            metrics = ", ".join(f"{n} {share(line.val.get(n))}" for n in self._metrics)
            when = f"at epoch {line.best_epoch} of {line.epochs}"
            if self._folds is not None:
                when = f"over {line.epoch} of {line.epochs} folds"
            worth = skill(line.score, self._constant)
            score = share(line.score) + ("" if worth is None else f" (skill {share(worth)})")
            if event.state == "pruned":
                text += f" after {self._step} {line.epoch} of {line.epochs}"
                when = f"at epoch {line.best_epoch}" if self._folds is None else "so far"
            text += f": score {score} {when}, {metrics}, {duration(line.seconds)}"
        if event.state in ("infeasible", "failed"):
            text += f" ({event.ended})"
        return (
            f"{text}  [{self._told()} of {self._trials}, {self._best_said()}, {self._time_said()}]"
        )

    def _told(self) -> int:
        return sum(line.state not in ("running", "waiting") for line in self._lines.values())

    def _best_said(self) -> str:
        scored = [
            line
            for line in self._lines.values()
            if line.score is not None and line.state in ("running", "complete", "pruned")
        ]
        text = "no score yet"
        if scored:
            best = max(scored, key=lambda line: (line.score or 0.0, -line.number))
            text = f"best {share(best.score)} by trial {best.number}"
            if self._constant is not None:
                text += f" (skill {share(skill(best.score, self._constant))})"
        return text + ("" if self._constant is None else f", best constant {share(self._constant)}")

    def _time_said(self) -> str:
        now = self._now()
        elapsed = now - self._begun
        under_way = sum(
            min(1.0, line.epoch / line.epochs)
            for line in self._lines.values()
            if line.state == "running"
        )
        told = self._told()
        left = seconds_left(
            done=told - self._told_before + under_way,
            elapsed=0.0 if self._paced is None else now - self._paced,
            remaining=self._trials - told - under_way,
            limit=self._limit,
        )
        about = "" if left is None else f", about {roughly(left)} left"
        return f"{clock(elapsed)} elapsed{about}"

    def _steps(self, recipe: Mapping[str, Any]) -> int:
        """Epochs that a trial has, or folds."""
        return self._folds or recipe.get("epochs") or self._epochs

    def _line(self, row: TrialRow) -> _Line:
        return _Line(
            number=row.number,
            label=_label(row.name, row.params),
            epochs=self._steps(row.recipe or {}),
            state=row.state,
            epoch=max(row.scores, default=0),
            score=row.value,
            best_epoch=row.best_epoch,
            val=row.val,
            seconds=row.seconds,
        )

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def _label(name: str | None, params: Mapping[str, Any]) -> str:
    """The known configuration's name, or the hyperparameters, the model first."""
    if name is not None:
        return name
    ordered = sorted(params.items(), key=lambda item: item[0] != "model")
    return " ".join(
        setting(value) if key == "model" else f"{key.rsplit('/', 1)[-1]}={setting(value)}"
        for key, value in ordered
    )
