"""What share of its learning rate does a recipe's schedule give to a step?

Pure functions of the step's place and of the losses on validation, so that a run that goes on from
a checkpoint has the rates of one that was never interrupted. Two phases are two schedules: each
begins anew, and what is counted here is counted within one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, inf, pi

from xfer.recipe import Schedule

_CYCLE_START = 1 / 25
_CYCLE_END = 1 / 250_000
_CYCLE_CLIMB = 0.3


def schedule_factor(
    schedule: Schedule,
    step: int,
    *,
    steps_per_epoch: int,
    steps: int,
    losses: Sequence[float] = (),
) -> float:
    """The learning rate of a step over the recipe's.

    With a warm-up of w steps (`warmup_epochs * steps_per_epoch`, which need not be whole) step s
    has `(s + 1) / w` of what the schedule gives it, never more than all of it (Goyal et al.,
    "Accurate, Large Minibatch SGD", 2017). Only `cosine` begins where the warm-up ends; all others
    count from the first step. Where the steps end before the warm-up does, the rate is still
    climbing when they end: it is not made steeper to fit.

    Args:
        schedule: its name and numbers.
        step: from 0.
        steps_per_epoch: at least 1.
        steps: of all epochs together.
        losses: on validation after each finished epoch; read by `on_plateau` alone.

    >>> cosine = Schedule("cosine", warmup_epochs=1)
    >>> factors = (schedule_factor(cosine, s, steps_per_epoch=2, steps=6) for s in range(6))
    >>> [round(factor, 3) for factor in factors]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    warmup = schedule.warmup_epochs * steps_per_epoch
    share = 1.0 if step + 1 >= warmup else (step + 1) / warmup
    finished = step if schedule.per == "step" else step // steps_per_epoch
    match schedule.name:
        case "constant":
            return share
        case "cosine":
            return share * cosine(max(0.0, step - warmup), steps - warmup)
        case "step":
            return share * schedule.factor ** (finished // schedule.every)
        case "exponential":
            return share * schedule.factor ** (finished / schedule.every)
        case "on_plateau":
            return share * schedule.factor ** plateaus(losses, patience=schedule.patience)
        case "one_cycle":
            return one_cycle(step, steps)


def cosine(step: float, steps: float) -> float:
    """`(1 + cos(pi * step / steps)) / 2`: 1 at step 0, and 0 where the step after the last is.

    Loshchilov and Hutter, "SGDR", 2017, without restarts. At step 0 it is 1 whatever `steps` is.
    """
    return (1 + cos(pi * step / steps)) / 2 if step else 1.0


def one_cycle(step: int, steps: int) -> float:
    """From 1/25 up to 1 in the first 30 % of the steps, then down to 1/250,000 at the last one.

    Smith and Topin, "Super-Convergence", 2018, in the form that became usual: both ways are half a
    cosine, and the peak lies at step `0.3 * steps - 1`, between two steps if need be. Momentum does
    not cycle. A single step is given the peak, not the end.
    """
    if steps == 1:
        return 1.0
    peak = _CYCLE_CLIMB * steps - 1
    if step <= peak:
        return _between(_CYCLE_START, 1.0, step / peak)
    return _between(1.0, _CYCLE_END, (step - peak) / (steps - 1 - peak))


def _between(start: float, end: float, way: float) -> float:
    """From start to end along half a cosine; `way` is in [0, 1]."""
    return end + (start - end) * cosine(way, 1.0)


def plateaus(losses: Sequence[float], *, patience: int) -> int:
    """How often `patience` epochs in a row brought no loss below the lowest before them.

    After each time counting starts anew, and the lowest loss stays what it was. An equal loss is
    not below.

    Args:
        losses: after each epoch, finite.
        patience: in epochs, at least 1.

    >>> plateaus([3, 2, 2, 2, 2, 2, 1, 1], patience=2)
    2
    """
    found = since = 0
    lowest = inf
    for loss in losses:
        since = 0 if loss < lowest else since + 1
        lowest = min(lowest, loss)
        if since == patience:
            found, since = found + 1, 0
    return found
