"""What does a space ask for on the way to one recipe? A trial that answers, and remembers.

Ranges are Optuna's own distributions, so that what is refused here is what Optuna would refuse.
"""

from __future__ import annotations

import math
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.errors import OptionsError, SpaceError
from search.plan import Plan
from search.space import Choice
from xfer.errors import RecipeError
from xfer.recipe import Recipe

Range = FloatDistribution | IntDistribution | CategoricalDistribution
"""Where a hyperparameter's value is drawn from."""

Answer = Callable[[str, Range], Any]
"""Gives a hyperparameter's value; a value out of the distribution is a mistake of the caller."""


class Problem(NamedTuple):
    """Something to mend in a space file."""

    line: int | None
    """Of the space file, from 1; None: not one line's fault."""
    text: str
    """A sentence without its full stop."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A hyperparameter that was asked for."""

    name: str
    """The hyperparameter."""
    distribution: Range
    """Its range."""
    line: int | None
    """Line of the space file that asked."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One way through a space's function."""

    answers: Mapping[str, Any]
    """Values by hyperparameter, in the order they were asked for."""
    questions: tuple[Question, ...]
    """Everything asked, a name asked twice included."""
    recipe: Recipe | None
    """What came of it; None: an error."""
    problems: tuple[Problem, ...]
    """Ranges that cannot be, and why there is no recipe."""

    def in_words(self) -> str:
        """`lr=0.001, model=convnet`, to tell where something went wrong."""
        return ", ".join(f"{name}={show(value)}" for name, value in self.answers.items())


def show(value: Any) -> str:
    """A hyperparameter's value, floats to three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def take_walk(plan: Plan, answer: Answer) -> Walk:
    """Calls the space's function once and catches whatever it raises."""
    trial = _Trial(str(plan.space.path), answer)
    recipe, failed = None, []
    try:
        recipe = plan.recipe(trial)
    except Exception as error:  # the author's code: whatever it raises is told with its line
        text = str(error) if isinstance(error, RecipeError | SpaceError | OptionsError) else (
            f"{type(error).__name__}: {error}"
        )  # fmt: skip
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == trial.file]
        failed = [Problem(lines[-1] if lines else None, text)]
    return Walk(
        answers=dict(trial.answers),
        questions=tuple(trial.questions),
        recipe=recipe,
        problems=(*trial.problems, *failed),
    )


class _Trial:
    """Optuna's vocabulary; ranges that cannot be are noted and the walk goes on."""

    def __init__(self, file: str, answer: Answer) -> None:
        self.file = file
        self.answers: dict[str, Any] = {}
        self.questions: list[Question] = []
        self.problems: list[Problem] = []
        self._answer = answer

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        wrong = _range_problem(low, high, step, log, kind=(int, float))
        return self._ask(name, wrong, lambda: FloatDistribution(low, high, log=log, step=step),
                         high=high, fallback=(low, high))  # fmt: skip

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        wrong = _range_problem(low, high, None if log and step == 1 else step, log, kind=int)
        return self._ask(name, wrong, lambda: IntDistribution(low, high, log=log, step=step),
                         high=high, fallback=(low, high))  # fmt: skip

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        wrong = _choices_problem(choices)
        fallback = tuple(choices) if isinstance(choices, list | tuple) else ()
        return self._ask(name, wrong, lambda: CategoricalDistribution(choices), fallback=fallback)

    def _ask(
        self,
        name: str,
        wrong: str,
        make: Callable[[], Range],
        *,
        fallback: tuple[Any, ...],
        high: float | None = None,
    ) -> Any:
        line = self._line()
        if not isinstance(name, str) or not name:
            raise SpaceError(f"a hyperparameter's name must be a text, got {name!r}")
        distribution = None
        if not wrong:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of a step that misses the end: told below
                    distribution = make()
            except (ValueError, TypeError, ArithmeticError) as error:
                wrong = str(error)
        numeric = isinstance(distribution, FloatDistribution | IntDistribution)
        if numeric and high is not None and distribution.high != high:
            reached = distribution.high
            wrong = f"the steps end at {reached:g} and never reach {high:g}; write {reached:g}"
        if wrong:
            self.problems.append(Problem(line, f"{name!r}: {wrong}"))
        if distribution is None:
            numbers = [v for v in fallback if isinstance(v, int | float)]
            if not fallback:
                raise SpaceError(f"{name!r} has nothing to choose from")
            return max(numbers) if len(numbers) == len(fallback) else fallback[0]
        self.questions.append(Question(name=name, distribution=distribution, line=line))
        again = name in self.answers and contains(distribution, self.answers[name])
        value = self.answers[name] if again else self._answer(name, distribution)
        self.answers.setdefault(name, value)
        return value

    def _line(self) -> int | None:
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != self.file:
            frame = frame.f_back
        return frame.f_lineno if frame is not None else None


