"""What leading a search costs grows no faster than the search: counted, not timed."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Engine, event

from benchmarks.curves import SPACE, read_curves
from benchmarks.scale import copy_trials, lead, measure_at
from search.bridge.session import Bridge
from search.space import load_space
from search.study import read_rows


class Counts:
    """What is called in Python, and stated to the database, while the bridge hears reports.

    SQLAlchemy's own calls come with the statements, and are so many that others would be lost.
    """

    def __init__(self) -> None:
        self.calls = self.statements = self.results = 0

    def counted(self, heard: Callable[..., bool]) -> Callable[..., bool]:
        def counting(bridge: Bridge, *arguments: Any) -> bool:
            def called(frame: FrameType, what: str, arg: object) -> None:
                self.calls += what == "call" and "sqlalchemy" not in frame.f_code.co_filename

            def stated(*_: object) -> None:
                self.statements += 1

            self.results += 1
            event.listen(Engine, "before_cursor_execute", stated)
            sys.setprofile(called)
            try:
                return heard(bridge, *arguments)
            finally:
                sys.setprofile(None)
                event.remove(Engine, "before_cursor_execute", stated)

        return counting


def costs_at(folder: Path, trials: int, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Calls and statements of a result, in a study of so many trials."""
    folder.mkdir()
    space, curves, counts = load_space(SPACE), read_curves(), Counts()
    lead(space, curves, trials=30, folder=folder, workers=10)
    copy_trials(folder / "study.db", trials)
    with monkeypatch.context() as patch:
        patch.setattr(Bridge, "heard", counts.counted(Bridge.heard))
        lead(space, curves, trials=trials + 20, folder=folder, workers=10)
    return counts.calls / counts.results, counts.statements / counts.results


@pytest.mark.slow
def test_a_result_costs_the_driver_the_same_in_a_large_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, statements = costs_at(tmp_path / "small", 150, monkeypatch)
    later_calls, later_statements = costs_at(tmp_path / "large", 1500, monkeypatch)
    assert later_statements < 1.25 * statements
    assert later_calls < 1.5 * calls


def test_copied_trials_are_a_study_that_goes_on(tmp_path: Path) -> None:
    space, curves = load_space(SPACE), read_curves()
    lead(space, curves, trials=7, folder=tmp_path, workers=3)
    copy_trials(tmp_path / "study.db", 18)
    rows = read_rows(tmp_path / "study.db", name="scale")
    assert [row.number for row in rows] == list(range(18))
    assert rows[17].params == rows[3].params
    assert rows[17].scores == pytest.approx(dict(rows[3].scores), abs=2e-4)
    assert lead(space, curves, trials=20, folder=tmp_path, workers=3).trials == 2
    rows = read_rows(tmp_path / "study.db", name="scale")
    assert len([row for row in rows if row.state not in ("running", "waiting")]) == 20


@pytest.mark.slow
def test_what_a_run_writes_for_people_is_measured_too(tmp_path: Path) -> None:
    led = measure_at(load_space(SPACE), read_curves(), trials=20, folder=tmp_path, watched=True)
    assert led.trials == 100
    assert (tmp_path / "trials.csv").read_text().count("\n") > 100
    assert (tmp_path / "tensorboard" / "119").is_dir()
    assert "of 120" in (tmp_path / "out.txt").read_text()


@pytest.mark.slow
def test_workers_in_ray_replay_curves_without_torch(tmp_path: Path) -> None:
    from benchmarks.scale_ray import watch

    seen = watch(
        load_space(SPACE), read_curves(), trials=12, workers=2, seconds=0.05, folder=tmp_path
    )
    rows = read_rows(tmp_path / "study.db", name="scale")
    assert [row.state in ("complete", "pruned") for row in rows] == [True] * 12
    assert seen.results == sum(len(row.scores) for row in rows)
    assert not seen.torch
    assert seen.processes >= 2
