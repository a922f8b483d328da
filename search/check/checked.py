"""Can this space be searched, and what does it contain? Answered before the first trial."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from search.check.conditions import when
from search.check.costs import cost_findings
from search.check.known import WALKS as KNOWN_WALKS
from search.check.known import check_known
from search.check.lines import Lines
from search.check.notes import make_notes
from search.check.objective import objective_problems
from search.check.rules import (
    backbones_named,
    batches,
    buildable,
    model_problems,
    one_range,
    ranges,
    repeatable,
    told_once,
)
from search.check.walk import Range, Walk, draw, edge, in_words, take_walk
from search.plan import Plan
from xfer.errors import RecipeError
from xfer.models.interpolation import interpolation_of
from xfer.models.table import TABLE
from xfer.recipe import Pretrained, Recipe

WALKS = 200
"""Half of them over the ranges' ends. A branch taken once in 40 is missed once in 150 checks."""
SAMPLES = 5
DRAWN = 40
"""Recipes that the forecast takes the mean of."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """A row of the table of what a space contains."""

    name: str
    """As the space calls it."""
    range: str
    """In words."""
    when: str
    """When it exists, in words; `always`."""
    line: int | None
    """Of the space file."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A recipe that the space could propose."""

    answers: str
    """Its hyperparameters, in words."""
    recipe: Recipe
    """The recipe."""
    trainable: int
    """Parameters that are trained."""
    parameters: int
    """All of them."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found in a space."""

    problems: tuple[str, ...]
    """What must be mended, with the line where there is one; empty: it can be searched."""
    notes: tuple[str, ...]
    """What should be known, a sentence each."""
    hyperparameters: tuple[Hyperparameter, ...]
    """In the order of the space file."""
    ranges: Mapping[str, Range]
    """Optuna's distribution of each."""
    recipes: tuple[Recipe, ...]
    """Those of the known configurations, in their order, then some that were drawn: what the search
    will train, as far as it can be foreseen; with --known-only none is drawn."""
    known: int
    """How many of them are known configurations."""
    samples: tuple[Sample, ...]
    """Up to five, of different models as far as there are."""
    backbones: tuple[str, ...]
    """Those whose pretrained weights trials may need, in the table's order."""
    interpolations: tuple[str, ...]
    """Those that images are resized with for the space's models, bilinear first; a space of which
    nothing can be built has none."""


def check(
    plan: Plan,
    *,
    classes: int = 2,
    train_images: int | None = None,
    prevalence: float | None = None,
) -> Checked:
    """Walks through the space many times and holds every walk against the rules.

    The same space gives the same answer: walks are drawn from fixed seeds.

    Args:
        plan: The space with its options.
        classes: Outputs of the models.
        train_images: Images of the training part; None: unknown, batches are not held against it.
        prevalence: Share of positive images, in (0, 1); None: unknown, or several classes.
    """
    lines = Lines(plan.space.text)
    drawn = [_walk(plan, number) for number in range(WALKS)]
    known_problems, known_notes, known_walks = check_known(plan, ranges(drawn), lines)
    walks = drawn + known_walks
    trained = known_walks if plan.options.known_only else walks
    found = [
        *told_once([problem for walk in trained for problem in walk.problems], trained),
        *one_range(walks),
        *repeatable(plan, drawn, lines),
        *buildable(plan, trained, lines),
        *batches(trained, train_images),
        *backbones_named(plan, drawn),
        *known_problems,
    ]
    problems = objective_problems(plan, classes=classes)
    for problem in dict.fromkeys(found):
        where = "" if problem.line is None else f"{plan.space.path.name}, line {problem.line}: "
        problems.append(where + problem.text)
    backbones = _pretrained(trained)
    missing = _not_here(backbones)
    notes = [*plan.notes, *known_notes]
    notes += make_notes(plan, walks, classes=classes, prevalence=prevalence)
    cost_problems, cost_notes = cost_findings(plan, trained, classes=classes)
    problems += cost_problems
    notes += cost_notes
    if missing and plan.options.offline:
        problems.append(f"no weights of {missing} on this machine, and --offline forbids to fetch "
                        "them; --backbones narrows the space, --weights none trains from random "
                        "weights")  # fmt: skip
    elif missing:
        notes.append(f"The weights of {missing} are not on this machine and will be fetched when "
                     "the search starts.")  # fmt: skip
    first = _recipes(plan, known_walks[::KNOWN_WALKS])  # one of each configuration
    others = [] if plan.options.known_only else _recipes(plan, drawn[: 2 * DRAWN : 2])
    return Checked(
        problems=tuple(problems),
        notes=tuple(notes),
        hyperparameters=tuple(_table(drawn)),
        ranges=ranges(walks),
        recipes=(*first, *others),
        known=len(first),
        samples=tuple(_samples(plan, drawn, classes)),
        backbones=backbones,
        interpolations=_interpolations(trained),
    )


