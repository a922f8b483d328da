"""The test part is opened once for one model; a kill counts once, another model not at all."""

from pathlib import Path
from typing import Any

import pytest

from search.opening import Opened, Sealed, open_test, read_openings
from search.rundir import RunDir

MODEL = {"trial": 3, "epoch": 5, "steps": 8, "at_least": 0.25}
SEALED = Sealed(contents=["a", "b", "c"], run_id="today")


class Killed(Exception):
    """Stands for kill -9."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setenv("XFER_LEDGER", str(tmp_path / "ledger"))
    (tmp_path / "run").mkdir()
    return RunDir(tmp_path / "run")


def opened(run: RunDir, scored: list[str], model: Any = MODEL, **given: Any) -> Opened:
    """Opens, and notes who read the test part; what is asked to fail does."""

    def read(what: str) -> dict[str, Any]:
        scored.append(what)
        if given.get("fails") == what:
            raise Killed
        return {"of": what}

    return open_test(
        run, model, score=lambda: read("winner"), compare=lambda: read("controls"),
        experiment=lambda: read("experiments"),
        sealed=given.get("sealed", SEALED), reopen=given.get("reopen", False),
    )  # fmt: skip


def test_it_is_read_once_however_often_it_is_asked(run: RunDir) -> None:
    scored: list[str] = []
    first = opened(run, scored)
    again = opened(run, scored)
    assert scored == ["winner", "controls", "experiments"]
    assert (again.test, again.controls) == (first.test, first.controls) != (None, None)
    assert again.experiments == first.experiments == {"of": "experiments"}
    assert (again.times, again.marks) == (1, ())


@pytest.mark.parametrize("fails", ["winner", "controls", "experiments"])
def test_a_kill_in_the_middle_counts_once_and_loses_nothing(run: RunDir, fails: str) -> None:
    scored: list[str] = []
    with pytest.raises(Killed):
        opened(run, scored, fails=fails)
    [note] = read_openings(run)
    assert ("test" in note) == (fails != "winner")
    assert ("controls" in note) == (fails == "experiments")
    done = opened(run, scored)
    assert scored.count("winner") == (2 if fails == "winner" else 1)
    assert done.test == {"of": "winner"}
    assert (done.times, done.marks) == (1, ())
    assert read_openings(run)[0]["at"] == note["at"]


@pytest.mark.parametrize("change", [{"trial": 4}, {"epoch": 6}, {"steps": 9}, {"at_least": 0.3}])
def test_another_model_is_not_scored_unless_that_is_asked(
    run: RunDir, change: dict[str, Any]
) -> None:
    scored: list[str] = []
    opened(run, scored)
    other = opened(run, scored, MODEL | change)
    assert scored == ["winner", "controls", "experiments"]
    assert other.test is None
    assert "was opened for another model already (trial 3;" in other.marks[0]
    third = opened(run, scored, MODEL | change, reopen=True)
    assert third.test == {"of": "winner"}
    assert third.times == 2
    assert "The test part was opened 2 times for this run." in third.marks
    assert any("opened twice on this machine" in mark for mark in third.marks)


def test_a_ledger_that_cannot_be_kept_is_marked_then_and_later(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XFER_LEDGER", str(tmp_path / "file" / "ledger"))
    assert any("There may be more" in mark for mark in opened(run, []).marks)
    monkeypatch.setenv("XFER_LEDGER", str(tmp_path / "ledger"))
    assert any("could not be kept" in mark for mark in opened(run, []).marks)


def test_drawn_images_are_counted_nowhere(run: RunDir, tmp_path: Path) -> None:
    assert opened(run, [], sealed=None).marks == ()
    assert not (tmp_path / "ledger").exists()
