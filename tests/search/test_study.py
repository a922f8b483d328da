"""The study: who may write, what it keeps, what it proposes and what others can read of it."""

import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from recorded import EPOCHS, result_of, space

from search.errors import RunError
from search.space import Trial
from search.study import Record, read_rows
from search.study.halving import best_until, is_poor, rungs
from search.study.rivals import Rung
from search.study.storage import describe, open_storage
from search.study.writer import Lease, LockFile, place
from xfer.recipe import ConvNet, Recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def record() -> Iterator[Record]:
    with Record(InMemoryStorage(), name="s", seed=0, epochs=EPOCHS) as opened:
        yield opened


def on_file(folder: Path, **more: Any) -> Record:
    return Record(folder / "study.db", name="s", seed=0, epochs=EPOCHS, **more)


# --------------------------------------------------------------------------------------------------
# Halving


@given(st.integers(1, 1000))
def test_rungs_rise_threefold_and_leave_early_and_late_epochs_alone(epochs: int) -> None:
    found = rungs(epochs)
    assert all(later == 3 * earlier for earlier, later in pairwise(found))
    assert all(rung <= 0.75 * epochs for rung in found)
    assert found == () or found[0] >= (3 if epochs > 3 else 1)
    assert len(found) <= 3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_about_a_third_goes_on_and_the_best_always_does(scores: list[float]) -> None:
    rung = Rung()
    for number, score in enumerate(scores):
        rung.add(number, score)
    stays = [not is_poor(rung, number, lambda other: None) for number in range(len(scores))]
    assert stays[scores.index(max(scores))]
    if len(scores) < 3:
        assert all(stays)
    elif len(set(scores)) == len(scores):
        assert sum(stays) == len(scores) // 3


@pytest.mark.parametrize(
    ("scores", "epoch", "best"),
    [
        ({1: 0.2, 2: 0.6, 3: 0.4}, 3, 2),
        ({1: 0.2, 2: 0.6, 3: 0.6}, 3, 2),
        ({1: 0.2, 2: 0.6, 3: 0.4}, 1, 1),
        ({1: 0.2, 2: math.nan}, 2, 1),
        ({1: math.nan}, 1, None),
    ],
)
def test_a_trial_is_judged_by_its_best_epoch_so_far(
    scores: dict[int, float], epoch: int, best: int | None
) -> None:
    assert best_until(scores, epoch) == best


# --------------------------------------------------------------------------------------------------
# Proposing


def proposals(seed: int, *, epochs: int = EPOCHS, trials: int = 14) -> list[dict[str, Any]]:
    with Record(InMemoryStorage(), name="s", seed=seed, epochs=epochs) as record:
        found = []
        for _ in range(trials):
            asked = record.ask(space)
            record.report(asked.number, result_of(asked.recipe, 1))
            record.tell_complete(asked.number, "all epochs")
            found.append(dict(asked.params))
        return found


def test_the_seed_fixes_what_is_proposed() -> None:
    assert proposals(1) == proposals(1)
    assert proposals(1) != proposals(2)
    assert len({params["lr"] for params in proposals(1)}) == 14


def test_values_do_not_depend_on_how_many_were_on_record_when_a_trial_was_killed() -> None:
    asked = []
    for killed_after in (None, 0, 1, 2):
        with Record(InMemoryStorage(), name="s", seed=3, epochs=EPOCHS) as record:
            if killed_after is not None:
                trial = record.study.ask()
                names = iter(range(killed_after))
                with pytest.raises(StopIteration):
                    space(_Counting(trial, names))
                assert len(record.study.trials[0].params) == killed_after
                record.requeue()
            asked.append(record.ask(space))
    assert all(one == asked[0] for one in asked)


class _Counting:
    """Passes a number of suggestions on, then raises StopIteration."""

    def __init__(self, trial: optuna.Trial, numbers: Iterator[int]) -> None:
        self._trial, self._numbers = trial, numbers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def suggest(*args: Any, **kwargs: Any) -> Any:
            next(self._numbers)
            return getattr(self._trial, name)(*args, **kwargs)

        return suggest


def test_the_sampler_stays_away_from_infeasible_regions() -> None:
    def model(trial: Trial) -> Recipe:
        width = trial.suggest_int("width", 1, 64)
        return Recipe(model=ConvNet(kernels=(width,)), lr=trial.suggest_float("lr", 1e-3, 1e-1))

    with Record(InMemoryStorage(), name="s", seed=0, epochs=1) as record:
        for _ in range(50):
            asked = record.ask(model)
            if asked.params["width"] > 32:
                record.tell_infeasible(asked.number, "out of memory")
            else:
                record.report(asked.number, result_of(asked.recipe, 1, 0.5))
                record.tell_complete(asked.number, "all epochs")
        late = record.rows()[25:]
    assert sum(row.state == "infeasible" for row in late) < 0.3 * len(late)


