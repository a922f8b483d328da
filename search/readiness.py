"""Is a job ready to be sent? Its space is held against the rules, and the job against the cluster.

Whatever is wrong on either side is told together, before anything is uploaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from search.cluster import Job, plan_job
from search.errors import ClusterError, SearchError
from search.job_data import Found, Wanted, find, wanted
from search.jobs import address_problem, check_installed, connect, searches
from search.messages import together
from search.options import Options
from search.passwords import hidden
from search.preflight import asked_problems, cluster_problems, missing_weights, requirements
from search.probe import Facts, Questions, probe
from search.space import Space, load_space
from xfer.errors import XferError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from search.check.inspection import Inspection
    from search.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A space as it can be seen from here."""

    plan: Plan
    """With the images' place as it is here, or as it would be there."""
    inspection: Inspection | None
    """With the images; None: they are not here."""
    backbones: Mapping[str, str]
    """Those whose weights trials may need, and the names of their files."""
    problems: tuple[str, ...]
    """What must be mended in it."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A job that can be sent."""

    job: Job
    """What is sent."""
    client: JobSubmissionClient
    """Of the cluster that it is sent to."""
    facts: Facts
    """Of the cluster."""
    looked: Looked | None
    """The space; None where a run goes on: it was checked when it began."""
    notes: tuple[str, ...]
    """What should be known."""


def make_ready(
    options: Options,
    *,
    probe_s: float,
    connect: Callable[[str], JobSubmissionClient] = connect,
) -> Ready:
    """Plans a job and holds it against its space, Ray and the cluster.

    Args:
        options: `search.submit`'s.
        probe_s: longest look at the cluster, in seconds.
        connect: to the job server of an address.

    Raises:
        ClusterError: problems, all of them in one message.
    """
    check_installed()
    stamp, needed = datetime.now(UTC), requirements()
    problems = asked_problems(options)
    space, looked, images = _look(options, problems)
    job = None if space is None else plan_job(options, found=Found(), stamp=stamp)
    wrong = address_problem(options.address)
    problems += [] if wrong is None else [wrong]
    # The probe's own command is shown, too: a URL with a password is refused, and not tried.
    shown = None if hidden(options.storage or "") != (options.storage or "") else options.storage
    client = facts = None
    try:
        if wrong is None:
            client = connect(str(options.address))
            questions = Questions(
                packages=tuple(one.name for one in needed),
                paths=images.there,
                out=options.out if options.out.startswith("/") else None,
                run="" if job is None else job.name,
                weights=() if looked is None else tuple(looked.backbones.values()),
                storage=shown,
            )
            facts = probe(client, questions, limit_s=probe_s)
    except ClusterError as error:
        problems += _parts(error)
    notes: list[str] = []
    if facts is not None and job is None:
        problems += cluster_problems(facts, options, name=None, needed=needed)
    elif facts is not None and job is not None and space is not None:
        if options.resume and options.data is None and facts.run_data:
            found = Found()  # the run keeps its images, and they are where they were
        else:
            found = find(images, facts.paths, demo=space.data.demo and options.data is None)
        problems += found.problems
        notes += found.notes
        # A demo does with what weights there are.
        sought = {} if looked is None or found.demo or options.demo else looked.backbones
        problems += cluster_problems(facts, options, name=job.name, needed=needed, backbones=sought)
        missing = missing_weights(facts, sought)
        if missing and not options.offline:
            notes.append(
                f"The driver's node has no weights of {', '.join(missing)} yet; it will fetch them "
                "when the search starts."
            )
        job = plan_job(options, found=found, stamp=stamp)
    if job is not None and (large := job.upload.problem()) is not None:
        problems.append(large)
    if job is not None and client is not None:
        problems += _still_running(client, job)
    if problems or job is None or client is None or facts is None:
        raise ClusterError(together(problems))
    return Ready(job=job, client=client, facts=facts, looked=looked, notes=tuple(notes))


def _look(options: Options, problems: list[str]) -> tuple[Space | None, Looked | None, Wanted]:
    """The space, checked as far as it can be from here; what is wrong is added to the list."""
    try:
        space = load_space(options.space)
    except SearchError as error:
        problems += _parts(error)
        return None, None, Wanted()
    images = wanted(space.data.path, options.data)
    if options.resume:  # what it was begun with is on the cluster, and so is who compares
        return space, None, images
    try:
        looked = look(space, options, images)
    except (SearchError, XferError) as error:
        problems += _parts(error)
        return space, None, images
    problems += looked.problems
    return space, looked, images


def look(space: Space, options: Options, images: Wanted) -> Looked:
    """Checks a space: with its images where they are here, and by its walks alone where not.

    Args:
        space: that is searched.
        options: the job's.
        images: that it needs.

    Raises:
        SearchError, XferError: the options do not fit the space.
    """
    from search.check.checked import check
    from search.check.inspection import inspect
    from search.plan import make_plan
    from xfer.models.table import TABLE

    here = options.demo or images.here or not (images.there or images.unfit)
    # Weights and free disks are the cluster's.
    asked = replace(options, offline=False)
    if not here and not options.demo:
        asked = replace(asked, data=images.flag or options.data or (*images.there, None)[0])
    plan = make_plan(space, asked)
    inspection = inspect(plan) if here else None
    classes = 2 if plan.data.positive is not None else 3  # no rule asks for more than "several"
    checked = inspection.checked if inspection is not None else check(plan, classes=classes)
    return Looked(
        plan=plan,
        inspection=inspection,
        backbones={name: TABLE[name].file for name in checked.backbones},
        problems=checked.problems,
    )


def _still_running(client: JobSubmissionClient, job: Job) -> list[str]:
    """Two jobs that write to one run: the second would end at its lock, after minutes."""
    return [
        f"job {other.submission_id} is still {other.status} and writes to {job.results}; end it "
        f"with --stop {other.submission_id}, or choose another --name"
        for other in searches(client)
        if str(other.status) in ("PENDING", "RUNNING")
        and (other.metadata or {}).get("results") == job.results
    ]


def _parts(error: Exception) -> list[str]:
    """The problems that a message of several holds.

    >>> _parts(ClusterError(together(["one", "two"])))
    ['one', 'two']
    """
    first, *rest = str(error).split("\n")
    if re.fullmatch(r"\d+ problems:", first):
        return [line.strip() for line in rest]
    return [str(error).removesuffix(".")]
