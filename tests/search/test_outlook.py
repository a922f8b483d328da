"""What is foreseen of a run that is resumed is what is left of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.check.inspection import inspect
from search.options import parse
from search.outlook import foresee
from search.plan import make_plan
from search.rundir import RunDir
from search.space import load_space
from search.study import Record

SPACE = """
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Images, Objective, Recipe

DATA = Images("builtin:digits", positive="8", size=16, channels=1)
OBJECTIVE = Objective("auroc")
BUDGET = Budget(trials=8, epochs=1)
KNOWN = {}


def space(trial: Trial) -> Recipe:
    return Recipe(model=ConvNet(kernels=(4,)), lr=trial.suggest_float("lr", 1e-3, 1e-2))
"""


def test_trials_that_are_told_are_not_foreseen_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))
    path = tmp_path / "mine.py"
    path.write_text(SPACE)
    plan = make_plan(load_space(path), parse([str(path), "--trials", "8"]))
    inspection = inspect(plan)
    slots: Any = SimpleNamespace(workers=1, threads=1, device="cpu")
    run = RunDir(tmp_path / "run")
    run.root.mkdir()

    def trials(resumed: RunDir | None) -> int:
        return foresee(plan, inspection, slots, run=resumed)[0].trials

    assert trials(None) == 8
    assert trials(run) == 8  # killed before it had a study
    with Record(run.study, name="run", seed=0, epochs=1) as record:
        for number in range(4):
            record.ask(plan.recipe)
            if number != 2:  # it was being trained when the run was killed
                record.tell_failed(number, "no luck")
    assert trials(run) == 5
    fewer = make_plan(load_space(path), parse([str(path), "--trials", "2"]))
    assert foresee(fewer, inspection, slots, run=run)[0].trials == 0
