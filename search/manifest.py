"""What was asked for, and with what was it run? The content of manifest.json.

Written before the first image is decoded, so that a run killed at any instant can be resumed; what
is known only later (data, weights, workers) is added when it is.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Any

from search.errors import RunError
from search.passwords import without_password
from search.plan import SPLIT_SEED, Plan
from search.rundir import RunDir

_PACKAGES = (
    "torch", "torchvision", "ray", "optuna", "numpy", "pillow", "scikit-learn", "scipy",
    "safetensors", "tensorboard",
)  # fmt: skip


def new_manifest(run: RunDir, plan: Plan, *, argv: Sequence[str]) -> dict[str, Any]:
    """The manifest of a run that begins now."""
    return {
        "name": run.name,
        "begun": _now(),
        "command": _command(argv),
        "resumed": [],
        "plan": plan.to_json(),
        "space": {"file": str(plan.space.path), "digest": digest_of(plan.space.text)},
        "seeds": {"search": plan.options.seed, "splits": SPLIT_SEED},
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        "machine": {"platform": platform.platform(), "python": sys.executable},
        "workers": None,
        "speed": None,
        "precision": "float32",
        "data": None,
        "weights": None,
    }


def resumed_manifest(
    run: RunDir, old: Mapping[str, Any], plan: Plan, *, argv: Sequence[str]
) -> dict[str, Any]:
    """The manifest of a run that goes on now: how it began stays in it.

    Raises:
        RunError: the space file is another than when the run began.
    """
    if old["space"]["digest"] != digest_of(plan.space.text):
        raise RunError(
            f"{plan.space.path} has changed since run {run.name!r} began; its own copy is "
            f"{run.space}. Put that back to go on, or begin another run with --name."
        )
    again = {"at": _now(), "command": _command(argv)}
    return dict(old) | {"plan": plan.to_json(), "resumed": [*old["resumed"], again]}


def check_data(run: RunDir, old: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Raises RunError where a resumed run would go on with other images than it began with."""
    before = old["data"]
    if before is None or before["digest"] == data["digest"]:
        return
    counts = f"{before['images']:,} images then, {data['images']:,} now"
    raise RunError(
        f"the data of run {run.name!r} has changed since it began ({counts}), so old and new "
        "scores cannot be compared. Put the data back, or begin another run with --name."
    )


def digest_of(text: str) -> str:
    """BLAKE2b of a text, 128 bits in hex."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """The same of a file."""
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _command(argv: Sequence[str]) -> list[str]:
    return ["python", "-m", "search.run", *map(without_password, argv)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
