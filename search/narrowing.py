"""Which models and which known configurations may be chosen, where options leave some out?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.errors import OptionsError
from search.messages import near
from search.options import Options
from search.space import Choice, Space, Trial
from xfer.models.table import TABLE

CONVNET = "convnet"
"""What spaces call the model that is no backbone, so that --backbones can name it too."""

_MODELS = frozenset(TABLE)
"""A choice among any of these is a choice of models."""


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
    """Answers with an entry of KNOWN, and remembers a model that may not be chosen."""

    def __init__(self, entry: Mapping[str, Any], models: frozenset[str]) -> None:
        self._entry, self._models, self.excluded = entry, models, ""

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:
        return self._entry.get(name, low)

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:
        return self._entry.get(name, low)

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        value = self._entry.get(name, choices[0])
        if name in self._entry and _offers_models(choices) and value in choices:
            self.excluded = self.excluded or ("" if value in self._models else str(value))
        return value


def _excluded(space: Space, entry: Mapping[str, Any], models: frozenset[str]) -> str:
    replay = _Replay(entry, models)
    try:
        space.function(replay)
    except Exception:  # whatever a space raises is told by search.check, with its line
        return replay.excluded
    return replay.excluded


def left_known(
    space: Space,
    options: Options,
    models: frozenset[str] | None,
    problems: list[str],
    notes: list[str],
) -> dict[str, Mapping[str, Any]]:
    """The known configurations that --known and the allowed models leave, in order.

    Problems with names, and notes on what is left out, are added to the lists.
    """
    known = dict(space.known)
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
    for name, entry in list(known.items()) if models is not None else []:
        model = _excluded(space, entry, models or frozenset())
        if model:
            notes.append(f"Known configuration {name!r} is left out: {model} may not be chosen.")
            del known[name]
    return known


def _split_names(text: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names in a text with commas between them, though a name may hold commas itself.

    >>> _split_names("densenet, frozen,small", ["densenet, frozen", "small"])
    (['densenet, frozen', 'small'], [])
    """
    found, unknown, parts = [], [], text.split(",")
    while parts:
        for count in range(len(parts), 0, -1):
            if (name := ",".join(parts[:count]).strip()) in names:
                found.append(name)
                break
        else:
            count = 1
            unknown += [parts[0].strip()] if parts[0].strip() else []
        parts = parts[count:]
    return found, unknown