def _walk(plan: Plan, number: int) -> Walk:
    generator = random.Random(number)
    how = edge if number % 2 else draw
    return take_walk(plan, lambda _, distribution: how(distribution, generator))


def _recipes(plan: Plan, walks: Sequence[Walk]) -> list[Recipe]:
    """Those that can be built."""
    recipes = [walk.recipe for walk in walks if walk.recipe is not None]
    return [recipe for recipe in recipes if not model_problems(plan, recipe)]


def _table(walks: Sequence[Walk]) -> Iterator[Hyperparameter]:
    # A walk that ended in an error did not ask all it would have asked.
    answers = [walk.answers for walk in walks if walk.recipe is not None]
    answers = answers or [walk.answers for walk in walks]
    first: dict[str, int | None] = {}
    for question in (question for walk in walks for question in walk.questions):
        first.setdefault(question.name, question.line)
    asked = ranges(walks)
    for name, distribution in sorted(asked.items(), key=lambda pair: first[pair[0]] or 0):
        condition = when(name, answers) if any(name in walk for walk in answers) else "sometimes"
        yield Hyperparameter(
            name=name, range=in_words(distribution), when=condition, line=first[name]
        )


def _samples(plan: Plan, walks: Sequence[Walk], classes: int) -> Iterator[Sample]:
    from xfer.models.described import describe

    size, channels = plan.data.size, plan.data.channels
    good = [
        (walk, walk.recipe)
        for walk in walks[::2]  # those that were not sent to the ranges' ends
        if walk.recipe is not None and not model_problems(plan, walk.recipe)
    ]
    models: dict[str, tuple[Walk, Recipe]] = {}
    for walk, recipe in good:
        models.setdefault(getattr(recipe.model, "name", "ConvNet"), (walk, recipe))
    chosen = list(models.values())[:SAMPLES]
    chosen += [pair for pair in good if pair not in chosen][: SAMPLES - len(chosen)]
    for walk, recipe in chosen:
        described = describe(recipe, classes=classes, size=size, channels=channels)
        yield Sample(
            answers=walk.in_words(),
            recipe=recipe,
            trainable=described.trainable,
            parameters=described.parameters,
        )


def _pretrained(walks: Sequence[Walk]) -> tuple[str, ...]:
    models = [walk.recipe.model for walk in walks if walk.recipe is not None]
    names = {m.name for m in models if isinstance(m, Pretrained) and m.weights == "imagenet"}
    return tuple(name for name in TABLE if name in names)


def _interpolations(walks: Sequence[Walk]) -> tuple[str, ...]:
    found: set[str] = set()
    for recipe in (walk.recipe for walk in walks if walk.recipe is not None):
        with suppress(RecipeError):  # an unknown backbone is a problem of its own
            found.add(interpolation_of(recipe.model))
    return tuple(sorted(found, key=lambda name: (name != "bilinear", name)))


def _not_here(backbones: Sequence[str]) -> str:
    if not backbones:
        return ""
    from xfer.models.weights import at_hand

    return ", ".join(name for name in backbones if not at_hand(name))
