"""Which rules for authors does a space break? One function per rule, over many walks."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

from search.check.lines import Lines
from search.check.walk import Problem, Question, Range, Walk, edge, in_words, take_walk
from search.messages import near
from search.narrowing import CONVNET
from search.plan import Plan
from xfer.models.limits import problems as limits
from xfer.models.table import TABLE
from xfer.recipe import ConvNet, Head, Pool, Pretrained, Recipe

REPEATED = 40
"""Walks taken three times."""


def ranges(walks: Iterable[Walk]) -> dict[str, Range]:
    """The first range of every hyperparameter, in the order they were asked for."""
    asked: dict[str, Range] = {}
    for walk in walks:
        for question in walk.questions:
            asked.setdefault(question.name, question.distribution)
    return asked


def told_once(problems: Sequence[Problem], walks: Sequence[Walk]) -> list[Problem]:
    """One of each kind, whatever its numbers, with the hyperparameters that first led to it."""
    groups: dict[tuple[int | None, str], list[Problem]] = {}
    for problem in problems:
        kind = re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?", "#", problem.text)
        groups.setdefault((problem.line, kind), []).append(problem)
    told = []
    for group in groups.values():
        first = group[0]
        walk = next(walk for walk in walks if first in walk.problems)
        # A range is wrong by itself; an error comes of the answers before it.
        error = walk.recipe is None and walk.problems[-1] == first and bool(walk.answers)
        some = f" (with {walk.in_words()})" if error and len(group) < len(walks) else ""
        told.append(Problem(first.line, first.text + some))
    return told


def one_range(walks: Sequence[Walk]) -> list[Problem]:
    """One name, one range."""
    first: dict[str, Question] = {}
    told: dict[str, Problem] = {}
    for question in (question for walk in walks for question in walk.questions):
        known = first.setdefault(question.name, question)
        if known.distribution == question.distribution or question.name in told:
            continue
        one, other = in_words(known.distribution), in_words(question.distribution)
        there = f" on line {known.line}" if known.line != question.line else " at another time"
        kinds = "" if one != other else " of another kind"
        told[question.name] = Problem(
            question.line,
            f"{question.name!r} is asked for with {other}{kinds} here and with {one}{there}; one "
            f"name, one range: give each range a name, such as 'convnet/{question.name}'",
        )
    return list(told.values())


def repeatable(plan: Plan, walks: Sequence[Walk], lines: Lines) -> list[Problem]:
    """Same answers, same recipe; twice, because a counter may come round to the same."""
    for walk in [walk for walk in walks[:REPEATED] for _ in range(2)]:
        again = take_walk(plan, lambda name, range_, w=walk: w.answers.get(name, _first(range_)))
        if (again.recipe, again.answers) == (walk.recipe, walk.answers):
            continue
        if list(again.answers) != list(walk.answers):
            extra = [n for n in (*again.answers, *walk.answers)
                     if (n in again.answers) != (n in walk.answers)]  # fmt: skip
            what = f"asked for {', '.join(map(repr, extra))} only once" if extra else "other order"
        elif again.recipe is not None and walk.recipe is not None:
            what = "; ".join(_differences(walk.recipe, again.recipe, "Recipe"))
        else:
            what = "an error only once"
        line = lines.clock() or lines.function()
        return [Problem(line, f"the same answers did not give the same recipe ({what}); it may "
                        "depend on nothing but its trial: no random numbers, clock, environment "
                        "or counters")]  # fmt: skip
    return []


def _first(range_: Range) -> Any:
    return edge(range_, random.Random(0))


def _differences(one: Any, other: Any, where: str) -> list[str]:
    if type(one) is type(other) and is_dataclass(one):
        return [
            difference
            for f in fields(one)
            for difference in _differences(
                getattr(one, f.name), getattr(other, f.name), f"{where}.{f.name}"
            )
        ]
    return [] if one == other else [f"{where} was {one!r}, then {other!r}"]


def buildable(plan: Plan, walks: Sequence[Walk], lines: Lines) -> list[Problem]:
    """Every recipe's model can be built for images of this size."""
    found: list[Problem] = []
    owners = []
    for walk in walks:
        if walk.recipe is None:
            continue
        model = walk.recipe.model
        line = lines.call(type(model).__name__)
        if isinstance(model, Pretrained) and model.name not in TABLE:
            line = lines.text(model.name) or line
        problems = tuple(Problem(line, text) for text in model_problems(plan, walk.recipe))
        found += problems
        owners.append(Walk(answers=walk.answers, questions=(), recipe=None, problems=problems))
    return told_once(found, owners)


def model_problems(plan: Plan, recipe: Recipe) -> tuple[str, ...]:
    """Why a recipe's model cannot be built for the plan's images; empty: it can."""
    return _model_problems(recipe.model, recipe.head.pool, plan.data.size, plan.data.channels)


@lru_cache(maxsize=1024)  # names of modules and nodes are looked up in the model itself
def _model_problems(
    model: ConvNet | Pretrained, pool: Pool, size: int, channels: int
) -> tuple[str, ...]:
    recipe = Recipe(model=model, head=Head(pool=pool), lr=1.0)
    found = limits(recipe, size=size, channels=channels)
    if not found and isinstance(model, Pretrained) and (model.train or model.cut_after):
        from xfer.models.assembly import name_problems

        found = name_problems(recipe, size=size)
    return tuple(found)


def batches(walks: Sequence[Walk], train_images: int | None) -> list[Problem]:
    """A batch fits what is trained on, views included; None: unknown, all fit."""
    if train_images is None:
        return []
    found = []
    for walk in walks:
        if walk.recipe is None:
            continue
        room = int(train_images * walk.recipe.train_share) * walk.recipe.augment.views
        if walk.recipe.batch_size > room:
            found.append((walk.recipe.batch_size, room, walk))
    if not found:
        return []
    largest, room, walk = max(found, key=lambda entry: entry[:2])
    asked = [q for q in walk.questions if walk.answers[q.name] == largest]
    name = f"{asked[0].name!r}" if asked else "batch_size"
    return [Problem(asked[0].line if asked else None, f"{name} may be {largest}, and there are "
                    f"{room} training images; at most {room}")]  # fmt: skip


def backbones_named(plan: Plan, walks: Sequence[Walk]) -> list[Problem]:
    """Whatever --backbones names is a choice of this space."""
    if plan.options.backbones is None:
        return []
    offered = {v for range_ in ranges(walks).values() for v in getattr(range_, "choices", ())}
    names = (*TABLE, CONVNET)
    return [
        Problem(None, f"--backbones {name}: no choice of this space{near(name, names)}")
        for name in plan.options.backbones
        if name not in offered
    ]
