"""Which images come with the project, or with what it depends on?

`builtin:digits` are scikit-learn's 1,797 handwritten digits, 8 x 8, real. The others are drawn, N
images in all, without a limit on where the project runs: `builtin:phantoms` and
`builtin:phantoms:N` are 600 chests, or N (`xfer.data.phantoms`), `builtin:brains` and
`builtin:brains:N` are 1,654 brains, or N (`xfer.data.brains`). None has splits of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from xfer.chunks import blake2b
from xfer.data import brains, phantoms
from xfer.data.items import Listing, unusable

PREFIX = "builtin:"
_NAMES = (
    "builtin:digits", "builtin:phantoms", "builtin:phantoms:N", "builtin:brains",
    "builtin:brains:N",
)  # fmt: skip
_DRAWN = {"phantoms": 600, "brains": sum(brains.COUNTS.values())}
"""Images where no number is given."""
_MOST = 100_000


def is_drawn(path: object) -> bool:
    """Whether these are images that the project draws: nothing about them is about real ones.

    >>> is_drawn("builtin:phantoms:60"), is_drawn("builtin:digits"), is_drawn("data/brains")
    (True, False, False)
    """
    return isinstance(path, str) and path.startswith(tuple(f"{PREFIX}{name}" for name in _DRAWN))


def list_builtin(path: str, *, seed: int) -> Listing:
    """The images under a `builtin:` name; an unknown name stands in `problems`."""
    name, _, text = path.removeprefix(PREFIX).partition(":")
    if name == "digits" and not text:
        return _digits()
    if name in _DRAWN:
        count = int(text) if text.isdecimal() else _DRAWN[name] if not text else 0
        if 20 <= count <= _MOST:
            return (_phantoms if name == "phantoms" else _brains)(count, seed)
        problem = f"builtin:{name}:N needs N in [20, {_MOST}], got {text!r}"
    else:
        near = get_close_matches(path, _NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        problem = f"{path!r} does not exist{hint} There are {', '.join(_NAMES)}"
    return unusable(path, [problem])


def _digits() -> Listing:
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    images = np.rint(np.asarray(rows).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # 0..16
    count = len(images)
    return Listing(
        name="builtin:digits",
        names=[f"{label}/{row:04d}" for row, label in enumerate(labels)],
        classes=[str(label) for label in labels],
        splits=[None] * count,
        patients=None,
        has_file_names=False,
        read=lambda i: images[i],
        digest=None,
    )


def _phantoms(count: int, seed: int) -> Listing:
    return _drawn(
        "phantom", phantoms.plan_phantoms(count, seed=seed), phantoms.draw_phantom, phantoms.VERSION
    )


def _brains(count: int, seed: int) -> Listing:
    return _drawn("brain", brains.plan_brains(count, seed=seed), brains.draw_brain, brains.VERSION)


def _drawn(
    what: str,
    plan: Sequence[phantoms.Phantom] | Sequence[brains.Brain],
    draw: Callable[[Any], np.ndarray],
    version: int,
) -> Listing:
    return Listing(
        name=f"{PREFIX}{what}s:{len(plan)}",
        names=[f"{one.label}/{one.file_name}" for one in plan],
        classes=[one.label for one in plan],
        splits=[None] * len(plan),
        patients=[one.patient for one in plan],
        has_file_names=True,
        read=lambda i: draw(plan[i]),
        digest=lambda i: blake2b(f"{what} {version} {plan[i]}".encode()),
    )