# --------------------------------------------------------------------------------------------------
# Keeping


def test_a_requeued_trial_comes_back_with_its_number_values_and_scores(tmp_path: Path) -> None:
    with on_file(tmp_path) as record:
        first, second = record.ask(space), record.ask(space)
        record.report(second.number, result_of(second.recipe, 1))
        assert record.requeue() == [0, 1]
        assert record.counts() == {"waiting": 2}
    with on_file(tmp_path) as record:
        again = [record.ask(space), record.ask(space), record.ask(space)]
    assert [asked.number for asked in again] == [0, 1, 2]
    assert again[0].params == first.params
    assert again[1].params == second.params
    assert again[1].recipe == second.recipe
    assert (again[1].last_epoch, again[0].last_epoch) == (1, 0)


def test_a_verdict_cut_short_is_finished_and_not_run_again(tmp_path: Path) -> None:
    with on_file(tmp_path) as record:
        asked = record.ask(space)
        record.study._storage.set_trial_user_attr(
            record.study.trials[0]._trial_id, "ended", "infeasible: out of memory"
        )
        assert record.requeue() == []
        assert record.rows()[0].state == "infeasible"
        assert record.ask(space).number == asked.number + 1


def test_an_epoch_reported_twice_counts_once(record: Record) -> None:
    asked = record.ask(space)
    for epoch in (1, 2, 2, 1):
        record.report(asked.number, result_of(asked.recipe, epoch))
    [row] = record.rows()
    assert row.seconds == 0.5
    assert list(row.scores) == [1, 2]


def test_an_epoch_that_is_not_the_best_leaves_the_best_alone(record: Record) -> None:
    asked = record.ask(space)
    record.report(asked.number, result_of(asked.recipe, 1, 0.8))
    record.report(asked.number, result_of(asked.recipe, 2, 0.6) | {"best": False})
    record.tell_complete(asked.number, "all epochs")
    [row] = record.rows()
    assert (row.value, row.best_epoch, row.val["recall"]) == (0.8, 1, 0.8)
    assert record.study.best_value == 0.8


def test_a_trial_without_a_finite_score_is_infeasible(record: Record) -> None:
    asked = record.ask(space)
    record.report(asked.number, result_of(asked.recipe, 1, math.inf))
    assert record.tell_complete(asked.number, "all epochs") == (
        "infeasible", "no epoch had a finite score",
    )  # fmt: skip
    assert record.rows()[0].value is None


def test_any_pruner_of_optunas_will_do() -> None:
    pruner = optuna.pruners.ThresholdPruner(lower=0.5)
    with Record(InMemoryStorage(), name="s", seed=0, epochs=20, pruner=pruner) as record:
        for score, why in ((0.6, None), (0.4, "among the poorer after epoch 1")):
            asked = record.ask(space)
            record.report(asked.number, result_of(asked.recipe, 1, score))
            assert record.should_prune(asked.number) == why


