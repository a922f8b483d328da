"""Which map lays one image over another, and how well do the two agree there?

Images are first evened: smoothed, and each neighbourhood brought to the same mean and spread, so
that brightness, contrast, gamma and the broad shapes that all chests share say nothing. A map is
then found by Gauss-Newton steps that use both images' gradients (Benhimane and Malis, "Real-time
image-based tracking of planes using efficient second-order minimization", 2004), and judged by the
correlation within small cells: strips that a shift or a rotation left empty spoil only theirs.

Coordinates are those of `grid_sample` without `align_corners`: -1 and 1 are an image's outer edges.
A map [A b] of shape (2, 3) says that what is seen at p is the moving image's A p + b.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, pad

from xfer.data.hashing import spectra

SHARE = 0.8
"""Of the cells that have detail, so many must correlate by what `agreement` returns. A part of the
image may be empty in one of two copies; two chests agree in most cells, never in nearly all."""
LEAST = 0.3
"""Share of an image that must lie in cells with detail, or nothing can be said."""

_REACH = 4  # pixels to either side of a neighbourhood's centre: of all sizes, the best of 3 to 8
_SPREAD = 2.0  # gray levels added to a neighbourhood's spread: noise of a level is not blown up
_LEAST_VARIANCE = 0.1  # of an evened cell: a spread of about a gray level before
_INSIDE = 0.97  # a map's border: beyond it, bilinear sampling mixes in what is not there
_LARGEST_STEP = 0.15  # of a map's numbers: a step on noise must not throw the image away


def evened(pixels: np.ndarray, side: int) -> Tensor:
    """Small gray images in which every neighbourhood has about the same mean and spread.

    Args:
        pixels: (images, height, height, channels) of uint8; 1 or 3 channels.
        side: pixels of a side of the result; more than the images have is fine.

    Returns:
        float32 (images, side, side), about in [-3, 3]; nearly zero where an image is flat.
    """
    low = spectra(pixels, side * 3 // 4)
    order = np.arange(low.shape[1])
    # Smooth enough for bilinear sampling, which would take the finest waves away by its own.
    low *= np.exp(-np.add.outer(order**2, order**2) / (2 * (0.34 * side) ** 2)).astype(np.float32)
    waves = np.cos(np.pi / side * np.outer(order, np.arange(side) + 0.5)).astype(np.float32)
    waves *= np.where(order == 0, 1.0, np.sqrt(2)).astype(np.float32)[:, None]
    gray = torch.from_numpy((waves.T @ low @ waves) / pixels.shape[1])
    detail = gray - _around(gray)
    return detail / (_around(detail**2).sqrt() + _SPREAD)


def warped(images: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """What the maps show, and where they show the image at all.

    Args:
        images: (pairs, side, side).
        maps: (pairs, 2, 3).

    Returns:
        (pairs, side, side), zero outside of the image; bool (pairs, side, side).
    """
    side = images.shape[-1]
    places = _places(side) @ maps.transpose(1, 2)  # (pairs, side * side, 2)
    places = places.view(-1, side, side, 2)
    seen = grid_sample(images[:, None], places, padding_mode="zeros", align_corners=False)[:, 0]
    return seen, (places.abs() < _INSIDE).all(dim=-1)


def registered(moving: Tensor, fixed: Tensor, maps: Tensor, *, steps: int) -> Tensor:
    """Better maps of the moving images onto the fixed ones.

    Minimises the squared difference of evened images where both are seen, weighted by
    1 / (1 + difference^2) (Cauchy's weight): what is in one image alone counts little.

    Args:
        moving: (pairs, side, side), as `evened` gives them.
        fixed: likewise.
        maps: (pairs, 2, 3), where to start: within a few pixels of the truth.
        steps: at most so many are needed from there: about 10.

    Returns:
        (pairs, 2, 3).
    """
    side = fixed.shape[-1]
    x, y, _ = _places(side).view(side, side, 3).unbind(-1)
    around_centre = x**2 + y**2 < 0.81
    fixed_slopes = _slopes(fixed)
    for _ in range(steps):
        seen, inside = warped(moving, maps)
        difference = fixed - seen
        weights = (inside & around_centre) / (1 + difference**2)
        across, down = ((a + b) / 2 for a, b in zip(_slopes(seen), fixed_slopes, strict=True))
        change = torch.stack([across * x, across * y, across, down * x, down * y, down], dim=1)
        change = change.flatten(2)  # (pairs, 6, side * side): by each of a map's numbers
        weighted = change * weights.flatten(1)[:, None]
        curvature = weighted @ change.transpose(1, 2)
        diagonal = curvature.diagonal(dim1=1, dim2=2)
        curvature = curvature + torch.diag_embed(1e-3 * diagonal + 1e-3)  # flat images: no step
        step = torch.linalg.solve(curvature, weighted @ difference.flatten(1)[..., None])
        step = step.clamp(-_LARGEST_STEP, _LARGEST_STEP).view(-1, 2, 3)
        turn, shift = maps[:, :, :2], maps[:, :, 2:]
        maps = torch.cat([turn + turn @ step[:, :, :2], shift + turn @ step[:, :, 2:]], dim=2)
    return maps


def agreement(moving: Tensor, fixed: Tensor, maps: Tensor) -> Tensor:
    """The correlation that SHARE of the cells reach in which both images have detail.

    Args:
        moving: (pairs, side, side), as `evened` gives them.
        fixed: likewise.
        maps: (pairs, 2, 3).

    Returns:
        (pairs,) in [-1, 1]; -1 where less than LEAST of the fixed image can be compared.
    """
    seen, inside = warped(moving, maps)

    def cells(values: Tensor) -> Tensor:
        return avg_pool2d(values[:, None], 2 * _REACH + 1, stride=_REACH).flatten(1)

    mean_a, mean_b = cells(seen), cells(fixed)
    variance_a = cells(seen**2) - mean_a**2
    variance_b = cells(fixed**2) - mean_b**2
    counts = cells(inside.float()) > 0.999
    counts &= (variance_a > _LEAST_VARIANCE) & (variance_b > _LEAST_VARIANCE)
    products = cells(seen * fixed) - mean_a * mean_b
    correlations = products / (variance_a * variance_b).clamp_min(1e-9).sqrt()
    reached = torch.where(counts, correlations, torch.nan).nanquantile(1 - SHARE, dim=1)
    return torch.where(counts.float().mean(dim=1) >= LEAST, reached, -1.0)


def _places(side: int) -> Tensor:
    """x, y and 1 of each pixel, (side * side, 3)."""
    axis = (2 * torch.arange(side) + 1) / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], dim=-1).view(-1, 3)


def _around(images: Tensor) -> Tensor:
    """The mean of a pixel's neighbourhood, weighted by a pyramid."""
    for _ in range(2):
        wide = pad(images[:, None], [_REACH] * 4, mode="reflect")
        images = avg_pool2d(wide, 2 * _REACH + 1, stride=1)[:, 0]
    return images


def _slopes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Change across and down, by coordinate; zero at the borders."""
    across, down = torch.zeros_like(images), torch.zeros_like(images)
    scale = images.shape[-1] / 4  # two pixels are 4 / side apart
    across[:, :, 1:-1] = (images[:, :, 2:] - images[:, :, :-2]) * scale
    down[:, 1:-1] = (images[:, 2:] - images[:, :-2]) * scale
    return across, down
