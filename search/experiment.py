"""How is a search run, from its first trial to its last?

Tune runs the trials side by side; the study says what is left.
"""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ray import tune

from search.bridge import Bridge, BridgeScheduler, BridgeSearcher, BridgeStopper
from search.space import Trial
from search.study import Record
from search.trials import Watcher
from search.worker import Job, train_trial
from search.workers import Slots, set_variables
from xfer.recipe import Recipe

log = logging.getLogger(__name__)

_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard of Ray's own
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # snapshots cost 56 to 223 ms a trial, and nobody reads them
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
}


MOST_WORKERS = 4096
"""On a cluster that may grow."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a search ended."""

    why: Literal["trials", "minutes"]
    """The limit it met: all trials told, or the time."""
    deaths: int
    """Workers that died."""
    seconds: float
    """Wall time."""


def run_trials(
    record: Record,
    recipe_of: Callable[[Trial], Recipe],
    *,
    job: Job,
    slots: Slots,
    trials: int,
    out: Path,
    limit_s: float | None = None,
    reserved: Callable[[], float] = lambda: 0.0,
    room: Callable[[], int] | None = None,
    watchers: Sequence[Watcher] = (),
    trainable: Callable[..., None] = train_trial,
) -> Ended:
    """Runs trials until so many are told or time is up. Ray must have been started.

    Whatever ends it, no trial is left RUNNING: what was in the middle waits, and goes on when this
    is called again.

    Args:
        record: The study.
        recipe_of: The space's function.
        job: What all trials have in common.
        slots: Room for them.
        trials: Limit on trials told, earlier sessions' included.
        out: Folder for Ray's own files, absolute; removed in the end.
        limit_s: Seconds from the first epoch's beginning after which trials are put back; None: no
            limit.
        reserved: Seconds of these that are for something else, as it is known now.
        room: Most workers there can be now, asked again and again: nodes come and go. None: as
            many as there are slots, always.
        watchers: Told of every event in order.
        trainable: Called as `trainable(config, job=job)` in a worker.

    Raises:
        TrialsError: the first three trials all broke.
        KeyboardInterrupt: after Ctrl-C.
        RunError: the right to write to the study was lost.
    """
    began = time.monotonic()
    record.requeue()
    bridge = Bridge(
        record, recipe_of, trials=trials, slots=slots.workers, limit_s=limit_s, reserved=reserved,
        watchers=watchers,
    )  # fmt: skip
    try:
        if not bridge.is_over:
            with _interruptible(bridge), set_variables(_TUNE_SETTINGS):
                _run_tuner(bridge, trainable, job=job, slots=slots, room=room, out=out)
            bridge.put_back_all()
    finally:
        shutil.rmtree(out, ignore_errors=True)
        try:
            record.requeue()
        except Exception:
            if bridge.failure is None:
                raise
            log.exception("trials stay RUNNING until the run is resumed")  # the storage is away
    if bridge.failure is not None:
        raise bridge.failure
    if bridge.interrupted:
        raise KeyboardInterrupt
    return Ended(
        why="minutes" if bridge.stopping == "minutes" else "trials",
        deaths=bridge.deaths,
        seconds=time.monotonic() - began,
    )


def _run_tuner(
    bridge: Bridge,
    trainable: Callable[..., None],
    *,
    job: Job,
    slots: Slots,
    room: Callable[[], int] | None,
    out: Path,
) -> None:
    scheduler = BridgeScheduler(bridge, room)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, job=job),
            {"cpu": slots.threads, "gpu": slots.gpus_per_trial},
        ),
        tune_config=tune.TuneConfig(
            search_alg=BridgeSearcher(bridge, scheduler),
            scheduler=scheduler,
            num_samples=-1,
            # Without it Tune starts one worker at a time; the searcher holds back what is too much.
            max_concurrent_trials=slots.workers if room is None else MOST_WORKERS,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="tuner",
            storage_path=str(out),
            stop=BridgeStopper(bridge, scheduler),
            verbose=0,
        ),
    )
    with _quiet("ray.tune"):
        tuner.fit()


def _name(trial: Any) -> str:
    return str(trial.config["number"])


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Within it a logger is off: what went wrong is in the study, and told from there."""
    named = logging.getLogger(logger)
    before = named.level
    named.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        named.setLevel(before)


@contextmanager
def _interruptible(bridge: Bridge) -> Iterator[None]:
    """Within it the first Ctrl-C or SIGTERM lets the step at hand end; the second does not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: object) -> None:
        if bridge.interrupted:
            raise KeyboardInterrupt
        bridge.interrupted = True

    before = {sign: signal.signal(sign, interrupt) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
