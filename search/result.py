"""What did a run find, for programs? The content of result.json.

What this version does not compute yet is null, never left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, get_args

from search.answer import answer
from search.trials import State, TrialRow
from xfer.recipe import Objective, to_json

_SECONDS = ("total", "decode", "prefix", "training", "overhead")
_COUNTERS = ("images_decoded", "prefix_forwards", "prefix_hits")


def build_result(
    *,
    name: str,
    demo: bool,
    seed: int,
    objective: Objective,
    positive: str | None,
    rows: Sequence[TrialRow],
    opened: int = 0,
    interrupted: bool = False,
    marks: Sequence[str] = (),
    best: TrialRow | None = None,
    corrected: Mapping[str, Any] | None = None,
    threshold: Mapping[str, Any] | None = None,
    test: Mapping[str, Any] | None = None,
    controls: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float] | None = None,
    counters: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The content of result.json, as DESIGN.md lists it; what is not finite is None.

    Args:
        name: the run's.
        demo: the images are built in.
        seed: the run's.
        objective: what was maximised.
        positive: class that must not be missed; None: several classes.
        rows: every trial.
        opened: how often the test part has been, in this run.
        interrupted: the search ended before its budget, from outside.
        marks: what a reader has to know before believing the rest, in words.
        best: the winner.
        corrected: its search score without the luck of the choice.
        threshold: `value`, `chosen_on`, `rule`; None for several classes.
        test: as `with_intervals` gives it; None: the test part was not opened.
        controls: by name, the same of what the winner has to beat.
        data: `images`, `patients`, `skipped`, per split and class.
        seconds: any of `total`, `decode`, `prefix`, `training`, `overhead`; training is the sum
            over trials where it is not given.
        counters: any of `images_decoded`, `prefix_forwards`, `prefix_hits`.

    Raises:
        ValueError: seconds or counters of another name.
    """
    counts = Counter(row.state for row in rows)
    shown = [state for state in get_args(State) if state != "running"]
    told = sum(counts[state] for state in shown if state != "waiting")
    spent = {"training": round(sum(row.seconds for row in rows), 3)} | dict(seconds or {})
    result = {
        "name": name,
        "answer": answer(
            test=test,
            positive=positive,
            best=best,
            trials=told,
            demo=demo,
            opened=opened,
            interrupted=interrupted,
        ),
        "demo": demo,
        "seed": seed,
        "objective": to_json(objective),
        "trials": {state: counts[state] for state in shown},
        "interrupted": interrupted,
        "marks": list(marks),
        "best": None if best is None else _best(best) | {"corrected": corrected},
        "threshold": None if threshold is None else dict(threshold),
        "test": None if test is None else dict(test),
        "opened": opened,
        "controls": None if controls is None else dict(controls),
        "ensemble": None,
        "front": None,
        "data": None if data is None else dict(data),
        "seconds": _all_of(_SECONDS, spent),
        "counters": _all_of(_COUNTERS, counters or {}),
    }
    return finite(result)


def with_intervals(
    metrics: Mapping[str, float],
    ends: Mapping[str, tuple[float, float]],
    confusion: Mapping[str, Any],
) -> dict[str, Any]:
    """Metrics of the test part with their 95 % intervals, and the counts they come from.

    Args:
        metrics: of `xfer.evaluate`; per class as `recall/NAME`.
        ends: low and high of each, as `xfer.evaluate.bootstrap.intervals` gives them.
        confusion: `tp`, `fp`, `fn`, `tn`; or `classes` (names) and `matrix` (classes, classes),
            whose rows are true classes.
    """
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        low, high = ends[name]
        found[name] = {"value": value, "low": low, "high": high}
    return finite(found | {"confusion": dict(confusion)})


def _best(row: TrialRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "name": row.name,
        "params": dict(row.params),
        "epoch": row.best_epoch,
        "val": {"search_score": row.value} | dict(row.val),
    }


def _all_of(names: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"{unknown} must be among {list(names)}")
    return {name: given.get(name) for name in names}


def finite(value: Any) -> Any:
    """The same for strict JSON: a float that is no finite number becomes None."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
