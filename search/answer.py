"""What came out, in one sentence: of the test part where it was opened, in numbers one can count.

Missed 1 of 50 PNEUMONIA (recall .98, .90 to 1.00); 4 false alarms in 50 others; test part
opened once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.amounts import bound, share
from search.trials import TrialRow

DEMO = "DEMO, SYNTHETIC IMAGES:"
"""What every sentence about built-in images begins with."""


def answer(
    *,
    test: Mapping[str, Any] | None,
    positive: str | None,
    best: TrialRow | None,
    trials: int,
    demo: bool,
    opened: int = 0,
    interrupted: bool = False,
) -> str:
    """The sentence.

    Args:
        test: as `search.result.with_intervals` gives it; None: the test part was not opened.
        positive: name of the class that must not be missed; None: several classes.
        best: the winner, where there is one.
        trials: told.
        demo: the images are built in and show nothing about the world.
        opened: how often the test part has been, in this run.
        interrupted: the search was ended from outside, and can be resumed.
    """
    if test is not None:
        found = _binary(test, positive or "positive") if _is_binary(test) else _classes(test)
        text = f"{found}; test part opened {_times(opened)}."
    elif best is not None:
        text = (
            f"Best of {_count(trials, 'trial')} so far is trial {best.number}, with a search "
            f"score of {share(best.value)} on validation; it has not been scored on the test part"
            + ("." if not opened else f", which was opened {_times(opened)} for another trial.")
        )
    else:
        text = f"None of {_count(trials, 'trial')} could be finished; there is no model."
    if interrupted:
        text += " The search was interrupted; --resume goes on with it."
    return f"{DEMO} {text}" if demo else text


def _binary(test: Mapping[str, Any], positive: str) -> str:
    counts = test["confusion"]
    alarms, others = counts["fp"], counts["fp"] + counts["tn"]
    return (
        f"Missed {counts['fn']} of {counts['tp'] + counts['fn']} {_named(positive)} "
        f"(recall {_interval(test['recall'])}); {_count(alarms, 'false alarm')} in "
        f"{_count(others, 'other')}"
    )


def _classes(test: Mapping[str, Any]) -> str:
    matrix, names = test["confusion"]["matrix"], test["confusion"]["classes"]
    total, right = sum(map(sum, matrix)), sum(row[i] for i, row in enumerate(matrix))
    text = f"Right in {right} of {total} (accuracy {_interval(test['accuracy'])})"
    seen = [i for i, row in enumerate(matrix) if sum(row)]
    if len(seen) < 2:
        return text
    worst = min(seen, key=lambda i: matrix[i][i] / sum(matrix[i]))
    found, there = matrix[worst][worst], sum(matrix[worst])
    return f"{text}; worst class {_named(names[worst])}: {found} of {there} found"


def _interval(metric: Mapping[str, Any]) -> str:
    text = share(metric["value"])
    if metric["low"] is None:
        return text
    return f"{text}, {bound(metric['low'])} to {bound(metric['high'])}"


def _is_binary(test: Mapping[str, Any]) -> bool:
    return "tp" in test["confusion"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _named(name: str) -> str:
    """A class's name, in quotes where it would read as a number or as part of the sentence.

    >>> _named("PNEUMONIA"), _named("8")
    ('PNEUMONIA', "'8'")
    """
    return name if name.isidentifier() else repr(name)


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
