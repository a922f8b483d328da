"""What came out? The answer, the winner, its threshold and the test part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from search.amounts import bound, setting, share
from search.report.html import Html, element, joined, number, table
from search.report.reading import Reading, ranked
from search.scores import compared_said, corrected_said


def head(reading: Reading) -> Html:
    """Name, marks and the answer."""
    result = reading.result
    marks = [str(mark) for mark in result.get("marks") or []]
    if is_demo(reading) and not any("DEMO" in mark for mark in marks):
        marks.insert(0, "DEMO, SYNTHETIC IMAGES: nothing below is about real images.")
    marks += [str(m) for m in reading.audit.get("marks") or [] if m not in marks]
    marks += unfinished(reading)
    marks += [f"Damaged and left out: {what}" for what in reading.damaged]
    return joined(
        [
            element("h1", reading.name),
            *(element("p", mark, class_="mark") for mark in marks),
            element("p", answer(reading), class_="answer"),
        ]
    )


def is_demo(reading: Reading) -> bool:
    """The run's images are synthetic; the manifest says so before there is a result."""
    plan = reading.manifest.get("plan")
    said = [reading.result.get("demo"), reading.manifest.get("demo")]
    said += [plan.get("demo")] if isinstance(plan, Mapping) else []
    return any(said)


def unfinished(reading: Reading) -> list[str]:
    """What keeps this from being a whole run, in words; empty for a finished one."""
    under_way = sum(row.state in ("running", "waiting") for row in reading.trials)
    some = f" {under_way} of its trials are not finished." if under_way else ""
    if not reading.result:
        return [f"This run has not ended, or was killed; this is what it had by then.{some}"]
    if reading.result.get("interrupted"):
        return [f"This run was interrupted; this is what it had by then.{some}"]
    return []


def answer(reading: Reading) -> str:
    """The sentence of result.json, or what can be said before there is one."""
    if reading.result.get("answer"):
        return str(reading.result["answer"])
    best = ranked(reading.trials)
    demo = "DEMO, SYNTHETIC IMAGES: " if is_demo(reading) else ""
    if not best:
        return f"{demo}No trial has a score yet."
    return (
        f"{demo}Best so far is trial {best[0].number}, with a search score of "
        f"{share(best[0].value)} on validation; the test part has not been opened."
    )


def winner(reading: Reading) -> Html | None:
    """The winner's hyperparameters, scores and recipe."""
    best = reading.result.get("best")
    if not best:
        return None
    title = f"Trial {best['number']}" + (f", {best['name']}" if best.get("name") else "")
    chosen = "chosen by the mean over its folds"
    if best["epoch"] is not None:
        chosen = f"epoch {best['epoch']}, chosen on validation"
    params = [(name, setting(value)) for name, value in best["params"].items()]
    val = [
        (name, number(share(value)))
        for name, value in best["val"].items()
        if "/" not in name and isinstance(value, int | float)
    ]
    recipe = json.dumps(reading.recipe, indent=2) if reading.recipe else None
    return joined(
        [
            element("h2", "The winner"),
            element("p", f"{title}, {chosen}."),
            element("h3", "Hyperparameters"),
            table(("hyperparameter", "value"), params),
            element("h3", "On validation"),
            element(
                "p",
                "It was chosen by these numbers, which makes them optimistic. The search score is "
                "the objective at the epoch's own best threshold: it ranks, it is no estimate.",
                class_="soft",
            ),
            table(("metric", "value"), val),
            element("p", corrected_said(best["corrected"])) if best.get("corrected") else None,
            element("details", element("summary", "The whole recipe"), element("pre", recipe))
            if recipe
            else None,
        ]
    )


def threshold(reading: Reading) -> Html | None:
    """The threshold that ships, its rule and what it promises."""
    chosen = reading.result.get("threshold")
    if not chosen:
        return None
    rule = chosen.get("rule")
    if isinstance(rule, Mapping):
        numbers = ", ".join(f"{k}={v}" for k, v in rule.items() if k != "kind")
        rule = f"{rule.get('kind', '')}({numbers})"
    said = chosen.get("said") or reading.threshold.get("said")
    return joined(
        [
            element("h2", "The threshold"),
            element(
                "p",
                f"Positive from {setting(chosen['value'])} on; rule: {rule}; chosen on "
                f"{chosen.get('chosen_on')}.",
            ),
            element("p", str(said)) if said else None,
        ]
    )


