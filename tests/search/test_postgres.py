"""A study on a real PostgreSQL server, which goes away, comes back, and is shared."""

import csv
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
from typing import Any, TypeVar
from urllib.parse import quote

import optuna
import pytest
from command import ROOT, command, environment, run
from optuna.trial import TrialState
from postgres import PASSWORD, Lossy, Postgres, binaries
from recorded import EPOCHS, picture, play, result_of, space
from server import Server
from sqlalchemy.exc import OperationalError

from search.bridge import Bridge
from search.errors import RunError, StudyError
from search.study import Record, read_rows, storage_told
from search.study.patient import Patient
from search.study.storage import closing, open_storage, study_names
from search.study.writer import Lease

T = TypeVar("T")

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


def test_what_was_written_though_nobody_heard_is_there_once(server: Postgres, url: str) -> None:
    record(url).close()
    most = 0
    with (
        Lossy(server, lambda n: "") as lossy,
        Record(
            url.replace(f":{server.port}/", f":{lossy.port}/"), name="t", seed=7, epochs=EPOCHS
        ) as opened,
    ):
        for nth in range(1, 100):
            longest = 0

            def cut(step: Callable[..., T], *words: Any, nth: int = nth) -> T:
                """Takes a step, in which the nth answer is lost."""
                nonlocal longest
                lossy.commits, lossy.lose = 0, lambda n: "answer" if n == nth else ""
                found = step(*words)
                longest = max(longest, lossy.commits)
                return found

            asked = cut(opened.ask, space)
            assert asked.number == nth - 1
            cut(opened.put_back, asked.number)
            assert cut(opened.ask, space).number == asked.number
            cut(opened.report, asked.number, result_of(asked.recipe, 1))
            cut(opened.tell_pruned if nth % 2 else opened.tell_infeasible, asked.number, "so")
            most += 1
            if longest < nth:  # there was none so late
                break
        found = [(row.number, row.state, len(row.scores)) for row in opened.rows()]
    assert found == [(n, "infeasible" if n % 2 else "pruned", 1) for n in range(most)]
    assert most > 6  # commits of the longest step, `ask`; a report is one


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_search_over_a_bad_line_is_the_undisturbed_one(
    server: Postgres, url: str, undisturbed: list[dict[str, Any]], seed: int
) -> None:
    lose = lossy_at_random(seed, 0.3)
    with Lossy(server, lambda n: lose(n) if n > OPENED else "") as lossy:
        assert search(url.replace(f":{server.port}/", f":{lossy.port}/")) == undisturbed
    assert lossy.lost > 6


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
    storage, took = open_storage(url, patience_s=1.0), []
    told = pytest.raises(StudyError, match=r"cannot be written any more: .*--resume\.$")
    try:
        with closing(storage), told, storage_told(), record(storage) as opened:
            asked = opened.ask(space)
            opened.report(asked.number, result_of(asked.recipe, 1))
            server.stop()
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(optuna.exceptions.StorageInternalError):
                    opened.requeue()
                took.append(time.monotonic() - began)
            opened.requeue()
    finally:
        server.start()
    assert took[0] > 0.5
    assert took[1] < took[0]  # patience is over: once, and at once
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


@pytest.mark.parametrize(
    ("password", "database", "said"),
    [
        ("wr0ng", "{}", 'password authentication failed for user "me". A password is read from'),
        (None, "{}", "fe_sendauth: no password supplied. A password is read from the URL, from PG"),
        (PASSWORD, "nowhere", 'database "nowhere" does not exist.'),
    ],
)
def test_what_the_server_refuses_is_told_in_a_sentence(
    server: Postgres, url: str, password: str | None, database: str, said: str
) -> None:
    with pytest.raises(RunError) as caught:
        study_names(server.url(database.format(url.rpartition("/")[2]), password))
    told = str(caught.value)
    assert said in told
    assert "\n" not in told
    assert "wr0ng" not in told
    assert quote(PASSWORD, safe="") not in told


