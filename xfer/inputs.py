"""What is a net's suffix given? Rows of the store, or what the prefix makes of images now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xfer.balance import Drawn
from xfer.features import Counts, Features
from xfer.models.net import Net
from xfer.prefix import BATCH, laid_out, run_prefix
from xfer.recipe import Recipe
from xfer.seen import as_trained, to_images
from xfer.stored import Stored

Rows = npt.NDArray[np.int64]


class Inputs:
    """Images of one training, as its net's suffix takes them.

    Both ways give the same values, bit by bit where the machine repeats: the prefix always runs on
    32 images at a time, and is rounded as the store would.
    """

    def __init__(
        self,
        net: Net,
        recipe: Recipe,
        pixels: Any,
        *,
        train: Rows,
        val: Rows,
        device: torch.device,
        seed: int,
        features: Features | None = None,
        exact: bool = False,
    ) -> None:
        """Nothing is made yet: not before the first image is wanted.

        Args:
            net: of the recipe, on the device. Its prefix may become another between epochs.
            recipe: says how training images are changed.
            pixels: `pixels[rows]` is a copy, uint8 (batch, height, width, channels).
            train: all that will be asked for by `batches`.
            val: all that will be asked for by `unchanged`.
            device: of the net.
            seed: what the net was assembled from.
            features: of the same images; None: everything is computed.
            exact: round nothing; the features are then to be exact, too.
        """
        if features is not None and features.settings.exact != exact:
            raise ValueError(f"features must be exact={exact} here")
        self.net, self.recipe, self.pixels, self.device = net, recipe, pixels, device
        self.train, self.val, self.seed, self.features = train, val, seed, features
        self.exact = exact
        self.counts = Counts()
        """Of all that was asked for so far."""
        self._stored: dict[int, Stored | None] = {}

    def batches(self, order: Drawn, parts: Sequence[Rows], *, seed: int) -> Iterator[Tensor]:
        """An epoch's images, batch by batch, for `Net.suffix_of`.

        Args:
            order: (images,) of the epoch, in the order of its steps.
            parts: places in it, one batch after another, together all of them from the first.
            seed: of fresh changes.
        """
        stored = None if self.recipe.augment.mode == "fresh" else self._kept()
        if stored is not None:
            for part in parts:
                drawn = order.at(part)
                self.counts.hits += len(part)
                yield stored.take(drawn.rows, drawn.views)
        elif not self.net.prefix_blocks:
            for part in parts:
                yield self._images(order.at(part), seed)
        else:
            yield from self._ahead(order, parts, seed)

    def unchanged(self, rows: Rows) -> Tensor:
        """Images as they are, for `Net.suffix`."""
        stored = self._kept()
        if stored is not None:
            self.counts.hits += len(rows)
            return stored.take(rows, np.zeros_like(rows))
        images = to_images(self.pixels[rows], self.device)
        if not self.net.prefix_blocks:
            return self.net.prefix(images)
        self.counts.forwards += len(rows)
        return run_prefix(self.net, images, exact=self.exact)

    def _ahead(self, order: Drawn, parts: Sequence[Rows], seed: int) -> Iterator[Tensor]:
        """The prefix of 32 images at a time, whatever the size of a batch."""
        waiting: list[Tensor] = []
        begun = 0
        for part in parts:
            while begun < part[-1] + 1:
                places = np.arange(begun, min(begun + BATCH, len(order.rows)))
                images = self._images(order.at(places), seed)
                waiting.append(run_prefix(self.net, images, exact=self.exact))
                self.counts.forwards += len(places)
                begun += len(places)
            ready = torch.cat(waiting) if len(waiting) > 1 else waiting[0]
            yield laid_out(ready[: len(part)])
            waiting = [ready[len(part) :]] if len(ready) > len(part) else []

    def _images(self, drawn: Drawn, seed: int) -> Tensor:
        pixels = self.pixels[drawn.rows]
        images = as_trained(self.recipe, pixels, drawn, self.device, seed=seed)
        return images if self.net.prefix_blocks else self.net.prefix(images)

    def _kept(self) -> Stored | None:
        """Rows of the prefix as it is now; the first call makes them."""
        cut = self.net.prefix_blocks
        if self.features is None or not cut:
            return None
        if cut not in self._stored:
            mode = self.recipe.augment.mode
            self._stored[cut] = self.features.of(
                self.net,
                self.recipe,
                self.val if mode == "fresh" else np.union1d(self.train, self.val),
                self.train if mode == "views" else self.train[:0],
                seed=self.seed,
                counts=self.counts,
            )
        return self._stored[cut]
