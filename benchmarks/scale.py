"""How many trials can one driver lead? Simulated trials, from recorded learning curves, no torch.

    python -m benchmarks.scale driver [--trials 100,1000,10000] [--watchers] [--space FILE]
    python -m benchmarks.scale ray [--trials 1000] [--workers 64] [--seconds 2]

`driver` leads 64 trials side by side without Ray: the bridge, the study in its SQLite file, the
sampler and the pruner are those of a run; with --watchers also what people look at. It prints what
a result (an epoch that was reported) and a proposal cost the driver in processor time, over the
whole search and in its last tenth.
"""

from __future__ import annotations

import argparse
import heapq
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.curves import OUT_OF_MEMORY, SPACE, Curves, read_curves
from search.bridge.session import Bridge
from search.space import Space, load_space
from search.study import Record
from search.trials import Watcher

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


def lead(
    space: Space,
    curves: Curves,
    *,
    trials: int,
    folder: Path,
    workers: int = WORKERS,
    watchers: Sequence[Watcher] = (),
) -> Led:
    """Leads a search to its end, with workers that live in this process.

    Args:
        space: whose trials they are.
        curves: that they report.
        trials: to be told.
        folder: for the study.
        workers: side by side.
        watchers: as of `Bridge`.
    """
    heard, proposed = Spent(), Spent()
    began, wall, memory = time.process_time(), time.monotonic(), [memory_mb()]
    with Record(
        folder / "study.db", name="scale", seed=0, epochs=space.budget.epochs, known=space.known
    ) as record:
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

        begin(0.0)
        marks = [trials // 2, trials // 10]
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
        trials=trials, heard=heard, proposed=proposed, memory=memory,
        seconds=time.process_time() - began, wall=time.monotonic() - wall,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    driver = commands.add_parser("driver")
    driver.add_argument("--trials", default="100,1000,10000")
    driver.add_argument("--watchers", action="store_true")
    driver.add_argument("--space", default=SPACE)
    options = parser.parse_args(argv)
    space, curves = load_space(options.space), read_curves()
    print(f"| {' | '.join(HEADS)} |\n|{' --- |' * len(HEADS)}")
    for trials in map(int, options.trials.split(",")):
        folder = Path(tempfile.mkdtemp(prefix="scale-"))
        try:
            print(lead(space, curves, trials=trials, folder=folder).row(), flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
