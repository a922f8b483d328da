"""A study on a real PostgreSQL server, which goes away, comes back, and is shared."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import optuna
import pytest
from command import ROOT
from postgres import PASSWORD, Lossy, Postgres, binaries
from recorded import EPOCHS, picture, play, result_of, space
from server import Server
from sqlalchemy.exc import OperationalError

from search.bridge import Bridge
from search.errors import RunError, StudyError
from search.run import main
from search.study import Record, read_rows, storage_told
from search.study.patient import Patient
from search.study.storage import closing, open_storage, study_names
from search.study.writer import Lease

KNOWN = {"first": {"deep": True, "layers": 3, "dropout": 0.1, "lr": 1e-3}, "second": {"lr": 1e-2}}
DOES = {1: "memory", 2: "nan", 3: "error"}
TRIALS = 4
OPENED = 30
"""Commits until a new study is open: from there on they are repeated."""
_names = count()


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    bin = binaries()
    if bin is None:
        pytest.skip("PostgreSQL is not installed: no initdb on the path or in /usr/lib/postgresql")
    with Postgres(bin) as started:
        yield started


@pytest.fixture
def url(server: Postgres) -> str:
    return server.make(f"studies_{next(_names)}")


def record(storage: Any, **more: Any) -> Record:
    return Record(storage, name="s", seed=7, epochs=EPOCHS, known=KNOWN, **more)


def search(storage: Any, *, trials: int = TRIALS) -> list[dict[str, Any]]:
    """A search of trials of all kinds, to the end; what is on record of it."""
    with record(storage) as opened:
        opened.requeue()
        bridge = Bridge(opened, space, trials=trials, slots=1)
        play(bridge, lambda number: DOES.get(number, ""))
        bridge.put_back_all()
        assert bridge.failure is None
        return picture(opened)


@pytest.fixture(scope="module")
def undisturbed() -> list[dict[str, Any]]:
    return search(optuna.storages.InMemoryStorage())


def test_a_search_on_a_server_is_the_search_in_memory(
    url: str, undisturbed: list[dict[str, Any]]
) -> None:
    assert search(url) == undisturbed


def lossy_at_random(seed: int, share: float) -> Callable[[int], str]:
    rng = random.Random(seed)
    return lambda n: rng.choice(["answer", "request"]) if rng.random() < share else ""


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 12))]
)
def test_a_write_whose_answer_is_lost_is_there_once(
    server: Postgres, url: str, undisturbed: list[dict[str, Any]], seed: int
) -> None:
    lose = lossy_at_random(seed, 0.15)
    with Lossy(server, lambda n: lose(n) if n > OPENED else "") as lossy:
        assert search(url.replace(f":{server.port}/", f":{lossy.port}/")) == undisturbed
    assert lossy.lost > 20


def test_a_search_waits_for_a_server_that_is_started_again(
    server: Postgres, url: str, undisturbed: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with record(url) as opened:
        bridge = Bridge(opened, space, trials=TRIALS, slots=1)
        server.stop()
        again = threading.Timer(1.0, server.start)
        again.start()
        play(bridge, lambda number: DOES.get(number, ""))
        again.join()
        assert bridge.failure is None
        assert picture(opened) == undisturbed
    gone, back = (line for line in caplog.messages if "storage" in line)
    assert "Connection refused); waiting up to 120 s for it" in gone or "; waiting up to" in gone
    assert "the study's storage answers again, " in back
    assert PASSWORD not in caplog.text


def test_patience_ends_and_the_search_can_be_resumed(
    server: Postgres, url: str, undisturbed: list[dict[str, Any]]
) -> None:
    storage = open_storage(url, patience_s=0.5)
    with closing(storage):
        told = pytest.raises(StudyError, match=r"cannot be written any more: .*--resume\.$")
        with told, storage_told(), record(storage) as opened:
            asked = opened.ask(space)
            opened.report(asked.number, result_of(asked.recipe, 1))
            server.stop()
            try:
                began = time.monotonic()
                with pytest.raises(optuna.exceptions.StorageInternalError):
                    opened.requeue()
                first = time.monotonic() - began
                assert first >= 0.2
                opened.put_back(asked.number)  # patience is over: once, and at once
            finally:
                assert time.monotonic() - began < first + 0.3
                server.start()
    assert read_rows(url, name="s")[0].state == "running"
    found = search(url)
    assert [t | {"attributes": {}} for t in found] == [
        t | {"attributes": {}} for t in undisturbed
    ]  # its first epoch took another time


def test_all_that_optuna_asks_of_a_server_is_asked_with_patience() -> None:
    impatient = {  # never asked while a study is open to be written
        "delete_study", "record_heartbeat", "get_heartbeat_interval", "remove_session", "upgrade",
        "get_heartbeat_stale_trial_callback", "get_current_version", "get_head_version",
        "get_all_versions", "create_new_trial", "set_trial_param", "get_all_trials",
        "get_best_trial",
    }  # fmt: skip
    methods = {name for name in vars(optuna.storages.RDBStorage) if not name.startswith("_")}
    private = {"_create_new_trial", "_set_trial_param", "_get_trials", "_get_best_trial_id"}
    assert methods - set(vars(Patient)) == impatient
    assert private <= set(vars(Patient))


# --------------------------------------------------------------------------------------------------
# Who may write


def note_of(url: str) -> dict[str, Any] | None:
    with closing(open_storage(url)) as storage:
        return storage.get_study_user_attrs(storage.get_study_id_from_name("s")).get("lease")


def holder(url: str) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from search.study import Record\n"
        "opened = Record(sys.argv[1], name='s', seed=7, epochs=4); print('held', flush=True)\n"
        "sys.stdin.read(); opened.close()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, url],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_the_second_of_two_processes_is_told_and_a_killed_one_holds_nothing(url: str) -> None:
    with holder(url) as process:
        with pytest.raises(RunError) as caught:
            record(url)
        said = f"is being written by process {process.pid} on {socket.gethostname()}, since "
        assert said in str(caught.value)
        assert "postgresql://me:***@127.0.0.1" in str(caught.value)
        process.send_signal(signal.SIGKILL)
    assert note_of(url) is not None
    record(url).close()
    assert note_of(url) is None


@pytest.fixture
def patient(url: str) -> Iterator[Patient]:
    record(url).close()
    with closing(open_storage(url)) as storage:
        assert isinstance(storage, Patient)
        yield storage


def lease(storage: Patient, seconds: float) -> Lease:
    study = storage.get_study_id_from_name("s")
    return Lease(
        lambda decide: storage.exchange(study, "lease", decide), study="it", seconds=seconds
    )


def elsewhere(storage: Patient, seconds: float, **more: Any) -> None:
    """Leaves the note of a process that we cannot look at."""
    note = {"token": "x", "pid": os.getpid(), "host": "other", "place": "", "since": "then"} | more
    study = storage.get_study_id_from_name("s")
    storage.exchange(study, "lease", lambda _, now: note | {"until": now + seconds})


def test_a_lease_of_another_machine_is_free_when_it_ran_out(patient: Patient) -> None:
    elsewhere(patient, 0.5)
    with pytest.raises(RunError, match=r"it is being written by process \d+ on other, since then"):
        lease(patient, 0.5)
    time.sleep(0.6)
    lease(patient, 0.5).release()


def test_a_process_of_a_container_that_shares_our_name_is_not_looked_for(patient: Patient) -> None:
    elsewhere(patient, 9.0, host=socket.gethostname(), pid=2**22 + 1, place="another kernel")
    with pytest.raises(RunError, match="it is being written by"):
        lease(patient, 0.5)


@pytest.mark.parametrize("ahead_s", [-1e6, 1e6])
def test_clocks_of_machines_do_not_matter(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    elsewhere(patient, 9.0)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + ahead_s)
    with pytest.raises(RunError, match="it is being written by"):
        lease(patient, 9.0)


def test_a_lease_outlives_a_server_that_is_started_again(
    server: Postgres, patient: Patient
) -> None:
    held = lease(patient, 3.0)
    try:
        server.stop()
        held.check()
        time.sleep(1.6)
        with pytest.raises(OperationalError):  # half of it is over: it is not trusted any more
            held.check()
        server.start()
        time.sleep(2.0)  # it would be over now, and is renewed
        with pytest.raises(RunError, match="it is being written by"):
            lease(patient, 3.0)
        held.check()
    finally:
        held.release()


def test_nothing_is_written_by_who_was_away_while_another_took_over(
    server: Postgres, url: str
) -> None:
    cut = False
    with (
        Lossy(server, lambda n: "request" if cut else "") as lossy,
        record(url.replace(f":{server.port}/", f":{lossy.port}/")) as opened,
        closing(open_storage(url)) as thief,
    ):
        asked = opened.ask(space)
        assert isinstance(thief, Patient)
        elsewhere(thief, 60.0)
        cut = True
        threading.Timer(0.5, lambda: setattr(lossy, "lose", lambda n: "")).start()
        with pytest.raises(RunError, match="was taken over by process"):
            opened.put_back(asked.number)
        with pytest.raises(RunError, match="was taken over by process"):
            opened.put_back(asked.number)
    [row] = [row for row in read_rows(url, name="s") if row.number == asked.number]
    assert row.state == "running"
