"""How long will a search take here, and have memory and disk room for it?

Asked before the first trial, and answered from measured steps of the models that are drawn from the
space (`xfer.speed`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.amounts import duration, roughly, size
from search.disks import Disk, Need, disks
from search.works import Work

START_SECONDS = 25.0
"""Until the first epoch begins: Ray's start and the workers' imports. On two cores the first trials
of small searches were done 16 s after it on an idle machine, 39 s and more on a loaded one."""
RUN_SHARE, RUN_SHARE_LOW = 0.6, 0.35
"""Share of all epochs that are run when poor ones are pruned, usually and at best: assumptions."""
SLOWER, FASTER = 1.5, 0.7
"""What a trial takes over what is predicted, at worst and at best."""
PROCESS_BYTES = 700_000_000
"""Memory of a worker that has begun: 658 MB were resident in one with torch and torchvision."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a search will need."""

    trials: int
    """Trials still to run."""
    epochs: int
    """The most epochs that a recipe has."""
    folds: int
    """How often each trial trains; 1: once."""
    images: int
    """Images that each training has."""
    workers: int
    """Trials side by side."""
    seconds: float
    """Wall time that is expected."""
    low: float
    """Wall time at best."""
    high: float
    """Wall time at worst."""
    again: int
    """Of the best trials and the first known one, as many are trained again; 0: none."""
    again_folds: int
    """Folds that they are trained on."""
    again_seconds: float
    """Wall time expected for that, part of `seconds`."""
    limit: float | None
    """Seconds after which the search ends, finished or not."""
    memory: int
    """Bytes that this machine's workers need at least."""
    memory_free: int | None
    """Bytes that are free; None where this machine does not say."""
    disks: tuple[Disk, ...]
    """Where what is written."""

    def problems(self) -> list[str]:
        """Why the search cannot be run here; empty where it can."""
        found = []
        for disk in self.disks:
            if disk.needed > disk.free:
                parts = ", ".join(f"{need.what} {size(need.bytes)}" for need in disk.needs)
                found.append(
                    f"the disk of {disk.path} has {size(disk.free)} free, and "
                    f"{size(disk.needed)} are needed ({parts}); free some, choose another disk "
                    f"with --out, or smaller images with --image-size"
                )
        if self.memory_free is not None and self.memory > self.memory_free:
            found.append(
                f"{_workers(self.workers)} need at least {size(self.memory)} of memory, and "
                f"{size(self.memory_free)} are free; choose fewer with --workers"
            )
        return found


