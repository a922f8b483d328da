"""Which images are the same picture, to the pixel or but for encoding, size and brightness?

A copy in train of an image in val or test is answered from memory. Two images are near duplicates
when their hashes differ in at most RADIUS of 255 bits and their details correlate by CORRELATION or
more (`xfer.data.hashing`). Turned, shifted and cut copies are not found by this.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from xfer.data.decode import DecodeError
from xfer.data.hashing import close_pairs, details, perceptual_hashes
from xfer.data.leaks import joined
from xfer.data.light import light, without_colour
from xfer.data.side_by_side import side_by_side

RADIUS, CORRELATION = 24, 0.95
"""Measured on 600 chest X-rays of different patients, 390 leaves, 600 cats and dogs and 600 people
at 224 pixels, and 5,856 X-rays at 28. Different pictures: 50 bits and more apart, 40 at 28 pixels;
correlation at most .90, .92 at 28. Copies at 224: saved as JPEG of quality 60 or 30, resized to
60 % and back, a fifth darker or with a fifth less contrast, 12 bits at most, .98 and more; with a
fifth more contrast 18 bits, .989; a fifth brighter, where white is cut off, 8 of 2,190 are missed.
At 28 pixels 8 % of the copies of quality 60 are missed, 58 % of the resized ones and nearly all of
quality 30. With 31 bits, drawn digits of 8 x 8 pixels would be taken for each other."""
SMALLEST = 28
"""Pixels of a side. Near duplicates are not looked for in smaller images: too many look alike."""

_BATCH = 8
_SAMPLED = 28  # pixels of a side, whose first channel says which images may be equal


class Rows(Protocol):
    """`Pixels`, or an array: (images, side, side, channels) of uint8."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, side, side, channels)."""
        ...

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray:
        """(batch, side, side, channels)."""
        ...


@dataclass(frozen=True)
class Duplicates:
    """Groups of two or more positions, ascending, ordered by their first."""

    exact: tuple[tuple[int, ...], ...]
    """The same pixels."""
    near: tuple[tuple[int, ...], ...]
    """The same picture in different pixels; of images that are exact to each other, the first."""

    @property
    def same(self) -> tuple[tuple[int, ...], ...]:
        """Exact and near ones together: every image that shows the same picture as another."""
        return _groups(
            (group[0], other) for group in (*self.exact, *self.near) for other in group[1:]
        )


@dataclass(frozen=True, eq=False)
class Looked:
    """What one look at every image tells."""

    copies: Duplicates
    """Images that are the same picture."""
    light: np.ndarray
    """float64 (images, 2): mean and contrast, as `xfer.data.light` gives them."""


def look_through(pixels: Rows, *, threads: int | None = None) -> Looked:
    """Groups of images that are the same picture, and how bright each image is.

    Args:
        pixels: 1 or 3 channels. Read once, a few batches at a time; again what may be a copy.
        threads: None: as many as there are cores.
    """
    images, side = pixels.shape[:2]
    hashed = side >= SMALLEST
    step = max(1, side // _SAMPLED)

    def look(start: int) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
        batch = pixels[np.arange(start, min(start + _BATCH, images))]
        samples = [hash(image.tobytes()) for image in batch[:, ::step, ::step, 0]]
        shown = without_colour(batch)
        hashes, flat = (
            perceptual_hashes(shown)
            if hashed
            else (np.zeros((len(batch), 4), np.uint64), np.ones(len(batch), bool))
        )
        return samples, hashes, flat, light(shown, alike=batch.shape[3] // shown.shape[3])

    samples: list[int] = []
    hashes, flat = np.empty((images, 4), np.uint64), np.empty(images, bool)
    lights = np.empty((images, 2))
    with threadpool_limits(1, "blas"):  # threads are ours; BLAS's own would wait for each other
        for result in side_by_side(look, range(0, images, _BATCH), threads=threads):
            assert not isinstance(result, DecodeError)  # nothing is decoded here
            here = slice(len(samples), len(samples) + len(result[0]))
            samples += result[0]
            hashes[here], flat[here], lights[here] = result[1:]
    exact = _equal(pixels, samples)
    again = np.array([i for group in exact for i in group[1:]], dtype=np.int64)
    firsts = np.setdiff1d(np.flatnonzero(~flat), again)
    candidates = firsts[_candidates(hashes[firsts])]
    near = _groups(_confirmed(pixels, candidates).tolist())
    return Looked(Duplicates(exact, near), lights)


def _equal(pixels: Rows, samples: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Groups of images with the same pixels, among those whose samples are the same."""
    alike: defaultdict[int, list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        alike[sample].append(i)
    rows_of: defaultdict[bytes, list[int]] = defaultdict(list)
    for i in (i for group in alike.values() if len(group) > 1 for i in group):
        content = hashlib.sha1(pixels[np.array([i])].data, usedforsecurity=False).digest()
        rows_of[content].append(i)
    return tuple(sorted(tuple(group) for group in rows_of.values() if len(group) > 1))


def _candidates(hashes: np.ndarray) -> np.ndarray:
    """Pairs within RADIUS, (pairs, 2); of equal hashes, each with the first of them."""
    different, first, number = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    own = np.arange(len(hashes))
    equal = np.stack([first[number.reshape(-1)], own], axis=1)
    equal = equal[equal[:, 0] != equal[:, 1]]
    return np.concatenate([equal, first[close_pairs(different, RADIUS)]])


def _confirmed(pixels: Rows, pairs: np.ndarray) -> np.ndarray:
    """Those of the pairs whose details correlate, (pairs, 2)."""
    images, place = np.unique(pairs, return_inverse=True)
    if not len(images):
        return pairs
    batches = np.split(images, np.arange(_BATCH, len(images), _BATCH))
    detail = np.concatenate([details(pixels[batch]) for batch in batches])
    left, right = place.reshape(-1, 2).T
    # A pair at a time: all pairs' details side by side may not fit into memory.
    alike = [detail[a] @ detail[b] >= CORRELATION for a, b in zip(left, right, strict=True)]
    return pairs[np.array(alike, dtype=bool)]


def _groups(pairs: Iterable[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """What the pairs connect."""
    return tuple(tuple(group) for group in joined(pairs))
