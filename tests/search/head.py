"""How do tests get a cluster? Ray's own command starts a head, with a token, on free ports."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from server import installed


@dataclass(frozen=True)
class Head:
    """A cluster of one node."""

    address: str
    """Of its dashboard."""
    environment: dict[str, str]
    """Of commands that may speak to it."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened to a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def start_head(place: Path, *, cpus: int = 2) -> Iterator[Head]:
    """Within it there is a head; what was started is ended, and nothing else.

    Args:
        place: folder for the cluster's own cache, ledger and log.
        cpus: cores that it counts.
    """
    port, dashboard, agent, client = free_ports(4)
    temp = Path(tempfile.mkdtemp(prefix="xh-", dir="/tmp"))  # sockets need a short path
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "NO_PROXY": "127.0.0.1,localhost",
    }
    theirs = environment | {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "OMP_NUM_THREADS": "1",
        "XFER_CACHE": str(place / "cache"),
        "XFER_LEDGER": str(place / "ledger"),
        "RAY_enable_metrics_collection": "0",
        "RAY_memory_monitor_refresh_ms": "0",
    }
    words = {
        "port": port, "dashboard-host": "127.0.0.1", "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent, "ray-client-server-port": client,
        "temp-dir": temp, "num-cpus": cpus, "object-store-memory": 128 << 20,
    }  # fmt: skip
    flags = [f"--{name}={value}" for name, value in words.items()]
    log = place / "head.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [installed("ray"), "start", "--head", "--block", "--disable-usage-stats", *flags],
            env=theirs, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{dashboard}"
        _wait(address, process, log)
        yield Head(address, environment)
    finally:
        process.terminate()  # `--block` ends what it has started
        process.wait(60)
        shutil.rmtree(temp, ignore_errors=True)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + 180
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            opener.open(f"{address}/api/version", timeout=5).close()
        except urllib.error.HTTPError as error:
            if error.code == 401:  # it wants a token: it is there
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError(log.read_text())
