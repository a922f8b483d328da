"""How bright is an image, how much does its brightness vary, and has it any colour?"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

_LINES = 28
"""Lines of an image that its mean and contrast are taken from, at least, where it has as many."""


def light(pixels: np.ndarray, *, alike: int = 1) -> np.ndarray:
    """Mean and standard deviation of each image, over all channels together, in [0, 255].

    Args:
        pixels: (images, side, side, channels) of uint8.
        alike: channels that each of these stands for, as `without_colour` leaves one of three.

    Returns:
        float64 (images, 2), whichever images stand in the batch beside one.
    """
    lines = pixels[:, :: max(1, pixels.shape[1] // _LINES)]
    # Whole numbers, and so are their sums, below 2**53: exact in any order, on every machine.
    values = lines.reshape(len(lines), prod(lines.shape[1:])).astype(np.float64)
    total = alike * np.einsum("ij->i", values).astype(np.int64)
    squares = alike * np.einsum("ij,ij->i", values, values).astype(np.int64)
    count = alike * values.shape[1]
    return np.stack([total / count, np.sqrt(count * squares - total**2) / count], axis=1)


def without_colour(pixels: np.ndarray) -> np.ndarray:
    """One channel where all three are the same in every image; else the images as they are.

    Args:
        pixels: (images, side, side, channels) of uint8; 1 or 3 channels.

    Returns:
        (images, side, side, 1), a view; or `pixels`.
    """
    if pixels.shape[-1] == 1:
        return pixels
    within = _within(prod(pixels.shape[1:]), pixels.shape[-1])
    for image in pixels:  # one at a time: what is compared stays in the processor's cache
        values = image.reshape(-1)
        # Neighbours in memory are compared in less than a third of the time that channels take.
        apart = values[1:] ^ values[:-1]
        apart &= within
        if apart.max():
            return pixels
    return pixels[..., :1]


@lru_cache(maxsize=8)
def _within(values: int, channels: int) -> np.ndarray:
    """For each value but the last, 255 where the next one is of the same pixel, else 0: uint8."""
    return np.where(np.arange(1, values) % channels > 0, 255, 0).astype(np.uint8)