def forecast(
    works: Sequence[Work],
    *,
    trials: int,
    train_images: int,
    workers: int,
    here: int | None = None,
    known: int = 0,
    minutes: float | None = None,
    folds: int = 1,
    again: int = 0,
    again_folds: int = 1,
    needs: Iterable[Need] = (),
    pruned: bool = True,
) -> Forecast:
    """What a search will need.

    Args:
        works: of the known configurations, then of recipes drawn from the space; at least one.
        trials: still to run.
        train_images: that each training has.
        workers: trials side by side.
        here: those of them on this machine; None: all.
        known: so many works, the first ones, are run once; other trials cost the mean of the rest.
        minutes: limit of the search.
        folds: how often each trial trains.
        again: finalists that are trained again; none is pruned then.
        again_folds: how often each of them is.
        needs: what will be written to disk.
        pruned: poor trials are stopped.

    Raises:
        ValueError: no work.
    """
    if not works:
        raise ValueError("forecast needs a recipe, got none")
    first, drawn = works[:known][:trials], works[known:] or works
    each = sum(work.seconds for work in drawn) / len(drawn)
    trained = sum(work.seconds for work in first) + (trials - len(first)) * each
    # Three trials on two workers take as long as four.
    rounds = -(-trials // workers)
    in_turn = folds * trained / max(1, trials)  # of a round
    once = _of_prefixes(drawn, trials) / workers

    again_each = sum(work.again for work in drawn) / len(drawn)
    again_rounds = again_folds * -(-again // workers)

    def repeated(factor: float) -> float:
        return again_rounds * again_each * factor

    def total(share: float, factor: float) -> float:
        # The first round is not pruned: there is nothing to compare it with.
        run = in_turn * (min(rounds, 1) + max(rounds - 1, 0) * (share if pruned else 1.0))
        return factor * (START_SECONDS + once + run) + repeated(factor)

    limit = None if minutes is None else minutes * 60
    most = float("inf") if limit is None else limit + START_SECONDS
    return Forecast(
        trials=trials,
        epochs=max(work.epochs for work in works),
        folds=folds,
        images=train_images,
        workers=workers,
        seconds=min(total(RUN_SHARE, 1.0), most),
        low=min(total(RUN_SHARE_LOW, FASTER), most),
        high=min(total(1.0, SLOWER), most),
        again=again,
        again_folds=again_folds,
        again_seconds=min(repeated(1.0), most / 2),
        limit=limit,
        memory=(workers if here is None else here)
        * (PROCESS_BYTES + 4 * max(work.weight_bytes for work in works)),
        memory_free=free_memory(),
        disks=disks(needs),
    )


def _of_prefixes(drawn: Sequence[Work], trials: int) -> float:
    """Seconds of filling the store with what so many drawn trials have frozen, each part once."""
    seconds = {work.shared: work.prefix for work in drawn}
    counts = Counter(work.shared for work in drawn)
    return sum(
        seconds[part] * (1 - (1 - count / len(drawn)) ** trials) for part, count in counts.items()
    )


def said(forecast: Forecast) -> list[str]:
    """The forecast in lines, for the screen."""
    f = forecast
    epochs = f"{f.epochs} epoch" + ("s" if f.epochs > 1 else "")
    trials = f"{f.trials} trial" + ("s" if f.trials != 1 else "")
    folds = "" if f.folds == 1 else f"{f.folds} folds with "
    lines = [
        f"{trials} of {folds}up to {epochs} on {f.images:,} images, {_workers(f.workers)}: "
        f"about {roughly(f.seconds)} ({_range(f)})"
    ]
    if f.again:
        lines.append(
            f"of that about {roughly(f.again_seconds)} to train up to {f.again} finalists again on "
            f"{f.again_folds} folds, and choose among them (--refits 0 leaves it out)"
            + ("" if f.limit is None else "; at most half of the time, else fewer")
        )
    if f.limit is not None and f.high >= f.limit:
        lines.append(f"ends after {duration(f.limit)} of search, also where trials are left")
    free = "" if f.memory_free is None else f", {size(f.memory_free)} free"
    lines.append(f"memory: at least {size(f.memory)}{free}")
    lines += [f"disk {d.path}: {size(d.needed)}, {size(d.free)} free" for d in f.disks]
    return lines


def seconds_left(
    *, done: float, elapsed: float, remaining: float, limit: float | None = None
) -> float | None:
    """Time left at the pace observed so far; None before there is one.

    Args:
        done: trials finished in `elapsed`, unfinished ones by their share of epochs.
        elapsed: seconds since the first trial could start.
        remaining: trials still to do, counted the same way.
        limit: seconds after the start at which the search ends anyway.

    >>> seconds_left(done=4, elapsed=60, remaining=12)
    180.0
    >>> seconds_left(done=4, elapsed=60, remaining=12, limit=100)
    40.0
    """
    rest = None if limit is None else max(0.0, float(limit - elapsed))
    if done <= 0:
        return rest
    at_pace = elapsed / done * max(0.0, remaining)
    return at_pace if rest is None else min(at_pace, rest)


def free_memory() -> int | None:
    """Bytes of memory that programs can still have; None where `/proc/meminfo` does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _range(forecast: Forecast) -> str:
    low, middle, high = (roughly(s) for s in (forecast.low, forecast.seconds, forecast.high))
    same = len({text.split(" ", 1)[-1].rstrip("s") for text in (low, middle, high)}) == 1
    return f"{low.split(' ')[0]} to {high.split(' ')[0]}" if same else f"{low} to {high}"
