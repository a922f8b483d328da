"""What came out, in one sentence: of the test part where it was opened, in numbers one can count.

Missed 1 of 50 PNEUMONIA (recall .98, .90 to 1.00); 4 false alarms in 50 NORMAL; plain linear probe
2 and 3; test part opened once; problems in the data: none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from search.amounts import bound, share
from search.trials import TrialRow

if TYPE_CHECKING:
    from xfer.data.findings import Finding

DEMO = "DEMO, SYNTHETIC IMAGES:"
"""What every sentence about built-in images begins with."""
PROBE = "linear probe"
"""The control that the sentence names: what the search has to be worth its time against."""


def answer(
    *,
    test: Mapping[str, Any] | None,
    positive: str | None,
    best: TrialRow | None,
    trials: int,
    demo: bool,
    negative: str | None = None,
    controls: Mapping[str, Any] | None = None,
    problems: Mapping[str, int] | None = None,
    opened: int = 0,
    interrupted: bool = False,
) -> str:
    """The sentence.

    Args:
        test: as `search.result.with_intervals` gives it; None: the test part was not opened.
        positive: name of the class that must not be missed; None: several classes.
        negative: name of the only other class; None: there are several.
        controls: what was scored beside the winner, by name; of these the linear probe is told.
        problems: what is wrong with the data, as `problems_of` counts it; None: nobody has looked.
        best: the winner, where there is one.
        trials: told.
        demo: the images are built in and show nothing about the world.
        opened: how often the test part has been, in this run.
        interrupted: the search was ended from outside, and can be resumed.
    """
    if test is not None:
        if is_binary(test):
            found = _binary(test, positive or "positive", negative)
        else:
            found = _classes(test)
        text = f"{found}{_probe(controls)}; test part opened {times(opened)}"
        text += "." if problems is None else f"; problems in the data: {_problems(problems)}."
    elif best is not None:
        text = (
            f"Best of {_count(trials, 'trial')} so far is trial {best.number}, with a search "
            f"score of {share(best.value)} on validation; it has not been scored on the test part"
            + ("." if not opened else f", which was opened {times(opened)} for another trial.")
        )
    else:
        text = f"None of {_count(trials, 'trial')} could be finished; there is no model."
    if interrupted:
        text += " The search was interrupted; --resume goes on with it."
    return f"{DEMO} {text}" if demo else text


def problems_of(findings: Iterable[Finding]) -> dict[str, int]:
    """What is wrong with the data, by kind, and in how many cases.

    Of the audit's findings those that `--strict` refuses, and a possible shortcut. Not those that
    say how far these images reach (few of a class, unequal classes): the intervals and metrics of
    the sentence know that.
    """
    found: dict[str, int] = {}
    for finding in findings:
        if finding.refused or finding.kind == "shortcut_possible":
            found[finding.kind] = found.get(finding.kind, 0) + finding.count
    return found


def times(number: int) -> str:
    """How often, in a word or two.

    >>> times(1), times(2), times(3)
    ('once', 'twice', '3 times')
    """
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def counted(test: Mapping[str, Any], positive: str, negative: str | None = None) -> str:
    """Misses and false alarms of a model, without intervals; with several classes what is right."""
    if not is_binary(test):
        right, total = _right(test)
        return f"right in {right} of {total}"
    counts = test["confusion"]
    return (
        f"missed {counts['fn']} of {counts['tp'] + counts['fn']} {_named(positive)}; "
        f"{_alarms(counts, negative)}"
    )


def _binary(test: Mapping[str, Any], positive: str, negative: str | None) -> str:
    counts = test["confusion"]
    return (
        f"Missed {counts['fn']} of {counts['tp'] + counts['fn']} {_named(positive)} "
        f"(recall {_interval(test['recall'])}); {_alarms(counts, negative)}"
    )


def _alarms(counts: Mapping[str, int], negative: str | None) -> str:
    others = counts["fp"] + counts["tn"]
    whose = _count(others, "other") if negative is None else f"{others} {_named(negative)}"
    return f"{_count(counts['fp'], 'false alarm')} in {whose}"


def _probe(controls: Mapping[str, Any] | None) -> str:
    """The linear probe's misses and false alarms, or what it has right; empty where there is none.

    >>> _probe({"linear probe": {"confusion": {"tp": 48, "fn": 2, "fp": 3, "tn": 47}}})
    '; plain linear probe 2 and 3'
    """
    probe = (controls or {}).get(PROBE)
    if probe is None:
        return ""
    if not is_binary(probe):
        return f"; plain {PROBE} right in {_right(probe)[0]}"
    return f"; plain {PROBE} {probe['confusion']['fn']} and {probe['confusion']['fp']}"


def _problems(problems: Mapping[str, int]) -> str:
    """As in `none`, or `patient leak (3), near duplicate (12)`."""
    told = [f"{kind.replace('_', ' ')} ({count:,})" for kind, count in problems.items()]
    return ", ".join(told) or "none"


def _right(test: Mapping[str, Any]) -> tuple[int, int]:
    """Images that got their own class, and all."""
    matrix = test["confusion"]["matrix"]
    return sum(row[i] for i, row in enumerate(matrix)), sum(map(sum, matrix))


def _classes(test: Mapping[str, Any]) -> str:
    matrix, names = test["confusion"]["matrix"], test["confusion"]["classes"]
    right, total = _right(test)
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


def is_binary(test: Mapping[str, Any]) -> bool:
    """Whether metrics are of a class that must not be missed, and not of several."""
    return "tp" in test["confusion"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _named(name: str) -> str:
    """A class's name, in quotes where it would read as a number or as part of the sentence.

    >>> _named("PNEUMONIA"), _named("8")
    ('PNEUMONIA', "'8'")
    """
    return name if name.isidentifier() else repr(name)
