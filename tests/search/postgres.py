"""How do tests get a PostgreSQL server? A cluster of their own in a folder, ended with the test."""

import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import quote

PASSWORD = "s3cret/@:%{}"
"""With all that a URL must not hold as it is, and what Optuna takes for a template."""


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl; Debian keeps it off the path. None: there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    there = found[-1] if found else shutil.which("initdb")
    return None if there is None else Path(there).resolve().parent


class Postgres:
    """A server on a free port of this machine, while one is within `with`."""

    def __init__(self, bin: Path) -> None:
        """Makes it and starts it.

        Args:
            bin: Folder of initdb and pg_ctl.
        """
        self._bin = bin
        # Not below pytest's folder, which other users may not enter. PostgreSQL refuses root.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._as = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self.log, self._data = self.folder / "log", self.folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self._as:
            for path in (self.folder, password):
                shutil.chown(path, "postgres", "postgres")
        try:
            self._run(
                "initdb", "-U", "me", "-A", "scram-sha-256", "--pwfile", str(password),
                "-E", "UTF8", "--no-locale", "--no-sync",
            )  # fmt: skip
            with (self._data / "postgresql.conf").open("a") as file:
                file.write("listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\n")
                # A server that is killed loses nothing by this, only a machine that is.
                file.write(f"port = {self.port}\nmax_connections = 40\nfsync = off\n")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        self._run("pg_ctl", "-w", "-l", str(self.log), "start")

    def stop(self) -> None:
        """As after a power cut: what clients are doing is lost, and the log is replayed."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def restart(self) -> None:
        self.stop()
        self.start()

    def make(self, database: str) -> str:
        """A new database; its URL, with the password."""
        self.run_sql("postgres", f"CREATE DATABASE {database}")
        return self.url(database)

    def run_sql(self, database: str, statement: str) -> None:
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="me", password=PASSWORD, dbname=database,
            autocommit=True,
        ) as connection:  # fmt: skip
            connection.execute(statement.encode())

    def url(self, database: str, password: str | None = PASSWORD) -> str:
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://me{secret}@127.0.0.1:{self.port}/{database}"

    def _run(self, command: str, *words: str) -> None:
        done = subprocess.run(
            [self._bin / command, "-D", self._data, *words],
            cwd=self.folder, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True, timeout=100, **self._as,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)


class Lossy:
    """Stands before a server, and cuts connections where a transaction is about to stand.

    `lose` says by a commit's number, counted from 1: "answer", and it stands, but nobody hears of
    it; "request", and it does not; anything else passes.
    """

    def __init__(self, server: Postgres, lose: Callable[[int], str]) -> None:
        self.commits, self.lost = 0, 0
        self.lose, self._server = lose, server.port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._pass_on, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    try:
                        data = ready.recv(1 << 16)
                    except OSError:
                        return
                    if not data:
                        return
                    what = ""
                    if ready is client and b"COMMIT" in data:
                        self.commits += 1
                        what = self.lose(self.commits)
                    if what == "request":
                        self.lost += 1
                        return
                    (server if ready is client else client).sendall(data)
                    if what == "answer":
                        server.recv(1 << 16)
                        self.lost += 1
                        return
