"""How a storage is opened, what is said where it cannot be, and which passwords are written."""

import json
import socket
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import ROOT
from sqlalchemy import make_url

from search.errors import RunError
from search.options import parse
from search.passwords import hidden, without_password
from search.run import main
from search.rundir import create_run
from search.study import Record
from search.study.filesystem import is_shared
from search.study.storage import _bounds, close_storage, open_storage, study_names

MOUNTED = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:50 / /data\040sets rw,relatime shared:5 master:1 - nfs4 server:/export rw,vers=4.2
41 40 0:51 / /data\040sets/local rw - ext4 /dev/vdb rw
42 22 0:52 / /over rw - nfs server:/a rw
43 22 0:53 / /over rw - xfs /dev/vdc rw
44 22 0:54 / /bucket rw - fuse.s3fs s3fs rw
45 22 0:55 / /windows rw - fuseblk /dev/sdc rw
46 22 0:56 / /share rw - cifs //server/share rw
47 22 0:57 / /scratch rw - lustre mgs:/scratch rw
"""


@pytest.mark.parametrize(
    ("folder", "shared"),
    [
        ("/home/me/runs", False),
        ("/data sets", True),
        ("/data sets/runs/a", True),
        ("/data sets/local/runs", False),
        ("/data", False),
        ("/over/runs", False),
        ("/bucket/runs", True),
        ("/windows/runs", False),
        ("/share/runs", True),
        ("/scratch/me/runs", True),
    ],
)
def test_a_folder_is_shared_where_other_machines_may_write_to_it(
    tmp_path: Path, folder: str, shared: bool
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTED)
    assert is_shared(Path(folder), mounts=mounts) == shared


def test_where_nothing_is_said_of_mounts_a_folder_is_this_machines(tmp_path: Path) -> None:
    assert not is_shared(tmp_path, mounts=tmp_path / "nothing")


def test_a_study_on_a_shared_file_system_is_not_in_write_ahead_mode(tmp_path: Path) -> None:
    mounts, file = tmp_path / "mountinfo", tmp_path / "study.db"
    mounts.write_text(f"1 0 0:1 / {tmp_path} rw - nfs4 server:/runs rw\n")
    more: dict[str, Any]
    for more, mode in (({}, "wal"), ({"mounts": mounts}, "delete")):
        storage = open_storage(file, **more)
        with Record(storage, name="s", seed=0, epochs=2) as record:
            assert record.told == 0
        close_storage(storage)
        connection = sqlite3.connect(file)
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
        connection.close()


def test_a_folder_may_have_braces_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "{runs}").mkdir()
    Record(tmp_path / "{runs}" / "study.db", name="s", seed=0, epochs=2).close()
    assert study_names(f"sqlite:///{tmp_path}/{{runs}}/study.db") == {"s"}


def test_a_sqlite_file_that_is_not_there_has_no_studies_and_is_not_made(tmp_path: Path) -> None:
    assert study_names(f"sqlite:///{tmp_path}/study.db") == frozenset()
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------
# What cannot be opened


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@127.0.0.1:1/x", '127.0.0.1", port 1 failed: Connection refused.'),
        ("postgresql://me:secret@no.such.host/x", "failed to resolve host 'no.such.host': "),
        ("postgresql://me:secret@host:port/x", "'port'."),
        ("postgresql://me:secret@host@there/x", "an @ in its user or password must be written %40"),
        ("postgresql://me:secret@127.0.0.1:1/x?nonsense=1", 'connection option "nonsense".'),
        ("postgresql:://me:secret@host/x", "it is no URL such as postgresql://USER@HOST:5432/DATA"),
        ("postgres9://me:secret@host/x", "'postgres9' is no database that SQLAlchemy knows"),
        ("mysql+pymysql://me:secret@host/x", "its driver pymysql is not installed."),
    ],
)
def test_a_url_that_cannot_be_opened_is_told_in_a_sentence(url: str, said: str) -> None:
    with pytest.raises(RunError) as caught:
        study_names(url)
    told = str(caught.value)
    assert told.startswith("cannot open the study's storage ")
    assert said in told
    assert "secret" not in told
    assert "\n" not in told


def test_a_host_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        where = f"127.0.0.1:{mute.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(RunError, match="timeout"):
            study_names(f"postgresql://me@{where}/x?connect_timeout=2")
        assert time.monotonic() - began < 20
    assert _bounds(make_url("postgresql://me@host/x"))["connect_timeout"] == 10
    assert "connect_timeout" not in _bounds(make_url("postgresql://h/x?connect_timeout=2"))


def test_a_driver_that_is_not_installed_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RunError, match=r"run `uv sync --extra postgres` or `pip install 'psycopg"):
        study_names("postgresql://me@127.0.0.1:1/x")


def test_a_storage_that_cannot_be_opened_ends_the_command_before_anything_is_claimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(ROOT / "spaces/digits.py"), "--storage", "postgresql://me:secret@127.0.0.1:1/x"]
    assert main([*words, "--out", str(tmp_path / "runs")]) == 2
    printed = "".join(capsys.readouterr())
    assert "cannot open the study's storage postgresql://me:***@127.0.0.1:1/x: " in printed
    assert "secret" not in printed
    assert not (tmp_path / "runs").exists()


def test_a_name_that_another_run_has_in_the_storage_is_refused_before_a_folder_is_claimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Record(tmp_path / "shared.db", name="mine", seed=0, epochs=2).close()
    words = [str(ROOT / "spaces/digits.py"), "--storage", f"sqlite:///{tmp_path}/shared.db"]
    assert main([*words, "--out", str(tmp_path / "runs"), "--name", "mine"]) == 2
    assert "--storage has a study 'mine' already: choose another --name" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_run_without_a_name_gets_one_that_no_study_has(tmp_path: Path) -> None:
    runs = [create_run(tmp_path, name=None, stem="s", taken={"s", "s-3"}).name for _ in range(2)]
    assert runs == ["s-2", "s-4"]


def test_a_study_belongs_to_the_run_that_made_it(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    for _ in range(2):  # begun, and resumed
        Record(file, name="s", seed=0, epochs=2, about={"begun": "on Monday"}).close()
    with pytest.raises(RunError, match=r"another run, which was begun at on Monday; .* --name"):
        Record(file, name="s", seed=0, epochs=2, about={"begun": "on Tuesday"})


# --------------------------------------------------------------------------------------------------
# Passwords

URL = "postgresql://me:secret@host:5432/studies"


@pytest.mark.parametrize(
    ("text", "shown", "kept"),
    [
        (URL, "postgresql://me:***@host:5432/studies", "postgresql://me@host:5432/studies"),
        (f"--storage={URL}", f"--storage={hidden(URL)}", f"--storage={without_password(URL)}"),
        ("postgresql://me@host/x", "postgresql://me@host/x", "postgresql://me@host/x"),
        ("postgresql://:secret@h/x", "postgresql://:***@h/x", "postgresql://@h/x"),
        ("postgresql://me:se/c:ret@h/x", "postgresql://me:***@h/x", "postgresql://me@h/x"),
        ("mysql://h/x?password=secret", "mysql://h/x?password=***", "mysql://h/x"),
        ("mysql://h/x?PASSWORD=secret&a=b", "mysql://h/x?PASSWORD=***&a=b", "mysql://h/x?a=b"),
        ("mysql://h/x?a=b&passwd=secret", "mysql://h/x?a=b&passwd=***", "mysql://h/x?a=b"),
        ("sqlite:///a@b/study.db", "sqlite:///a@b/study.db", "sqlite:///a@b/study.db"),
        ("images:me@home", "images:me@home", "images:me@home"),
    ],
)
def test_a_password_is_neither_shown_nor_kept(text: str, shown: str, kept: str) -> None:
    assert (hidden(text), without_password(text)) == (shown, kept)


def test_a_run_keeps_its_url_without_the_password_and_takes_it_again() -> None:
    begun = parse(["x.py", "--storage", URL]).to_json()
    assert "secret" not in json.dumps(begun)
    assert parse(["x.py", "--resume"]).resumed(begun).storage == without_password(URL)
    again = URL.replace("secret", "another")
    assert parse(["x.py", "--resume", "--storage", again]).resumed(begun).storage == again
