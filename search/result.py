"""What did a run find, for programs? The content of result.json.

What this version does not compute yet is null, never left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal, get_args

from search.answer import answer
from search.sentences import ensemble_said
from search.skill import skill
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
    negative: str | None = None,
    opened: int = 0,
    ledger: str | None = None,
    interrupted: bool = False,
    marks: Sequence[str] = (),
    problems: Mapping[str, int] | None = None,
    best: TrialRow | None = None,
    chosen_by: Literal["folds", "validation"] = "validation",
    constant: float | None = None,
    corrected: Mapping[str, Any] | None = None,
    threshold: Mapping[str, Any] | None = None,
    val: Mapping[str, Any] | None = None,
    test: Mapping[str, Any] | None = None,
    gap: Mapping[str, Any] | None = None,
    controls: Mapping[str, Any] | None = None,
    experiments: Sequence[Mapping[str, Any]] | None = None,
    finalists: Sequence[Mapping[str, Any]] | None = None,
    ensemble: Mapping[str, Any] | None = None,
    front: Sequence[Mapping[str, Any]] | None = None,
    data: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float] | None = None,
    counters: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The content of result.json; what is not finite is None.

    Args:
        name: the run's.
        demo: the images are built in.
        seed: the run's.
        objective: what was maximised.
        positive: class that must not be missed; None: several classes.
        rows: every trial.
        negative: the only other class; None: there are several.
        opened: how often the test part has been, in this run.
        ledger: how often its images have been on this machine, in words.
        interrupted: the search ended before its budget, from outside.
        marks: what a reader has to know before believing the rest, in words.
        problems: what is wrong with the data, as `search.answer.problems_of` counts it.
        best: the winner.
        chosen_by: what it was the best by.
        constant: search score of the best constant answer to the images of validation.
        corrected: its search score without the luck of the choice.
        threshold: `value`, `chosen_on`, `rule`; None for several classes.
        val: as `test`, of the images it was chosen on.
        test: as `with_intervals` gives it, with `subgroups` where there are some; None: the test
            part was not opened.
        gap: `metrics` (validation less test by name: `value`, `low`, `high`) and `caution`.
        controls: by name, the same of what the winner has to beat.
        experiments: known configurations beside what a study reported of them, as
            `search.experiments.experiments_told` gives them.
        finalists: trained again on folds: `number`, `name`, `mean`, `low`, `high`, `probability` of
            being best, `parameters`, `scores`.
        ensemble: of the finalists: `trials`, what `test` has, and `difference`, of which the
            winner is the first.
        front: `number`, `name`, `params`, `search_score`, and `parameters` or `latency`.
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
            negative=negative,
            controls=controls,
            problems=problems,
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
        "best": None
        if best is None
        else _best(best, constant) | {"corrected": corrected, "chosen_by": chosen_by},
        "threshold": None if threshold is None else dict(threshold),
        "val": None if val is None else dict(val),
        "test": None if test is None else dict(test),
        "gap": None if gap is None else dict(gap),
        "opened": opened,
        "ledger": ledger,
        "controls": None if controls is None else dict(controls),
        "experiments": None if experiments is None else list(experiments),
        "finalists": None if finalists is None else list(finalists),
        "ensemble": None
        if ensemble is None
        else dict(ensemble) | {"said": ensemble_said(ensemble, positive or "positive", negative)},
        "front": None if front is None else list(front),
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


def _best(row: TrialRow, constant: float | None) -> dict[str, Any]:
    return {
        "number": row.number,
        "name": row.name,
        "params": dict(row.params),
        "epoch": row.best_epoch,
        "skill": skill(row.value, constant),
        "constant": constant,
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
