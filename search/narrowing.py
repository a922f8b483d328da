"""Which models and which known configurations may be chosen, where options leave some out?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from search.errors import OptionsError
from search.messages import near
from search.options import Options
from search.space import Choice, Published, Space, Trial
from xfer.models.table import TABLE

CONVNET = "convnet"
"""What spaces call the model that is no backbone, so that --backbones can name it too."""

_MODELS = frozenset(TABLE)
"""A choice among any of these is a choice of models."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A known configuration, as options leave it."""

    params: Mapping[str, Any]
    """Its hyperparameters."""
    of: str
    """The entry of the space's KNOWN that it is made of."""


class NarrowedTrial:
    """A trial whose choices of models hold only the allowed ones."""

    def __init__(self, trial: Trial, models: frozenset[str] | None) -> None:
        self._trial, self._models = trial, models
        self.suggest_float, self.suggest_int = trial.suggest_float, trial.suggest_int

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        """As Optuna's, of those choices that are allowed.

        Raises:
            OptionsError: none is.
        """
        if self._models is not None and _offers_models(choices):
            left = [choice for choice in choices if choice in self._models]
            if not left:
                raise OptionsError(
                    f"{name!r} is a choice of {', '.join(map(str, choices))}, and none of them "
                    f"is allowed: only {', '.join(sorted(self._models))}"
                )
            choices = left
        return self._trial.suggest_categorical(name, choices)

    def __getattr__(self, name: str) -> Any:
        allowed = ("suggest_float", "suggest_int", "suggest_categorical")
        raise AttributeError(
            f"a space may use {', '.join(allowed)}, got trial.{name}{near(name, allowed)}"
        )


def _offers_models(choices: Sequence[Any]) -> bool:
    return any(isinstance(choice, str) and choice in _MODELS for choice in choices)


class _Replay:
    """Answers with an entry of KNOWN, and remembers which models it names."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self._entry = entry
        self.models: dict[str, tuple[Any, Sequence[Any]]] = {}
        """By hyperparameter, the model and what it was chosen from."""

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:
        return self._entry.get(name, low)

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:
        return self._entry.get(name, low)

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        value = self._entry.get(name, choices[0])
        if name in self._entry and _offers_models(choices) and value in choices:
            self.models[name] = value, choices
        return value


def _models_of(space: Space, entry: Mapping[str, Any]) -> Mapping[str, tuple[Any, Sequence[Any]]]:
    replay = _Replay(entry)
    with suppress(Exception):  # whatever a space raises is told by search.check, with its line
        space.function(replay)
    return replay.models


def left_known(
    space: Space,
    options: Options,
    models: frozenset[str] | None,
    problems: list[str],
    notes: list[str],
) -> dict[str, Known]:
    """The known configurations that --known, --stand-in and the allowed models leave, in order.

    One that gets another model is called by it too: "E10 with mobilenet_v2". Problems with names,
    and notes on what is left out, are added to the lists.
    """
    known = {name: Known(params=entry, of=name) for name, entry in space.known.items()}
    if options.known is not None:
        names: list[str] = []
        for text in options.known:
            found, unknown = _split_names(text, list(known))
            names += found
            has = f"; KNOWN has {', '.join(map(repr, known))}" if known else "; KNOWN is empty"
            problems += [
                f"--known {name!r} is no known configuration{near(name, known) or has}"
                for name in unknown
            ]
        known = {name: entry for name, entry in known.items() if name in names}
    if options.stand_in is not None:
        known = _with_stand_ins(space, known, options.stand_in, problems)
    for name, entry in list(known.items()) if models is not None else []:
        named = [str(model) for model, _ in _models_of(space, entry.params).values()]
        missing = [model for model in named if model not in (models or ())]
        if missing:
            notes.append(
                f"Known configuration {name!r} is left out: {missing[0]} may not be chosen."
            )
            del known[name]
    return known


def _with_stand_ins(
    space: Space, known: Mapping[str, Known], asked: Sequence[str], problems: list[str]
) -> dict[str, Known]:
    """The configurations with other models, each that is changed under another name."""
    pairs: dict[str, str] = {}
    for pair in asked:
        old, _, new = pair.partition("=")
        if pairs.setdefault(old, new) != new:
            problems.append(f"--stand-in {old} is given two models, {pairs[old]} and {new}")
    used: set[str] = set()
    changed: dict[str, Known] = {}
    for name, known_one in known.items():
        entry, new = known_one.params, {}
        for key, (model, choices) in _models_of(space, entry).items():
            if model not in pairs:
                continue
            used.add(model)
            new[key] = pairs[model]
            if new[key] not in choices:
                offered = ", ".join(map(str, choices))
                problems.append(
                    f"--stand-in {model}={new[key]}: {key!r} of KNOWN[{name!r}] is a choice of "
                    f"{offered}{near(new[key], list(map(str, choices)))}"
                )
        others = list(dict.fromkeys(new.values()))
        called = f"{name} with {' and '.join(others)}" if others else name
        changed[called] = Known(params={**entry, **new}, of=name)
    problems += [
        f"--stand-in {old}={new}: no known configuration that is run has the model {old}"
        for old, new in pairs.items()
        if old not in used
    ]
    return changed


def published_of(
    space: Space, left: Mapping[str, Known], positive: str | None, notes: list[str]
) -> dict[str, Published]:
    """What a study reported, by the names that configurations have here.

    Of another positive class it reported something else: then nothing, and a note is added.
    """
    if space.published and positive != space.data.positive:
        notes.append(
            f"The study's numbers are of the positive class {space.data.positive!r}: left out."
        )
        return {}
    found = {}
    for name, one in left.items():
        published = space.published.get(one.of)
        if published is None:
            continue
        other = [
            f"{value} stands in for {space.known[one.of][key]}."
            for key, value in one.params.items()
            if value != space.known[one.of][key]
        ]
        differs = " ".join(filter(None, [published.differs, *other]))
        found[name] = replace(published, differs=differs)
    return found


def _split_names(text: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names in a text with commas between them, though a name may hold commas itself.

    A text that is no name may be a pattern, as file names have them in a shell.

    >>> _split_names("densenet, frozen,small", ["densenet, frozen", "small"])
    (['densenet, frozen', 'small'], [])
    >>> _split_names("A*,B1", ["A1", "A2", "B1", "B2"])
    (['A1', 'A2', 'B1'], [])
    """
    found, unknown, parts = [], [], text.split(",")
    while parts:
        for count in range(len(parts), 0, -1):
            if (name := ",".join(parts[:count]).strip()) in names:
                found.append(name)
                break
        else:
            count, pattern = 1, parts[0].strip()
            matching = [name for name in names if fnmatchcase(name, pattern)]
            found += matching
            unknown += [pattern] if pattern and not matching else []
        parts = parts[count:]
    return found, unknown
