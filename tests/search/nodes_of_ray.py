"""A real Ray cluster on this machine: a head, and nodes that have a store of their own each."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@dataclass
class Cluster:
    """Started by `ray start`, as on machines; ended process by process."""

    folder: Path
    token: str | None = None
    port: int = field(default_factory=free_port)
    dashboard: int = field(default_factory=free_port)
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def environment(self, name: str = "driver") -> dict[str, str]:
        """Of a node, or of who speaks with the cluster."""
        own = self.folder / name
        variables = os.environ | {
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_memory_monitor_refresh_ms": "0", "RAY_gcs_server_port_wait_time_s": "120",
            "RAY_worker_register_timeout_seconds": "300",
            # A node that is gone is found out soon, or a test waits for it.
            "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "3000",
            "RAY_health_check_failure_threshold": "3",
            "XFER_CACHE": str(own / "cache"), "XFER_LEDGER": str(self.folder / "ledger"),
            "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1,localhost",
            "PATH": f"{RAY.parent}{os.pathsep}{os.environ['PATH']}",  # a job's driver is `python`
        }  # fmt: skip
        if name not in ("driver", "head"):
            variables |= {"TORCH_HOME": str(own / "torch")}
        if self.token is not None:
            variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        return variables

    def start(self, name: str, *words: str, cpus: int = 1) -> None:
        """A node; the first one is the head."""
        (self.folder / name).mkdir()
        where = ["--address", self.address]
        if not self.nodes:
            where = ["--head", "--port", str(self.port), "--include-dashboard", "true"]
            where += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(self.dashboard)]
            where += ["--ray-client-server-port", str(free_port())]
        command = [RAY, "start", "--block", "--num-cpus", str(cpus), "--num-gpus", "0",
                   "--object-store-memory", str(128 << 20), "--dashboard-agent-listen-port",
                   str(free_port()), *where, *words]  # fmt: skip
        # Nodes of one machine that shared a folder would unpack the job's code over each other's.
        command += ["--temp-dir", str(self.folder / f"r-{name}")]
        with (self.folder / name / "log").open("wb") as log:
            self.nodes[name] = subprocess.Popen(
                command, env=self.environment(name), stdout=log, stderr=log, start_new_session=True
            )
        self._wait_for(name)

    def kill(self, name: str) -> None:
        """As when a machine loses power."""
        process = self.nodes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _wait_for(self, name: str) -> None:
        log, deadline = self.folder / name / "log", time.monotonic() + 180
        while "Ray runtime started" not in log.read_text():
            assert self.nodes[name].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@contextmanager
def cluster(*, token: str | None = None) -> Iterator[Cluster]:
    """A cluster without nodes; within it they can be started."""
    folder = Path(tempfile.mkdtemp(prefix="xc-", dir="/tmp"))  # sockets have short paths
    made = Cluster(folder, token=token)
    try:
        yield made
    finally:
        for name in list(made.nodes):
            made.kill(name)
        shutil.rmtree(folder, ignore_errors=True)
