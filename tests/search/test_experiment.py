"""Whole searches on real Ray, with learning curves from a formula in place of training."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from recorded import EPOCHS, job, lines, picture, space, train

from search.errors import TrialsError
from search.experiment import Ended, run_trials
from search.study import Record, read_rows
from search.trials import EpochDone, Event, TrialEnded, TrialStarted
from search.worker import train_trial
from search.workers import Slots

pytestmark = pytest.mark.usefixtures("local_ray")

ONE = Slots(workers=1, threads=1, gpus_per_trial=0.0, device="cpu")
TWO = Slots(workers=2, threads=1, gpus_per_trial=0.0, device="cpu")
KNOWN = {"good": {"deep": False, "dropout": 0.0, "lr": 1e-3}, "rate": {"lr": 1e-2}}
HERE = Path(__file__).parent


def opened(folder: Path, **more: Any) -> Record:
    return Record(folder / "study.db", name="s", seed=7, epochs=EPOCHS, known=KNOWN, **more)


def run(record: Record, folder: Path, *, slots: Slots, trials: int, **more: Any) -> Ended:
    script = {name: more.pop(name) for name in ("nap", "does") if name in more}
    return run_trials(
        record, space, job=job(folder, **script), slots=slots, trials=trials, out=folder / ".ray",
        trainable=partial(train_trial, train=train), **more,
    )  # fmt: skip


def least_share(ran: list[dict[str, Any]], numbers: range) -> float:
    """The share of these trials that the less busy of two workers ran; 0 where only one did."""
    trials = Counter(
        {line["number"]: line["pid"] for line in ran if line["number"] in numbers}.values()
    )
    return min(trials.values()) / trials.total() if len(trials) == 2 else 0.0


@pytest.mark.slow
def test_both_slots_stay_busy_after_an_error_a_killed_worker_and_a_resume(tmp_path: Path) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("the watcher is broken")

    does = {1: "error", 3: "memory", 4: "nan", 6: "die once", 8: "not_finite"}
    with opened(tmp_path) as record:
        watchers = [broken, heard.append]
        ended = run(record, tmp_path, slots=TWO, trials=18, nap=0.1, does=does, watchers=watchers)
        assert (ended.why, ended.deaths) == ("trials", 1)
        rows = record.rows()
        assert "recorded.py" in record.study.trials[1].user_attrs["traceback"]
        assert "died" in record.study.trials[6].user_attrs["traceback"]
    assert [row.number for row in rows] == list(range(18))
    assert {number: rows[number].state for number in does if number != 6} == {
        1: "failed", 3: "infeasible", 4: "pruned", 8: "infeasible",
    }  # fmt: skip
    assert rows[6].state in ("complete", "pruned")
    assert rows[1].ended == "ValueError: this recipe is broken"
    assert rows[3].ended == "out of memory"
    assert rows[8].ended == "the loss was no longer a number"

    # No epoch was trained twice, and no worker had all the work.
    ran = lines(tmp_path)
    trained = [(line["number"], line["epoch"]) for line in ran]
    assert len(trained) == len(set(trained))
    assert len({line["pid"] for line in ran}) == 3
    assert least_share(ran, range(5)) >= 0.2
    assert least_share(ran, range(9, 18)) >= 0.3

    # Every event, in order, and nothing that the study does not have.
    for row in rows:
        events = [event for event in heard if event.number == row.number]
        assert isinstance(events[0], TrialStarted)
        assert isinstance(events[-1], TrialEnded)
        assert events[-1].state == row.state
        told = [event.result["epoch"] for event in events if isinstance(event, EpochDone)]
        assert told == list(row.scores)
    assert not (tmp_path / ".ray").exists()

    # A larger limit goes on where it ended.
    before = len(ran)
    with opened(tmp_path) as record:
        run(record, tmp_path, slots=TWO, trials=26, nap=0.1)
        assert record.told == 26
        assert repr(record.rows()[:18]) == repr(rows)
    more = lines(tmp_path)[before:]
    assert {line["number"] for line in more} == set(range(18, 26))
    assert least_share(more, range(18, 26)) >= 0.25


@pytest.mark.slow
def test_the_last_trial_begins_again_after_its_worker_died(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        ended = run(record, tmp_path, slots=ONE, trials=2, does={1: "die once"})
        assert (ended.why, ended.deaths) == ("trials", 1)
        assert record.told == 2
        assert record.rows()[1].state in ("complete", "pruned")


def test_at_the_deadline_what_runs_is_put_back(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        ended = run(record, tmp_path, slots=TWO, trials=6, nap=0.3, limit_s=0.1)
        assert ended.why == "minutes"
        assert record.counts() == {"waiting": 2}
        rows = record.rows()
    assert [list(row.scores) for row in rows] in ([[1], [1]], [[1], [1, 2]], [[1, 2], [1]])


def test_ctrl_c_ends_at_once_and_leaves_no_trial_running(tmp_path: Path) -> None:
    pressed = []

    def press(event: Event) -> None:
        if isinstance(event, EpochDone) and not pressed:
            pressed.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    with opened(tmp_path) as record:
        with pytest.raises(KeyboardInterrupt):
            run(record, tmp_path, slots=ONE, trials=5, nap=1.0, watchers=[press])
        assert time.monotonic() - pressed[0] < 10
        assert record.counts() == {"waiting": 2}
        assert list(record.rows()[0].scores) == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not (tmp_path / ".ray").exists()


def test_a_search_in_which_all_breaks_is_ended_with_the_reason(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        with pytest.raises(TrialsError, match="ValueError: this recipe is broken"):
            run(record, tmp_path, slots=TWO, trials=9, does=dict.fromkeys(range(9), "error"))
        assert record.counts()["failed"] == 3
        assert not record.counts()["running"]


def kill_after(process: subprocess.Popen[str], log: Path, epochs: int) -> None:
    """Kills a process after so many lines of a log; one that ends by itself is left alone."""
    while process.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) >= epochs:
            process.kill()
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_by_minus_9_and_resumed_the_study_is_the_undisturbed_one(
    tmp_path: Path, local_ray: str
) -> None:
    trials, does = 13, {2: "memory", 4: "error", 5: "nan"}
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    killed.mkdir()
    undisturbed.mkdir()
    driver = f"""
        import sys
        from pathlib import Path
        sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]
        from test_experiment import ONE, opened, run
        from search.starting import start_ray

        folder = Path({str(killed)!r})
        with start_ray(ONE, address={local_ray!r}), opened(folder) as record:
            run(record, folder, slots=ONE, trials={trials}, nap=0.05, does={does!r})
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(driver)], stderr=subprocess.PIPE, text=True
    )
    killer = threading.Thread(target=kill_after, args=(process, killed / "log.jsonl", 25))
    killer.start()
    with opened(undisturbed) as record:
        run(record, undisturbed, slots=ONE, trials=trials, does=does)
        whole = picture(record)
    killer.join()
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    rows = read_rows(killed / "study.db", name="s")
    ended = [row for row in rows if row.state not in ("running", "waiting")]
    assert 3 < len(ended) < trials
    before = lines(killed)

    with opened(killed) as record:
        run(record, killed, slots=ONE, trials=trials, does=does)
        assert picture(record) == whole
        assert repr(record.rows()[: len(ended)]) == repr(ended)
    again = {line["number"] for line in lines(killed)[len(before) :]}
    assert not again & {row.number for row in ended}
    assert [(line["number"], line["epoch"], line["seed"]) for line in lines(killed)] == [
        (line["number"], line["epoch"], line["seed"]) for line in lines(undisturbed)
    ]
