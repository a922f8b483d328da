"""How does a batch of images look after random changes, each by a seed of its own?

What an image becomes depends on its seed and its pixels alone: not on the batch it is in, its place
there, or the device. All numbers are drawn on the CPU, one generator per image; all pixels are
computed where the images are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from xfer.recipe import Augment

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is done to each image of a batch; every field (images,), in the order of application."""

    flip_horizontal: npt.NDArray[np.bool_]
    """Left becomes right."""
    flip_vertical: npt.NDArray[np.bool_]
    """Top becomes bottom."""
    zoom: Floats
    """Factor of what is seen, above 1 larger."""
    shear: Floats
    """Degrees by which upright lines lean: what is below the centre goes right."""
    rotation: Floats
    """Degrees counter-clockwise, about the centre."""
    shift_x: Floats
    """To the right, as a share of the width."""
    shift_y: Floats
    """Down, as a share of the height."""
    contrast: Floats
    """Factor of a pixel's distance from middle gray."""
    brightness: Floats
    """What is added to all pixels, as a share of their range."""
    noise: Floats
    """Standard deviation of what is added to each pixel, as a share of the range."""
    noise_seed: npt.NDArray[np.int64]
    """Of that."""
    erase: Floats
    """Share of the image that is made black."""
    erase_aspect: Floats
    """Height over width of that rectangle, in shares of the sides."""
    erase_x: Floats
    """Its place in what it leaves free of the width: 0 the left end, 1 the right."""
    erase_y: Floats
    """Likewise of the height, from the top."""


def augmented(images: Tensor, augment: Augment, seeds: Sequence[int]) -> Tensor:
    """The images after the changes that their seeds draw.

    Args:
        images: (batch, channels, height, width), uint8 in [0, 255] or float in [0, 1].
        augment: what may change, and how far.
        seeds: (batch,), each in [0, 2^64).

    Returns:
        (batch, channels, height, width), float in [0, 1], laid out as the images are; nothing but
        uint8 / 255 where nothing is changed.
    """
    return changed(images, draw(augment, seeds))


def draw(augment: Augment, seeds: Sequence[int]) -> Changes:
    """What the seeds draw, even over each range.

    A change has its own place in a seed's sequence: another range elsewhere does not move it. The
    erased rectangle's aspect is drawn from 0.3 to 1 / 0.3, even in its logarithm (Zhong et al.,
    "Random Erasing Data Augmentation", 2020, where it is even).

    Args:
        augment: the ranges.
        seeds: (images,), each in [0, 2^64).
    """
    # Philox, because a new one is only a key and a counter: 0.6 ms for 32 images.
    rows = [np.random.Generator(np.random.Philox(key=seed)).random(15) for seed in seeds]
    drawn = np.array(rows).reshape(-1, 15).T
    some = augment.changes
    if augment.one_of:
        chosen = (drawn[0] * len(some)).astype(int)
        acts = {name: chosen == place for place, name in enumerate(some)}
    else:
        acts = dict.fromkeys(some, np.ones(len(rows), dtype=bool))

    def acting(name: str, values: Floats, *, otherwise: float = 0.0) -> Floats:
        return np.where(acts.get(name, False), values, otherwise)

    def to_both_sides(name: str, place: int) -> Floats:
        return acting(name, getattr(augment, name) * (2 * drawn[place] - 1))

    def flips(name: str, place: int) -> npt.NDArray[np.bool_]:
        return acting(name, 1.0 * (augment.one_of | (drawn[place] < 0.5))) > 0

    low, high = augment.zooms
    return Changes(
        flip_horizontal=flips("flip_horizontal", 1),
        flip_vertical=flips("flip_vertical", 2),
        zoom=acting("zoom", low + (high - low) * drawn[3], otherwise=1.0),
        shear=to_both_sides("shear", 4),
        rotation=to_both_sides("rotation", 5),
        shift_x=to_both_sides("shift", 6),
        shift_y=to_both_sides("shift", 7),
        contrast=1.0 + to_both_sides("contrast", 8),
        brightness=to_both_sides("brightness", 9),
        noise=acting("noise", np.full(len(rows), augment.noise)),
        noise_seed=(drawn[10] * 2**53).astype(np.int64),
        erase=acting("erase", augment.erase * drawn[11]),
        erase_aspect=0.3 ** (2 * drawn[12] - 1),
        erase_x=drawn[13],
        erase_y=drawn[14],
    )


def changed(images: Tensor, changes: Changes) -> Tensor:
    """The images after given changes; shapes and values as of `augmented`.

    Contrast a and brightness b make a * (f - 1/2) + 1/2 + b of a pixel f: gain and bias about
    middle gray (Szeliski, "Computer Vision", 2022, section 3.1.1). Values end at 0 and 1.
    """
    images = _flipped(images, changes.flip_horizontal, 3)
    images = _flipped(images, changes.flip_vertical, 2)
    whole = images.dtype == torch.uint8
    values = images.float().div_(255) if whole else images.clone()
    values = _resampled(values, changes)
    if (changes.contrast != 1).any() or changes.brightness.any():
        # A factor of 1 and a summand of 0 leave a pixel as it is, bit for bit.
        offset = 0.5 * (1 - changes.contrast) + changes.brightness
        values.mul_(_of_images(changes.contrast, values)).add_(_of_images(offset, values))
    if changes.noise.any():
        values.add_(_noise(values, changes))
    values.clamp_(0.0, 1.0)
    if changes.erase.any():
        values.mul_(~_erased(values, changes))
    return values


