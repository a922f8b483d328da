"""Where does what a frozen prefix makes of images come from? From disk, once it has been made.

    python -m xfer.features --stats|--verify|--clear

Rows are kept under a key of everything that decides them but the image, and named by the digest of
the image's file: labels, splits, heads and learning rates do not matter, new images are added, and
a second search finds all of it. The first trial that needs rows makes them, in one pass for all
cuts that the search can ask for; others take a share of that work.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from xfer.errors import StoreError
from xfer.materialise import Materialise
from xfer.models.assembly import block_costs
from xfer.models.net import Net
from xfer.pixels import Pixels
from xfer.prefix import Cut, check_frozen, cut_of
from xfer.recipe import Pretrained, Recipe
from xfer.store import Store
from xfer.stored import Stored

READ_BYTES = 1e9
"""Per second, of rows in the page cache: what computing them has to be slower than, twice over."""
MARGIN_BYTES = 2 * 10**9
"""Of the disk, left to checkpoints and the study: rows can be computed again, these cannot."""
SPEED = 5e9
"""Multiply-adds per second of a worker, for what pays: those of one core of a small machine."""

_log = logging.getLogger(__name__)
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A prefix that a search can ask for."""

    backbone: str
    """A row of the table."""
    cut_after: str | None
    """As in the recipe."""
    cut: Cut
    """Where the prefix ends."""


@dataclass(frozen=True, kw_only=True)
class FeatureStore:
    """Where rows are kept, and which are worth it. Small; travels to every worker."""

    root: Path
    """Folder of the store, which holds decoded images, too."""
    budget_bytes: int | None = None
    """What the whole store may take; None: what the disk has left."""
    exact: bool = False
    """Round nothing: float32 is kept, and costs twice the room."""
    asked: frozenset[Asked] = frozenset()
    """What the search can ask for: made in the same pass."""
    speed: float = SPEED
    """Multiply-adds per second of one worker, for what pays."""

    def pays(self, recipe: Recipe, cut: Cut, *, size: int, channels: int) -> bool:
        """Whether a row takes at least twice as long to compute as to read.

        Random weights are another net for every seed: nobody would ask for the rows again.
        """
        model = recipe.model
        if not isinstance(model, Pretrained) or model.weights == "none":
            return False
        costs = block_costs(model, size=size, channels=channels)[: cut.blocks]
        shape = costs[-1].shape
        to_values = cut.pool is not None and cut.pool not in ("flatten", "positional")
        values = max(shape) if to_values else prod(shape)
        computed = sum(cost.madds for cost in costs) / self.speed
        return computed > 2 * (4 if self.exact else 2) * values / READ_BYTES


@dataclass(kw_only=True)
class Counts:
    """What went through frozen prefixes, and what did not have to."""

    forwards: int = 0
    """Images and views that were sent through one."""
    hits: int = 0
    """Rows that came from the store."""
    seconds: float = 0.0
    """Spent in making rows for the store, or in waiting for who does."""

    def since(self, before: Counts) -> Counts:
        """What came after an earlier count."""
        return Counts(
            forwards=self.forwards - before.forwards,
            hits=self.hits - before.hits,
            seconds=self.seconds - before.seconds,
        )


class _Images(Protocol):
    @property
    def pixels(self) -> Pixels: ...

    @property
    def image_digests(self) -> Sequence[str]: ...


class Features:
    """Rows of the images of one set of data."""

    def __init__(
        self,
        settings: FeatureStore,
        *,
        pixels: Pixels,
        digests: Sequence[str],
        device: torch.device | str,
    ) -> None:
        """Nothing is made yet.

        Args:
            settings: where rows are kept, and which.
            pixels: decoded images, (images,).
            digests: of each image's file, likewise.
            device: where prefixes run and rows are wanted.
        """
        self.settings = settings
        self.pixels = pixels
        self.digests = digests
        self.device = torch.device(device)
        self.store = Store(
            settings.root,
            budget_bytes=settings.budget_bytes,
            free_bytes=lambda root: shutil.disk_usage(root).free - MARGIN_BYTES,
        )

    def of(
        self, net: Net, recipe: Recipe, plain: Rows, changed: Rows, *, seed: int, counts: Counts
    ) -> Stored | None:
        """What the net's prefix makes of images, and of their fixed views.

        Args:
            net: of the recipe, on the device; its prefix as it is now.
            recipe: says what the views are.
            plain: positions of all images that will be wanted as they are.
            changed: of all whose views will be wanted; empty: none.
            seed: what the net was assembled from.
            counts: what is made here is added to them.

        Returns:
            None where nothing is frozen, where computing is as quick as reading, and where there is
            no room, which is logged: all of it is computed then, each time.

        Raises:
            RecipeError: the prefix is not frozen.
            ValueError: an image is sealed.
            ModelFileError: the weights on disk are no longer those of the net.
        """
        cut, model = cut_of(net, recipe), recipe.model
        size, _, channels = self.pixels.row_shape
        shape = {"size": size, "channels": channels}
        if cut is None or not self.settings.pays(recipe, cut, **shape):
            return None
        assert isinstance(model, Pretrained)
        check_frozen(net)
        making = Materialise(
            net=net,
            recipe=recipe,
            cut=cut,
            others=[
                other.cut
                for other in sorted(self.settings.asked, key=str)
                if (other.backbone, other.cut_after) == (model.name, model.cut_after)
                and self.settings.pays(recipe, other.cut, **shape)
            ],
            seed=seed,
            pixels=self.pixels,
            digests=self.digests,
            device=self.device,
            store=self.store,
            exact=self.settings.exact,
        )
        began = perf_counter()
        plain, changed = np.unique(plain), np.unique(changed)
        if not all(self.digests[row] for row in (*plain, *changed)):
            raise ValueError("features were asked for of images that are sealed")
        try:
            kept = making.rows(plain)
            of_views = making.rows(changed, recipe.augment) if len(changed) else None
        except StoreError as error:
            _log.warning("features of %s are computed each time anew: %s", model.name, error)
            return None
        finally:
            counts.forwards += making.forwards
            if making.forwards:
                counts.seconds += perf_counter() - began
        return Stored(
            places=self._places(plain),
            plain=kept,
            changed=of_views,
            changed_places=self._places(changed),
            views=recipe.augment.views,
            device=self.device,
        )

    @classmethod
    def of_data(
        cls,
        data: _Images,
        *,
        device: torch.device | str,
        settings: FeatureStore | None = None,
        exact: bool = False,
    ) -> Features:
        """Of an `xfer.data.dataset.Dataset`.

        Args:
            data: with pixels as the model expects them.
            device: where prefixes run.
            settings: None: those of the store that holds the pixels.
            exact: without settings, whether to round nothing.
        """
        settings = settings or FeatureStore(root=data.pixels.root, exact=exact)
        return cls(settings, pixels=data.pixels, digests=data.image_digests, device=device)

    def _places(self, rows: Rows) -> Rows:
        places = np.full(len(self.digests), -1, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        return places


if __name__ == "__main__":
    from xfer.store_command import main

    raise SystemExit(main())
