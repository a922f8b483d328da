"""The table is drawn on a real pseudo-terminal; lines go to a file."""

import io
import os
import re
import sys
from typing import Any, TextIO

import pytest
from rich.console import Console

from search.progress import ROWS, Progress
from search.trials import EpochDone, Event, TrialEnded, TrialRow, TrialStarted

if sys.platform == "win32":
    pytest.skip("needs a pseudo-terminal", allow_module_level=True)


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def started(number: int, name: str | None = None, epochs: int | None = 4) -> TrialStarted:
    params = {"lr": 0.00031234, "model": "resnet18", "head/dense": 64}
    return TrialStarted(number=number, name=name, params=params, recipe={"epochs": epochs})


def epoch(number: int, epoch: int, score: float, best: bool = True) -> EpochDone:
    val = {"recall": score + 0.02, "specificity": score - 0.02}
    result = {"epoch": epoch, "train": {}, "val": val, "search_score": score, "best": best}
    return EpochDone(number=number, result=result | {"seconds": 2.0, "threshold": 0.5})


def ended(number: int, state: Any = "complete", why: str = "all epochs") -> TrialEnded:
    return TrialEnded(number=number, state=state, ended=why)


def progress(stream: TextIO, **changes: Any) -> Progress:
    values: dict[str, Any] = {"run": "pneumonia-3", "trials": 16, "epochs": 8, "now": Clock()}
    return Progress(stream=stream, **(values | changes))


