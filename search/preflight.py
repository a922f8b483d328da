"""What keeps a job from running on the cluster, as far as it can be known before it is sent?"""

from __future__ import annotations

import platform
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

from search.cluster import ROOT
from search.options import Options
from search.passwords import hidden, without_password
from search.probe import Facts, ProbedNode


def requirements(root: Path = ROOT) -> list[Requirement]:
    """What `pyproject.toml` says that a Python needs for a search."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    return [Requirement(line) for line in tomllib.loads(text)["project"]["dependencies"]]


def asked_problems(options: Options) -> list[str]:
    """What is wrong with flags that mean something else on a cluster than here."""
    found = []
    what = "give a folder that all nodes see, such as --out /mnt/shared/runs"
    if "out" not in options.given:
        found.append(f"--out is missing: {what}")
    elif "://" in options.out:
        found.append(f"--out must be a folder, got {options.out}; {what}")
    elif not PurePosixPath(options.out).is_absolute():
        found.append(
            f"--out {options.out} is relative, and would lie in the job's copy of the code, which "
            f"Ray removes with the job; {what}"
        )
    if options.resume and options.name is None:
        found.append("--resume needs --name: the run to go on with; --list names those of jobs")
    if re.match(r"sqlite[^:]*:///(?!/)", options.storage or ""):
        found.append(
            f"--storage {options.storage} is relative, and would lie in the job's copy of the "
            "code; leave it out for a file in the run's folder, or give an absolute path "
            "(sqlite:////...) or a database's URL"
        )
    if without_password(options.storage or "") != (options.storage or ""):
        found.append(
            f"--storage {hidden(options.storage or '')} has a password in it, and Ray shows a "
            "job's command to everybody who sees the dashboard; leave it out, and keep it in "
            "~/.pgpass on the driver's node"
        )
    return found


def cluster_problems(
    facts: Facts,
    options: Options,
    *,
    name: str | None,
    needed: Sequence[Requirement],
    backbones: Mapping[str, str] | None = None,
) -> list[str]:
    """What the cluster lacks.

    Args:
        facts: of the cluster.
        options: the job's.
        name: of the run; None: its space cannot be loaded, so it has none.
        needed: what every node's Python must have.
        backbones: those whose weights trials may need, and the names of their files.
    """
    found = list(_versions(facts, metadata.version("ray"), platform.python_version()))
    found += _packages(facts.nodes, needed)
    found += [
        f"node {node.name} did not answer: {node.failed}" for node in facts.nodes if node.failed
    ]
    found += _out(facts, options.out)
    most, share = max((node.gpus for node in facts.nodes), default=0), options.gpus_per_trial
    if isinstance(share, float) and share > most:
        found.append(
            f"--gpus-per-trial {share:g} needs a node with as many GPUs, and here the most is "
            f"{most:g}"
        )
    found += [] if name is None else _run(facts.run, f"run {name!r}", options)
    missing = missing_weights(facts, backbones or {})
    if missing and options.offline:
        files = ", ".join((backbones or {})[name] for name in missing)
        found.append(
            f"no weights of {', '.join(missing)} on the driver's node, and --offline forbids to "
            f"fetch them: put {files} into torch.hub's folder there, narrow the space with "
            "--backbones, or start from random weights with --weights none"
        )
    if facts.storage:
        found.append(
            f"--storage {hidden(options.storage or '')} cannot be reached from the "
            f"driver's node: {hidden(facts.storage)}"
        )
    return found


def missing_weights(facts: Facts, backbones: Mapping[str, str]) -> list[str]:
    """Backbones whose weights the driver's node would have to fetch."""
    return [name for name, file in backbones.items() if not facts.weights.get(file)]


def _versions(facts: Facts, ray: str, python: str) -> Iterator[str]:
    if facts.ray != ray:
        yield (
            f"Ray is {ray} here and {facts.ray} on the cluster: install the same on both, such as "
            f'pip install "ray[default]=={facts.ray}" here'
        )
    here, there = (version.rsplit(".", 1)[0] for version in (python, facts.python))
    if here != there:
        yield (
            f"Python is {python} here and {facts.python} on the cluster ({facts.executable}): "
            f"submit from an environment with Python {there}"
        )


def _packages(nodes: Sequence[ProbedNode], needed: Sequence[Requirement]) -> Iterator[str]:
    """Each lack once, with the nodes that have it."""
    lacks: dict[str, list[str]] = defaultdict(list)
    answered = [node for node in nodes if node.packages]
    for node in answered:
        for one in needed:
            version = node.packages.get(one.name)
            if version is None:
                lacks[f"{one.name} is not installed"].append(node.name)
            elif not one.specifier.contains(version, prereleases=True):
                lacks[f"{one.name} is {version}, needed is {one.specifier}"].append(node.name)
    for lack, names in lacks.items():
        where = "the cluster's Python" if len(names) == len(answered) else f"node {_few(names)}"
        yield f"{where}: {lack}"


def _run(state: str, what: str, options: Options) -> Iterator[str]:
    if options.resume and state != "begun":
        yield f"{what} was not begun in {options.out} on the cluster: there is nothing to resume"
    elif not options.resume and state != "absent":
        resume = "add --resume to go on with it, or " if state == "begun" else ""
        yield f"{what} exists in {options.out} on the cluster: {resume}choose another --name"


def _out(facts: Facts, out: str) -> Iterator[str]:
    if facts.out:
        yield f"--out: the driver's node {facts.out}"
        return
    for node in facts.nodes:
        if node.out:
            yield (
                f"--out {out}: node {node.name} {node.out}; it must be a folder that all nodes "
                "share, such as an NFS mount"
            )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
