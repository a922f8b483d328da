"""How do tests ask a server that opens a run? It is started as a user starts it, and ended."""

import json
import socket
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self


def installed(name: str) -> str:
    """The command of this name that came with a package, as a shell would find it."""
    return str(Path(sysconfig.get_path("scripts")) / name)


class Server:
    """A command that answers HTTP on a free port of this machine while one is within `with`."""

    def __init__(self, name: str, *words: str, log: Path) -> None:
        """Starts it.

        Args:
            name: The command; it takes `--host` and `--port`.
            words: What else stands behind it.
            log: File for all that it prints.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [installed(name), *words, *where], stdout=file, stderr=subprocess.STDOUT
            )
        # A proxy that the environment names knows nothing of this machine's ports.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path: str, body: Any = None) -> Any:
        """The JSON at a path; with a body, what is answered to it."""
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}/{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with self._opener.open(request, timeout=10) as answer:
            return json.load(answer)

    def wait(self, path: str, ready: Callable[[Any], bool]) -> Any:
        """The JSON at a path, as soon as it is as wanted; that must come within a minute."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                answer = self.get(path)
            except OSError:
                answer = None
            if answer is not None and ready(answer):
                return answer
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.3)
        raise AssertionError(f"{path} never became ready: {self.log.read_text()}")
