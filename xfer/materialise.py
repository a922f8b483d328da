"""How are a prefix's rows made? Once, in one pass for all cuts that will be wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from xfer.augment import augmented
from xfer.chunks import blake2b
from xfer.errors import ModelFileError, StoreError
from xfer.models.assembly import assemble
from xfer.models.heads import build_pool
from xfer.models.net import Net
from xfer.pixels import Pixels
from xfer.prefix import (
    BATCH,
    Cut,
    block_digests,
    key_of,
    laid_out,
    padded,
    rounded,
    row_shape,
    through,
)
from xfer.recipe import Augment, Head, Pool, Pretrained, Recipe, to_json
from xfer.seen import to_images, view_seeds
from xfer.shares import share_of
from xfer.store import Request, Store
from xfer.stored import as_given

_SHARES = 32  # in which rows are made, side by side by all processes that want them

Rows = npt.NDArray[np.int64]


class _Coarse(Exception):
    """Half precision does not hold the rows of a cut."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.request = request


@dataclass(kw_only=True, eq=False)
class Materialise:
    """Rows of one net's prefix: those that the store has, and makes those that it has not."""

    net: Net
    """Of the recipe, on the device."""
    recipe: Recipe
    """Says which backbone, and what its weights are."""
    cut: Cut
    """Where the prefix ends."""
    others: Sequence[Cut]
    """Made in the same pass, where there is room."""
    seed: int
    """What the net was assembled from."""
    pixels: Pixels
    """Decoded images, (images,)."""
    digests: Sequence[str]
    """Of each image's file, likewise."""
    device: torch.device
    """Where the net is."""
    store: Store
    """Where rows are kept."""
    exact: bool
    """Keep float32."""
    forwards: int = 0
    """Images and views that were sent through a prefix so far."""

    def __post_init__(self) -> None:
        self._tensors = block_digests(self.net, self.cut.blocks)

    def rows(self, images: Rows, augment: Augment | None = None) -> Pixels:
        """Rows of images; or of their fixed views from 1 on, image by image.

        Args:
            images: positions in the data.
            augment: whose views they are; None: the images as they are.

        Raises:
            StoreError: no room.
            ModelFileError: the weights are no longer those of the net.
        """
        wanted = _Wanted(images, augment)
        names = wanted.names(self.digests)
        found = self.store.find(self._request(self.cut, augment), names)
        if found is not None:
            return found
        others = [cut for cut in self.others if cut != self.cut]
        if any(cut.blocks > self.cut.blocks for cut in others):
            self._go_deeper()
        cuts = [
            self.cut,
            *(c for c in others if self.store.find(self._request(c, augment), names) is None),
        ]
        while True:
            try:
                return self._fill(cuts, wanted, names)
            except _Coarse as coarse:
                self.store.fill_many([_refused(coarse.request)], ["always"], _one_byte)
            except StoreError:
                if len(cuts) == 1:
                    raise
                cuts = [self.cut]

    def _go_deeper(self) -> None:
        """Takes the whole backbone in place of the net, which trains what is behind its cut."""
        model = self.recipe.model
        assert isinstance(model, Pretrained)
        frozen = Pretrained(model.name, cut_after=model.cut_after, weights=model.weights)
        size, _, channels = self.pixels.row_shape
        recipe = Recipe(model=frozen, head=Head(), lr=self.recipe.lr)
        whole = assemble(recipe, classes=2, size=size, channels=channels, seed=self.seed)
        tensors = block_digests(whole, len(whole.blocks))
        if tensors[: len(self._tensors)] != self._tensors:
            raise ModelFileError(
                f"the weights of {model.name} on disk are not those of the model in training: "
                "they changed meanwhile. Start again."
            )
        self.net, self._tensors = whole.to(self.device), tensors

    def _fill(self, cuts: Sequence[Cut], wanted: _Wanted, names: Sequence[str]) -> Pixels:
        """Makes what is missing of all cuts; the rows of the first one."""
        requests = [self._request(cut, wanted.augment) for cut in cuts]
        place_of = {name: place for place, name in reversed(list(enumerate(names)))}

        def missing() -> list[str]:
            return self.store.missing(requests, names)

        def make(places: list[int]) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
            return self._made(places, requests, cuts, wanted, names)

        todo = len(missing())
        self.store.room.check(todo * sum(request.row_bytes for request in requests))
        most = BATCH * max(2, ceil(todo / _SHARES / BATCH))
        held = []  # so that nobody evicts what was made first before the last is there
        while True:
            with share_of(self.store.locks, self._family(wanted), missing, most=most) as mine:
                began = perf_counter()
                rows = dict(make([place_of[name] for name in mine]))
                held.append(
                    self.store.fill_many(
                        requests,
                        mine,
                        lambda places, rows=rows, mine=mine: (
                            (place, rows[place_of[mine[place]]]) for place in places
                        ),
                        seconds=perf_counter() - began,
                    )
                )
            if not mine and not missing():
                return self.store.fill_many(requests, names, make)[0]

    def _family(self, wanted: _Wanted) -> str:
        """The same for all who make rows of one backbone and these images, whatever the cuts."""
        key = self._request(self.cut, wanted.augment).key
        of_all = ("backbone", "cut_after", "pixels", "views", "exact", "device")
        family = [[name, key.get(name)] for name in of_all] + [self._tensors[0]]
        return blake2b(json.dumps(family, sort_keys=True).encode())

    def _made(
        self,
        missing: list[int],
        requests: Sequence[Request],
        cuts: Sequence[Cut],
        wanted: _Wanted,
        names: Sequence[str],
    ) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
        """Rows at some places, one for each request."""
        start, kept = self._begin(cuts, wanted.augment, [names[place] for place in missing])
        for first in range(0, len(missing), BATCH):
            places = missing[first : first + BATCH]
            if kept is None:
                values = self._images(wanted, places)
            else:
                above = kept[np.arange(first, first + len(places))]
                values = as_given(torch.from_numpy(above), self.device)
            self.forwards += len(places)
            made = self._run(values, cuts, start)
            of_cuts = [_kept(of, request) for of, request in zip(made, requests, strict=True)]
            for number, place in enumerate(places):
                yield place, tuple(rows[number] for rows in of_cuts)

    def _run(self, given: Tensor, cuts: Sequence[Cut], start: int) -> list[Tensor]:
        """Each cut's prefix of at most 32 images, or of what block `start` is given instead."""
        ((batch, count),) = padded(given)
        made: dict[Cut, Tensor] = {}
        with torch.no_grad():
            values = batch if start else self.net.normalise(batch)
            for cut in sorted(cuts, key=lambda cut: cut.blocks):
                values = through(self.net, values, start, cut.blocks)
                start = cut.blocks
                pooled = values if cut.pool is None else laid_out(self._pool(cut.pool)(values))
                made[cut] = pooled[:count]
        return [rounded(made[cut], exact=self.exact) for cut in cuts]

    def _pool(self, pool: Pool) -> nn.Module:
        return build_pool(pool, tokens=self.net.tokens)

    def _images(self, wanted: _Wanted, places: Sequence[int]) -> Tensor:
        """What the prefix is given: (places, channels, height, width)."""
        pixels = self.pixels[wanted.images[np.array(places) // wanted.views]]
        images = to_images(pixels, self.device)
        if wanted.augment is None:
            return images
        numbers = np.array(places) % wanted.views + 1
        return augmented(images, wanted.augment, view_seeds(pixels, numbers))

    def _begin(
        self, cuts: Sequence[Cut], augment: Augment | None, names: Sequence[str]
    ) -> tuple[int, Pixels | None]:
        """The deepest kept cut above all that are to be made; exact ones only."""
        shallowest = min(cut.blocks for cut in cuts)
        above = [cut for cut in self.others if cut.pool is None and cut.blocks < shallowest]
        for cut in sorted(above, key=lambda cut: -cut.blocks) if self.exact else ():
            found = self.store.find(self._request(cut, augment), names)
            if found is not None:
                return cut.blocks, found
        return 0, None

    def _request(self, cut: Cut, augment: Augment | None) -> Request:
        key: dict[str, Any] = key_of(
            self.net,
            self.recipe,
            cut,
            self._tensors,
            pixels=self.pixels.key,
            device=self.device,
            exact=self.exact,
        )
        if augment is not None:
            changes = to_json(augment)
            key["views"] = {name: changes[name] for name in changes if name not in _COUNTS}
        shape = row_shape(self.recipe, cut, size=self.pixels.row_shape[0], tokens=self.net.tokens)
        half = Request(key=key, shape=shape, dtype="float16")
        refused = self.exact or self.store.find(_refused(half), ["always"]) is not None
        return replace(half, dtype="float32") if refused else half


_COUNTS = ("mode", "views")  # a view is the same however many there are


@dataclass(frozen=True, eq=False)
class _Wanted:
    """Images, or the views of each from 1 on."""

    images: Rows
    augment: Augment | None

    @property
    def views(self) -> int:
        """Rows of each image."""
        return 1 if self.augment is None else self.augment.views - 1

    def names(self, digests: Sequence[str]) -> list[str]:
        """Of all rows, in order."""
        if self.augment is None:
            return [digests[int(image)] for image in self.images]
        numbers = range(1, self.augment.views)
        return [f"{digests[int(image)]}.{n}" for image in self.images for n in numbers]


def _kept(values: Tensor, request: Request) -> np.ndarray:
    """Rounded values as they are kept.

    Raises:
        _Coarse: half precision does not hold them.
    """
    whole = values.permute(0, 2, 3, 1) if values.ndim == 4 else values
    if request.dtype == "float32":
        return whole.cpu().numpy()
    half = whole.half()
    if not torch.equal(half.float(), whole):
        raise _Coarse(request)
    return half.cpu().numpy()


def _refused(request: Request) -> Request:
    """A row that is there where half precision was found to be too coarse for a cut."""
    return Request(key={"what": "too coarse", "of": request.key}, shape=(1,), dtype="uint8")


def _one_byte(missing: list[int]) -> Iterator[tuple[int, tuple[np.ndarray]]]:
    for place in missing:
        yield place, (np.zeros(1, dtype=np.uint8),)
