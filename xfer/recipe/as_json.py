"""How does a recipe become JSON, and a recipe again, without loss?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

from xfer.errors import RecipeError
from xfer.recipe.augment import Augment
from xfer.recipe.images import Images, Table
from xfer.recipe.model import ConvNet, Head, Pretrained
from xfer.recipe.objective import BestScore, FixedThreshold, Objective, TargetRecall
from xfer.recipe.training import HeadFirst, Recipe, Schedule

_KINDS: dict[str, Callable[..., Any]] = {
    kind.__name__: kind
    for kind in (
        Images, Table, TargetRecall, BestScore, FixedThreshold, Objective,
        ConvNet, Pretrained, Head, Schedule, HeadFirst, Augment, Recipe,
    )
}  # fmt: skip


def to_json(value: Any) -> Any:
    """The same in lists, dicts, strings and numbers; each dict names its class under `kind`.

    >>> to_json(Head(dense=(64,)))["dense"]
    [64]
    """
    if is_dataclass(value) and not isinstance(value, type):
        body = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
        return {"kind": type(value).__name__, **body}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    """What `to_json` was given.

    Raises:
        RecipeError: an unknown kind or field, a missing field, or a value out of range.

    >>> from_json(to_json(Pretrained("resnet18", unfreeze_depth=2))).unfreeze_depth
    2
    """
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = _KINDS.get(value.get("kind", ""))
    if kind is None:
        raise RecipeError(f"kind must be one of {sorted(_KINDS)}, got {value.get('kind')!r}")
    body = {name: from_json(item) for name, item in value.items() if name != "kind"}
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(body) - known)
    if unknown:
        raise RecipeError(f"{value['kind']} has no {unknown}; it has {sorted(known)}")
    try:
        return kind(**body)
    except TypeError as error:
        raise RecipeError(f"{value['kind']}: {error}") from None
