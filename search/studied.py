"""How do experiments stand beside the study that they repeat? A table, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.amounts import bound, share

_OURS = {
    "accuracy": "accuracy", "recall": "recall", "precision": "precision",
    "balanced_accuracy": "balanced accuracy", "auroc": "auroc",
}  # fmt: skip
_STUDY = ("accuracy", "recall", "precision")

Experiments = Sequence[Mapping[str, Any]]
"""As result.json has them."""


def heads(experiments: Experiments) -> list[str]:
    """Of the table's columns: those of metrics that some experiment has."""
    ours = [_OURS[name] for name in _shown(experiments)]
    study = [f"study's {name}" for name in _published(experiments)]
    return ["experiment", *ours, *study, "trained"]


def rows(experiments: Experiments, *, ends: bool = True) -> list[list[str]]:
    """Of the table, in the order of the space.

    Args:
        experiments: to be shown.
        ends: with intervals.

    >>> numbers = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "confusion": {}}
    >>> study = {"accuracy": {"value": 0.77, "low": None, "high": None}, "recall": None}
    >>> one = {"name": "E9", "state": "complete", "ended": "", "trained": 2101251,
    ...     "test": numbers, "published": study, "differs": ""}
    >>> heads([one]), rows([one])
    (['experiment', 'accuracy', "study's accuracy", 'trained'], \
[['E9', '.90 (.80 to .95)', '.77', '2,101,251']])
    """
    shown, published = _shown(experiments), _published(experiments)
    table = []
    for one in experiments:
        test, study = one["test"], one["published"] or {}
        cells = ["" if test is None else _number(test.get(name), ends) for name in shown]
        if test is None:
            cells[0] = _why_not(one)
        table.append(
            [
                one["name"],
                *cells,
                *(_number(study.get(name), ends) for name in published),
                "" if one["trained"] is None else f"{one['trained']:,}",
            ]
        )
    return table


def differences(experiments: Experiments) -> list[str]:
    """What is not as in the study, a line for each experiment of which it is known."""
    return [f"{one['name']}: {one['differs']}" for one in experiments if one["differs"]]


def _shown(experiments: Experiments) -> list[str]:
    tests = [one["test"] for one in experiments if one["test"] is not None]
    if any("tp" in test["confusion"] for test in tests):
        names = [name for name in _OURS if name != "balanced_accuracy"]
    else:
        names = [name for name in _OURS if name not in ("recall", "precision")]
    return [name for name in names if any(name in test for test in tests)] or ["accuracy"]


def _published(experiments: Experiments) -> list[str]:
    studies = [one["published"] for one in experiments if one["published"]]
    return [name for name in _STUDY if any(study.get(name) for study in studies)]


def _why_not(one: Mapping[str, Any]) -> str:
    """Why an experiment has no numbers."""
    if one["state"] == "complete":
        return str(one["untested"] or "the test part is closed")
    return f"{one['state']}: {one['ended']}" if one["ended"] else str(one["state"])


def _number(metric: Mapping[str, Any] | None, ends: bool) -> str:
    if metric is None:
        return "–"
    if "from" in metric:
        return f"{share(metric['from'])} to {share(metric['to'])}"
    text = share(metric["value"])
    if ends and metric["low"] is not None:
        text += f" ({bound(metric['low'])} to {bound(metric['high'])})"
    return text