def shown(watcher: Progress, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(watcher.render())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


EVENTS: tuple[Event, ...] = (
    started(0, "densenet, frozen"),
    started(1),
    epoch(0, 1, 0.8),
    epoch(1, 1, 0.6),
    ended(1, "pruned", "pruned at epoch 1"),
    epoch(0, 2, 0.93),
    epoch(0, 3, 0.7, best=False),
)


def test_without_a_terminal_there_is_a_line_per_start_and_end_and_no_escape() -> None:
    stream = io.StringIO()
    with progress(stream) as watcher:
        for event in (*EVENTS, ended(0)):
            watcher(event)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "trial 0 begins: densenet, frozen"
    assert lines[1] == "trial 1 begins: resnet18 lr=0.000312 dense=64"
    assert lines[3].startswith(
        "trial 0 complete: score .93 at epoch 2 of 4, recall .95, specificity .91, 6 seconds  "
        "[2 of 16, best .93 by trial 0, "
    )
    assert "\x1b" not in stream.getvalue()


def test_forced_colour_does_not_make_a_log_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with progress(stream) as watcher:
        watcher(started(0))
    assert stream.getvalue() == "trial 0 begins: resnet18 lr=0.000312 dense=64\n"


def test_why_a_trial_broke_is_in_its_line() -> None:
    stream = io.StringIO()
    with progress(stream) as watcher:
        watcher(started(0))
        watcher(ended(0, "infeasible", "loss is not finite"))
    assert "trial 0 infeasible (loss is not finite)" in stream.getvalue()


def test_the_table_has_the_best_epochs_numbers() -> None:
    watcher = progress(io.StringIO(), constant=0.5)
    for event in EVENTS:
        watcher(event)
    text = shown(watcher)
    assert "pneumonia-3  1 of 16 trials  1 running  1 pruned" in text
    assert "best .93 by trial 0 (skill .86), best constant .50" in text
    assert re.search(r"0 +running +3/4 +\.93 +\.86 +\.95 +\.91 +6 +densenet, frozen", text)


def test_a_line_tells_the_skill_where_the_best_constant_is_known() -> None:
    for constant, said in ((0.5, "score .93 (skill .86) at"), (None, "score .93 at")):
        stream = io.StringIO()
        with progress(stream, constant=constant) as watcher:
            for event in (*EVENTS, ended(0)):
                watcher(event)
        assert said in stream.getvalue()


def test_time_left_comes_from_the_pace_of_this_session() -> None:
    clock = Clock()
    row = TrialRow(
        number=0, name=None, state="complete", value=0.5, params={}, recipe=None, scores={1: 0.5},
        best_epoch=1, seconds=1.0, ended="",
    )  # fmt: skip
    watcher = progress(io.StringIO(), now=clock, trials=4, told=[row])
    with watcher:
        watcher(started(1))
        assert "left" not in shown(watcher)
        clock.seconds += 100  # Ray's start, which no later trial pays again
        watcher(epoch(1, 1, 0.5))
        clock.seconds += 60
        watcher(ended(1))
        # One trial in a minute, two more to go; the one told before does not count.
        assert "2:40 elapsed, about 2 minutes left" in shown(watcher)


def test_a_resumed_trial_keeps_what_it_had() -> None:
    row = TrialRow(
        number=5, name="known", state="waiting", value=0.9, params={}, recipe={"epochs": 4},
        scores={1: 0.9, 2: 0.8}, best_epoch=1, val={"recall": 0.91}, seconds=30.0, ended="",
    )  # fmt: skip
    stream = io.StringIO()
    with progress(stream, told=[row]) as watcher:
        watcher(started(5, "known"))
        watcher(epoch(5, 1, 0.9))  # told again from the checkpoint
        watcher(epoch(5, 3, 0.85, best=False))
    assert "trial 5 begins: known (goes on after epoch 2)" in stream.getvalue()
    assert re.search(r"5 +running +3/4 +\.90 +\.91 +– +32 +known", shown(watcher))


def test_a_configuration_that_waited_tells_its_own_epochs() -> None:
    waiting = TrialRow(
        number=0, name="E12", state="waiting", value=None, params={}, recipe=None,
        best_epoch=None, seconds=0.0, ended="",
    )  # fmt: skip
    stream = io.StringIO()
    with progress(stream, told=[waiting]) as watcher:
        for event in (started(0, "E12", epochs=30), epoch(0, 29, 0.9), ended(0)):
            watcher(event)
    assert "at epoch 29 of 30" in stream.getvalue()


def test_running_trials_come_first_then_the_best_and_no_more_than_fit() -> None:
    watcher = progress(io.StringIO(), trials=40)
    for number in range(30):
        watcher(started(number))
        watcher(epoch(number, 1, number / 100))
        if number != 3:
            watcher(ended(number))
    rows = re.findall(r"^ *(\d+) +(running|complete)", shown(watcher), re.MULTILINE)
    assert len(rows) == ROWS
    assert rows[0] == ("3", "running")
    assert [int(number) for number, _ in rows[1:4]] == [29, 28, 27]


def test_several_classes_show_accuracy() -> None:
    assert "bal. acc." in shown(progress(io.StringIO(), several_classes=True))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_numbers_stand_whole_however_narrow_the_terminal_is(width: int) -> None:
    watcher = progress(io.StringIO(), constant=0.35)
    watcher(started(0, "a very long name " * 9))
    watcher(epoch(0, 1, 0.87))
    text = io.StringIO()
    Console(file=text, width=width).print(watcher.render())
    for word in (
        "trial",
        "state",
        "running",
        "epoch",
        "score",
        ".87",
        "skill",
        ".80",
        "recall",
        "seconds",
    ):
        assert word in text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_demo_says_so(terminal: bool) -> None:
    stream = io.StringIO()
    watcher = progress(stream, demo=True)
    if terminal:
        assert "DEMO, SYNTHETIC IMAGES" in shown(watcher)
    else:
        with watcher:
            pass
        assert stream.getvalue() == "DEMO, SYNTHETIC IMAGES\n"


def test_names_are_no_markup() -> None:
    watcher = progress(io.StringIO(), run="[red]run[/red]")
    watcher(started(0, "[bold]x[/bold] [/nonsense]"))
    text = shown(watcher)
    assert "[red]run[/red]" in text
    assert "[bold]x[/bold] [/nonsense]" in text


def on_terminal(interrupt: bool) -> str:
    """What a terminal gets; read after everything was written, which fits its buffer."""
    master, slave = os.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        try:
            with progress(stream) as watcher:
                for event in EVENTS:
                    watcher(event)
                if interrupt:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        os.set_blocking(master, False)
        received = b""
        while True:
            try:
                received += os.read(master, 65536)
            except BlockingIOError:
                break
    os.close(master)
    return received.decode()


@pytest.mark.parametrize("interrupt", [False, True], ids=["end", "ctrl-c"])
def test_a_terminal_gets_its_cursor_back(monkeypatch: pytest.MonkeyPatch, interrupt: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    text = on_terminal(interrupt)
    assert "\x1b[?25l" in text  # hidden while the table is drawn in place
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "densenet, frozen" in text
    assert "begins" not in text


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    text = on_terminal(False)
    assert "\x1b" not in text
    assert "trial 0 begins: densenet, frozen" in text
