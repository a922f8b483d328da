"""What came out on the test part? All of it copied from result.json, nothing computed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.amounts import bound, share
from search.answer import times
from search.report.finalists import ensemble
from search.report.html import Html, element, joined, number, table
from search.report.reading import Reading
from search.scores import HALF, compared_said
from search.sentences import signed, subgroups_said


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
        if name not in ("confusion", "subgroups") and "/" not in name
    ]
    opened = f"Opened {times(reading.result.get('opened', 1))}, after everything was chosen."
    return joined(
        [
            element("h2", "On the test part"),
            element("p", f"{opened} {_ledger(reading)}Intervals of 95 %."),
            table(("metric", "value", "from", "to"), rows),
            confusion(test, positive=_positive(reading)),
            subgroups(test),
            _gap(reading.result.get("gap")),
            controls(reading.result),
            ensemble(reading.result),
        ]
    )


def _ledger(reading: Reading) -> str:
    """What the ledger of this machine says, where no mark has said it."""
    said = reading.result.get("ledger")
    return f"{said} " if said and said not in reading.result.get("marks", []) else ""


def subgroups(test: Mapping[str, Any]) -> Html | None:
    """Each subgroup by itself; None where there are none."""
    found = test.get("subgroups")
    if not found:
        return None
    binary = any("positives" in of for of in found.values())
    counts = ("images", "patients", *(("positives",) if binary else ()))
    measures = ("recall", "specificity") if binary else ("accuracy",)
    rows = [
        [
            element("td", name),
            *(number(f"{of[count]:,}") for count in counts),
            *(_interval(of[measure]) for measure in measures),
            element("td", _against(of[measures[0]]), class_="i"),
        ]
        for name, of in found.items()
    ]
    return joined(
        [
            element("h3", "Subgroups"),
            *(element("p", line, class_="mark") for line in subgroups_said(found)),
            table(("subgroup", *counts, *measures, f"{measures[0]} less the others'"), rows),
        ]
    )


def _against(measure: Mapping[str, Any] | None) -> str:
    difference = None if measure is None else measure["against_others"]
    return "–" if difference is None else signed(difference)


def _gap(gap: Mapping[str, Any] | None) -> Html | None:
    """How much better validation looked."""
    if not gap or not gap["metrics"]:
        return None
    rows = [
        (name.replace("_", " "), element("td", signed(value), class_="i"))
        for name, value in gap["metrics"].items()
    ]
    title = "Validation less test"
    said = "The winner was chosen on validation, so numbers there are too good: this is by how much"
    if gap.get("part") == "folds":
        title = "Fold models' answers less test"
        said = (
            "The threshold was chosen on the answers of models that were trained on folds, with "
            "the winner's recipe: what they reached there, less what the winner reaches on test"
        )
    return joined(
        [
            element("h3", title),
            element("p", f"{said}.", class_="soft"),
            element("p", gap["caution"], class_="mark") if gap["caution"] else None,
            table(("metric", title.lower()), rows),
        ]
    )


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
        "Each was fitted on train, its threshold chosen as the winner's was, by the same rule. "
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
    metric, at, prevalence = name.partition("_at_")
    label = f"{metric} where {float(prevalence):.0%} are positive" if at else name
    if name == HALF:
        label = "accuracy at a threshold of .5"
    return [
        element("td", label.replace("_", " ")),
        number(share(value.get("value"))),
        *(number("" if end is None else share(end)) for end in ends),
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
    return element("td", text, class_="i")