def test_who_may_not_make_tables_is_told_so(server: Postgres, url: str) -> None:
    database = url.rpartition("/")[2]
    server.run_sql(database, "CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(RunError, match=r": permission denied for schema public\.$"):
        study_names(f"postgresql://guest:guest@127.0.0.1:{server.port}/{database}")


@pytest.mark.slow
def test_several_that_open_an_empty_database_at_once_all_find_their_tables(url: str) -> None:
    code = (
        "import sys; from search.study.storage import study_names; print('ready', flush=True)\n"
        "sys.stdin.readline(); study_names(sys.argv[1])"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, url],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            _, said = process.communicate(timeout=100)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert study_names(url) == set()


@pytest.mark.slow
def test_the_dashboard_opens_a_study_on_a_server(url: str, tmp_path: Path) -> None:
    found = search(url)
    with Server("optuna-dashboard", url, log=tmp_path / "log") as dashboard:
        dashboard.wait("api/studies", bool)
        [study] = dashboard.get("api/studies")["study_summaries"]
        shown = dashboard.get(f"api/studies/{study['study_id']}")["trials"]
    assert [(t["number"], t["state"].upper()) for t in shown] == [
        (t["number"], t["state"]) for t in found
    ]
    curves = [{p["step"]: p["value"] for p in t["intermediate_values"]} for t in shown]
    assert [len(curve) for curve in curves] == [t["scores"].count(":") for t in found]


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
        time.sleep(1.5)  # it would be over now, and is renewed
        with pytest.raises(RunError, match="it is being written by"):
            lease(patient, 3.0)
        held.check()
    finally:
        held.release()


def test_a_lease_is_renewed_beside_what_is_written(patient: Patient) -> None:
    study = optuna.load_study(study_name="s", storage=patient)
    held, seen = lease(patient, 0.3), set()
    try:
        for number in range(len(KNOWN), 30):
            study.enqueue_trial({"number": number})
            seen.add(study.user_attrs["lease"]["until"])
            held.check()
    finally:
        held.release()
    assert [trial.number for trial in study.trials] == list(range(30))
    assert len(seen) > 2


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


# --------------------------------------------------------------------------------------------------
# The command

SHORT = (
    "spaces/digits.py", "--workers", "1", "--trials", "5", "--epochs", "4", "--minutes", "9",
    "--refits", "0",
)  # fmt: skip


def trials_of(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    with closing(open_storage(url)) as storage:
        return storage.get_all_trials(storage.get_study_id_from_name(name))


def started(place: Path, url: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(place, *words, "--storage", url),
        cwd=ROOT, env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 500
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it did not come so far"
        time.sleep(0.2)


def begun(url: str, name: str) -> int:
    """Epochs on record."""
    try:
        return sum(len(trial.intermediate_values) for trial in trials_of(url, name))
    except KeyError:
        return 0


def assert_whole(folder: Path, url: str, *, trials: int, epochs: int) -> None:
    """Every trial told once, every epoch of it there, and the files say the same."""
    found = trials_of(url, folder.name)
    assert [trial.number for trial in found] == list(range(trials))
    told = {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert {trial.state for trial in found} <= told
    for trial in found:
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))
        assert len(trial.user_attrs["seconds"]) == len(steps)
        if trial.state == TrialState.COMPLETE and "stopped" not in trial.user_attrs:
            assert len(steps) == epochs
        if trial.state == TrialState.COMPLETE:
            assert trial.value == trial.user_attrs["best"]["score"]
    result = json.loads((folder / "result.json").read_text())
    counted = result["trials"]
    assert sum(counted.values()) == trials
    assert counted["failed"] == 0
    assert not result["interrupted"]
    with (folder / "trials.csv").open() as file:
        assert [int(row["number"]) for row in csv.DictReader(file)] == list(range(trials))


def words_in(folder: Path) -> str:
    """All that a run wrote for people, and what it was begun with."""
    files = [path for path in folder.rglob("*") if path.suffix in {".json", ".html", ".csv", ".md"}]
    assert {path.name for path in files} >= {"manifest.json", "report.html", "result.json"}
    return "".join(path.read_text() for path in files)


@pytest.mark.slow
def test_two_searches_share_a_server_that_is_started_again_in_the_middle(
    server: Postgres, url: str, tmp_path: Path
) -> None:
    runs = {name: started(tmp_path, url, *SHORT, "--name", name) for name in ("a", "b")}
    try:
        wait_for(lambda: all(begun(url, name) > 3 for name in runs), *runs.values())
        server.stop()
        time.sleep(3)
        server.start()
        said = {name: process.communicate(timeout=600)[0] for name, process in runs.items()}
    finally:
        for process in runs.values():
            process.kill()
    for name, process in runs.items():
        assert process.returncode == 0, said[name]
        assert "Traceback" not in said[name]
        assert_whole(tmp_path / "runs" / name, url, trials=5, epochs=4)
        secret = quote(PASSWORD, safe="")
        assert secret not in said[name] + words_in(tmp_path / "runs" / name)
    assert any("answers again" in text for text in said.values())
    assert study_names(url) == {"a", "b"}
    report = tmp_path / "runs" / "a" / "report.html"
    report.unlink()  # it is written again from the folder alone
    again = [sys.executable, "-m", "search.report", str(report.parent)]
    subprocess.run(again, cwd=ROOT, check=True, capture_output=True)
    assert report.is_file()


@pytest.mark.slow
def test_a_killed_search_goes_on_from_the_server(
    server: Postgres, url: str, tmp_path: Path
) -> None:
    process = started(tmp_path, url, *SHORT, "--name", "killed")
    try:
        wait_for(lambda: begun(url, "killed") > 5, process)
    finally:
        process.kill()
        process.communicate()
    before = trials_of(url, "killed")
    assert [t.number for t in before if t.state == TrialState.RUNNING]
    folder = tmp_path / "runs" / "killed"
    assert json.loads((folder / "manifest.json").read_text())["plan"]["options"]["storage"] == (
        server.url(url.rpartition("/")[2], password=None)
    )
    resume = ("spaces/digits.py", "--name", "killed", "--resume")
    said = run(tmp_path, *resume, code=2)
    assert "no password supplied" in said
    assert "PGPASSWORD" in said
    done = subprocess.run(
        command(tmp_path, *resume), cwd=ROOT, env=environment(tmp_path) | {"PGPASSWORD": PASSWORD},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(folder, url, trials=5, epochs=4)
    for old, new in zip(before, trials_of(url, "killed"), strict=False):
        assert (old.number, old.params) == (new.number, new.params)
        assert old.intermediate_values.items() <= new.intermediate_values.items()
