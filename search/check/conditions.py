"""When does a hyperparameter exist? Read off many walks: `model = convnet`, `depth at least 2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.check.walk import show

Answers = Mapping[str, Any]


def when(name: str, walks: Sequence[Answers]) -> str:
    """The condition under which a hyperparameter was asked for, in words.

    Conditions on numbers are as exact as the walks are many.

    Args:
        name: The hyperparameter.
        walks: Answers of every walk, in the order they were given.

    Returns:
        `always`; conditions joined by `and`; or `sometimes` where no three explain it.

    >>> walks = [{"m": "cnn", "k": 3}, {"m": "cnn", "k": 5}, {"m": "vit"}]
    >>> when("k", walks), when("m", walks)
    ('m = cnn', 'always')
    """
    present = [walk for walk in walks if name in walk]
    absent = [walk for walk in walks if name not in walk]
    if not absent:
        return "always"
    earlier = [other for other in present[0] if all(_before(other, name, walk) for walk in present)]
    found = []
    for _ in range(3):
        best = max(
            ((*_condition(other, present, absent), other) for other in earlier),
            key=lambda entry: len(entry[1]),
            default=("", [], ""),
        )
        if not best[1]:
            return "sometimes"
        words, explained, other = best
        found.append(words)
        # A walk that did not come as far as `other` is explained too: by what `other` needs.
        absent = [walk for walk in absent if walk not in explained and other in walk]
        if not absent:
            return " and ".join(found)
    return "sometimes"


def continuous_conditions(walks: Sequence[Answers], continuous: Sequence[str]) -> list[str]:
    """Hyperparameters that exist by a threshold on a continuous one, in words."""
    names = dict.fromkeys(name for walk in walks for name in walk)
    told = {name: when(name, walks) for name in names}
    return [
        f"{name!r} exists when {words}, a threshold on a continuous range"
        for name, words in told.items()
        if any(part.startswith(f"{one} ") for part in words.split(" and ") for one in continuous)
    ]


def _before(other: str, name: str, walk: Answers) -> bool:
    order = list(walk)
    return other in walk and order.index(other) < order.index(name)


def _condition(
    other: str, present: Sequence[Answers], absent: Sequence[Answers]
) -> tuple[str, list[Answers]]:
    """What `other` is wherever the name exists, and the walks without it that this rules out."""
    values = [walk[other] for walk in present]
    asked = [walk for walk in absent if other in walk]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        low, high = min(values), max(values)
        below = [walk for walk in asked if walk[other] < low]
        above = [walk for walk in asked if walk[other] > high]
        if not below and not above:
            return "", []
        if low == high:
            words = f"{other} = {show(low)}"
        elif below and above:
            words = f"{other} in {show(low)} to {show(high)}"
        else:
            words = f"{other} at least {show(low)}" if below else f"{other} at most {show(high)}"
        return words, below + above
    allowed = list(dict.fromkeys(values))
    out = [walk for walk in asked if walk[other] not in allowed]
    joined = " or ".join(map(str, sorted(map(str, allowed))))
    return (f"{other} = {joined}", out) if out else ("", [])
