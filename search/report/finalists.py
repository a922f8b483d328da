"""Who else could have won? Finalists on folds, their ensemble, and the front of two objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.amounts import bound, setting, share
from search.report.drawing import front as drawn_front
from search.report.html import Html, element, joined, number, table
from search.report.reading import Reading
from search.sentences import cost_of, cost_said, finalists_said


def finalists(reading: Reading) -> Html | None:
    """The best trials, trained again on folds; None where that was not done."""
    found, best = reading.result.get("finalists"), reading.result.get("best")
    if not found or not best:
        return None
    rows = [_finalist(one, chosen=one["number"] == best["number"]) for one in found]
    heads = ("trial", "known as", "mean", "from", "to", "probability of being best",
             "trained parameters", "each fold")  # fmt: skip
    said = (
        "The best trials and, where there was time, the first known configuration, each trained "
        "again with new seeds on folds of train and validation, by patient. The probability is the "
        "share of draws of patients in which a trial is the best of these."
    )
    by_folds = best.get("chosen_by") == "folds"
    return joined(
        [
            element("h2", "The finalists"),
            element("p", finalists_said(found, best["number"])) if by_folds else None,
            element("p", said, class_="soft"),
            table(heads, rows),
        ]
    )


def ensemble(result: Mapping[str, Any]) -> Html | None:
    """What the finalists decide together; None where nobody asked them."""
    found = result.get("ensemble")
    return element("p", found["said"]) if found else None


def front(reading: Reading) -> Html | None:
    """Trials that no other beats in both objectives; None where there is only one."""
    found = reading.result.get("front")
    if not found:
        return None
    key, unit = cost_of(found)
    points = sorted(found, key=lambda point: point[key])
    params = list(dict.fromkeys(name for point in points for name in point["params"]))
    best = (reading.result.get("best") or {}).get("number")
    rows = [
        [
            number(str(point["number"])),
            element("td", point.get("name") or ""),
            number(share(point["search_score"])),
            number(cost_said(point[key], key)),
            *(element("td", _setting(point["params"], name)) for name in params),
        ]
        for point in points
    ]
    said = (
        f"Trials that no other beats in both search score and {unit}, the cheapest first; points "
        "are joined in that order. All scores are of validation, and too good for having been "
        "chosen among."
    )
    return joined(
        [
            element("h2", f"Search score against {unit}"),
            element("p", said, class_="soft"),
            drawn_front(
                [(point[key], point["search_score"], str(point["number"])) for point in points],
                best=next((i for i, p in enumerate(points) if p["number"] == best), None),
                name=unit,
                shown=lambda value: cost_said(value, key),
            ),
            table(("trial", "known as", "score", unit, *params), rows),
        ]
    )


def _finalist(one: Mapping[str, Any], *, chosen: bool) -> list[Html]:
    name = element("b", str(one["number"])) if chosen else str(one["number"])
    ends = [one.get("low"), one.get("high")]
    return [
        element("td", name, class_="n"),
        element("td", one.get("name") or ""),
        number(_three(one["mean"])),
        *(number("" if end is None else bound(end)) for end in ends),
        number(share(one["probability"])),
        number(f"{one['parameters']:,}"),
        element("td", ", ".join(share(score) for score in one["scores"]), class_="i"),
    ]


def _three(value: float | None) -> str:
    """A mean with three digits: the margin between finalists is .005."""
    return "–" if value is None else f"{value:.3f}".replace("0.", ".", 1)


def _setting(params: Mapping[str, Any], name: str) -> str:
    return setting(params[name]) if name in params else ""