def _range_problem(low: Any, high: Any, step: Any, log: bool, *, kind: Any) -> str:
    whole = " whole" if kind is int else ""
    for what, value in {"low": low, "high": high, "step": step}.items():
        if what == "step" and value is None:
            continue
        good = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
        if not good:
            return f"{what} must be a{whole} number, got {value!r}"
    if low > high:
        return f"low must not be above high, got {low!r} and {high!r}"
    if log and low <= 0:
        return f"low must be above 0 where log=True, got {low!r}"
    if log and step is not None:
        return f"step and log=True exclude each other, got step={step!r}"
    if step is not None and step <= 0:
        return f"step must be above 0, got {step!r}"
    return ""


def _choices_problem(choices: Any) -> str:
    if not isinstance(choices, list | tuple) or not choices:
        return f"choices must be a list that is not empty, got {choices!r}"
    other = [c for c in choices if c is not None and not isinstance(c, bool | int | float | str)]
    if other:
        return (
            f"choices must be None, bools, numbers or texts, got {other[0]!r}; choose a name and "
            "look the value up by it"
        )
    for number, choice in enumerate(choices):
        if choice in choices[:number]:  # True == 1: to Optuna too, one choice
            return f"{choice!r} is twice among the choices {list(choices)!r}"
    return ""


# --------------------------------------------------------------------------------------------------
# Ranges


def contains(distribution: Range, value: Any) -> bool:
    """Whether a value is of the right type, in the range and on its steps."""
    if isinstance(distribution, CategoricalDistribution):
        return any(type(c) is type(value) and c == value for c in distribution.choices)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if isinstance(distribution, IntDistribution) and not isinstance(value, int):
        return False
    return distribution._contains(float(value))


def in_words(distribution: Range) -> str:
    """A range for people.

    >>> in_words(FloatDistribution(1e-5, 1e-2, log=True)), in_words(IntDistribution(3, 7, step=2))
    ('1e-05 to 0.01, log', '3 to 7, step 2')
    """
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    end = ", log" if distribution.log else ""
    if distribution.step is not None and (distribution.step != 1 or end == ""):
        plain = isinstance(distribution, IntDistribution) and distribution.step == 1
        end = "" if plain else f", step {distribution.step:g}"
    return f"{distribution.low:g} to {distribution.high:g}{end}"


def draw(distribution: Range, generator: random.Random) -> Any:
    """A value from anywhere in the range; evenly on the scale of its logarithm if it is `log`."""
    if isinstance(distribution, CategoricalDistribution):
        return generator.choice(distribution.choices)
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        value = math.exp(generator.uniform(math.log(low), math.log(high)))
        value = min(max(value, low), high)
        return round(value) if isinstance(distribution, IntDistribution) else value
    if step is None:
        return generator.uniform(low, high)
    count = round((high - low) / step)
    return min(low + generator.randint(0, count) * step, high)


def edge(distribution: Range, generator: random.Random) -> Any:
    """One of the range's two ends; of choices, any: what cannot be built is mostly found here."""
    if isinstance(distribution, CategoricalDistribution):
        return generator.choice(distribution.choices)
    return generator.choice((distribution.low, distribution.high))