def _flipped(images: Tensor, which: npt.NDArray[np.bool_], side: int) -> Tensor:
    if not which.any():
        return images
    rows = _rows(np.flatnonzero(which), images)
    images = images.clone()
    images[rows] = images[rows].flip(side)
    return images


def _resampled(values: Tensor, changes: Changes) -> Tensor:
    """Zoom, shear, rotation and shift in one bilinear resampling about the centre.

    Each pixel of the result asks where it comes from: for p' = c + s + M (p - c) with
    M = rotation * shear * zoom, that is p = c + M^-1 (p' - c - s) (Szeliski, "Computer Vision",
    2022, section 3.6.1, inverse warping). All of it is in pixels, so that nothing is distorted
    where the sides differ, and only then as `grid_sample` wants it, without its `align_corners`:
    -1 and 1 are the outer edges of an image, a pixel is 2 / side wide, and one of a single pixel
    is no special case. The grid is summed here, element by element: `affine_grid` multiplies
    matrices, and how those are summed may depend on the size of the batch.
    """
    angle, lean = np.radians(changes.rotation), np.tan(np.radians(changes.shear))
    shifts = np.stack([changes.shift_x, changes.shift_y])
    moved = (changes.zoom != 1) | (lean != 0) | (angle != 0) | shifts.any(axis=0)
    rows = np.flatnonzero(moved)
    if not len(rows):
        return values
    height, width = values.shape[2:]
    cos, sin = np.cos(angle[rows]), np.sin(angle[rows])
    zoom, lean = changes.zoom[rows], lean[rows]
    # The inverse: back by the angle (y points down), upright again, then by 1 / zoom.
    upright = np.stack([cos - lean * sin, -sin - lean * cos]) / zoom
    across = np.stack([sin, cos]) / zoom
    start = shifts[:, rows] * [[width], [height]]
    x, y = (torch.arange(side, device=values.device) - (side - 1) / 2 for side in (width, height))
    size = (len(rows), height, width)
    grid = torch.empty((*size, 2), dtype=values.dtype, device=values.device)
    for axis, (row, side) in enumerate(((upright, width), (across, height))):
        of_x, of_y, fixed = (
            torch.from_numpy(part * 2 / side).to(values).view(-1, 1, 1)
            for part in (row[0], row[1], -(row * start).sum(axis=0))
        )
        x_part, y_part = of_x * x.to(values), of_y * y.to(values).unsqueeze(1) + fixed
        torch.add(x_part, y_part, out=grid[..., axis])
    everything = len(rows) == len(values)
    where = _rows(rows, values)
    sources = values if everything else values.index_select(0, where)
    seen = grid_sample(sources, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return values.copy_(seen) if everything else values.index_copy_(0, where, seen)


def _noise(values: Tensor, changes: Changes) -> Tensor:
    """Drawn on the CPU whatever the device is: CUDA's generators draw other numbers."""
    batch, channels, height, width = values.shape
    drawn = torch.zeros((batch, height, width, channels))  # laid out as images mostly are
    for row in np.flatnonzero(changes.noise):
        generator = torch.Generator().manual_seed(int(changes.noise_seed[row]))
        torch.randn(drawn.shape[1:], generator=generator, out=drawn[row])
    return drawn.to(values).permute(0, 3, 1, 2).mul_(_of_images(changes.noise, values))


def _erased(values: Tensor, changes: Changes) -> Tensor:
    """Whether each pixel is erased, (batch, 1, height, width); never more than the share says."""
    height, width = values.shape[2:]
    # A rectangle too long for its aspect is as long as the image, and wider instead.
    tall = np.clip(np.sqrt(changes.erase * changes.erase_aspect), changes.erase, 1.0)
    wide = np.divide(changes.erase, tall, out=np.zeros_like(tall), where=tall > 0)
    inside = []
    for side, share, place, axis in (
        (height, tall, changes.erase_y, 2),
        (width, wide, changes.erase_x, 3),
    ):
        length = np.floor(share * side)
        start = np.floor(place * (side - length + 1))
        first, behind = _of_images(start, values), _of_images(start + length, values)
        at = torch.arange(side, device=values.device)
        at = at.view([-1 if dimension == axis else 1 for dimension in range(4)])
        inside.append((at >= first) & (at < behind))
    return inside[0] & inside[1]


def _rows(rows: npt.NDArray[np.intp], values: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(values.device)


def _of_images(numbers: Floats, values: Tensor) -> Tensor:
    """A number for each image, (batch, 1, 1, 1)."""
    return torch.from_numpy(numbers).to(values).view(-1, 1, 1, 1)