def test_what_is_kept_can_be_read_while_it_is_written_and_by_optuna(tmp_path: Path) -> None:
    about = {"space": "pneumonia", "objective": "auroc"}
    with on_file(tmp_path, about=about) as record:
        asked = record.ask(space)
        record.report(asked.number, result_of(asked.recipe, 1, 0.75))
        [running] = read_rows(tmp_path / "study.db", name="s")
        assert (running.state, running.scores, running.ended) == ("running", {1: 0.75}, "")
        record.tell_complete(asked.number, "all epochs")
        rows = record.rows()
    assert read_rows(tmp_path / "study.db", name="s") == rows
    storage = open_storage(tmp_path / "study.db")
    study = optuna.load_study(study_name="s", storage=storage)
    assert study.best_value == 0.75
    assert study.user_attrs == {**about, "seed": 0}
    storage.engine.dispose()  # type: ignore[attr-defined]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.db"]


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("nothing/study.db", "no study at "),
        ("postgresql://me:secret@nowhere/x", "cannot open the study's storage postgresql://me:***"),
        ("what is this", "cannot open the study's storage what is this"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_told(tmp_path: Path, storage: str, says: str) -> None:
    where = tmp_path / storage if storage.startswith("nothing") else storage
    with pytest.raises(RunError) as caught:
        read_rows(where, name="s")
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_study_that_is_not_in_its_storage_is_told(tmp_path: Path) -> None:
    on_file(tmp_path).close()
    with pytest.raises(RunError, match=r"^no study 'other' in .*study\.db\.$"):
        read_rows(tmp_path / "study.db", name="other")


def test_another_seed_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    on_file(tmp_path).close()
    with pytest.raises(RunError, match="was made with seed 0, not 1; resume it with the same seed"):
        Record(tmp_path / "study.db", name="s", seed=1, epochs=EPOCHS)
    on_file(tmp_path).close()


def test_passwords_are_not_shown() -> None:
    assert describe("mysql+pymysql://me:secret@host:1/x") == "mysql+pymysql://me:***@host:1/x"


# --------------------------------------------------------------------------------------------------
# Writing


def test_a_study_that_another_process_writes_is_refused_until_it_ends(tmp_path: Path) -> None:
    lock = tmp_path / "study.db.lock"
    code = (
        "import sys; from pathlib import Path; from search.study.writer import LockFile\n"
        f"lock = LockFile(Path({str(lock)!r}), study='x'); print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunError) as caught:
            on_file(tmp_path)
        assert f"is being written by process {holder.pid} on {socket.gethostname()}, since" in str(
            caught.value
        )
        assert "wait for it to end, or stop it" in str(caught.value)
        holder.kill()
    on_file(tmp_path).close()
    assert not lock.exists()


def test_a_lock_that_is_released_is_free_for_others_of_this_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = LockFile(path, study="it")
    with pytest.raises(RunError, match="it is being written by process"):
        LockFile(path, study="it")
    lock.release()
    lock.release()
    LockFile(path, study="it").release()
    assert not path.exists()


class Note:
    """A note in a study, as two processes see it."""

    def __init__(self) -> None:
        self.value: Any = None
        self.writes = 0

    def exchange(self, decide: Callable[[Any, float], Any]) -> None:
        value = decide(self.value, time.time())
        self.writes += value is not self.value
        self.value = value


def lease(note: Note, seconds: float = 60.0) -> Lease:
    return Lease(note.exchange, study="the study", seconds=seconds)


def test_a_lease_keeps_others_out_is_renewed_and_goes_with_its_holder() -> None:
    note = Note()
    held = lease(note, seconds=0.3)
    until = note.value["until"]
    with pytest.raises(RunError, match=r"the study is being written by process \d+ on "):
        lease(note, seconds=0.3)
    time.sleep(0.5)
    assert note.value["until"] > until
    held.check()
    held.release()
    held.release()
    assert note.value is None
    lease(note, seconds=0.3).release()


HOLDERS = [
    ({"until": -1.0}, True),
    ({"until": 60.0}, False),
    ({"until": 60.0, "host": socket.gethostname(), "pid": os.getpid()}, False),
    ({"until": 60.0, "host": socket.gethostname(), "pid": 2**22 + 1}, True),  # no such process
]


@pytest.mark.parametrize(("holder", "free"), HOLDERS)
def test_a_lease_is_taken_over_when_it_ran_out_or_its_process_is_gone(
    holder: dict[str, Any], free: bool
) -> None:
    note = Note()
    until = time.time() + holder["until"]
    note.value = {"token": "x", "pid": 1, "host": "other", "since": "now"} | holder
    note.value |= {"place": place(), "until": until}
    if free:
        lease(note, seconds=1.0).release()
    else:
        with pytest.raises(RunError, match="is being written by process"):
            lease(note, seconds=1.0)


def test_who_has_lost_the_lease_writes_nothing_more() -> None:
    note = Note()
    held = lease(note, seconds=0.3)
    note.value = {"token": "other", "pid": 5, "host": "there", "since": "then", "until": 1e12}
    writes = note.writes
    time.sleep(0.3)
    with pytest.raises(RunError, match="was taken over by process 5 on there, since then"):
        held.check()
    held.release()
    assert note.value["token"] == "other"
    assert note.writes == writes


def test_states_are_optunas_as_design_says(record: Record) -> None:
    told: list[Callable[[int], Any]] = [
        lambda n: record.tell_complete(n, "all epochs"),
        lambda n: record.tell_pruned(n, "poor"),
        lambda n: record.tell_infeasible(n, "out of memory"),
        lambda n: record.tell_failed(n, "broken", traceback="..."),
    ]
    for tell in told:
        asked = record.ask(space)
        record.report(asked.number, result_of(asked.recipe, 1, 0.5))
        tell(asked.number)
    trials = record.study.trials
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL,
    ]  # fmt: skip
    assert [trial.constraints for trial in trials] == [{}, {}, {"trainable": 1.0}, {}]
    assert [trial.user_attrs["ended"] for trial in trials][2] == "infeasible: out of memory"
    assert record.told == 4
    assert [trial.intermediate_values for trial in trials] == [{1: 0.5}] * 4
