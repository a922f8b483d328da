"""What is said of finalists, the ensemble, the front, subgroups and gaps? For screen and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from search.amounts import bound, share
from search.answer import counted

MARGIN = 0.005
"""How much worse a simpler finalist may be and still win; declared before scores are known."""
_NEAR = MARGIN + 1e-12  # rounding, as in `xfer.evaluate.selection.choose`
_COSTS = {"parameters": "parameters", "latency": "ms per image"}
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


def skill_said(best: Mapping[str, Any]) -> str | None:
    """The winner's search score, with what it is worth; None where nobody worked that out.

    >>> print(skill_said({"val": {"search_score": 0.9}, "skill": 0.75, "constant": 0.6}))
    Search score .90 on validation; skill .75 (0: the best constant answer's, .60; 1: perfect).
    """
    if best.get("skill") is None:
        return None
    return (
        f"Search score {share(best['val']['search_score'])} on validation; skill "
        f"{share(best['skill'])} (0: the best constant answer's, {share(best['constant'])}; "
        "1: perfect)."
    )


def finalists_said(finalists: Sequence[Mapping[str, Any]], winner: int) -> str:
    """Why the winner was chosen among those that were trained again on folds.

    Args:
        finalists: `number`, `mean` (over `scores`, one per fold), `low`, `high`, `probability` of
            being best, `parameters` (trained).
        winner: its number; one of them.
    """
    chosen = next(one for one in finalists if one["number"] == winner)
    text = (
        f"Trial {winner} was chosen: mean {share(chosen['mean'])} over {len(chosen['scores'])} "
        f"folds{_ends(chosen)}; probability of being best {share(chosen['probability'])}."
    )
    rivals = [one for one in finalists if one["number"] != winner]
    better = max(rivals, key=lambda one: one["mean"], default=chosen)
    if better["mean"] > chosen["mean"]:
        gap = better["mean"] - chosen["mean"]
        text += f" Trial {better['number']} has a mean that is higher by {_small(gap)}"
        if _simpler(chosen, better) and gap <= _NEAR:
            text += (
                f"; trial {winner} is simpler ({chosen['parameters']:,} against "
                f"{better['parameters']:,} trained parameters), and up to {_small(MARGIN)} the "
                "simpler one is taken"
            )
        return f"{text}."
    near = [one for one in rivals if chosen["mean"] - one["mean"] <= _NEAR]
    for one in near:
        simpler = ", simpler," if _simpler(one, chosen) else ""
        text += f" Trial {one['number']}{simpler} is within {_small(MARGIN)}."
    return text


def ensemble_said(ensemble: Mapping[str, Any], positive: str, negative: str | None) -> str:
    """What the finalists decide together, and whether that is better.

    Args:
        ensemble: `trials`, metrics of the test part with `confusion`, and `difference`: the
            winner's metric less the ensemble's, as `search.scores.compare` gives it.
        positive: name of the class that must not be missed.
        negative: name of the only other class; None: there are several.
    """
    numbers = [str(number) for number in ensemble["trials"]]
    together = _NUMBERS.get(len(numbers), str(len(numbers)))
    found = ensemble["difference"]
    verdict = "not shown to be better than the winner"
    if found["high"] is not None and found["high"] < 0:  # None, as of a NaN, is no verdict
        verdict = "better than the winner"
    elif found["beaten"]:
        verdict = "worse than the winner"
    return (
        f"The {together} together (trials {', '.join(numbers)}): "
        f"{counted(ensemble, positive, negative)}; {verdict} "
        f"(the winner's {found['metric'].replace('_', ' ')} less theirs {signed(found)})."
    )


def cost_of(front: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The key of what the front's points cost, and its name for people."""
    return next((key, name) for key, name in _COSTS.items() if key in front[0])


def cost_said(value: float, key: str) -> str:
    """A cost for people, without its unit.

    >>> cost_said(12345, "parameters"), cost_said(3.14159, "latency")
    ('12,345', '3.14')
    """
    return f"{value:,.0f}" if key == "parameters" else f"{value:.3g}"


def front_said(front: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each point, the cheapest first."""
    key, unit = cost_of(front)
    return [
        f"trial {point['number']}{_known(point)}: search score {share(point['search_score'])} at "
        f"{cost_said(point[key], key)} {unit}"
        for point in sorted(front, key=lambda point: point[key])
    ]


def gap_said(gap: Mapping[str, Any]) -> str:
    """Validation less test, metric by metric, and what is to be known of it.

    Args:
        gap: `part`, `val` or `folds`; `metrics`, by name `value`, `low` and `high`; `caution`: a
            sentence, or None.
    """
    told = "; ".join(
        f"{name.replace('_', ' ')} {signed(value)}" for name, value in gap["metrics"].items()
    )
    caution = f" {gap['caution']}" if gap["caution"] else ""
    what = "Fold models' answers" if gap.get("part") == "folds" else "Validation"
    return f"{what} less test: {told}.{caution}"


def subgroups_said(subgroups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each subgroup that is shown to be missed more often, the worst first."""
    below = []
    for name, found in subgroups.items():
        metric = "recall" if "positives" in found else "accuracy"
        measure = found[metric]
        if measure is not None and measure["below"]:
            below.append(
                (
                    measure["value"],
                    f"Worse in {name}: {metric} {share(measure['value'])}{_ends(measure)}, "
                    f"{signed(measure['against_others'])} against the others.",
                )
            )
    return [text for _, text in sorted(below)]


def _simpler(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one["parameters"] < other["parameters"]


def _known(trial: Mapping[str, Any]) -> str:
    return f" ({trial['name']})" if trial.get("name") else ""


def _ends(metric: Mapping[str, Any]) -> str:
    """As in ` (.90 to 1.00)`; empty where there is no interval."""
    if metric.get("low") is None:
        return ""
    return f" ({bound(metric['low'])} to {bound(metric['high'])})"


def _small(value: float) -> str:
    """A difference of means with three digits, as in `.005`."""
    return f"{value:.3f}".replace("0.", ".", 1)


def signed(difference: Mapping[str, Any]) -> str:
    """A difference with its interval, as in `+.03, -.01 to +.07`.

    Args:
        difference: `value`, `low` and `high`.
    """
    value, low, high = (difference[end] for end in ("value", "low", "high"))
    if value is None or not isfinite(value):
        return "–"
    return f"{_with_sign(value)}, {_with_sign(low)} to {_with_sign(high)}"


def _with_sign(value: float) -> str:
    text = bound(abs(value))
    return f"{'-' if value < 0 and text != '.00' else '+'}{text}"
