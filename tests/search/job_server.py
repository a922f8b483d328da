"""How do tests stand in for a cluster's job server? It answers the probe, and keeps what it got."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from platform import python_version
from threading import Thread
from types import SimpleNamespace
from typing import Any

from search.preflight import requirements
from search.probe_script import MARK

PACKAGES = {one.name: metadata.version(one.name) for one in requirements()}


def node(name: str = "head (10.0.0.1)", **changes: Any) -> dict[str, Any]:
    """A node's answer to the probe, without anything wrong."""
    return {
        "name": name, "id": name, "cpus": 4.0, "gpus": 0.0, "failed": "", "packages": PACKAGES,
        "out": "", "seconds": 0.1, "gpu_seconds": None,
    } | changes  # fmt: skip


def answers(**changes: Any) -> dict[str, Any]:
    """A cluster's, of one node as this machine."""
    return {
        "python": python_version(), "executable": "/usr/bin/python", "driver": "head (10.0.0.1)",
        "ray": metadata.version("ray"), "out": "", "run": "absent", "run_data": None, "paths": {},
        "weights": {}, "storage": "", "nodes": [node()],
    } | changes  # fmt: skip


class Client:
    """As much of Ray's job client as is used."""

    def __init__(
        self, said: Mapping[str, Any] | str | None = None, *, jobs: tuple[Any, ...] = ()
    ) -> None:
        """Takes the answer to the probe, the text that it prints instead, or None: it hangs."""
        self.said, self.jobs, self.sent, self.removed = said, list(jobs), [], []
        self.stopped = False

    def submit_job(self, **what: Any) -> str:
        folder = what["runtime_env"].get("working_dir")
        files = {} if folder is None else {
            str(path.relative_to(folder)): path.read_bytes()
            for path in Path(folder).rglob("*") if path.is_file()
        }  # fmt: skip
        self.sent.append(what | {"files": files})
        return what["submission_id"]

    @property
    def submitted(self) -> list[dict[str, Any]]:
        """Without probes."""
        return [job for job in self.sent if "working_dir" in job["runtime_env"]]

    @property
    def asked(self) -> dict[str, Any]:
        """The probe's questions."""
        import shlex

        return json.loads(shlex.split(self.sent[0]["entrypoint"])[-1])

    def get_job_info(self, identity: str) -> Any:
        status = "STOPPED" if self.stopped else "PENDING" if self.said is None else "SUCCEEDED"
        return SimpleNamespace(submission_id=identity, status=status, message="")

    def get_job_logs(self, identity: str) -> str:
        if self.said is None or isinstance(self.said, str):
            return self.said or ""
        return f"Running entrypoint for job {identity}\n{MARK} {json.dumps(self.said)}\n"

    def list_jobs(self) -> list[Any]:
        return self.jobs

    def stop_job(self, identity: str) -> bool:
        self.stopped = True
        return True

    def delete_job(self, identity: str) -> bool:
        self.removed.append(identity)
        return True


def job(identity: str, status: str, **metadata: str) -> Any:
    return SimpleNamespace(
        submission_id=identity, status=status, metadata=metadata, start_time=0, message=""
    )


@contextmanager
def answering(status: int, text: str) -> Iterator[str]:
    """Address of a server that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
