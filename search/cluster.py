"""What is sent to a cluster so that it runs a search? A job, as a value that can be printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from search.amounts import size
from search.flags import GROUPS
from search.job_data import Found
from search.jobs import STOP_S
from search.options import Options
from search.passwords import hidden
from search.uploads import Upload, gather, space_place

ROOT = Path(__file__).parents[1]
"""Of the project."""
_OURS = frozenset(("address", "name", "out", "data", "dry_run"))
"""Flags that the job has of its own, or not at all."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What Ray is given, and where the results will be."""

    submission_id: str
    """Ray's name of it; another one each time."""
    name: str
    """Of the run; a job that goes on with it has the same."""
    entrypoint: str
    """Shell command of the driver, on the head, in the unpacked upload."""
    environment: Mapping[str, str]
    """Variables of the driver and of all workers."""
    upload: Upload
    """The working directory."""
    cpus: float = 0.0
    """Cores that the driver reserves: none, which keeps it on the head, and all for trials."""
    gpus: float = 0.0
    """GPUs that it reserves."""
    results: str
    """Folder of the run, on all nodes."""
    metadata: Mapping[str, str]
    """What `--list`, `--status` and `--stop` read again."""

    def runtime_env(self, folder: Path) -> dict[str, Any]:
        """Ray's runtime environment, with the upload in that folder."""
        return {"working_dir": str(folder), "env_vars": dict(self.environment)}

    def lines(self) -> list[str]:
        """The plan, for the screen."""
        largest = ", ".join(f"{name} {size(count)}" for name, count in self.upload.largest()[:3])
        variables = " ".join(f"{name}={value}" for name, value in self.environment.items())
        return [
            f"job: {self.submission_id}",
            f"runs: {hidden(self.entrypoint)}",
            f"on: the head, with {self.cpus:g} cores and {self.gpus:g} GPUs reserved for the "
            "driver; trials reserve their own",
            f"variables: {variables}",
            f"upload: {len(self.upload.files)} files, {size(self.upload.bytes)} ({largest})",
            f"results: {self.results}",
        ]


def plan_job(options: Options, *, found: Found, stamp: datetime) -> Job:
    """The job that runs a search on a cluster.

    Args:
        options: `search.submit`'s: `address` is the dashboard's, `out` a folder of the cluster.
        found: where the images are.
        stamp: now; it makes names that no other job has.
    """
    space = Path(options.space).expanduser().absolute()
    mark = stamp.strftime("%Y%m%d-%H%M%S")
    name = options.name or f"{space.stem}-{mark}"
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)  # it stands in URLs
    words = ["python", "-m", "search.run", space_place(space), *words_of(options, leave=_OURS)]
    words += [] if found.flag is None else ["--data", found.flag]
    words += ["--address", "auto", "--name", name, "--out", options.out]
    return Job(
        submission_id=plain if options.name is None else f"{plain}-{mark}",
        name=name,
        entrypoint=shlex.join(words),
        environment={
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S),
        },
        upload=gather(space, root=ROOT, data=found.parts),
        results=str(PurePosixPath(options.out) / name),
        metadata={
            "run": name,
            "results": str(PurePosixPath(options.out) / name),
            "resume": resume_command(options, name, uploaded=bool(found.parts)),
        },
    )


def resume_command(options: Options, name: str, *, uploaded: bool) -> str:
    """What somebody types here to go on with the run.

    Args:
        options: of the job that began it, or went on with it.
        name: of the run.
        uploaded: its images went with the job, so they have to go with the next one.
    """
    words = ["python", "-m", "search.submit", options.space, "--address", str(options.address)]
    words += ["--name", name, "--out", options.out]
    words += ["--data", options.data] if uploaded and options.data is not None else []
    return shlex.join([*words, "--resume"])


def words_of(options: Options, *, leave: frozenset[str] = frozenset()) -> list[str]:
    """The flags that a command line gave, as words again.

    Args:
        options: with `given`.
        leave: fields that are left out.
    """
    words: list[str] = []
    for flag, metavar, _, _ in (row for rows in GROUPS.values() for row in rows):
        name = flag.removeprefix("--").replace("-", "_")
        if name in options.given and name not in leave:
            value = getattr(options, name)
            words += [flag] if metavar is None else _with_value(flag, value)
    return words


def _with_value(flag: str, value: Any) -> list[str]:
    texts: Sequence[str] = [str(value)]
    if isinstance(value, tuple):
        texts = value if flag == "--known" else [",".join(value)]
    # What begins like a flag is a value only behind `=`.
    return [
        word
        for text in texts
        for word in ([f"{flag}={text}"] if text.startswith("-") else [flag, text])
    ]
