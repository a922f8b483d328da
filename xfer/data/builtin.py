"""Which images come with the project, or with what it depends on?

`builtin:digits` are scikit-learn's 1,797 handwritten digits, 8 x 8, real. `builtin:phantoms` and
`builtin:phantoms:N` are drawn (`xfer.data.phantoms`), N images in all, without a limit on where
the project runs. Neither has splits of its own.
"""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np

from xfer.chunks import blake2b
from xfer.data.items import Listing, unusable
from xfer.data.phantoms import VERSION, draw_phantom, plan_phantoms

PREFIX = "builtin:"
_NAMES = ("builtin:digits", "builtin:phantoms", "builtin:phantoms:N")
_PHANTOMS = 600
_MOST_PHANTOMS = 100_000


def list_builtin(path: str, *, seed: int) -> Listing:
    """The images under a `builtin:` name; an unknown name stands in `problems`."""
    name, _, count = path.removeprefix(PREFIX).partition(":")
    if name == "digits" and not count:
        return _digits()
    if name == "phantoms":
        if not count:
            return _phantoms(_PHANTOMS, seed)
        if count.isdecimal() and 20 <= int(count) <= _MOST_PHANTOMS:
            return _phantoms(int(count), seed)
        problem = f"builtin:phantoms:N needs N in [20, {_MOST_PHANTOMS}], got {count!r}"
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
    plan = plan_phantoms(count, seed=seed)
    return Listing(
        name=f"builtin:phantoms:{count}",
        names=[f"{phantom.label}/{phantom.file_name}" for phantom in plan],
        classes=[phantom.label for phantom in plan],
        splits=[None] * count,
        patients=[phantom.patient for phantom in plan],
        has_file_names=True,
        read=lambda i: draw_phantom(plan[i]),
        digest=lambda i: blake2b(f"phantom {VERSION} {plan[i]}".encode()),
    )