def final_table(reading: Reading) -> Html:
    """The final table: copied from result.json, computed nowhere here."""
    test = reading.result.get("test")
    if not test:
        text = "The test part has not been opened."
        if reading.result.get("opened"):
            text = "The test part was opened for another model, and not for this one."
        return joined([element("h2", "On the test part"), element("p", text)])
    rows = [
        _metric_row(name, value)
        for name, value in test.items()
        if name != "confusion" and "/" not in name
    ]
    return joined(
        [
            element("h2", "On the test part"),
            element(
                "p", f"Opened {_times(reading)}, after everything was chosen. Intervals of 95 %."
            ),
            table(("metric", "value", "from", "to"), rows),
            confusion(test, positive=_positive(reading)),
            controls(reading.result),
        ]
    )


def _times(reading: Reading) -> str:
    times = reading.result.get("opened", 1)
    return "once" if times == 1 else f"{times} times"


def controls(result: Mapping[str, Any]) -> Html | None:
    """What the winner has to beat, beside it; None where there are no controls."""
    found = result.get("controls")
    if not found:
        return None
    columns = {"the winner": result["test"], **found}
    names = [
        name
        for name in result["test"]
        if name in _COMPARED and all(name in c for c in found.values())
    ]
    rows = [
        [element("td", name.replace("_", " ")), *(_interval(c[name]) for c in columns.values())]
        for name in names
    ]
    said = (
        "Each was fitted on train and its threshold chosen on val, by the same rule. "
        "'best constant' gives every image the same answer. 'file facts only' is a small tree that "
        "knows size, bytes, mode, mean and contrast of the files, and never sees an image. 'linear "
        "probe' is logistic regression on the features of the smallest pretrained backbone on this "
        "machine. 'first known configuration' is the first that the space names, trained as it is."
    )
    return joined(
        [
            element("h3", "What it has to beat"),
            element("p", said, class_="soft"),
            table(("metric", *columns), rows),
            *(
                element("p", compared_said(name, control["difference"]))
                for name, control in found.items()
            ),
        ]
    )


_COMPARED = ("recall", "specificity", "precision", "balanced_accuracy", "accuracy", "auroc", "mcc")
"""Metrics by which the winner stands beside the controls."""


def _metric_row(name: str, value: Mapping[str, Any]) -> list[Html]:
    ends = [value.get("low"), value.get("high")]
    return [
        element("td", name.replace("_", " ")),
        number(share(value.get("value"))),
        *(number("" if end is None else bound(end)) for end in ends),
    ]


def confusion(test: Mapping[str, Any], *, positive: str) -> Html:
    """Decisions against truth; with several classes, how much of each was found."""
    counts = test["confusion"]
    metrics = {}
    if "tp" in counts:
        names = [positive, "other"]
        matrix = [[counts["tp"], counts["fn"]], [counts["fp"], counts["tn"]]]
    else:
        names, matrix = [str(name) for name in counts["classes"]], counts["matrix"]
        metrics = {name: value for name, value in test.items() if name.startswith("recall/")}
    rows = []
    for i, (name, row) in enumerate(zip(names, matrix, strict=True)):
        cells = [
            element("td", str(cell), class_="n right" if i == j else "n")
            for j, cell in enumerate(row)
        ]
        found = metrics.get(f"recall/{name}")
        cells += [_interval(found)] if metrics else []
        rows.append([element("td", element("b", f"is {name}")), *cells])
    heads = ["", *(f"called {name}" for name in names), *(["found"] if metrics else [])]
    return joined([element("h3", "Decisions"), table(heads, rows, class_="matrix")])


def _positive(reading: Reading) -> str:
    """The class that must not be missed, by its name where the manifest has it."""
    plan = reading.manifest.get("plan")
    images = plan.get("data") if isinstance(plan, Mapping) else None
    name = images.get("positive") if isinstance(images, Mapping) else None
    return str(name) if name else "positive"


def _interval(metric: Mapping[str, Any] | None) -> Html:
    if metric is None:
        return element("td", "–")
    text = share(metric.get("value"))
    if metric.get("low") is not None:
        text += f" ({bound(metric['low'])} to {bound(metric['high'])})"
    return element("td", text)
