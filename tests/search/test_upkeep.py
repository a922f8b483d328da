"""A run's files follow the study, in a share of the time."""

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from recorded import EPOCHS, result_of, space

from search.options import parse
from search.outcome import Context
from search.plan import make_plan
from search.rundir import RunDir
from search.space import load_space
from search.study import Record
from search.trials import EpochDone, TrialEnded
from search.upkeep import SHARE, Upkeep

DIGITS = "spaces/digits.py"
NOTHING: Any = None


def test_updates_take_a_share_of_the_time_and_nothing_is_lost(tmp_path: Path) -> None:
    now, updated = [0.0], []

    def takes_a_second(rows: Any) -> None:
        now[0] += 1.0
        updated.append(len(rows))

    context = Context(
        run=RunDir(tmp_path), plan=make_plan(load_space(DIGITS), parse([DIGITS])),
        data=NOTHING, loading=NOTHING, columns=("lr",), began=0.0,
    )  # fmt: skip
    with Record(InMemoryStorage(), name="s", seed=0, epochs=EPOCHS) as record:
        upkeep = Upkeep(
            context, record, folds=False, then=takes_a_second, clock=lambda: now[0]
        )  # fmt: skip
        for _ in range(100):
            asked = record.ask(space)
            record.report(asked.number, result_of(asked.recipe, 1, math.nan))
            upkeep(EpochDone(number=asked.number, result={}))
            record.tell_infeasible(asked.number, "out of memory")
            now[0] += 1.0
            upkeep(TrialEnded(number=asked.number, state="infeasible", ended="out of memory"))
        assert updated[0] == 1  # the first one is told at once
        assert sum(1.0 for _ in updated) == pytest.approx(SHARE * now[0], abs=1.0)
        upkeep.update()
    assert (tmp_path / "trials.csv").read_text().count("\n") == 101
