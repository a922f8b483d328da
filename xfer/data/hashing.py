"""Which of many images look alike, found without comparing each with each?

A perceptual hash (Zauner, "Implementation and benchmarking of perceptual image hash functions",
2010): the signs of an image's lowest frequencies around their median. 64 bits do not tell chest
X-rays of different patients apart; 255 do. Hashes that differ in few bits are found by multi-index
hashing (Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing", 2012).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from xfer.data.light import without_colour

HASHED = 16
"""Frequencies of a side that the hash looks at: 16 x 16 without the constant one, 255 bits."""
COMPARED = 32
"""Frequencies of a side by which two images are correlated."""
COARSE = 4
"""Of them as many are left out, from the lowest: what all chests share. On 600 X-rays of different
patients the largest correlation is .95 with them and .90 without."""
LEAST_DETAIL = 0.5
"""Gray levels, as a deviation: less than that in the frequencies from COARSE to HASHED, and an
image is flat. Rounding to 8 bits alone makes .16 at 28 pixels."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"
_PARTS = 13  # 19 or 20 bits each: with 100,000 hashes, a tenth of a hash for each value
_AT_ONCE = 1_000_000  # pairs compared at once: about 100 MB


def spectra(pixels: np.ndarray, frequencies: int) -> np.ndarray:
    """The lowest frequencies of gray images, by the orthonormal type-II cosine transform.

    Args:
        pixels: (images, side, side, channels) of uint8; 1 or 3 channels.
        frequencies: of a side; as many as the side has where that is less.

    Returns:
        float32 (images, frequencies, frequencies), the constant one at [0, 0].
    """
    pixels = without_colour(pixels)  # gray: half the time
    images, side, _, channels = pixels.shape
    down, across = _cosines(side, channels, min(frequencies, side))
    rows = pixels.reshape(images * side, side * channels).astype(np.float32) @ across
    return down @ rows.reshape(images, side, -1)


@lru_cache(maxsize=8)  # made anew for each batch, they took a tenth of the time
def _cosines(side: int, channels: int, frequencies: int) -> tuple[np.ndarray, np.ndarray]:
    """What is multiplied from the left and from the right: float32 (frequencies, side) and
    (side * channels, frequencies)."""
    order = np.arange(frequencies)
    cosines = np.cos(np.pi / side * np.outer(order, np.arange(side) + 0.5)) * np.sqrt(2 / side)
    cosines[0] = np.sqrt(1 / side)
    luma = _LUMA if channels == 3 else (1.0,)
    across = np.kron(cosines, luma).T.astype(np.float32)
    return cosines.astype(np.float32), across


def perceptual_hashes(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A hash for each image, and whether the image is flat: its hash then says nothing.

    Args:
        pixels: (images, side, side, channels) of uint8, side 16 or more.

    Returns:
        uint64 (images, 4): 255 bits, each whether a frequency is above the image's median; and
        bool (images,).
    """
    side = pixels.shape[1]
    low = spectra(pixels, HASHED)
    values = low.reshape(len(pixels), -1)[:, 1:]
    bits = np.zeros((len(pixels), HASHED**2), dtype=bool)
    middle = values.shape[1] // 2  # of an odd number: the median, in a sixth of NumPy's time
    bits[:, :-1] = values > np.partition(values, middle, axis=1)[:, middle, None]
    low[:, :COARSE, :COARSE] = 0
    flat = np.sqrt((low**2).sum(axis=(1, 2))) / side < LEAST_DETAIL
    return np.packbits(bits, axis=1).view(np.uint64), flat


def details(pixels: np.ndarray) -> np.ndarray:
    """Each image's middle frequencies, of length 1: a product of two is their correlation.

    Args:
        pixels: (images, side, side, channels) of uint8.

    Returns:
        float32 (images, features); zeros for an image that has none.
    """
    middle = spectra(pixels, COMPARED)
    middle[:, :COARSE, :COARSE] = 0
    rows = middle.reshape(len(pixels), -1)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def close_pairs(hashes: np.ndarray, radius: int) -> np.ndarray:
    """All pairs of hashes that differ in at most `radius` bits.

    The bits are dealt into parts, so many that two hashes within the radius differ in at most one
    bit of one part: who has an equal part, or one with one bit flipped, is looked up.

    Args:
        hashes: uint64 (hashes, 4), all different: equal ones would all meet, in every part.
        radius: bits; beyond 25 it takes more and shorter parts, and longer.

    Returns:
        int64 (pairs, 2), the smaller position first, in ascending order.
    """
    bits = np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8), axis=1)
    parts = max(_PARTS, radius // 2 + 1)
    found = [np.empty((0, 2), dtype=np.int64)]
    for part in range(parts):
        own = bits[:, part::parts]  # of all frequencies: neighbours are alike in more images
        values = own.astype(np.int64) @ (1 << np.arange(own.shape[1]))
        for a, b in _meetings(values, own.shape[1]):
            apart = np.bitwise_count(hashes[a] ^ hashes[b]).sum(axis=1)
            close = apart <= radius
            found.append(np.sort(np.stack([a[close], b[close]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _meetings(values: np.ndarray, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of values of so many bits that are equal or differ in one bit, in blocks."""
    order = np.argsort(values)
    values = values[order]
    own = np.arange(len(values))
    yield from _joined(order, own + 1, np.searchsorted(values, values, side="right"), order)
    for bit in range(width):
        without = np.flatnonzero(values >> bit & 1 == 0)
        other = values[without] | 1 << bit
        start = np.searchsorted(values, other)
        met = np.flatnonzero(values[np.minimum(start, len(values) - 1)] == other)  # few are
        stop = np.searchsorted(values, other[met], side="right")
        yield from _joined(order[without[met]], start[met], stop, order)


def _joined(
    left: np.ndarray, start: np.ndarray, stop: np.ndarray, order: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each of `left` with every one of `order[start:stop]`, about so many pairs at once."""
    counts = stop - start
    some = counts > 0
    left, start, counts = left[some], start[some], counts[some]
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(left):
        before = ends[begin] - counts[begin]
        end = max(begin + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        here = counts[begin:end]
        first = np.repeat(ends[begin:end] - here - before, here)
        within = np.arange(int(here.sum())) - first
        yield np.repeat(left[begin:end], here), order[np.repeat(start[begin:end], here) + within]
        begin = end
