"""How is a cluster's job server spoken to? Connecting, and what becomes of a job.

Ray's own client, with what it lacks: a time limit for an address that does not answer, and words
for what is wrong.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from search.errors import ClusterError
from search.messages import near

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

ANSWER_S = 10.0
"""An address that says nothing for so long does not answer."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
STOP_S = 60
"""What a search is given to end by itself, before it is killed; it can be resumed after both."""
_NEEDED = ("aiohttp", "packaging", "pydantic", "requests")
"""What the job client imports, of all that `ray[default]` brings."""
_TALKATIVE = (
    "dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk",
    "_private.runtime_env.packaging",
)  # fmt: skip
_TOKEN = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token or RAY_AUTH_TOKEN_PATH to "
    "a file that holds it"
)


def check_installed(find: Callable[[str], Any] = find_spec) -> None:
    """Raises ClusterError where jobs cannot be submitted from this Python."""
    lacking = [name for name in _NEEDED if find(name) is None]
    if lacking:
        raise ClusterError(
            f"submitting jobs needs the extra `cluster`, of which {', '.join(lacking)} is not "
            'installed: run `uv sync --extra cluster` or `pip install "ray[default]"`.'
        )


def address_problem(address: str | None) -> str | None:
    """Why that is no address of a dashboard; None: it may be one.

    >>> address_problem("http://10.0.0.1:8265")
    >>> address_problem("10.0.0.1:6379").split("; ")[1]
    'got 10.0.0.1:6379'
    """
    asked = (
        "--address must be the HTTP address of the cluster's dashboard, such as http://HEAD:8265"
    )
    if address is None:
        return f"--address is missing: {asked.removeprefix('--address must be ')}"
    try:
        parts = urlsplit(address)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        right = right and parts.path in ("", "/") and not parts.query and parts.username is None
    except ValueError:  # a port that is none
        right = False
    return None if right else f"{asked}; got {address}"


def connect(address: str, *, answer_s: float = ANSWER_S) -> JobSubmissionClient:
    """The job client of a cluster.

    Args:
        address: of its dashboard.
        answer_s: longest silence until its first answer, in seconds.

    Raises:
        ClusterError: the address is none, nobody answers there, what answers is no Ray, or wants
            another token.
    """
    problem = address_problem(address)
    if problem is not None:
        raise ClusterError(f"{problem}.")
    check_installed()
    address = address.rstrip("/")
    _knock(address, answer_s)
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in _TALKATIVE:
        logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
    try:
        with _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # they would go before --address
            return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ClusterError(_refused(address, str(error))) from None
    except (ConnectionError, RuntimeError) as error:
        raise ClusterError(f"--address {address}: no Ray job server there: {error}.") from error


def _knock(address: str, answer_s: float) -> None:
    """Ray's client waits without end for who takes a connection and says nothing."""
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=answer_s) as answer:
            said = answer.read(10_000)
            if b'"ray_version"' not in said:
                raise ClusterError(f"--address {address}: what answers there is no Ray dashboard.")
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise ClusterError(
                f"--address {address}: what answers there is no Ray dashboard ({error})."
            ) from None
    except (OSError, ValueError) as error:  # of sockets, and what is no HTTP at all
        why = getattr(error, "reason", None) or error
        raise ClusterError(_silent(address, why)) from None
    except http.client.HTTPException:
        raise ClusterError(
            f"--address {address}: what answers there speaks no HTTP. It must be the dashboard's "
            "port, 8265 by default, and neither the head's (6379) nor Ray Client's (10001)."
        ) from None


def _silent(address: str, why: object) -> str:
    return (
        f"--address {address}: nobody answers there ({why}). It is the dashboard's address, port "
        "8265 by default; a head started with --dashboard-host 127.0.0.1 is reached through a "
        "tunnel: ssh -L 8265:127.0.0.1:8265 HEAD, then --address http://127.0.0.1:8265."
    )


