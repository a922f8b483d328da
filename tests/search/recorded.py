"""Learning curves from a formula, in place of training: what a search does with them takes seconds.

`train` stands where `search.worker.train` does, and keeps a checkpoint as `xfer.train.fit` does:
epochs of it are yielded again before the next one is made. `Script` says what goes wrong.
"""

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.bridge import Bridge
from search.space import Trial
from search.study import Record
from search.worker import Infeasible, Job
from xfer.recipe import ConvNet, Head, Objective, Recipe

EPOCHS = 4


@dataclass(frozen=True, kw_only=True)
class Script:
    """What happens in a worker."""

    nap: float = 0.0
    """Seconds an epoch takes."""
    log: Path | None = None
    """File with a line of JSON per epoch: number, epoch, pid, begin and end on one clock."""
    does: Mapping[int, str] = field(default_factory=dict)
    """By trial, what it does in its second epoch: error, memory, not_finite, nan, die, die once,
    vanish."""


def space(trial: Trial) -> Recipe:
    deep = trial.suggest_categorical("deep", [True, False])
    kernels = (8,) * trial.suggest_int("layers", 2, 4) if deep else (8,)
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    return Recipe(model=ConvNet(kernels=kernels), head=Head(dropout=dropout), lr=lr, epochs=EPOCHS)


def score_of(recipe: Mapping[str, Any], epoch: int) -> float:
    """Best at a learning rate of 1e-3 without dropout; higher with every epoch."""
    dropout = recipe["head"]["dropout"]
    dropout = max(dropout) if isinstance(dropout, list) else dropout
    top = 1 - abs(math.log10(recipe["lr"]) + 3) / 4 - dropout / 4
    return top * (1 - 0.5**epoch)


def result_of(recipe: Mapping[str, Any], epoch: int, score: float | None = None) -> dict[str, Any]:
    score = score_of(recipe, epoch) if score is None else score
    return {
        "epoch": epoch, "train": {"loss": 1 - score}, "val": {"recall": score, "mcc": math.nan},
        "search_score": score, "threshold": 0.5, "best": True, "seconds": 0.25, "stopped": None,
    }  # fmt: skip


def train(config: Mapping[str, Any], job: Job) -> Iterator[dict[str, Any]]:
    script, number, recipe = job.data, config["number"], config["recipe"]
    checkpoint = job.checkpoints / f"{number}.json"
    history = json.loads(checkpoint.read_text()) if checkpoint.exists() else []
    yield from history
    for epoch in range(len(history) + 1, EPOCHS + 1):
        begin = time.monotonic()
        score = None
        if epoch == 2:
            score = act(script.does.get(number, ""), checkpoint)
        time.sleep(script.nap)
        history.append(result_of(recipe, epoch, score))
        job.checkpoints.mkdir(exist_ok=True)
        new = checkpoint.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(history))
        new.replace(checkpoint)
        if script.log is not None:
            line = {"number": number, "epoch": epoch, "pid": os.getpid(), "seed": config["seed"]}
            line |= {"begin": begin, "end": time.monotonic()}
            with script.log.open("a") as file:
                file.write(json.dumps(line) + "\n")
        yield history[-1]


def act(what: str, checkpoint: Path) -> float | None:
    """Does what a script says; returns the epoch's score where that is what it says."""
    if what == "error":
        raise ValueError("this recipe is broken")
    if what in ("memory", "not_finite"):
        raise Infeasible(what)
    if what == "nan":
        return math.nan
    mark = checkpoint.with_suffix(".died")
    if what == "die" or (what == "die once" and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return None


def job(folder: Path, **script: Any) -> Job:
    return Job(
        data=Script(log=folder / "log.jsonl", **script), objective=Objective("auroc"),
        checkpoints=folder / "checkpoints", threads=1, device="cpu",
    )  # fmt: skip


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def picture(record: Record) -> list[dict[str, Any]]:
    """All of a study that a resumed run must have in common with an undisturbed one."""
    return [
        {
            "number": trial.number, "state": trial.state.name, "values": trial.values,
            "params": trial.params, "attributes": trial.user_attrs,
            "scores": repr(trial.intermediate_values),  # NaN is not equal to itself
            "constraints": trial.constraints,
        }
        for trial in record.study.get_trials(deepcopy=False)
    ]  # fmt: skip


def play(bridge: Bridge, does: Callable[[int], str] = lambda number: "") -> None:
    """What Ray and one worker do, without either: trials one after another, to the end.

    What has been trained is remembered in no checkpoint: epochs on record are trained again and
    not reported, as after the loss of one.
    """
    while (config := bridge.propose()) is not None:
        number, recipe = config["number"], config["recipe"]
        what, ended = does(number), "complete"
        for epoch in range(1, EPOCHS + 1):
            score = math.nan if what == "nan" and epoch == 2 else None
            if what in ("memory", "not_finite") and epoch == 2:
                ended = f"infeasible:{what}"
                break
            if what == "error" and epoch == 2:
                ended = "error: ValueError: this recipe is broken"
                break
            result = result_of(recipe, epoch, score)
            if what == "early" and epoch == 3:
                result["stopped"] = ended = "early_stopping"
            report = {"number": number, "epoch": epoch, "score": result["search_score"]}
            report["result"] = json.dumps(result)
            if epoch > config["last_epoch"] and not bridge.heard(number, report):
                break
            if result["stopped"]:
                break
        if number in bridge.in_flight:
            bridge.heard(number, {"number": number, "final": True, "ended": ended})
