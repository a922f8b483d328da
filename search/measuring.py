"""How fast does this machine train the space's models, and with how many workers is it fastest?

Asked of processes like workers, side by side as workers will be. Each of them has to load torch, so
for a search that takes no longer than that this process measures, for a moment, and the workers
are as many as the rule says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

from search.errors import SearchError
from search.workers import Slots, candidates, environment
from xfer.recipe import Recipe, to_json
from xfer.speed import Speed, model_key, seconds_of

if TYPE_CHECKING:
    from xfer.models.described import Described

LIMIT_S, OTHERS_LIMIT_S, QUICK_LIMIT_S = 6.0, 2.0, 0.5
"""Of measuring with the number of workers that the rule gives, with each other number, and in this
process. A model that has been begun is measured to its end."""
MARGIN = 1.1
"""Another number of workers has to be so much faster than the rule's."""
QUICK_MADDS = 3e12
"""Multiply-adds of a whole search that takes ten minutes on one core, at 5e9 a second."""
_ANSWER_S = 180.0  # a process that has said nothing for so long is ended

Mean = Callable[[Speed, frozenset[str]], float]
"""Seconds of a trial at a speed: the mean over recipes of these models (keys of `Speed.models`)."""


class MeasuringError(SearchError, RuntimeError):
    """This machine's speed cannot be measured."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a number of workers achieved."""

    workers: int
    """Processes side by side."""
    threads: int
    """Of each."""
    trials_per_hour: float
    """Of all together; trials of those models alone that were measured with every number."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of this machine before a search."""

    slots: Slots
    """Room for trials."""
    speed: Speed
    """Of one of these workers, beside the others."""
    chosen: str
    """Who chose their number: `asked`, `rule`, `measured`, or `recorded` in a resumed run."""
    tried: tuple[Tried, ...] = ()
    """What was compared, the rule's number first; empty where nothing was."""

    def to_json(self) -> dict[str, Any]:
        """Without the speed, for the manifest."""
        return asdict(self.slots) | {
            "chosen": self.chosen,
            "tried": [asdict(each) for each in self.tried],
        }


def measured(
    recipes: Sequence[Recipe],
    described: Sequence[Described],
    *,
    slots: Slots,
    asked: bool,
    madds: float,
    shape: Mapping[str, int],
) -> Measured:
    """Measures, with processes of its own where the search is long enough to repay it.

    Args:
        recipes: drawn from the space, each as often as it was drawn; at least one.
        described: each of them.
        slots: by the rule, or with the number of workers that was asked for.
        asked: the number was asked for, so there is nothing to choose.
        madds: multiply-adds of the whole search, roughly.
        shape: `classes`, `size` and `channels` of the images.

    Raises:
        MeasuringError: no model could be measured, or a process for it died.
    """
    if madds < QUICK_MADDS:
        from xfer.timing import measure

        speed = measure(
            recipes,
            threads=slots.threads,
            device=slots.device,
            limit_s=QUICK_LIMIT_S,
            classes=shape["classes"],
            size=shape["size"],
            channels=shape["channels"],
        )
        if not speed.models:
            raise _no_model()
        return Measured(slots=slots, speed=speed, chosen="asked" if asked else "rule")

    def mean(speed: Speed, models: frozenset[str]) -> float:
        each = [
            seconds_of(
                recipe, its, speed, train_images=1000, val_images=250, epochs=1, stored=False
            ).training
            for recipe, its in zip(recipes, described, strict=True)
            if model_key(recipe.model) in models
        ]
        return sum(each) / len(each)

    choices = [slots] if asked else candidates(slots)
    request = {"recipes": to_json(tuple(recipes)), "device": slots.device, **shape}
    most = max(each.workers for each in choices) if slots.device == "cpu" else 1
    with ExitStack() as stack:
        gauges = [stack.enter_context(_gauge(slots, request)) for _ in range(most)]
        for gauge in gauges:
            gauge.answer()  # all is loaded

        def measure_all(slots: Slots, limit_s: float) -> list[Speed]:
            busy = gauges[: slots.workers]
            for gauge in busy:
                gauge.ask({"threads": slots.threads, "limit_s": limit_s})
            return [Speed.from_json(gauge.answer()) for gauge in busy]

        return choose(choices, measure_all, mean)


