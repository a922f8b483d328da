"""Two objectives: what is asked, told, pruned and resumed, and the front that comes of it."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from recorded import EPOCHS, picture, result_of
from test_fold_search import told as folds_told

from search.bridge import Bridge
from search.errors import RunError, TrialsError
from search.front import front, front_json
from search.space import Trial
from search.study import Record
from search.study.halving import rungs
from search.trials import TrialRow
from xfer.recipe import ConvNet, Recipe

[RUNG] = rungs(EPOCHS)


def space(trial: Trial) -> Recipe:
    layers = trial.suggest_int("layers", 1, 4)
    deep = trial.suggest_float("dropout", 0.0, 0.5) if layers > 2 else 0.0
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    return Recipe(model=ConvNet(kernels=(8,) * layers, dropout=deep), lr=lr, epochs=EPOCHS)


def score_of(recipe: Any, epoch: int) -> float:
    """More layers are better, each by less; best at a learning rate of 1e-3."""
    layers = len(recipe["model"]["kernels"])
    top = 1 - 0.4 / layers - abs(math.log10(recipe["lr"]) + 3) / 8
    return top * (1 - 0.5**epoch)


def cost_of(recipe: Any) -> float:
    return 1000.0 * len(recipe["model"]["kernels"])


def opened(storage: Any = None, **more: Any) -> Record:
    storage = InMemoryStorage() if storage is None else storage
    return Record(storage, name="s", seed=7, epochs=EPOCHS, minimise="parameters", **more)


@pytest.fixture
def record() -> Iterator[Record]:
    with opened() as one:
        yield one


def bridge(record: Record, trials: int = 30, slots: int = 1) -> Bridge:
    return Bridge(record, space, trials=trials, slots=slots)


def cost_report(config: Any, cost: float | None = None) -> dict[str, Any]:
    cost = cost_of(config["recipe"]) if cost is None else cost
    return {"number": config["number"], "epoch": config["last_epoch"], "cost": cost}


def score_report(config: Any, epoch: int, score: float) -> dict[str, Any]:
    result = result_of(config["recipe"], epoch, score)
    report = {"number": config["number"], "epoch": epoch, "score": score}
    return report | {"result": json.dumps(result)}


def play(session: Bridge, broken: tuple[int, ...] = ()) -> None:
    """One worker, without Ray."""
    while (config := session.propose()) is not None:
        number = config["number"]
        if config["cost"] is None:
            assert session.heard(number, cost_report(config))
        for epoch in range(config["last_epoch"] + 1, EPOCHS + 1):
            score = score_of(config["recipe"], epoch)
            if not session.heard(number, score_report(config, epoch, score)):
                break
        if number in session.in_flight:
            ended = "infeasible:memory" if number in broken else "complete"
            session.heard(number, {"number": number, "final": True, "ended": ended})


# --------------------------------------------------------------------------------------------------
# The front


def row_of(number: int, score: float | None, cost: float | None, **more: Any) -> TrialRow:
    given: dict[str, Any] = {
        "number": number, "name": None, "state": "complete", "value": score, "params": {},
        "recipe": None, "best_epoch": None, "seconds": 1.0, "ended": "all epochs", "cost": cost,
    }  # fmt: skip
    return TrialRow(**(given | more))


def dominates(one: TrialRow, other: TrialRow) -> bool:
    ours, theirs = (-(one.value or 0), one.cost or 0), (-(other.value or 0), other.cost or 0)
    return ours != theirs and ours[0] <= theirs[0] and ours[1] <= theirs[1]


points = st.tuples(st.integers(0, 6).map(lambda n: n / 6), st.integers(1, 6).map(float))


@given(st.lists(points, max_size=25))
def test_a_front_is_what_nothing_dominates_best_score_first(places: list[Any]) -> None:
    rows = [row_of(number, *point) for number, point in enumerate(places)]
    found = front(rows, lambda number: True)
    assert [row.number for row in found] == [
        row.number
        for row in sorted(rows, key=lambda row: (-(row.value or 0), row.cost, row.number))
        if not any(dominates(other, row) for other in rows)
    ]
    left_out = [row for row in rows if row not in found]
    assert all(any(dominates(member, row) for member in found) for row in left_out)


def test_what_may_not_win_is_unfinished_or_has_no_cost_takes_no_part() -> None:
    rows = [
        row_of(0, 0.99, 5.0),
        row_of(1, 0.98, 4.0, state="pruned"),
        row_of(2, 0.97, None),
        row_of(3, None, 1.0),
        row_of(4, 0.9, 6.0),
        row_of(5, 0.8, 9.0),
    ]
    assert [row.number for row in front(rows, lambda number: number != 0)] == [4]


def test_result_json_says_what_a_member_costs_by_name() -> None:
    row = row_of(3, 0.9, 1234.0, params={"lr": 0.1}, name="mine", best_epoch=2)
    wanted = {
        "number": 3, "name": "mine", "params": {"lr": 0.1}, "search_score": 0.9,
        "best_epoch": 2,
    }  # fmt: skip
    [counted] = front_json([row], "parameters")
    assert counted == {**wanted, "parameters": 1234}
    assert isinstance(counted["parameters"], int)
    assert front_json([replace(row, cost=1.5)], "latency") == [{**wanted, "latency": 1.5}]


# --------------------------------------------------------------------------------------------------
# A search


def test_a_search_gives_the_front_that_optuna_sees(record: Record) -> None:
    play(bridge(record), broken=(1,))
    rows = record.rows()
    assert {row.state for row in rows} == {"complete", "pruned", "infeasible"}
    assert any(row.state == "pruned" for row in rows[:15])  # TPE has had to live with them
    found = front(rows, lambda number: True)
    assert len(found) >= 3
    assert sorted(row.number for row in found) == sorted(t.number for t in record.study.best_trials)
    best = max(rows, key=lambda row: row.value or 0)
    assert found[0].value == best.value
    trial = record.study.trials[found[0].number]
    assert trial.values == [found[0].value, found[0].cost]


def test_cheap_models_are_looked_for_as_a_single_objective_does_not(record: Record) -> None:
    play(bridge(record, trials=60))
    with Record(InMemoryStorage(), name="s", seed=7, epochs=EPOCHS) as single:
        play(bridge(single, trials=60))
        both = [
            [abs(math.log10(p["lr"]) + 3) for p in params if p["layers"] <= 2]
            for params in ([row.params for row in one.rows()[20:]] for one in (record, single))
        ]
    assert len(both[0]) > len(both[1])
    assert mean(both[0]) < 0.75 * mean(both[1])


def test_two_objectives_repeat_and_go_on_as_one_does(record: Record) -> None:
    play(bridge(record, trials=9))
    play(bridge(record, trials=24))
    with opened() as other:
        play(bridge(other, trials=24))
        assert picture(other) == picture(record)


class Killed(BaseException):
    """What a kill is to code: nothing after it runs."""


class Mortal(InMemoryStorage):
    """A storage whose process is killed just before its nth write to a trial; 0: never."""

    kill_at = writes = 0

    def __init__(self) -> None:
        super().__init__()
        self.costs: list[int] = []
        """The writes of a cost."""

    def __getattribute__(self, name: str) -> Any:
        attribute = super().__getattribute__(name)
        if not name.startswith(("set_trial", "create_new_trial")):
            return attribute

        def write(*args: Any, **kwargs: Any) -> Any:
            self.writes += 1
            if "cost" in args:
                self.costs.append(self.writes)
            if self.writes == self.kill_at:
                raise Killed
            return attribute(*args, **kwargs)

        return write


def search(storage: Mortal) -> list[dict[str, Any]]:
    with opened(storage) as record:
        record.requeue()
        play(bridge(record, trials=13), broken=(2,))  # TPE proposes the last of them
        return picture(record)


def survives(kills: Callable[[Mortal], Iterable[int]]) -> None:
    storage = Mortal()
    undisturbed = search(storage)
    assert {"trainable": 1.0} in [trial["constraints"] for trial in undisturbed]
    for kill_at in kills(storage):
        killed = Mortal()
        killed.kill_at = kill_at
        with pytest.raises(Killed):
            search(killed)
        assert search(killed) == undisturbed, f"killed before write {kill_at}"


def test_killed_between_cost_and_score_and_resumed_the_study_is_the_undisturbed_one() -> None:
    survives(lambda storage: [write for cost in storage.costs[:4] for write in (cost, cost + 1)])


@pytest.mark.slow
def test_killed_before_any_write_and_resumed_it_is_too() -> None:
    survives(lambda storage: range(1, storage.writes + 1))


# --------------------------------------------------------------------------------------------------
# Pruning


def run_until(record: Record, layers: int, score: float, cost: float) -> int:
    """A trial with this score from the first epoch to the rung; its number."""

    def fixed(trial: Trial) -> Recipe:
        return replace(space(trial), model=ConvNet(kernels=(8,) * layers))

    asked = record.ask(fixed)
    record.keep_cost(asked.number, cost)
    for epoch in range(1, RUNG + 1):
        record.report(asked.number, result_of(asked.recipe, epoch, score))
    return asked.number


def test_a_cheap_model_is_not_stopped_for_being_poorer_than_expensive_ones(
    record: Record,
) -> None:
    for layers, score in ((4, 0.9), (4, 0.85), (3, 0.8)):
        record.tell_complete(run_until(record, layers, score, 1000.0 * layers), "all epochs")
    assert record.should_prune(run_until(record, 1, 0.1, 1000.0)) is None
    assert (
        record.should_prune(run_until(record, 4, 0.1, 4000.0)) == "among the poorer after epoch 3"
    )
    # The same cost is no cheaper.
    record.tell_complete(run_until(record, 1, 0.5, 1000.0), "all epochs")
    record.tell_complete(run_until(record, 1, 0.6, 1000.0), "all epochs")
    assert (
        record.should_prune(run_until(record, 1, 0.2, 1000.0)) == "among the poorer after epoch 3"
    )


def test_pruned_trials_rank_between_finished_and_infeasible_ones(record: Record) -> None:
    numbers = [run_until(record, 2, 0.5, 2000.0) for _ in range(3)]
    record.report(numbers[1], result_of({}, RUNG + 1, 0.5))
    record.tell_pruned(numbers[0], "poor")
    record.tell_pruned(numbers[1], "poor")
    record.tell_infeasible(numbers[2], "out of memory")
    sooner, later, broken = (sum(t.constraints.values()) for t in record.study.trials)
    assert 0 < later < sooner < broken
    assert [row.state for row in record.rows()] == ["pruned", "pruned", "infeasible"]
    assert {t.state for t in record.study.trials} == {TrialState.PRUNED}


# --------------------------------------------------------------------------------------------------
# The cost on record


def test_the_cost_is_on_record_before_the_first_epoch_and_is_not_asked_for_again(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "study.db") as record:
        session = bridge(record)
        config = session.propose()
        assert config is not None
        assert config["cost"] is None
        assert session.heard(0, cost_report(config, 12.5))
        assert record.rows()[0].cost == 12.5
        assert record.rows()[0].scores == {}
    with opened(tmp_path / "study.db") as record:
        record.requeue()
        config = bridge(record).propose()
        assert config is not None
        assert (config["number"], config["cost"]) == (0, 12.5)


def test_trials_of_the_same_network_have_the_cost_that_was_measured_first() -> None:
    def same(trial: Trial) -> Recipe:
        lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        return Recipe(model=ConvNet(kernels=(8,)), lr=lr, epochs=EPOCHS)

    with opened() as record:
        session = Bridge(record, same, trials=9, slots=2)
        first, second = session.propose(), session.propose()
        assert first is not None
        assert second is not None
        assert second["cost"] is None
        session.heard(1, cost_report(second, 1.25))
        session.heard(0, cost_report(first, 1.5))
        session.heard(1, cost_report(second, 9.0))
        assert [row.cost for row in record.rows()] == [1.25, 1.25]
        session.heard(0, {"number": 0, "final": True, "ended": "error: x"})
        third = session.propose()
        assert third is not None
        assert third["cost"] == 1.25


def test_an_epoch_without_a_cost_ends_the_search_by_name(record: Record) -> None:
    session = bridge(record)
    config = session.propose()
    assert config is not None
    with pytest.raises(TrialsError, match="trial 0 has reported an epoch and no parameters"):
        session.heard(0, score_report(config, 1, 0.5))


@pytest.mark.parametrize("cost", [math.nan, math.inf, 0.0, -1.0])
def test_a_cost_that_is_none_is_refused(record: Record, cost: float) -> None:
    record.ask(space)
    with pytest.raises(TrialsError, match=f"trial 0 has {cost} as its parameters"):
        record.keep_cost(0, cost)


MADE: list[tuple[Any, Any, str]] = [
    (None, "latency", "was made with minimise=None, not with minimise='latency'"),
    ("latency", None, "was made with minimise='latency', not with minimise=None"),
    ("latency", "parameters", "was made with minimise='latency', not with minimise='parameters'"),
]


@pytest.mark.parametrize(("before", "now", "says"), MADE)
def test_a_study_of_other_objectives_is_refused(
    tmp_path: Path, before: Any, now: Any, says: str
) -> None:
    for minimise in (before, before):
        Record(tmp_path / "study.db", name="s", seed=7, epochs=1, minimise=minimise).close()
    with pytest.raises(RunError, match=says):
        Record(tmp_path / "study.db", name="s", seed=7, epochs=1, minimise=now)


def test_folds_are_scored_and_told_with_a_cost() -> None:
    with opened(folds=3) as record:
        session = bridge(record, trials=1)
        config = session.propose()
        assert config is not None
        assert session.heard(0, cost_report(config, 7.0))
        assert session.heard(0, {"number": 0, "epoch": 0, "within": 1.0})
        for folds in ([0.9], [0.9, 0.6], [0.9, 0.6, 0.6]):
            result = folds_told(folds)
            session.heard(0, {"number": 0, "epoch": len(folds), "result": json.dumps(result)})
        session.heard(0, {"number": 0, "final": True, "ended": "complete"})
        assert record.study.trials[0].values == [pytest.approx(0.7), 7.0]
