"""Sends a search to a Ray cluster, and asks what became of it.

    python -m search.submit spaces/pneumonia.py --address http://HEAD:8265 --out /mnt/shared/runs
    python -m search.submit --logs ID --address http://HEAD:8265      also --status, --stop, --list

Before anything is uploaded the space is checked here and the cluster by a small job of its own.
Exit codes: 0 done; 2 what was given is wrong, or the cluster cannot run it; with --logs the run's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search.amounts import counted
from search.errors import ClusterError, OptionsError, SearchError
from search.flags import SUBMIT
from search.jobs import (
    address_problem,
    connect,
    connected,
    details,
    exit_code,
    follow,
    searches,
    stop,
)
from search.messages import together
from search.options import Options, options_of, read_flags
from xfer.errors import XferError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

    from search.probe import Facts
    from search.readiness import Looked, Ready

PROG = "python -m search.submit"
_VERBS = ("list", "status", "logs", "stop")


def main(argv: Sequence[str]) -> int:
    """Does what a command line asks for; returns the exit code."""
    try:
        space, values, problems = read_flags(argv, SUBMIT, prog=PROG)
        verbs = [verb for verb in _VERBS if verb in values]
        if verbs:
            address = _alone(space, values, verbs, problems)
            with connected(address):
                return _manage(verbs[0], values, address)
        probe_s = values.pop("probe_seconds", None)
        return submit(options_of(space, values, problems, prog=PROG), probe_s=probe_s)
    except (SearchError, XferError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted here; a job that was submitted goes on.", file=sys.stderr)
        return 130


def submit(
    options: Options,
    *,
    probe_s: float | None = None,
    connect: Callable[[str], JobSubmissionClient] = connect,
) -> int:
    """Plans a job, holds it against the cluster, and sends it; returns the exit code.

    Args:
        options: what was asked for.
        probe_s: longest look at the cluster, in seconds; None: `search.probe.PROBE_S`.
        connect: to the job server of an address.

    Raises:
        SearchError: problems, all of them in one message; nothing was uploaded then.
    """
    from search.probe import PROBE_S
    from search.readiness import make_ready

    with connected(str(options.address)):
        ready = make_ready(options, probe_s=probe_s or PROBE_S, connect=connect)
    notes = (f"note: {note}" for note in ready.notes)
    for line in (*ready.job.lines(), *_cluster_lines(ready.facts), *notes):
        print(line)
    if options.dry_run:
        for line in _cost(ready.looked, ready.facts):
            print(line)
        print("Nothing was uploaded or submitted.")
        return 0
    with connected(str(options.address)):
        _send(ready)
    where, identity = f"{PROG} --address {options.address}", ready.job.submission_id
    print(f"Submitted. What it prints:  {where} --logs {identity}")
    print(f"To end it:  {where} --stop {identity}")
    return 0


def _send(ready: Ready) -> None:
    job = ready.job
    with job.upload.folder() as folder:
        try:
            ready.client.submit_job(
                entrypoint=job.entrypoint,
                submission_id=job.submission_id,
                runtime_env=job.runtime_env(folder),
                metadata=dict(job.metadata),
                entrypoint_num_cpus=job.cpus or None,
                entrypoint_num_gpus=job.gpus or None,
            )
        except RuntimeError as error:
            raise ClusterError(f"the cluster did not take the job: {error}") from error


def _cost(looked: Looked | None, facts: Facts) -> list[str]:
    from search.core_hours import cost_lines, here

    if looked is None or looked.inspection is None:
        return ["cost: not known here: the images are on the cluster alone, or the run was begun."]
    try:
        ours = here(looked.plan, looked.inspection)
    except (SearchError, ValueError) as error:
        return [f"cost: not known, because it cannot be forecast here: {error}"]
    return cost_lines(ours, facts.nodes, minutes=looked.plan.budget.minutes)


def _cluster_lines(facts: Facts) -> list[str]:
    cores, gpus = (
        sum(values) for values in zip(*((n.cpus, n.gpus) for n in facts.nodes), strict=True)
    )
    lines = [
        f"cluster: {counted(len(facts.nodes), 'node')}, {_room(cores, gpus)}; "
        f"Ray {facts.ray}, Python {facts.python}"
    ]
    for node in facts.nodes:
        step = (
            "" if node.seconds is None else f", a small training step {node.seconds * 1e3:.0f} ms"
        )
        gpu = "" if node.gpu_seconds is None else f", {node.gpu_seconds * 1e3:.1f} ms on its GPU"
        role = ", the driver's" if node.id == facts.driver else ""
        lines.append(f"  {node.name}: {_room(node.cpus, node.gpus)}{step}{gpu}{role}")
    return lines


def _room(cpus: float, gpus: float) -> str:
    return f"{counted(int(cpus), 'core')}, {counted(int(gpus), 'GPU')}"


def _alone(
    space: str | None, values: Mapping[str, Any], verbs: Sequence[str], problems: Sequence[str]
) -> str:
    """The address, where a command line asks for one thing about jobs and for nothing else."""
    found = list(problems)
    verb = verbs[0]
    others = ["SPACE"] if space is not None else []
    others += [f"--{name.replace('_', '-')}" for name in values if name not in ("address", verb)]
    if others:
        found.append(f"--{verb} goes with --address alone; leave out {', '.join(others)}")
    wrong = address_problem(values.get("address"))
    found += [wrong] if wrong is not None else []
    if found:
        raise OptionsError(together(found))
    return str(values["address"])


def _manage(verb: str, values: Mapping[str, Any], address: str) -> int:
    client = connect(address)
    if verb == "list":
        for job in searches(client):
            print(f"{job.submission_id}  {job.status}  {_about(job)['results']}")
        return 0
    identity = values[verb]
    if verb == "status":
        job = details(client, identity)
        print(f"{identity}  {job.status}  {_about(job)['results']}")
        if str(job.status) in ("FAILED", "STOPPED"):
            _say_resume(job)
        return 0
    if verb == "logs":
        job = follow(client, identity, lambda text: print(text, end="", flush=True))
        print(f"{identity}  {job.status}  {_about(job)['results']}")
        if str(job.status) != "SUCCEEDED":
            _say_resume(job)
        return exit_code(job)
    before = details(client, identity)
    job = stop(client, identity)
    ended = "had ended" if str(before.status) == str(job.status) else "has ended"
    print(f"{identity} {ended}: {job.status}")
    if str(job.status) != "SUCCEEDED":
        _say_resume(job)
    return 0


def _about(job: JobDetails) -> dict[str, str]:
    return {"results": "", "resume": ""} | (job.metadata or {})


def _say_resume(job: JobDetails) -> None:
    if _about(job)["resume"]:
        print(f"To go on with it:\n  {_about(job)['resume']}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
