"""How do kept rows of a prefix reach a training step?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xfer.pixels import Pixels
from xfer.prefix import laid_out

_AT_HAND = 256 * 2**20  # bytes of one key's rows that a process keeps in memory

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """Rows of one prefix, for some images of the data."""

    places: Rows
    """(images of the data,), position among the images that have rows; -1 of the others."""
    plain: Pixels
    """Of these images as they are."""
    changed: Pixels | None
    """Of their fixed views from 1 on, image by image; None: there are none."""
    changed_places: Rows
    """As `places`, of images that have such views."""
    views: int
    """Of each of these, the image itself included; 1: none."""
    device: torch.device
    """Where rows are wanted."""

    def take(self, rows: Rows, views: Rows) -> Tensor:
        """Rows of images.

        Args:
            rows: (batch,), of the data.
            views: (batch,), 0 for an image as it is.

        Returns:
            float32 (batch, ...), what the suffix takes; maps channels last.

        Raises:
            IndexError: an image has no such row.
        """
        seen = views > 0
        if self.changed is None or not seen.any():
            if seen.any():
                raise IndexError(f"view {views.max()} was asked for, and there are none")
            return as_given(self._plain.take(_known(self.places[rows])), self.device)
        first = self._plain.take(_known(self.places[rows[~seen]]))
        places = _known(self.changed_places[rows[seen]]) * (self.views - 1) + views[seen] - 1
        rest = self._changed.take(places)
        order = np.concatenate([np.flatnonzero(~seen), np.flatnonzero(seen)])
        both = torch.cat([first, rest])[torch.from_numpy(np.argsort(order)).to(first.device)]
        return as_given(both, self.device)

    @cached_property
    def _plain(self) -> _Reader:
        return _Reader(self.plain, self.device)

    @cached_property
    def _changed(self) -> _Reader:
        assert self.changed is not None
        return _Reader(self.changed, self.device)


class _Reader:
    """Rows out of memory where they are few, else out of the mapped files."""

    def __init__(self, pixels: Pixels, device: torch.device) -> None:
        room = _AT_HAND
        if device.type == "cuda":
            room = torch.cuda.mem_get_info(device)[0] // 4
        self.pixels = pixels
        self.at_hand: Tensor | None = None
        if pixels.nbytes <= room:
            self.at_hand = torch.from_numpy(pixels[np.arange(len(pixels))]).to(device)

    def take(self, places: Rows) -> Tensor:
        if self.at_hand is None:
            return torch.from_numpy(self.pixels[places])
        return self.at_hand[torch.from_numpy(places).to(self.at_hand.device)]


def _known(places: Rows) -> Rows:
    if (places < 0).any():
        raise IndexError("rows of an image were asked for that has none here")
    return places


def as_given(kept: Tensor, device: torch.device) -> Tensor:
    """Kept rows as the suffix takes them: float32, maps (batch, channels, height, width)."""
    values = kept.to(device, non_blocking=True).float()
    return laid_out(values.permute(0, 3, 1, 2) if values.ndim == 4 else values)
