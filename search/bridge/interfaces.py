"""How does Ray speak with the study? Its interfaces, each passing on what Ray says."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.tune import Stopper
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.bridge.session import Bridge

T = TypeVar("T")

START_LIMIT_S = 120.0
"""A worker that has not started by then is not waited for: the cluster has no room for it."""


_NODE_GONE = "its node has died"
"""Ray's words."""
ROOM_S = 5.0
"""Between two looks at how many workers there is room for."""


class BridgeSearcher(Searcher):
    """Ray asks it for trials."""

    def __init__(self, bridge: Bridge, scheduler: BridgeScheduler) -> None:
        super().__init__()
        self._bridge, self._scheduler = bridge, scheduler

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray pickles its configuration for a restore that never happens here, and the space's
        # function, loaded from a path, cannot be pickled.
        return (str, ("the study is the record",))

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """The bridge counts its slots itself: Ray's count misses trials lost while starting."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """A config, None for now, or FINISHED."""
        if self._scheduler.busy >= self._bridge.slots and not self._bridge.is_finished:
            return None  # a trial that is over may still hold its worker
        config = _guarded(self._bridge, self._bridge.propose, None)
        # FINISHED is final: Ray never asks again, also if the last trial's worker dies.
        return Searcher.FINISHED if config is None and self._bridge.is_finished else config

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The scheduler has heard it already."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study has it."""


class BridgeScheduler(FIFOScheduler):
    """Ray tells it what trials report, and does what it answers.

    A trial is not stopped while a worker is starting, at the beginning or after one has died: its
    own worker, free again, would be given the trial that the other is starting for, and that other
    would be stopped. Where trials are shorter than a start this goes on for ever, and a slot stays
    empty. Meanwhile the trial repeats its last report, or trains epochs that nobody records.
    """

    def __init__(self, bridge: Bridge, room: Callable[[], int] | None = None) -> None:
        """Begins.

        Args:
            bridge: what decides.
            room: most workers there can be now; None: as many as the bridge has slots.
        """
        super().__init__()
        self._room, self._asked_room = room, 0.0
        self.live: Callable[[], Sequence[RayTrial]] = list
        """Ray's trials that have not ended."""
        self._bridge = bridge
        self._gone: set[str] = set()  # Ray's ids of trials whose worker died
        self._waiting_since: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (str, ("the study is the record",))

    @property
    def busy(self) -> int:
        """Trials that hold a worker or wait for one."""
        return sum(not trial.is_finished() for trial in self.live())

    def on_trial_add(self, tune_controller: Any, trial: RayTrial) -> None:
        """The first call in which Ray shows its trials."""
        self.live = tune_controller.get_live_trials

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """CONTINUE or STOP."""
        goes_on = _guarded(
            self._bridge, lambda: self._bridge.heard(trial.config["number"], result), False
        )
        if goes_on or self._must_wait():
            return TrialScheduler.CONTINUE
        return TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:
        """The worker died: its function never raises."""
        if trial.trial_id not in self._gone:
            self._gone.add(trial.trial_id)
            number, error = trial.config["number"], _error(trial)
            if _NODE_GONE in error:
                _guarded(self._bridge, lambda: self._bridge.lost(number), None)
            else:
                _guarded(self._bridge, lambda: self._bridge.died(number, error), None)

    def on_trial_complete(
        self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]
    ) -> None:
        """Also called after STOP, when there is nothing left to do."""
        _guarded(self._bridge, lambda: self._bridge.vanished(trial.config["number"]), None)

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        """The first that is pending; called in every step, so it also looks for lost ones."""
        if self._room is not None and time.monotonic() - self._asked_room > ROOM_S:
            self._bridge.slots = _guarded(self._bridge, self._room, self._bridge.slots)
            self._asked_room = time.monotonic()
        for trial in list(self.live()):
            if trial.status == RayTrial.ERROR:  # a worker that could not be used again: Ray is mute
                self.on_trial_error(tune_controller, trial)
        return super().choose_trial_to_run(tune_controller)

    def _must_wait(self) -> bool:
        starting = any(
            trial.status == RayTrial.PENDING and trial.temporary_state.ray_actor is None
            for trial in self.live()
        )
        running = sum(trial.status == RayTrial.RUNNING for trial in self.live())
        if not starting or running >= self._bridge.slots:  # a node is gone: there is no room for it
            self._waiting_since = None
            return False
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since < START_LIMIT_S


class BridgeStopper(Stopper):
    """Ends everything at once after Ctrl-C or a failure of the search itself."""

    def __init__(self, bridge: Bridge, scheduler: BridgeScheduler) -> None:
        self._bridge, self._scheduler = bridge, scheduler

    def __reduce__(self) -> tuple[Any, ...]:
        return (str, ("the study is the record",))

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Single trials are the scheduler's business."""
        return False

    def stop_all(self) -> bool:
        """Whether to end; workers are killed first, for Ray waits 10 s for each that is busy."""
        if not (self._bridge.interrupted or self._bridge.failure):
            return False
        for trial in self._scheduler.live():
            actor = trial.temporary_state.ray_actor
            if actor is not None:
                ray.kill(actor)
        return True


def _error(trial: RayTrial) -> str:
    """What Ray wrote of a trial's end, on this disk: `get_error` looks in the storage."""
    file = trial.error_file
    return Path(file).read_text() if file and Path(file).is_file() else ""


def _guarded(bridge: Bridge, step: Callable[[], T], otherwise: T) -> T:
    """Ray turns what is raised into text; the bridge keeps it as it is."""
    try:
        return step()
    except Exception as error:
        bridge.fail(error)
        return otherwise
