"""What came out? The answer, the winner and its threshold."""

from __future__ import annotations

import json
from collections.abc import Mapping

from search.amounts import setting, share
from search.report.html import Html, element, joined, number, table
from search.report.reading import Reading, ranked
from search.scores import corrected_said
from search.sentences import skill_said


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
    on_folds = best.get("chosen_by") == "folds"
    became = "became a finalist" if on_folds else "was chosen"
    chosen = "chosen by the mean over its folds"
    if best["epoch"] is not None:
        chosen = f"epoch {best['epoch']}, chosen on validation"
        if on_folds:
            chosen = f"epoch {best['epoch']}, chosen among the finalists on folds"
    params = [(name, setting(value)) for name, value in best["params"].items()]
    val = [
        (name, number(share(value)))
        for name, value in best["val"].items()
        if "/" not in name and isinstance(value, int | float)
    ]
    worth, luck = skill_said(best), corrected_said(best)
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
                f"It {became} by these numbers, which makes them optimistic. The search score is "
                "the objective at the epoch's own best threshold: it ranks, it is no estimate.",
                class_="soft",
            ),
            table(("metric", "value"), val),
            element("p", worth) if worth else None,
            element("p", luck) if luck else None,
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
