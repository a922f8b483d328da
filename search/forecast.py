"""How long will a search take here, and have memory and disk room for it?

Asked before the first trial, and answered from a second of measurement: the multiply-adds of
recipes drawn from the space, over the multiply-adds that one worker does in a second. That is
rough, and the range says so: on a loaded machine it was off by four times.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.amounts import duration, roughly, size
from search.disks import Disk, Need, disks

START_SECONDS = 25.0
"""Until the first epoch begins: Ray's start and the workers' imports. On two cores the first trials
of small searches were done 16 s after it on an idle machine, 39 s and more on a loaded one."""
TRIAL_SECONDS = 0.7
"""Building a model, writing its checkpoints and telling the study, per trial: an assumption."""
RUN_SHARE, RUN_SHARE_LOW = 0.6, 0.35
"""Share of all epochs that are run when poor ones are pruned, usually and at best: assumptions."""
SLOWER, FASTER = 2.5, 0.5
"""What a training step takes over what `measure_speed` promises, at worst and at best. Measured
with one thread at 128 pixels: resnet18 .55, squeezenet1_1 1.2, three convolutions 1.8,
mobilenet_v2 2.2."""
PROCESS_BYTES = 700_000_000
"""Memory of a worker that has begun: 658 MB were resident in one with torch and torchvision."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one recipe costs."""

    prefix: float
    """Multiply-adds of the frozen part, per image, forward."""
    suffix: float
    """The same of the trained part; training it costs three times as much."""
    epochs: int
    """Passes over the training part, if it is not pruned."""
    views: int = 1
    """Of each training image, in an epoch."""
    weight_bytes: int = 0
    """Size of all weights."""

    def multiply_adds(self, *, train_images: int, val_images: int) -> float:
        """Of all epochs."""
        trained = self.views * train_images * (self.prefix + 3 * self.suffix)
        return self.epochs * (trained + val_images * (self.prefix + self.suffix))


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
    """Bytes that all workers need at least."""
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
    val_images: int,
    speed: float,
    workers: int,
    minutes: float | None = None,
    folds: int = 1,
    again: int = 0,
    again_folds: int = 1,
    again_images: int = 0,
    needs: Iterable[Need] = (),
) -> Forecast:
    """What a search will need.

    Args:
        works: recipes drawn from the space, at least one; trials are taken to cost their mean.
        trials: still to run.
        train_images: that each training has.
        val_images: scored after each of its epochs.
        speed: multiply-adds per second of one worker, as `measure_speed` gives it.
        workers: trials side by side.
        minutes: limit of the search.
        folds: how often each trial trains.
        again: finalists that are trained again; none is pruned then.
        again_folds: how often each of them is.
        again_images: that each of these trainings has.
        needs: what will be written to disk.

    Raises:
        ValueError: no work, or a speed that is not above 0.
    """
    if not works or speed <= 0:
        raise ValueError(f"forecast needs a recipe and a speed above 0, got {len(works)}, {speed}")
    costs = [w.multiply_adds(train_images=train_images, val_images=val_images) for w in works]
    each = folds * sum(costs) / len(costs) / speed
    # Three trials on two workers take as long as four.
    rounds = -(-trials // workers)

    again_costs = [
        w.multiply_adds(train_images=again_images, val_images=again_images // 4) for w in works
    ]
    again_each = sum(again_costs) / len(again_costs) / speed
    again_rounds = again_folds * -(-again // workers)

    def repeated(factor: float) -> float:
        return again_rounds * (again_each * factor + TRIAL_SECONDS)

    def total(share: float, factor: float) -> float:
        # The first round is not pruned: there is nothing to compare it with.
        run = each * factor * (min(rounds, 1) + max(rounds - 1, 0) * share)
        return START_SECONDS * factor + run + rounds * TRIAL_SECONDS + repeated(factor)

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
        memory=workers * (PROCESS_BYTES + 4 * max(work.weight_bytes for work in works)),
        memory_free=free_memory(),
        disks=disks(needs),
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


def measure_speed(*, threads: int, device: str = "cpu", seconds: float = 0.6) -> float:
    """Multiply-adds per second of a training step here, by a small net of ordinary layers.

    The net mixes what backbones are made of: full, depth-wise and 1 x 1 convolutions. Counted as
    three forward passes a step, as `Work` counts. The number of threads is put back afterwards.

    Args:
        threads: of one worker.
        device: where trials are trained.
        seconds: how long to measure, after a step to warm up.
    """
    import torch
    from torch import nn

    batch, side = 16, 96
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2),
    ).to(device)  # fmt: skip
    per_image = side * side * (32 * 27 + 32 * 9 + (64 * 32 + 64 * 64 * 9) / 4)
    images = torch.zeros(batch, 3, side, side, device=device)

    def step() -> None:
        net.zero_grad()
        net(images).sum().backward()
        if device != "cpu":
            torch.cuda.synchronize()

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        step()
        steps, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            step()
            steps += 1
        return steps * batch * 3 * per_image / (time.perf_counter() - begun)
    finally:
        torch.set_num_threads(before)


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
