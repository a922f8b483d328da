"""How does each side of `benchmarks.against_stock` run a list of trials, and what came of it?

Each is one command in a process of its own, with an empty cache and the same weights.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.judged import judge, our_auroc, stock_auroc
from benchmarks.replayed import (
    Trial,
    Workload,
    known_name,
    space_text,
    trials_json,
)
from benchmarks.written import write_images, write_weights

ROOT = Path(__file__).parents[1]
MOST_HOURS = 3
"""After which a run is given up."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Side = Literal["stock", "ours"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One trial of a run."""

    auroc: float
    """On validation, of its best epoch."""
    epochs: int
    """That it was trained for."""
    seconds: float
    """From the start of the command to the trial's end."""
    trained: float = 0.0
    """Seconds of its epochs, by its own clock; of stock from where its function begins."""
    may_win: bool = True
    """Its model was kept."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One command, from start to end."""

    side: Side
    """Whose."""
    seconds: float
    """Of wall time."""
    trials: tuple[Ended, ...]
    """In the list's order."""
    slots: int = 1
    """Trials side by side."""
    held_back: tuple[tuple[float, float], ...] = ()
    """Whenever a trial ended as the best so far by validation: seconds until then, and its AUROC
    on the images held back. Empty where there is no target."""

    @property
    def searched(self) -> float:
        """Seconds until the last trial ended."""
        return max(trial.seconds for trial in self.trials)

    def reached(self, target: float) -> float | None:
        """Seconds until the best trial so far had this AUROC; None: it never had."""
        return next((seconds for seconds, auroc in self.held_back if auroc >= target), None)

    def to_json(self) -> dict[str, Any]:
        """As it is written down."""
        return {
            "side": self.side,
            "seconds": round(self.seconds, 2),
            "searched_s": round(self.searched, 2),
            "auroc": [round(trial.auroc, 4) for trial in self.trials],
            "epochs": [trial.epochs for trial in self.trials],
            "ended_s": [round(trial.seconds, 2) for trial in self.trials],
            "trained_s": [round(trial.trained, 2) for trial in self.trials],
            "slots": self.slots,
            "held_back": [(round(s, 2), round(auroc, 4)) for s, auroc in self.held_back],
        }


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a workload's images and weights are, and where runs leave their files."""

    root: Path
    """A folder of its own, absolute."""
    work: Workload
    """What is replayed."""
    counts: Mapping[str, Mapping[str, int]]
    """Images by part and class."""
    seed: int = 0
    """Of our side; stock draws its own."""

    @property
    def data(self) -> Path:
        """Holds `train`, `val` and `test`."""
        return self.root / "data"

    @property
    def weights(self) -> Path:
        """The TORCH_HOME of both sides."""
        return self.root / "weights"


def prepare(work: Workload, root: Path) -> Place:
    """Writes a workload's images and weights."""
    place = Place(root=root, work=work, counts=write_images(work, root))
    write_weights(work, place.weights, place.data)
    return place


def run_stock(place: Place, trials: Sequence[Trial]) -> Run:
    """Replays trials through `benchmarks.stock`."""
    out, listed = place.root / "stock", place.root / "trials.json"
    listed.write_text(json.dumps(trials_json(trials)))
    grace = 1 if place.work.targets else place.work.drawn.epochs
    began, seconds = _timed(
        ["benchmarks.stock", str(listed), str(place.data), str(out), "--grace", str(grace)], place
    )
    rows = {_key(row["trial"]): row for row in json.loads((out / "trials.json").read_text())}
    ordered = [rows[_key(asdict(trial))] for trial in trials]
    ended = tuple(
        Ended(
            auroc=row["auroc"],
            epochs=row["epochs"],
            seconds=row["ended"] - began,
            trained=row["seconds"],
        )
        for row in ordered
    )

    def score(number: int) -> float:
        checkpoint = Path(ordered[number]["checkpoint"])
        return stock_auroc(place.root, place.weights, trials[number], checkpoint)

    held_back = judge(ended, score) if place.work.targets else ()
    shutil.rmtree(out)
    return Run(
        side="stock", seconds=seconds, trials=ended, slots=os.cpu_count() or 1,
        held_back=held_back,
    )  # fmt: skip


