"""How many trials can one driver lead in Ray? Its workers replay learning curves, and sleep.

Run as `python -m benchmarks.scale ray`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.curves import OUT_OF_MEMORY, Curves
from search.experiment import run_trials
from search.space import Space
from search.starting import start_ray
from search.study import Record
from search.trials import EpochDone, Event
from search.worker import Infeasible, Job, train_trial
from search.workers import Slots
from xfer.recipe import Objective


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a worker does."""

    curves: Curves
    log: Path
    """Folder with a file for each process: a line of JSON for each trial."""
    seconds: float
    """Of an epoch, as a mean; each takes half of it to one and a half."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What was seen of a search in Ray."""

    seconds: float
    """From the first epoch's beginning to the last trial's end."""
    results: int
    """Epochs that were recorded."""
    driver: float
    """Processor time of the driver in these seconds."""
    idle: float
    """Share of the workers' time in which they had no trial."""
    processes: int
    """Workers that were started."""
    memory: tuple[float, float]
    """MB of the driver at the first epoch, and in the end."""
    torch: bool
    """A worker had imported it."""

    def lines(self) -> str:
        """For people."""
        return (
            f"{self.results / self.seconds:.1f} results a second over {self.seconds:.0f} s; driver "
            f"busy {self.driver / self.seconds:.0%}, {1000 * self.driver / self.results:.1f} ms a "
            f"result; idle {self.idle:.1%} of {self.processes} workers' time; driver's memory "
            f"{self.memory[0]:.0f} MB, then {self.memory[1]:.0f}; torch in a worker: {self.torch}"
        )


def replay(config: Mapping[str, Any], job: Job) -> Iterator[dict[str, Any]]:
    """In place of training: `search.worker.Train`."""
    number, recipe, what = config["number"], config["recipe"], job.data
    params = {"dropout": recipe["head"]["dropout"]}
    params |= {name: recipe[name] for name in ("lr", "l2", "batch_size")}
    draw = random.Random(number)
    began = time.monotonic()
    try:
        for result in what.curves.of(number, params):
            time.sleep(what.seconds * draw.uniform(0.5, 1.5))
            if number % OUT_OF_MEMORY == OUT_OF_MEMORY - 1:
                raise Infeasible("memory")
            yield result
    finally:  # also where the trial is stopped
        line = {"number": number, "begin": began, "end": time.monotonic()}
        line["torch"] = "torch" in sys.modules
        with (what.log / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def replay_trial(config: Mapping[str, Any], *, job: Job) -> None:
    """A trial, as Tune calls it."""
    train_trial(config, job=job, train=replay)


def watch(
    space: Space, curves: Curves, *, trials: int, workers: int, seconds: float, folder: Path
) -> Watched:
    """Runs a search in a Ray of its own.

    Args:
        space: whose trials they are.
        curves: that they report.
        trials: to be told.
        workers: side by side, each with a core that need not be there.
        seconds: of an epoch.
        folder: absolute; for all that is written.
    """
    from benchmarks.scale import memory_mb

    slots = Slots(workers=workers, threads=1, gpus_per_trial=0.0, device="cpu")
    log = folder / "log"
    log.mkdir()
    job = Job(
        data=Replay(curves=curves, log=log, seconds=seconds), objective=Objective("auroc"),
        checkpoints=folder / "checkpoints", threads=1, device="cpu",
    )  # fmt: skip
    first: list[tuple[float, float]] = []  # memory and processor time at the first epoch
    results = 0

    def hear(event: Event) -> None:
        nonlocal results
        if isinstance(event, EpochDone):
            results += 1
            if not first:
                first.append((memory_mb(), time.process_time()))

    with (
        start_ray(slots),
        Record(
            folder / "study.db", name="scale", seed=0, epochs=space.budget.epochs, known=space.known
        ) as record,
    ):
        run_trials(
            record, space.function, job=job, slots=slots, trials=trials, out=folder / "ray",
            watchers=[hear], trainable=replay_trial,
        )  # fmt: skip
        memory, driver = memory_mb(), time.process_time() - first[0][1]
    lines = [json.loads(line) for file in log.iterdir() for line in file.read_text().splitlines()]
    begin, end = min(line["begin"] for line in lines), max(line["end"] for line in lines)
    busy = sum(line["end"] - line["begin"] for line in lines)
    return Watched(
        seconds=end - begin, results=results, driver=driver, memory=(first[0][0], memory),
        idle=1 - busy / (workers * (end - begin)), processes=len(list(log.iterdir())),
        torch=any(line["torch"] for line in lines),
    )  # fmt: skip