def recalled(slots: Slots, manifest: Mapping[str, Any]) -> Measured | None:
    """What a run that goes on had measured when it began; None: nothing, or other workers.

    Args:
        slots: that the run goes on with.
        manifest: of the run, with `workers` and `speed` where it got so far.
    """
    workers, speed = manifest.get("workers"), manifest.get("speed")
    same = asdict(slots)
    if not workers or not speed or any(workers[name] != same[name] for name in same):
        return None
    return Measured(
        slots=slots,
        speed=Speed.from_json(speed),
        chosen="recorded",
        tried=tuple(Tried(**each) for each in workers["tried"]),
    )


def choose(
    choices: Sequence[Slots], measure: Callable[[Slots, float], Sequence[Speed]], mean: Mean
) -> Measured:
    """The rule's number of workers, unless another one is faster by more than `MARGIN`.

    Args:
        choices: the rule's first.
        measure: in so many seconds, the speed of each worker beside the others.
        mean: time of a trial.

    Raises:
        MeasuringError: no model was measured with every number.
    """
    speeds = [list(measure(choices[0], LIMIT_S))]
    speeds += [list(measure(slots, OTHERS_LIMIT_S)) for slots in choices[1:]]
    models = frozenset.intersection(*(frozenset(one.models) for each in speeds for one in each))
    if not models:
        raise _no_model()
    tried = [
        Tried(
            workers=slots.workers,
            threads=slots.threads,
            trials_per_hour=sum(3600 / mean(one, models) for one in each),
        )
        for slots, each in zip(choices, speeds, strict=True)
    ]
    best = max(range(len(tried)), key=lambda number: tried[number].trials_per_hour)
    if tried[best].trials_per_hour < MARGIN * tried[0].trials_per_hour:
        best = 0
    if best:  # once more, with time for more models than the comparison had
        speeds[best] = list(measure(choices[best], LIMIT_S))
    ours = sorted(speeds[best], key=lambda one: mean(one, models))
    return Measured(
        slots=choices[best],
        speed=ours[len(ours) // 2],
        chosen="measured" if len(choices) > 1 else "asked",
        tried=tuple(tried) if len(choices) > 1 else (),
    )


def _no_model() -> MeasuringError:
    return MeasuringError(
        "no model of the space could be measured: there is no memory for two images of any of them"
    )


class _Gauge:
    """A process that measures, and what it is told and says."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process, self._errors = process, errors

    def ask(self, question: Mapping[str, Any]) -> None:
        """Sends a line."""
        stream = self._process.stdin
        if stream is not None:
            with suppress(BrokenPipeError):  # it is dead, and `answer` says so
                stream.write(json.dumps(question) + "\n")
                stream.flush()

    def answer(self) -> Any:
        """Waits for a line.

        Raises:
            MeasuringError: none came.
        """
        watchdog = threading.Timer(_ANSWER_S, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline() if self._process.stdout else ""
        finally:
            watchdog.cancel()
        if line:
            return json.loads(line)
        status = self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["it said nothing"])[-1]
        raise MeasuringError(
            f"this machine's speed could not be measured: a process for it ended with {status}: "
            f"{last}. With --workers fewer of them are started."
        )


@contextmanager
def _gauge(slots: Slots, request: Mapping[str, Any]) -> Iterator[_Gauge]:
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "xfer.timing"],
            env=os.environ | environment(slots),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            gauge = _Gauge(process, errors)
            gauge.ask(request)
            yield gauge
        finally:
            process.kill()
