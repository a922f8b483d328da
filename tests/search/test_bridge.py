"""The bridge without Ray: what it writes, when it stops, and that no kill changes the study."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from recorded import EPOCHS, picture, play, result_of, space

from search.bridge import Bridge
from search.errors import TrialsError
from search.space import Trial
from search.study import Record
from search.trials import EpochDone, Event, TrialEnded, TrialStarted
from xfer.recipe import Recipe

KNOWN = {
    "good": {"deep": False, "dropout": 0.0, "lr": 1e-3},
    "rate only": {"lr": 1e-2},
}
DOES = {2: "memory", 4: "error", 5: "nan", 6: "not_finite", 7: "early", 9: "error"}


@pytest.fixture
def record() -> Iterator[Record]:
    with Record(InMemoryStorage(), name="s", seed=7, epochs=EPOCHS, known=KNOWN) as opened:
        yield opened


def bridge(record: Record, trials: int = 12, **more: Any) -> Bridge:
    return Bridge(record, space, trials=trials, slots=more.pop("slots", 1), **more)


def report(number: int, recipe: Any, epoch: int) -> dict[str, Any]:
    result = result_of(recipe, epoch)
    return {
        "number": number, "epoch": epoch, "score": result["search_score"],
        "result": json.dumps(result),
    }  # fmt: skip


ENDS = [
    ("early", "complete", "stopped early, no better epoch came", 3),
    ("", "complete", "all epochs", 4),
    ("memory", "infeasible", "out of memory", 1),
    ("not_finite", "infeasible", "the loss was no longer a number", 1),
    ("error", "failed", "ValueError: this recipe is broken", 1),
    ("nan", "pruned", "its score was not a number after epoch 2", 2),
]


@pytest.mark.parametrize(("what", "state", "ended", "epochs"), ENDS)
def test_every_end_of_a_trial_has_its_state_and_its_words(
    record: Record, what: str, state: str, ended: str, epochs: int
) -> None:
    play(bridge(record, trials=1), lambda number: what)
    [row, _] = record.rows()
    assert (row.state, row.ended, len(row.scores)) == (state, ended, epochs)
    finite = [score for score in row.scores.values() if not math.isnan(score)]
    assert row.value == max(finite)
    assert row.best_epoch == len(finite)
    assert row.seconds == 0.25 * epochs
    assert row.name == "good"
    assert row.recipe is not None
    assert row.recipe["lr"] == 1e-3
    assert row.val["recall"] == row.value
    assert math.isnan(row.val["mcc"])


def test_poor_trials_are_pruned_with_their_scores_on_record(record: Record) -> None:
    play(bridge(record, trials=15))
    rows = record.rows()
    pruned = [row for row in rows if row.state == "pruned"]
    assert pruned
    assert len(rows) == 15
    for row in pruned:
        assert list(row.scores) == [1, 2, 3]
        assert row.ended == "among the poorer after epoch 3"
    best = max(row.value or 0 for row in rows)
    assert max(row.value or 0 for row in rows if row.state == "complete") == best


def test_watchers_hear_each_trial_begin_its_epochs_and_its_end(record: Record) -> None:
    heard: list[Event] = []
    play(bridge(record, trials=2, watchers=[heard.append]))
    kinds = [TrialStarted, *[EpochDone] * EPOCHS, TrialEnded]
    assert [type(event) for event in heard] == kinds * 2
    started = heard[0]
    assert isinstance(started, TrialStarted)
    assert (started.name, started.params["lr"], started.recipe["lr"]) == ("good", 1e-3, 1e-3)
    assert heard[5] == TrialEnded(number=0, state="complete", ended="all epochs")


def test_a_watcher_that_raises_is_told_no_more_and_the_search_goes_on(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    calls, others = [], []

    def broken(event: Event) -> None:
        calls.append(event)
        raise RuntimeError("the watcher is broken")

    play(bridge(record, trials=2, watchers=[broken, others.append]))
    assert len(calls) == 1
    assert len(others) == 12
    assert record.counts() == {"complete": 2}
    assert "the watcher is broken" in caplog.text


def test_known_configurations_come_first_in_order_and_only_once(record: Record) -> None:
    play(bridge(record, trials=1))
    with Record(record.study._storage, name="s", seed=7, epochs=EPOCHS, known=KNOWN) as again:
        play(bridge(again, trials=4))
        rows = again.rows()
    assert [row.name for row in rows] == ["good", "rate only", None, None]
    assert dict(rows[0].params) == KNOWN["good"]
    assert rows[1].params["lr"] == 1e-2
    assert set(rows[1].params) >= {"lr", "deep", "dropout"}  # what was left out was sampled


def test_a_finished_search_is_extended_by_a_larger_limit(record: Record) -> None:
    play(bridge(record, trials=5))
    assert bridge(record, trials=5).is_over
    first = picture(record)
    play(bridge(record, trials=11))
    assert picture(record)[:5] == first
    with Record(InMemoryStorage(), name="s", seed=7, epochs=EPOCHS, known=KNOWN) as other:
        play(bridge(other, trials=11))
        assert picture(other) == picture(record)


def test_no_more_are_in_flight_than_there_are_slots_and_trials_left(record: Record) -> None:
    session = bridge(record, trials=3, slots=2)
    first, second = session.propose(), session.propose()
    assert first is not None
    assert second is not None
    assert session.propose() is None
    assert session.left == 1
    session.heard(first["number"], {"final": True, "ended": "infeasible:memory"})
    assert session.propose() is not None
    assert session.is_over
    assert session.propose() is None


def test_at_the_deadline_trials_wait_after_their_report_and_go_on_with_more_time(
    record: Record,
) -> None:
    now = [0.0]
    session = bridge(record, limit_s=10.0, clock=lambda: now[0])
    config = session.propose()
    assert config is not None
    assert session.heard(0, report(0, config["recipe"], 1))
    now[0] = 10.0
    assert not session.heard(0, report(0, config["recipe"], 2))
    assert session.stopping == "minutes"
    assert session.propose() is None
    [row, _] = record.rows()
    assert (row.state, list(row.scores), row.ended) == ("waiting", [1, 2], "")

    play(bridge(record))
    with Record(InMemoryStorage(), name="s", seed=7, epochs=EPOCHS, known=KNOWN) as other:
        play(bridge(other))
        assert picture(other) == picture(record)


def test_a_search_is_not_finished_while_its_last_trial_may_lose_its_worker(record: Record) -> None:
    session = bridge(record, trials=1)
    config = session.propose()
    assert config is not None
    assert (session.is_over, session.is_finished) == (True, False)
    session.died(config["number"], "gone")
    assert session.propose() is not None
    session.heard(0, report(0, config["recipe"], 1))
    session.died(config["number"], "gone")  # the second time it is given up
    assert session.is_finished


def test_the_clock_starts_with_the_first_epoch(record: Record) -> None:
    now = [0.0]
    session = bridge(record, limit_s=10.0, clock=lambda: now[0])
    config = session.propose()
    assert config is not None
    now[0] = 1000.0  # Ray was slow
    assert not session.is_over
    assert session.heard(0, report(0, config["recipe"], 1))
    now[0] = 1009.0
    assert session.heard(0, report(0, config["recipe"], 2))
    now[0] = 1009.9  # the first epoch took .25 s before it was reported
    assert session.is_over


def test_a_trial_that_has_had_its_last_epoch_at_the_deadline_is_finished(record: Record) -> None:
    now = [0.0]
    session = bridge(record, limit_s=10.0, clock=lambda: now[0])
    config = session.propose()
    assert config is not None
    for epoch in range(1, EPOCHS):
        assert session.heard(0, report(0, config["recipe"], epoch))
    now[0] = 10.0
    assert session.heard(0, report(0, config["recipe"], EPOCHS))
    session.heard(0, {"final": True, "ended": "complete"})
    assert record.rows()[0].state == "complete"


def test_a_trial_whose_worker_died_goes_on_and_is_given_up_after_the_second_death(
    record: Record,
) -> None:
    heard: list[Event] = []
    session = bridge(record, watchers=[heard.append])
    config = session.propose()
    assert config is not None
    session.heard(0, report(0, config["recipe"], 1))
    session.died(0, "killed")
    again = session.propose()
    assert again is not None
    assert (again["number"], again["recipe"], again["last_epoch"]) == (0, config["recipe"], 1)
    session.died(0, "killed")
    session.died(0, "killed")  # Ray may say so twice
    assert session.deaths == 2
    row = record.rows()[0]
    assert (row.state, row.ended) == ("infeasible", "its worker died twice (out of memory?)")
    ended = [event for event in heard if isinstance(event, TrialEnded)]
    assert [event.state for event in ended] == ["waiting", "infeasible"]


def test_a_worker_that_returns_without_a_last_report_has_failed(record: Record) -> None:
    session = bridge(record)
    session.propose()
    session.vanished(0)
    assert record.rows()[0].state == "failed"


def test_three_trials_that_break_at_once_end_the_search(record: Record) -> None:
    session = bridge(record)
    play(session, lambda number: "error")
    assert isinstance(session.failure, TrialsError)
    assert str(session.failure) == (
        "the first 3 trials all broke, so the search was stopped:\n"
        "  ValueError: this recipe is broken"
    )
    assert record.told == 3
    again = bridge(record)  # the cause may have been mended: earlier sessions do not count
    play(again)
    assert again.failure is None
    assert record.told == 12


def test_one_good_trial_among_the_first_three_keeps_the_search_going(record: Record) -> None:
    session = bridge(record)
    play(session, lambda number: "" if number == 1 else "error")
    assert session.failure is None
    assert record.counts() == {"failed": 11, "complete": 1}


def test_a_recipe_that_cannot_be_made_fails_its_trial_alone(record: Record) -> None:
    def fails_at_times(trial: Trial) -> Recipe:
        recipe = space(trial)
        if recipe.lr == 1e-2:
            raise ValueError("no such recipe")
        return recipe

    heard: list[Event] = []
    session = Bridge(record, fails_at_times, trials=3, slots=1, watchers=[heard.append])
    play(session)
    rows = record.rows()
    assert [row.state for row in rows] == ["complete", "failed", "complete"]
    assert rows[1].ended == "the space's function: ValueError: no such recipe"
    assert [type(e) for e in heard if e.number == 1] == [TrialStarted, TrialEnded]


class Killed(BaseException):
    """What a kill is to code: nothing after it runs."""


def mortal(kill_at: int) -> InMemoryStorage:
    """A storage whose process is killed just before its nth write; 0: never."""

    class Mortal(InMemoryStorage):
        writes = 0

        def __getattribute__(self, name: str) -> Any:
            attribute = super().__getattribute__(name)
            if not name.startswith(("set_trial", "create_new_trial")):
                return attribute

            def write(*args: Any, **kwargs: Any) -> Any:
                self.writes += 1
                if self.writes == kill_at:
                    raise Killed
                return attribute(*args, **kwargs)

            return write

    return Mortal()


def search(storage: InMemoryStorage, trials: int) -> list[dict[str, Any]]:
    with Record(storage, name="s", seed=7, epochs=EPOCHS, known=KNOWN) as record:
        record.requeue()
        play(bridge(record, trials=trials), lambda number: DOES.get(number, ""))
        assert not record.requeue()
        return picture(record)


@pytest.mark.slow
def test_killed_before_any_write_and_resumed_the_study_is_the_undisturbed_one() -> None:
    trials = 13  # TPE proposes the last of them
    storage = mortal(0)
    undisturbed = search(storage, trials)
    assert {trial["state"] for trial in undisturbed} == {"COMPLETE", "PRUNED", "FAIL"}
    assert storage.writes > 100
    for kill_at in range(1, storage.writes + 1):
        killed = mortal(kill_at)
        with pytest.raises(Killed):
            search(killed, trials)
        assert search(killed, trials) == undisturbed, f"killed before write {kill_at}"


def test_a_trial_whose_node_is_gone_waits_however_often_that_is(record: Record) -> None:
    heard: list[Event] = []
    session = bridge(record, trials=1, watchers=[heard.append])
    for _ in range(5):
        assert session.propose() is not None
        session.lost(0)
        session.lost(0)  # Ray may say so twice
    assert session.deaths == 0
    assert record.rows()[0].state == "waiting"
    ended = [event for event in heard if isinstance(event, TrialEnded)]
    assert [event.ended for event in ended] == ["put back: its node is gone"] * 5