def _refused(address: str, said: str) -> str:
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode != "token":
        return f"--address {address}: the cluster wants a token: {_TOKEN} (RAY_AUTH_MODE is unset)."
    if said.startswith("RAY_AUTH_TOKEN_PATH"):
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        return f"RAY_AUTH_TOKEN_PATH is {path}, and no token can be read from there; {_TOKEN}."
    where = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else "RAY_AUTH_TOKEN_PATH" if (
        os.environ.get("RAY_AUTH_TOKEN_PATH")) else "~/.ray/auth_token"  # fmt: skip
    return f"--address {address}: the cluster refuses the token of {where}; {_TOKEN}."


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Within it a connection that breaks is told as what it is.

    Raises:
        ClusterError: it broke, or the token is refused by now.
    """
    check_installed()
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError
    from requests import RequestException

    try:
        yield
    except (RequestException, ClientError) as error:
        raise ClusterError(
            f"--address {address}: the connection broke: {error}. A job that was submitted goes on."
        ) from error
    except AuthenticationError as error:
        raise ClusterError(_refused(address, str(error))) from None


@contextmanager
def _without(*names: str) -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def details(client: JobSubmissionClient, identity: str) -> JobDetails:
    """What the server knows of a job.

    Raises:
        ClusterError: it knows no such job.
    """
    try:
        return client.get_job_info(identity)
    except RuntimeError as error:
        if "404" not in str(error):
            raise ClusterError(f"job {identity}: {error}") from error
        names = [job.submission_id for job in searches(client) if job.submission_id]
        has = f"; there are {', '.join(names)}" if names else "; there is none"
        raise ClusterError(f"no job {identity!r}{near(identity, names) or has}.") from None


def searches(client: JobSubmissionClient) -> list[JobDetails]:
    """All jobs that `search.submit` sent, latest first."""
    jobs = [job for job in client.list_jobs() if (job.metadata or {}).get("run")]
    return sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)


def follow(client: JobSubmissionClient, identity: str, write: Callable[[str], Any]) -> JobDetails:
    """Writes what a job prints until it has ended; returns how.

    A connection that breaks is made again, and nothing is written twice.
    """
    from aiohttp import ClientError

    written = 0

    def go_on(text: str, begins: int) -> None:
        nonlocal written
        write(text[max(0, written - begins) :])
        written = max(written, begins + len(text))

    while True:
        before = details(client, identity)
        try:
            asyncio.run(_tail(client, identity, go_on))
        except (ClientError, RuntimeError, OSError):  # `details` tells what lasts
            go_on(client.get_job_logs(identity), 0)
        if str(before.status) in ENDED:
            return before
        time.sleep(1.0)


async def _tail(
    client: JobSubmissionClient, identity: str, go_on: Callable[[str, int], None]
) -> None:
    """Passes on what a job has printed and prints, with how much came before it."""
    seen = 0
    async for text in client.tail_job_logs(identity):
        go_on(text, seen)
        seen += len(text)


def stop(client: JobSubmissionClient, identity: str) -> JobDetails:
    """Asks a job to end, and waits until it has; returns how. One that has ended stays as it is.

    Raises:
        ClusterError: no such job, or it does not end.
    """
    details(client, identity)
    client.stop_job(identity)
    until = time.monotonic() + STOP_S + 30
    while True:
        job = details(client, identity)
        if str(job.status) in ENDED:
            return job
        if time.monotonic() > until:
            raise ClusterError(
                f"job {identity} was asked to stop and is still {job.status}; look at it with "
                f"--status {identity}."
            )
        time.sleep(0.5)


def exit_code(job: JobDetails) -> int:
    """As the run's own would be: 0 done, 130 stopped, else the one that it ended with."""
    if str(job.status) == "SUCCEEDED":
        return 0
    if str(job.status) == "STOPPED":
        return 130
    return job.driver_exit_code or 1