def run_ours(place: Place, trials: Sequence[Trial]) -> Run:
    """Replays trials through `python -m search.run`."""
    from search.trials_csv import read_trials_csv

    out = place.root / "ours"
    out.mkdir()
    space, folder = out / "replayed.py", out / "run"
    space.write_text(space_text(place.work, trials, place.data))
    began, seconds = _timed(
        [
            "search.run", str(space), "--refits", "0", "--keep-splits", "--offline",
            "--seed", str(place.seed), "--keep", str(len(trials)),
            "--out", str(out), "--name", folder.name,
        ],
        place,
    )  # fmt: skip
    splits = json.loads((folder / "result.json").read_text())["data"]["splits"]
    if splits != place.counts:
        raise SystemExit(f"our side trained on other images: {splits}, not {place.counts}.")
    slots = json.loads((folder / "manifest.json").read_text())["workers"]["workers"]
    rows = {row.name: row for row in read_trials_csv((folder / "trials.csv").read_text())}
    ordered = [rows[known_name(number)] for number in range(len(trials))]
    allowed = {"complete", "pruned"} if place.work.targets else {"complete"}
    broken = [f"{row.name} {row.state}: {row.ended}" for row in ordered if row.state not in allowed]
    if broken:
        raise SystemExit(f"our side did not train every trial: {'; '.join(broken)}.")
    times = _end_times(folder / "study.db")
    ended = tuple(
        Ended(
            auroc=row.val["auroc"],
            epochs=row.epochs,
            seconds=times[row.number] - began,
            trained=row.seconds,
            may_win=row.state == "complete",
        )
        for row in ordered
    )

    def score(number: int) -> float:
        checkpoint = folder / "checkpoints" / str(ordered[number].number)
        size = place.work.drawn.image_size
        return our_auroc(place.root, place.weights, checkpoint, size=size)

    held_back = judge(ended, score) if place.work.targets else ()
    shutil.rmtree(out)
    return Run(
        side="ours", seconds=seconds, trials=ended, slots=slots,
        held_back=held_back,
    )  # fmt: skip


def _key(trial: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(trial[name] for name in sorted(trial))


def _timed(words: Sequence[str], place: Place) -> tuple[float, float]:
    """Runs a module with an empty cache; when it began (Unix time), and its seconds.

    Raises:
        SystemExit: it failed.
    """
    log, cache = place.root / "log.txt", place.root / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    settings = {
        "TORCH_HOME": str(place.weights),
        "XFER_CACHE": str(cache),
        "XFER_LEDGER": str(place.root / "ledger"),
        "RAY_ADDRESS": "local",  # never somebody else's Ray
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under uv, Ray would build an environment per worker
    }
    # Ray sets threads by a trial's cores, unless the shell has done so.
    environment = {k: v for k, v in os.environ.items() if k not in _THREADS} | settings
    began, start = time.time(), time.perf_counter()
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
            timeout=MOST_HOURS * 3600, check=False,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        tail = "\n".join(log.read_text().splitlines()[-40:])
        raise SystemExit(f"{tail}\n{' '.join(words)} ended with {done.returncode}.")
    return began, seconds


def _end_times(study: Path) -> dict[int, float]:
    """By number, when each trial was told (Unix time)."""
    import optuna

    storage = f"sqlite:///{study}"
    (name,) = optuna.get_all_study_names(storage)
    return {
        trial.number: trial.datetime_complete.timestamp()
        for trial in optuna.load_study(study_name=name, storage=storage).trials
        if trial.datetime_complete is not None
    }
