"""How many trials can one driver lead? Simulated trials, from recorded learning curves, no torch.

    python -m benchmarks.scale driver [--trials 1000] [--watchers] [--space FILE]
    python -m benchmarks.scale at [--trials 100,1000,10000] [--watchers] [--space FILE]
    python -m benchmarks.scale ray [--trials 1000] [--workers 64] [--seconds 2]

`driver` leads 64 trials side by side without Ray: the bridge, the study in its SQLite file, the
sampler and the pruner are those of a run; with --watchers also what people look at. It prints what
a result (an epoch that was reported) and a proposal cost the driver in processor time, over the
whole search and in its last tenth.

`ray` is a search in Ray (`scale_ray.py`): its workers are processes that replay curves and sleep.
`at` says what they cost in a study of so many trials: it leads 150 trials, copies them until there
are as many as were asked for, goes on with that study for 100 trials more, and measures these.
"""

from __future__ import annotations

import argparse
import heapq
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves import OUT_OF_MEMORY, SPACE, Curves, read_curves
from search.bridge.session import Bridge
from search.rundir import RunDir
from search.space import Space, load_space
from search.study import Record
from search.trials import EpochDone, Event, TrialEnded, Watcher

WORKERS = 64


@dataclass
class Spent:
    """What one kind of call has cost the driver."""

    seconds: list[float] = field(default_factory=list)
    """Processor time of each."""

    def measure(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Calls, and notes what that took."""
        began = time.process_time()
        result = call(*arguments)
        self.seconds.append(time.process_time() - began)
        return result

    def mean_ms(self, share: float = 1.0) -> float:
        """Of all, or of the last of them."""
        last = self.seconds[-max(1, round(share * len(self.seconds))) :]
        return 1000 * sum(last) / len(last)


@dataclass(frozen=True, kw_only=True)
class Led:
    """What leading a search has cost."""

    trials: int
    """That were told, in this session."""
    heard: Spent
    proposed: Spent
    seconds: float
    """Processor time, of the process."""
    wall: float
    memory: Sequence[float]
    """MB in use at the beginning, after a tenth of the trials, after half of them, in the end."""

    def row(self) -> str:
        """A row of the table."""
        heard, proposed = self.heard, self.proposed
        cells = [
            f"{self.trials:,}", f"{len(heard.seconds):,}",
            f"{heard.mean_ms():.2f}", f"{heard.mean_ms(0.1):.2f}",
            f"{proposed.mean_ms():.1f}", f"{proposed.mean_ms(0.1):.1f}",
            f"{1000 * self.seconds / self.trials:.0f}", f"{self.seconds:.0f}", f"{self.wall:.0f}",
            " ".join(f"{each:.0f}" for each in self.memory),
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


HEADS = (
    "trials", "results", "ms a result", "last tenth", "ms a proposal", "last tenth",
    "ms a trial", "driver, s", "wall, s", "memory, MB",
)  # fmt: skip


def memory_mb() -> float:
    """Of this process: resident, without what it shares with files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


def reports(config: Mapping[str, Any], params: Mapping[str, Any], curves: Curves) -> Iterator[Any]:
    """What a worker reports of a trial, each with the seconds it took.

    Args:
        config: as the bridge proposes it.
        params: the trial's hyperparameters.
        curves: of real trials.
    """
    number = config["number"]
    ended = "complete"
    for result in curves.of(number, params):
        if number % OUT_OF_MEMORY == OUT_OF_MEMORY - 1:
            ended = "infeasible:memory"
            break
        report = {"number": number, "epoch": result["epoch"], "score": result["search_score"]}
        yield result["seconds"], report | {"result": json.dumps(result)}
    yield 0.0, {"number": number, "epoch": 0, "final": True, "ended": ended}


def leave_behind(run: RunDir, number: int) -> None:
    """What stays of a trial: a checkpoint, and answers that were looked at already."""
    run.checkpoint(number).mkdir(parents=True)
    run.answers(number).parent.mkdir(exist_ok=True)
    np.savez(run.answers(number), eligible=True)


def watchers_of(
    record: Record, space: Space, trials: int, folder: Path, watching: ExitStack
) -> list[Watcher]:
    """Those of a run whose output goes to a file, as `search.running` has them."""
    from search.check.inspection import inspect
    from search.options import parse
    from search.outcome import Context
    from search.plan import make_plan
    from search.progress import Progress
    from search.tensorboard import TensorBoard
    from search.upkeep import Upkeep

    plan = make_plan(space, parse([str(space.path), "--trials", str(trials)]))
    columns = inspect(plan).checked.ranges
    run = RunDir(folder)
    nothing: Any = None  # of the images: what trials answered on them is there already
    context = Context(
        run=run, plan=plan, data=nothing, loading=nothing, columns=tuple(columns),
        began=time.monotonic(), constant=0.5,
    )  # fmt: skip
    stream = watching.enter_context((folder / "out.txt").open("w"))
    progress = Progress(run="scale", trials=trials, epochs=space.budget.epochs, stream=stream)
    tensorboard = TensorBoard(run.tensorboard, columns, constant=0.5)

    def finished(event: Event) -> None:
        if isinstance(event, TrialEnded):
            leave_behind(run, event.number)

    def keep(event: Event) -> None:
        if isinstance(event, EpochDone):
            record.seconds_used = time.monotonic()

    watching.enter_context(tensorboard)
    watching.enter_context(progress)
    upkeep = Upkeep(context, record, folds=False, then=lambda rows: None)
    return [finished, progress, tensorboard, keep, upkeep]


SEED_TRIALS, MORE_TRIALS = 150, 100
_COPIED = {
    "trial_params": "param_name, param_value, distribution_json",
    "trial_values": "objective, value, value_type",
    "trial_user_attributes": "key, value_json",
    "trial_system_attributes": "key, value_json",
    "trial_intermediate_values": "step, intermediate_value, intermediate_value_type",
}


def copy_trials(file: Path, trials: int) -> None:
    """Copies a study's trials in their SQLite file until there are so many.

    Scores are moved by up to 1e-4, so that few are equal.
    """
    with closing(sqlite3.connect(file)) as connection, connection:
        there = connection.execute("SELECT count(*) FROM trials").fetchone()[0]
        for first in range(there, trials, there):
            # Ids and numbers run from 1 and from 0; so the copy of each is as far from it as this.
            only = f"trial_id <= {min(there, trials - first)}"
            connection.execute(
                "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, "
                f"datetime_complete) SELECT trial_id + {first}, number + {first}, study_id, state, "
                f"datetime_start, datetime_complete FROM trials WHERE {only}"
            )
            for table, columns in _COPIED.items():
                by = f"((trial_id * 7919 + {first}) % 1000) * 1e-7"
                moved = columns.replace("intermediate_value,", f"intermediate_value + {by},")
                connection.execute(
                    f"INSERT INTO {table} (trial_id, {columns}) SELECT trial_id + {first}, {moved} "
                    f"FROM {table} WHERE {only}"
                )


def measure_at(space: Space, curves: Curves, *, trials: int, folder: Path, watched: bool) -> Led:
    """What trials cost the driver in a study that has so many already."""
    first = min(SEED_TRIALS, trials)
    lead(space, curves, trials=first, folder=folder)
    copy_trials(folder / "study.db", trials)
    if watched:
        for number in range(trials):
            leave_behind(RunDir(folder), number)
            (folder / "tensorboard" / f"{number:03d}").mkdir(parents=True)
    return lead(space, curves, trials=trials + MORE_TRIALS, folder=folder, watched=watched)


def lead(
    space: Space,
    curves: Curves,
    *,
    trials: int,
    folder: Path,
    workers: int = WORKERS,
    watched: bool = False,
) -> Led:
    """Leads a search to its end, with workers that live in this process.

    Args:
        space: whose trials they are.
        curves: that they report.
        trials: to be told.
        folder: for the study, and with `watched` for all that a run writes.
        workers: side by side.
        watched: with the watchers of a run.
    """
    heard, proposed = Spent(), Spent()
    began, wall, memory = time.process_time(), time.monotonic(), [memory_mb()]
    with (
        Record(
            folder / "study.db", name="scale", seed=0, epochs=space.budget.epochs, known=space.known
        ) as record,
        ExitStack() as watching,
    ):
        watchers = watchers_of(record, space, trials, folder, watching) if watched else ()
        params: dict[int, Mapping[str, Any]] = {}

        def recipe_of(trial: Any) -> Any:
            recipe = space.function(trial)
            params[trial.number] = trial.params
            return recipe

        bridge = Bridge(record, recipe_of, trials=trials, slots=workers, watchers=watchers)
        queue: list[tuple[float, int, Any, Iterator[Any]]] = []

        def begin(now: float) -> None:
            while (config := proposed.measure(bridge.propose)) is not None:
                each = reports(config, params.pop(config["number"]), curves)
                seconds, report = next(each)
                heapq.heappush(queue, (now + seconds, config["number"], report, each))
            proposed.seconds.pop()  # there was none

        led = bridge.left
        begin(0.0)
        marks = [trials - led // 2, trials - 9 * led // 10]
        while queue:
            now, number, report, each = heapq.heappop(queue)
            goes_on = heard.measure(bridge.heard, number, report)
            if goes_on:
                seconds, report = next(each)
                heapq.heappush(queue, (now + seconds, number, report, each))
            else:
                begin(now)
            if marks and trials - bridge.left >= marks[-1]:
                marks.pop()
                memory.append(memory_mb())
    memory.append(memory_mb())
    return Led(
        trials=led, heard=heard, proposed=proposed, memory=memory,
        seconds=time.process_time() - began, wall=time.monotonic() - wall,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, trials in (("driver", "1000"), ("at", "100,1000,10000")):
        command = commands.add_parser(name)
        command.add_argument("--trials", default=trials)
        command.add_argument("--watchers", action="store_true")
        command.add_argument("--space", default=SPACE)
    in_ray = commands.add_parser("ray")
    in_ray.add_argument("--trials", type=int, default=1000)
    in_ray.add_argument("--workers", type=int, default=WORKERS)
    in_ray.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args(argv)
    if options.command == "ray":
        _in_ray(options)
        return
    space, curves = load_space(options.space), read_curves()
    print(f"| {' | '.join(HEADS)} |\n|{' --- |' * len(HEADS)}")
    for trials in map(int, options.trials.split(",")):
        folder = Path(tempfile.mkdtemp(prefix="scale-"))
        run = measure_at if options.command == "at" else lead
        try:
            led = run(space, curves, trials=trials, folder=folder, watched=options.watchers)
            print(led.row(), flush=True)
        finally:
            shutil.rmtree(folder)


def _in_ray(options: argparse.Namespace) -> None:
    from benchmarks.scale_ray import watch

    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        seen = watch(
            load_space(SPACE), read_curves(), trials=options.trials, workers=options.workers,
            seconds=options.seconds, folder=folder,
        )  # fmt: skip
        print(seen.lines())
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
