"""What did the search do? Curves of the best trials, all trials, and what mattered."""

from __future__ import annotations

from search.amounts import setting, share
from search.report.drawing import curves, scatter
from search.report.html import Html, element, joined, number, table
from search.report.matters import CAUTION, FEWEST, Matter, matters
from search.report.reading import Curve, Reading, ranked

_COLUMNS = ("recall", "specificity", "accuracy", "auroc")
"""Metrics of the table, where trials have them."""


def best_curves(reading: Reading) -> Html | None:
    """Search scores of the best trials; losses of the best one."""
    if not reading.curves:
        return None
    scores = curves(
        [(_label(curve), curve.series.get("val/search_score", {})) for curve in reading.curves],
        name="search score",
    )
    first = reading.curves[0]
    losses = curves(
        [(tag, first.series[tag]) for tag in ("train/loss", "val/loss") if tag in first.series],
        name="loss",
    )
    if scores is None:
        return None
    return joined(
        [
            element("h2", "The best trials, epoch by epoch"),
            element("p", "Search score on validation.", class_="soft"),
            scores,
            *([] if losses is None else [
                element("p", f"Losses of {_label(first)}.", class_="soft"), losses,
            ]),
        ]
    )  # fmt: skip


def all_trials(reading: Reading) -> Html:
    """Every trial, one row each; a click on a heading sorts."""
    if not reading.trials:
        return joined([element("h2", "Trials"), element("p", "There are none yet.")])
    rows = reading.trials
    metrics = [name for name in _COLUMNS if any(name in row.val for row in rows)]
    params = list(dict.fromkeys(name for row in rows for name in row.params))
    skilled = ("skill",) if any(row.skill is not None for row in rows) else ()
    order = ranked(rows)
    best = order[0].number if order else None
    best = (reading.result.get("best") or {}).get("number", best)
    body = []
    for row in rows:
        cells = [
            number(str(row.number)),
            element("td", row.name),
            element("td", row.state),
            number(share(row.value), row.value),
            *(number(share(row.skill), row.skill) for _ in skilled),
            number("" if row.best_epoch is None else f"{row.best_epoch} of {row.epochs}",
                   row.best_epoch),
            *(number(share(row.val.get(name)), row.val.get(name)) for name in metrics),
            number(f"{row.seconds:.0f}", row.seconds),
            *(_param(row.params.get(name)) for name in params),
            element("td", row.ended),
        ]  # fmt: skip
        body.append(element("tr", *cells, class_="best" if row.number == best else None))
    heads = ("trial", "known as", "state", "score", *skilled, "best epoch", *metrics, "seconds",
             *params, "why it ended")  # fmt: skip
    shown = element(
        "table",
        element("thead", element("tr", *(element("th", name) for name in heads))),
        element("tbody", *body),
        class_="sort",
    )
    return joined(
        [
            element("h2", f"All {len(rows)} trials"),
            element("p", "A click on a heading sorts.", class_="soft"),
            element("div", shown, class_="wide"),
        ]
    )


def what_mattered(reading: Reading) -> Html | None:
    """The score against each hyperparameter, and how much of it goes with each."""
    rows = ranked(reading.trials)
    if not rows:
        return None
    found = matters(rows)
    winner = (reading.result.get("best") or {}).get("number")
    figures = []
    for matter in found:
        with_it = [row for row in rows if matter.name in row.params]
        points = [(row.params[matter.name], row.value or 0.0) for row in with_it]
        best = next((i for i, row in enumerate(with_it) if row.number == winner), None)
        figures.append(scatter(points, best=best, name=matter.name, caption=_said(matter)))
    if not figures:
        return None
    said = [(m.name, number(share(m.share), m.share), number(str(m.trials))) for m in found]
    return joined(
        [
            element("h2", "What mattered"),
            element("p", CAUTION, class_="soft"),
            table(
                ("hyperparameter", "share of the scores' order that goes with it", "trials"), said
            ),
            element("h3", "Score against each hyperparameter"),
            element("div", *figures, class_="grid"),
        ]
    )


def _said(matter: Matter) -> str:
    if matter.share is None:
        return f"{matter.trials} trials: too little to say (at least {FEWEST} that differ)"
    way = {True: ", larger was better", False: ", smaller was better", None: ""}[matter.rising]
    return f"{share(matter.share)} of the order{way if matter.share >= 0.05 else ''}"


def _label(curve: Curve) -> str:
    return f"trial {curve.number}" + (f", {curve.label}" if curve.label else "")


def _param(value: float | str | None) -> Html:
    if value is None:
        return element("td", "")
    if isinstance(value, str):
        return element("td", value)
    return number(setting(value), value)
