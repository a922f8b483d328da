"""What is the cluster like? A small job that uploads nothing says it (`search.probe_script`)."""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import ClusterError
from search.jobs import ENDED

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PROBE_S = 60.0
"""Of looking at the cluster; importing torch on a cold node is most of it."""
_NODES_SHARE = 0.75
"""Of that, what nodes have; the rest is for starting the job and reading its answer."""
_LEAVE_S = 5.0
"""Until a job that has answered is stopped, and again until it is left to itself."""
_MARK = "SEARCH-PROBE"
_ENVIRONMENT = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is asked beside nodes, versions and speed."""

    packages: tuple[str, ...] = ()
    """Distributions whose versions are wanted."""
    paths: tuple[str, ...] = ()
    """Does the driver's node see these?"""
    out: str | None = None
    """Folder that every node has to see and write; None: nobody looks."""
    run: str = ""
    """Name of the run's folder in it."""
    weights: tuple[str, ...] = ()
    """Files of pretrained weights: are they on the driver's node?"""
    storage: str | None = None
    """URL of a database that the driver's node has to reach."""


@dataclass(frozen=True, kw_only=True)
class ProbedNode:
    """One node of the cluster."""

    name: str
    """Host name and address."""
    id: str
    """Ray's."""
    cpus: float
    """Cores that Ray counts."""
    gpus: float
    """GPUs that Ray counts."""
    failed: str = ""
    """Why it did not answer; empty: it did."""
    packages: Mapping[str, str | None]
    """Version of each distribution; None: not installed."""
    out: str = ""
    """Why it does not share the folder of the runs; empty: it does."""
    seconds: float | None = None
    """Of a small training step in one thread; None: no torch, or no answer."""
    gpu_seconds: float | None = None
    """Of the same on its GPU; None: no GPU, or it is taken."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the probe found."""

    python: str
    """Version of the driver's."""
    executable: str
    """Its file."""
    ray: str
    """Version."""
    driver: str
    """Id of the node that the job's driver runs on."""
    out: str
    """Why that node cannot write the folder of the runs; empty: it can."""
    run: str
    """What is where the run would lie: `absent`, `begun`, or `other`."""
    run_data: str | None
    """Images that it was begun with by `--data`; None: there is none, or they are gone."""
    paths: Mapping[str, bool]
    """Whether the driver's node sees each path."""
    weights: Mapping[str, bool]
    """Whether it has each file of weights."""
    storage: str
    """Why it cannot reach the database; empty: it can, or none is asked for."""
    nodes: tuple[ProbedNode, ...]
    """All that are alive."""


def probe(client: JobSubmissionClient, questions: Questions, *, limit_s: float = PROBE_S) -> Facts:
    """Asks a cluster; the job is removed from its list afterwards.

    Args:
        client: of the cluster.
        questions: beside what is always asked.
        limit_s: time for all of it.

    Raises:
        ClusterError: no answer came in time, or the probe could not run.
    """
    asked = {**vars(questions), "limit_s": limit_s * _NODES_SHARE}
    text = Path(__file__).with_name("probe_script.py").read_text(encoding="utf-8")
    until = time.monotonic() + limit_s
    identity = client.submit_job(
        entrypoint=shlex.join(["python", "-c", text, json.dumps(asked)]),
        submission_id=f"search-probe-{uuid.uuid4().hex[:8]}",
        runtime_env={"env_vars": _ENVIRONMENT},
    )
    answered = False
    try:
        facts = _wait(client, identity, until=until, limit_s=limit_s)
        answered = True
    finally:
        with suppress(Exception):  # one that cannot be removed now stays in the list
            _remove(client, identity, answered=answered)
    return facts


def _wait(client: JobSubmissionClient, identity: str, *, until: float, limit_s: float) -> Facts:
    while True:
        job = client.get_job_info(identity)
        logs = client.get_job_logs(identity)
        line = next((line for line in logs.splitlines() if line.startswith(f"{_MARK} {{")), None)
        if line is not None:
            return read_facts(json.loads(line.removeprefix(_MARK)))
        status = str(job.status)
        if status in ENDED:
            raise ClusterError(_broken(logs, job.message or ""))
        if time.monotonic() > until:
            means = (
                "no node has started its driver: the head has no room for a process, or is still "
                "starting"
                if status == "PENDING"
                else "its driver runs and cannot finish: nodes are starting, or are very busy"
            )
            raise ClusterError(
                f"the cluster took the job that looks at it, and gave no answer within "
                f"{limit_s:.0f} s; it is {status}, so {means}. --probe-seconds "
                f"{3 * limit_s:.0f} waits longer."
            )
        time.sleep(0.5)


def _remove(client: JobSubmissionClient, identity: str, *, answered: bool) -> None:
    """Takes the job off the list when it has ended; after its answer it does so by itself."""
    asked, until = False, time.monotonic() + (_LEAVE_S if answered else 0)
    while str(client.get_job_info(identity).status) not in ENDED:
        if time.monotonic() > until:
            if asked:
                return
            asked, until = client.stop_job(identity), time.monotonic() + _LEAVE_S
        time.sleep(0.2)
    client.delete_job(identity)


def _broken(logs: str, message: str) -> str:
    said = (logs.strip() or message.strip() or "it said nothing").splitlines()[-1]
    return (
        f"the job that looks at the cluster could not run: {said[:300]}. It is started as `python` "
        "on the head, which has to be the Python of its Ray: activate that environment before "
        "`ray start`."
    )


def read_facts(answers: Mapping[str, Any]) -> Facts:
    """The line that the probe prints, as a value."""
    each: list[dict[str, Any]] = [{"packages": {}, **node} for node in answers["nodes"]]
    return Facts(**{**answers, "nodes": tuple(ProbedNode(**node) for node in each)})
