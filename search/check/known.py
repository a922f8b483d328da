"""Can the known configurations be run as they are written?

Optuna forgives here: a misspelt key is ignored, a number out of range only warns. So each entry is
walked before the search.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution, IntDistribution

from search.check.lines import Lines
from search.check.walk import Problem, Range, Walk, contains, draw, edge, in_words, take_walk
from search.messages import near
from search.plan import Plan

WALKS = 12
"""Per entry: what an entry leaves open is drawn, and may lead elsewhere each time."""


def check_known(
    plan: Plan, asked: Mapping[str, Range], lines: Lines
) -> tuple[list[Problem], list[str], list[Walk]]:
    """Everything wrong with the known configurations.

    Args:
        plan: The space with its options.
        asked: Ranges of all hyperparameters that the space was seen to ask for.
        lines: Of the space file.

    Returns:
        Problems; notes on what entries leave to the sampler; the walks that were made.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    walks: list[Walk] = []
    for name, entry in plan.known.items():
        walked, wrong = _walk_entry(plan, name, entry)
        walks += walked
        found = {question.name: question.distribution for w in walked for question in w.questions}
        ranges = dict(asked) | found
        finished = any(walk.recipe is not None for walk in walked)
        for key, value in entry.items():
            text = ""
            if isinstance(value, Mapping | list | tuple | set):
                text = f"must be flat: {key!r} is {value!r}; name each hyperparameter by itself"
            elif key in wrong:
                text = _misfit(key, value, ranges)
            elif key not in ranges and not finished and not _near(key, ranges):
                pass  # every walk was cut short by another problem, perhaps before it asked this
            elif key not in ranges:
                has = f"; it has {', '.join(map(repr, ranges))}" if ranges else ""
                text = f"{key!r} is not a hyperparameter of this space{_near(key, ranges) or has}"
            elif key not in found and finished:
                text = f"{key!r} is never asked for with {_others(entry, key)}; leave it out"
            if text:
                problems.append(Problem(lines.known(name, key), f"KNOWN[{name!r}]: {text}"))
        left = [key for key in found if key not in entry]
        if left and plan.options.known_only:
            names = ", ".join(map(repr, left))
            text = f"leaves {names} to the sampler; --known-only needs a value for each"
            problems.append(Problem(lines.known(name), f"KNOWN[{name!r}] {text}"))
        elif left:
            notes.append(f"Known configuration {name!r} leaves to the sampler: {', '.join(left)}.")
    return problems, notes, walks


def _walk_entry(plan: Plan, name: str, entry: Mapping[str, Any]) -> tuple[list[Walk], set[str]]:
    """Walks with the entry's values, and its keys whose values do not fit."""
    wrong: set[str] = set()
    walks = []
    for number in range(WALKS):
        generator = random.Random(f"{name}/{number}")
        how = edge if number % 2 else draw

        def answer(
            key: str,
            distribution: Range,
            how: Any = how,
            generator: random.Random = generator,
        ) -> Any:
            if key in entry and contains(distribution, entry[key]):
                return entry[key]
            wrong.update({key} & set(entry))
            return how(distribution, generator)

        walks.append(take_walk(plan, answer))
    return walks, wrong


def _misfit(key: str, value: Any, ranges: Mapping[str, Range]) -> str:
    distribution = ranges[key]
    allowed = in_words(distribution)
    if isinstance(distribution, CategoricalDistribution):
        texts = [choice for choice in distribution.choices if isinstance(choice, str)]
        meant = near(value, texts) if isinstance(value, str) else ""
        return f"{key!r} must be one of {allowed}; got {value!r}{meant}"
    whole = "a whole number" if isinstance(distribution, IntDistribution) else "a number"
    return f"{key!r} must be {whole} in {allowed}; got {value!r}"


def _near(key: Any, ranges: Mapping[str, Any]) -> str:
    if not isinstance(key, str):
        return ""
    ends = [name for name in ranges if name.rpartition("/")[2] == key]
    return f"; did you mean {ends[0]!r}?" if ends else near(key, list(ranges))


def _others(entry: Mapping[str, Any], key: str) -> str:
    rest: Sequence[str] = [f"{k}={v!r}" for k, v in entry.items() if k != key]
    return ", ".join(rest) or "what the others are"
