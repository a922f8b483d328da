"""What is a space file? Five names, and how they are read from it.

Standard library only. A space defines `DATA`, `OBJECTIVE`, `BUDGET`, `KNOWN` and `space(trial)`;
`docs/writing-a-space.md` and `spaces/` show how. One that repeats a study's experiments has a
sixth, `PUBLISHED`, with what the study reported. Whether all this makes sense is
`search.check`'s question.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from search.errors import SpaceError
from xfer.recipe import Images, Objective, Recipe

Choice = TypeVar("Choice", bound=bool | int | float | str | None)


class Trial(Protocol):
    """What `space` is given: Optuna's vocabulary, and nothing else of a trial."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number in [low, high]."""
        ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """A whole number in [low, high]."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        """One of the choices: None, bools, numbers or strings."""
        ...


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a search ends: at the first limit it meets."""

    minutes: float | None = None
    """Wall time of the search, in minutes; None: no limit."""
    trials: int = 60
    """Trials told, finished or not."""
    epochs: int = 20
    """Epochs of a recipe that names none."""

    def __post_init__(self) -> None:
        wrong = []
        if self.minutes is not None and not (
            isinstance(self.minutes, int | float) and self.minutes > 0
        ):
            wrong.append(f"Budget.minutes must be a number above 0, got {self.minutes!r}")
        for name in ("trials", "epochs"):
            value = getattr(self, name)
            if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
                wrong.append(f"Budget.{name} must be a whole number of at least 1, got {value!r}")
        if wrong:
            raise SpaceError("; ".join(wrong))


Reported = float | tuple[float, float] | None
"""A number, the lowest and the highest of several, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a study reported of one of its experiments, on its own test part. All in [0, 1]."""

    accuracy: Reported = None
    """Share of images that are answered right."""
    precision: Reported = None
    """Of the positive class."""
    recall: Reported = None
    """Of the positive class."""
    matrix: tuple[tuple[int, int], tuple[int, int]] | None = None
    """`((tn, fp), (fn, tp))`, from which the others follow; None: not given."""
    differs: str = ""
    """What ours does otherwise than the study's, for people; empty: nothing that is known."""

    def __post_init__(self) -> None:
        wrong = []
        for name in ("accuracy", "precision", "recall"):
            value = getattr(self, name)
            ends = value if isinstance(value, tuple) else (value, value)
            good = len(ends) == 2 and all(
                isinstance(end, int | float) and not isinstance(end, bool) and 0 <= end <= 1
                for end in ends
            )
            if value is not None and not (good and ends[0] <= ends[1]):
                wrong.append(f"{name} must be in [0, 1], or (lowest, highest), got {value!r}")
        if self.matrix is not None and not _is_matrix(self.matrix):
            wrong.append(f"matrix must be ((tn, fp), (fn, tp)), counts, got {self.matrix!r}")
        if not isinstance(self.differs, str):
            wrong.append(f"differs must be a text, got {self.differs!r}")
        if wrong:
            raise SpaceError("Published: " + "; ".join(wrong))


def _is_matrix(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(row, tuple) and len(row) == 2 for row in value)
        and all(isinstance(n, int) and n >= 0 for row in value for n in row)
        and all(sum(row) > 0 for row in value)
    )


@dataclass(frozen=True)
class Space:
    """A space file, loaded."""

    path: Path
    """The file, absolute."""
    text: str
    """Its source."""
    data: Images
    objective: Objective
    budget: Budget
    known: Mapping[str, Mapping[str, Any]]
    """Configurations tried first, by name, in order."""
    function: Callable[[Trial], Recipe]
    """`space` itself."""
    published: Mapping[str, Published] = field(default_factory=dict)
    """By names of `known`, what a study reported of them."""


_NAMES: dict[str, type] = {"DATA": Images, "OBJECTIVE": Objective, "BUDGET": Budget}


def load_space(path: str | Path) -> Space:
    """Runs a space file and returns what it defines.

    Raises:
        SpaceError: no such file, it does not run, or one of the five names is missing or of
            another type; all such problems in one message.
    """
    file = Path(path).absolute()
    if not file.is_file():
        near = sorted(p.name for p in file.parent.glob("*.py")) if file.parent.is_dir() else []
        there = f"; {file.parent} has {', '.join(near)}" if near else ""
        raise SpaceError(f"no space file {path}{there}.")
    text = file.read_text(encoding="utf-8")
    name = f"_space_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SpaceError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)
        ]
        if isinstance(error, SyntaxError):
            lines = [error.lineno]
        where = f", line {lines[-1]}" if lines else ""
        raise SpaceError(f"{path}{where}: {type(error).__name__}: {error}") from error
    finally:
        del sys.modules[name]

    problems = []
    for attribute, kind in _NAMES.items():
        value = getattr(module, attribute, None)
        if value is None:
            problems.append(f"{attribute} is missing; it must be {kind.__name__}(...)")
        elif not isinstance(value, kind):
            problems.append(f"{attribute} must be {kind.__name__}(...), got {value!r}")
    known = getattr(module, "KNOWN", {})
    if not isinstance(known, dict) or not all(
        isinstance(key, str) and isinstance(value, dict) for key, value in known.items()
    ):
        problems.append("KNOWN must map names to dicts of hyperparameters")
    published = getattr(module, "PUBLISHED", {})
    if not isinstance(published, dict) or not all(
        isinstance(value, Published) for value in published.values()
    ):
        problems.append("PUBLISHED must map names of KNOWN to Published(...)")
    elif lost := [key for key in published if key not in known]:
        problems.append(f"PUBLISHED names {', '.join(map(repr, lost))}, which KNOWN does not have")
    function = getattr(module, "space", None)
    if not callable(function):
        problems.append(
            "space is missing; it must be a function: def space(trial: Trial) -> Recipe"
        )
    if problems:
        raise SpaceError(f"{path}: " + "; ".join(problems) + ".")
    return Space(
        path=file,
        text=text,
        data=module.DATA,
        objective=module.OBJECTIVE,
        budget=module.BUDGET,
        known=known,
        function=module.space,
        published=published,
    )
