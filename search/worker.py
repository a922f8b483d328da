"""What runs inside a worker? One trial: its epochs go back to the driver as they come.

The function never raises. What goes wrong is its last report, because a worker that ends by an
exception is thrown away by Ray, and its slot may stay empty for the rest of the search.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from xfer.errors import NotFinite
from xfer.recipe import Objective, from_json

_TRACEBACK_CHARACTERS = 8_000
_AGAIN_S = 0.1  # between two last reports


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all trials of a search have in common; it travels to every worker once."""

    data: Any
    """The `Dataset`, with pixels for every model of the space; they are mapped from disk."""
    objective: Objective
    """What is maximised."""
    checkpoints: Path
    """Folder with a folder per trial, absolute: workers run in another one."""
    threads: int
    """Of torch, in one worker."""
    device: str
    """`cpu` or `cuda`."""
    features: Any = None
    """The `xfer.features.FeatureStore`; None: frozen blocks are computed each time."""
    origin: Any = None
    """The `search.origin.Origin` that other nodes get images and weights from; None: there are no
    other nodes."""
    folds: tuple[Any, ...] | None = None
    """`xfer.data.folds.Fold`s that every trial is scored on; None: the validation part is."""


class Infeasible(Exception):
    """A trial that this machine cannot train: `memory` or `not_finite`."""


Train = Callable[[Mapping[str, Any], Job], Iterator[Mapping[str, Any]]]
"""Given a trial's config and the job: an `EpochResult` as a dict for each epoch from the first.
With folds a `FoldsResult` for each fold, and before it `{"within": seconds}` for each epoch in it.
Where a cost is minimised that is not on record, `{"cost": value}` before all of them.
Raises `Infeasible`, or anything else for what is broken."""


def train(config: Mapping[str, Any], job: Job) -> Iterator[dict[str, Any]]:
    """Trains by `xfer.train.fit`, or by `xfer.cross_validate` where there are folds."""
    from search.origin import settled
    from xfer.cost import cost_of
    from xfer.cross_validate import cross_validate
    from xfer.features import Features
    from xfer.folds_result import FoldsResult
    from xfer.models.interpolation import interpolation_of
    from xfer.numerics import is_out_of_memory, set_threads
    from xfer.train import fit

    set_threads(job.threads)
    try:
        recipe = from_json(config["recipe"])
        job = settled(job, recipe)
        data = job.data.interpolated(interpolation_of(recipe.model))
        how: dict[str, Any] = {
            "seed": config["seed"],
            "checkpoint": job.checkpoints / str(config["number"]),
            "device": job.device,
        }
        if job.features is not None:
            how["features"] = Features.of_data(data, device=job.device, settings=job.features)
        if job.objective.minimise is not None and config["cost"] is None:
            _, size, _, channels = data.pixels[data.splits["train"][:1]].shape
            yield {
                "cost": cost_of(
                    recipe,
                    job.objective.minimise,
                    classes=len(data.classes),
                    size=size,
                    channels=channels,
                    device=job.device,
                )
            }
        if job.folds is None:
            for result in fit(recipe, data, job.objective, **how):
                yield result.to_dict()
            return
        for result in cross_validate(recipe, data, job.folds, job.objective, **how):
            done = isinstance(result, FoldsResult)
            yield result.to_dict() if done else {"within": result.seconds}
    except NotFinite as error:
        raise Infeasible("not_finite") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise Infeasible("memory") from error
        raise


def train_trial(config: Mapping[str, Any], *, job: Job, train: Train = train) -> None:
    """Runs a trial; Tune calls it, in a thread of its own.

    Reports `number`, `epoch`, `score` and the `result` as JSON for every epoch or fold that the
    study has not got yet (for an epoch within a fold `number`, `epoch` and `within`; before all of
    them, where a cost is minimised, `number`, `epoch` and `cost`), then
    `final=True` and how it `ended`: `complete`, `early_stopping`, `infeasible:memory`,
    `infeasible:not_finite` or `error: ...` with a `traceback`. It does not return: the last report
    is repeated until the driver has use for this worker, and stops the trial by a SystemExit out of
    the report.

    Args:
        config: `number`, `recipe` (JSON), `seed`, `last_epoch` (the last one on record), `cost`
            (on record; None: to be reported, where it is minimised).
        job: What all trials have in common.
        train: What trains.
    """
    last: dict[str, Any] = {
        "number": config["number"], "epoch": config["last_epoch"], "final": True,
        "ended": "complete",
    }  # fmt: skip
    try:
        for result in train(config, job):
            if "epoch" not in result:
                tune.report({"number": config["number"], "epoch": last["epoch"], **result})
                continue
            last |= {"epoch": result["epoch"], "ended": result["stopped"] or "complete"}
            if result["epoch"] > config["last_epoch"]:
                report = {"number": config["number"], "epoch": result["epoch"]}
                report |= {"score": result["search_score"], "result": json.dumps(result)}
                tune.report(report)
    except Infeasible as error:
        last |= {"ended": f"infeasible:{error}"}
    except Exception as error:
        last |= {
            "ended": f"error: {type(error).__name__}: {error}",
            "traceback": traceback.format_exc()[-_TRACEBACK_CHARACTERS:],
        }
    finally:
        _free_memory()
    while True:
        tune.report(last)
        time.sleep(_AGAIN_S)


def _free_memory() -> None:
    """The process lives on: models and batches of this trial must not."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
