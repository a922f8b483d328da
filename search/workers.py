"""How many trials run side by side, with what, and in which processes?

A worker is a process with its share of the cores, or of a GPU. More threads than cores cost a
factor of 2 to 18 (measured), so shares never overlap.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from search.errors import OptionsError

MOST_CPU_WORKERS = 4
"""More trials side by side on a CPU share its memory bandwidth, and each takes the longer."""
_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Room for trials."""

    workers: int
    """Trials side by side."""
    threads: int
    """Cores of one worker."""
    gpus_per_trial: float
    """GPUs of one worker; 0: it computes on the CPU."""
    device: str
    """`cpu` or `cuda`."""


def plan(
    *,
    workers: int | None = None,
    gpus_per_trial: float | str | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
) -> Slots:
    """Shares out cores and GPUs.

    On GPUs: one worker each, or 1 / `gpus_per_trial`. Without: as many workers as cores, 4 at most.

    Args:
        workers: Trials side by side; None: as many as there is room for.
        gpus_per_trial: GPUs of one worker; 0 computes on the CPU; None: one where there are any.
        cpus: Cores; None: those this process may use.
        gpus: GPUs; None: those that torch sees.

    Raises:
        OptionsError: no room for that many workers, or a share that cannot be given.
    """
    cpus = count_cpus() if cpus is None else cpus
    gpus = _count_gpus() if gpus is None else gpus
    if isinstance(gpus_per_trial, str):
        raise OptionsError(
            f"--gpus-per-trial {gpus_per_trial} is not built yet; give a number, such as 0.5."
        )
    share = (1.0 if gpus else 0.0) if gpus_per_trial is None else float(gpus_per_trial)
    if not (math.isfinite(share) and share >= 0):
        raise OptionsError(f"--gpus-per-trial must be 0 or more, got {gpus_per_trial}.")
    if share > 1 and share != int(share):
        raise OptionsError(
            f"--gpus-per-trial above 1 must be a whole number, got {gpus_per_trial}."
        )
    if share > gpus:
        raise OptionsError(f"--gpus-per-trial {share:g} needs as many GPUs, there are {gpus}.")
    if share:
        # 1 / 0.1 is 10 only after a little is added.
        room = gpus * math.floor(1 / share + 1e-6) if share <= 1 else gpus // int(share)
        what, wanted = f"{gpus} GPUs at {share:g} for each", room
    else:
        room, what, wanted = cpus, f"{cpus} cores", min(cpus, MOST_CPU_WORKERS)
    workers = wanted if workers is None else workers
    if not 1 <= workers <= room:
        raise OptionsError(f"--workers must be in [1, {room}] with {what}, got {workers}.")
    return Slots(
        workers=workers,
        threads=max(1, cpus // workers),
        gpus_per_trial=share,
        device="cuda" if share else "cpu",
    )


def candidates(slots: Slots, *, cpus: int | None = None) -> list[Slots]:
    """Ways to share out the cores: `slots`, then half as many workers, then one.

    One worker with several threads can be the fastest where memory, not arithmetic, is what steps
    wait for. On GPUs there is no choice.

    Args:
        slots: by the rule of `plan`.
        cpus: Cores; None: those this process may use.

    >>> first = plan(cpus=4, gpus=0)
    >>> [(each.workers, each.threads) for each in candidates(first, cpus=4)]
    [(4, 1), (2, 2), (1, 4)]
    """
    if slots.device != "cpu":
        return [slots]
    cpus = count_cpus() if cpus is None else cpus
    counts = sorted({slots.workers, max(1, slots.workers // 2), 1}, reverse=True)
    return [replace(slots, workers=count, threads=cpus // count) for count in counts]


def own_share(slots: Slots, *, cpus: int | None = None, gpus: int | None = None) -> Slots:
    """As many of a cluster's workers as this machine could have, on its processor if it has no GPU.

    >>> own_share(Slots(workers=64, threads=4, gpus_per_trial=1, device="cuda"), cpus=9, gpus=0)
    Slots(workers=2, threads=4, gpus_per_trial=1, device='cpu')
    """
    cpus = count_cpus() if cpus is None else cpus
    gpus = _count_gpus() if gpus is None else gpus
    workers = min(slots.workers, max(1, cpus // slots.threads))
    return replace(slots, workers=workers, device=slots.device if gpus else "cpu")


def environment(slots: Slots) -> dict[str, str]:
    """What must stand in a worker's environment before its Python starts."""
    threads = str(slots.threads)
    return {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "VECLIB_MAXIMUM_THREADS": threads,
        # glibc would give memory back after each batch and fetch it again: 1.7 x (measured). Tune
        # trains in a thread, which has an arena of its own unless there is one for all.
        "MALLOC_TRIM_THRESHOLD_": str(8 * _GIB),
        "MALLOC_MMAP_THRESHOLD_": str(8 * _GIB),
        "MALLOC_ARENA_MAX": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS does not repeat
        # A worker that is used again first ends the epoch it is in.
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        # Ray tells workers the driver's folder, which need not be the one that has our packages.
        "PYTHONPATH": os.pathsep.join(
            filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))
        ),
    }


def count_cpus() -> int:
    """Cores that this process may use: its affinity on Linux, and a container's quota."""
    if not sys.platform.startswith("linux"):
        return os.cpu_count() or 1
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


@contextmanager
def set_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Within it the environment has these variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
