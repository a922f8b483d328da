"""How do images that one machine has decoded get into another machine's store?

Row by row, as they are, and none of those that are sealed. On arrival one process of a machine asks
for what its store lacks; the others wait for it, and then find it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from xfer.data.dataset import Dataset
from xfer.errors import StoreError
from xfer.pixels import Pixels
from xfer.room import read_key
from xfer.store import Store

Read = Callable[[str, np.ndarray], np.ndarray]
"""Given an interpolation and positions, int64 (rows,): uint8 (rows, size, size, channels), read by
the machine that has them."""
PIECE_BYTES = 32 << 20
"""Of rows that are asked for together."""


def keys_of(data: Dataset) -> dict[str, Mapping[str, Any]]:
    """By interpolation, what the pixels are kept under; asked where they are.

    Raises:
        StoreError: the store does not say it any more.
    """
    found = {name: read_key(pixels.root / pixels.key) for name, pixels in data.decoded.items()}
    for name, text in found.items():
        if "key" not in text:
            folder = data.decoded[name].root / data.decoded[name].key
            raise StoreError(f"{folder} is damaged or gone; start again, and it is made again.")
    return {name: text["key"] for name, text in found.items()}


def brought(
    data: Dataset, keys: Mapping[str, Mapping[str, Any]], *, store: Store, read: Read
) -> Dataset:
    """The same images, in this machine's store.

    Args:
        data: as it is on the machine that decoded it, its test part sealed.
        keys: `keys_of` it.
        store: of this machine.
        read: reads rows over there; asked for those alone that are missing here.

    Raises:
        StoreError: no room for them here.
    """
    wanted = np.flatnonzero([bool(digest) for digest in data.image_digests])
    digests = [data.image_digests[position] for position in wanted]

    def of(name: str, there: Pixels) -> Pixels:
        piece = max(1, PIECE_BYTES // int(np.prod(there.row_shape)))

        def make(missing: list[int]) -> Iterator[tuple[int, np.ndarray]]:
            for start in range(0, len(missing), piece):
                rows = missing[start : start + piece]
                yield from zip(rows, read(name, wanted[rows]), strict=True)

        here = store.fill(keys[name], digests, make, shape=there.row_shape, dtype=there.dtype)
        return here.spread(wanted, len(there))

    return replace(data, decoded={name: of(name, there) for name, there in data.decoded.items()})
