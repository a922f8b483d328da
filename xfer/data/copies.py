"""Were images turned, shifted, zoomed or mirrored first, and split afterwards?

Such copies escape every hash. For some images of val and test, all training images are compared
under a few thousand maps at once: a disc of 32 x 32 pixels' middle, whitened, is a short vector,
and so is what each map shows of the image there. The best are registered (`registration`), twice,
and the last word has the correlation of their small cells. No pretrained weights are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from xfer.data.duplicates import Rows
from xfer.data.hashing import spectra
from xfer.data.registration import agreement, evened, registered

CORRELATION = 0.85
"""What most cells of a pair must reach (`agreement`). Measured at 224 pixels, each image with the
training image that agrees best, of 30 registered at 32 pixels and 10 again: 600 chest X-rays .73 at
most (two that may be of one patient, then .62), 300 cats and dogs .08, 390 leaves .07 but for one
leaf photographed twice, 300 people .17 but for one picture that is cut in two ways; 200 of the
X-rays at 64 pixels .64; 60 images of PneumoniaMNIST enlarged to 224, were they searched, .66.
Copies of X-rays made as study C made its own: .96 and more, 46 of 50 found; as study D at 64
pixels: .89 and more, 48 of 50. With 64 pixels instead of 96, different X-rays reach .87.
Images of 64, 96 and 128 pixels: copies that were turned, shifted, zoomed, mirrored and brightened
once, 100 X-rays and 30 each of cats and dogs, leaves and people, .93 and more at each size, all
found but those without detail (9 of the X-rays at 64). Different ones: 200 X-rays .74, .74 and .73
at most (two that may be of one patient, then .63, .61 and .61), 60 each of the others .12 but for
the picture that is cut in two ways. So no size has a threshold of its own."""
SMALLEST = 64
"""Pixels of a side. Smaller images are not searched; below it nothing was measured."""
LEAST_DETAIL = 0.08
"""Of the finest waves (40 to 64 halves to a side) to the others (8 to 40). Less, and an image was
enlarged. Photographs and X-rays of 224 pixels have .12 and more, X-rays of 64 pixels .10 and more;
of images enlarged from 28 to 224 pixels 95 % have less than .08."""
MOST = 10_000
"""Training images that are looked among, drawn where there are more."""

_COARSE, _FINE = 32, 96  # pixels of a side, also where images have fewer
_MAPS = 2048  # and as many of the mirrored image
_RADIUS = 0.62  # of the disc, where 1 reaches the edges: most maps keep all of it inside
_LENGTH = 64  # of a vector
_CANDIDATES, _FINALISTS = 30, 4  # training images that are registered at 32 pixels, and then again
_STEPS = 10
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class ChangedCopies:
    """What was found among the sampled images; see `find_changed_copies`."""

    searched: int
    """Sampled images of val and test that have enough detail to be looked for."""
    among: int
    """Training images that they were looked for in."""
    found: tuple[tuple[int, int], ...] = ()
    """Position in val or test, and of the training image that agrees best; ascending."""
    correlations: tuple[float, ...] = ()
    """Of each pair, CORRELATION or more: what most of its cells reach."""
    not_searched: str | None = None
    """Why no image was looked for; None: some were."""


def find_changed_copies(
    pixels: Rows,
    splits: Mapping[str, np.ndarray],
    *,
    known: Sequence[Sequence[int]] = (),
    sample: int = 50,
    seed: int = 0,
) -> ChangedCopies:
    """Which sampled images of val and test are training images that were turned, zoomed and so on?

    Found are flips left to right, and rotations to about 30 degrees, zooms from 3/4 to 4/3 and
    shifts to an eighth of the image, together, in brightness and contrast as they may be.

    Args:
        pixels: 1 or 3 channels. Training images are read once, the likeliest again.
        splits: positions by part: train, val, test; those that are not there are empty.
        known: groups of positions that are known to show the same picture, and are not found again.
        sample: how many images of val and test to look for, half of each where there are as many.
        seed: of what is drawn: those images, and the training images where there are too many.
    """
    rng = np.random.default_rng(seed)
    parts = [np.asarray(splits.get(name, ()), dtype=np.int64) for name in ("train", "val", "test")]
    train, val, test = (rng.permutation(part) for part in parts)
    train = np.sort(train[:MOST])
    of_val = min(len(val), max(sample // 2, sample - len(test)))
    chosen = np.sort(np.concatenate([val[:of_val], test[: sample - of_val]]))
    side = pixels.shape[1]
    if side < SMALLEST:
        return _nothing(f"images of {side} pixels a side look too much alike: {SMALLEST} or more")
    if not len(train) or not len(chosen):
        return _nothing(f"there is no image in {'val or test' if len(train) else 'train'}")
    chosen = chosen[_detailed(pixels[chosen])]
    if not len(chosen):
        return _nothing("no sampled image has fine detail; all may be enlarged from smaller ones")
    groups = [set(group) for group in known]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same answer everywhere, and no threads that wait for each other
    try:
        found = _found(_Search(pixels, train, chosen, seed), train, chosen, groups)
    finally:
        torch.set_num_threads(threads)
    return ChangedCopies(
        searched=len(chosen),
        among=len(train),
        found=tuple((position, other) for position, other, _ in found),
        correlations=tuple(correlation for *_, correlation in found),
    )


def _found(
    search: _Search, train: np.ndarray, chosen: np.ndarray, groups: Sequence[set[int]]
) -> list[tuple[int, int, float]]:
    """Each image that was found, the training image, and by how much they agree."""
    found = []
    for query, position in enumerate(chosen.tolist()):
        same = set().union(*(group for group in groups if position in group))
        correlation, other = search.best(query, ~np.isin(train, list(same)))
        if correlation >= CORRELATION:
            found.append((position, other, correlation))
    return found


class _Search:
    """Training images, ready to be asked which of them an image is."""

    def __init__(self, pixels: Rows, train: np.ndarray, chosen: np.ndarray, seed: int) -> None:
        self._pixels, self._train = pixels, train
        self._maps = _maps(seed)
        self._coarse, self._asked = _small(pixels, train), _small(pixels, chosen)
        self._fine = evened(pixels[chosen], _FINE)
        axis = (2 * torch.arange(_COARSE) + 1) / _COARSE - 1
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        disc = x**2 + y**2 < _RADIUS**2
        self._disc = torch.stack([x[disc], y[disc], torch.ones(int(disc.sum()))], dim=1)
        shown = normalize(self._coarse[:, disc])
        # Maps of the sampled images count too: few training images do not show what can differ.
        views = torch.cat([self._views(query, self._maps[::16]) for query in range(len(chosen))])
        spread = shown.T @ shown / len(shown) + views.T @ views / len(views)
        sizes, directions = torch.linalg.eigh(spread)
        self._whitening = directions[:, -_LENGTH:] / sizes[-_LENGTH:].clamp_min(1e-6).sqrt()
        self._vectors = normalize(shown @ self._whitening)

    def best(self, query: int, allowed: np.ndarray) -> tuple[float, int]:
        """The largest agreement with an allowed training image, and its position."""
        views = normalize(self._views(query, self._maps) @ self._whitening).T
        blocks = [(vectors @ views).max(dim=1) for vectors in self._vectors.split(512)]
        likeness = torch.cat([block.values for block in blocks])
        by_map = torch.cat([block.indices for block in blocks])
        likeness[torch.from_numpy(~allowed)] = -torch.inf
        candidates = likeness.topk(min(_CANDIDATES, int(allowed.sum()))).indices
        if not len(candidates):
            return -1.0, -1
        moving = self._asked[query].expand(len(candidates), -1, -1)
        fixed = self._coarse[candidates]
        maps = registered(moving, fixed, self._maps[by_map[candidates]], steps=_STEPS)
        order = agreement(moving, fixed, maps).topk(min(_FINALISTS, len(candidates))).indices
        rows = self._train[candidates[order].numpy()]
        fine = self._pixels[rows]
        moving, fixed = self._fine[query].expand(len(rows), -1, -1), evened(fine, _FINE)
        maps = registered(moving, fixed, maps[order], steps=_STEPS)
        agreed = agreement(moving, fixed, maps)
        agreed[torch.from_numpy(~_detailed(fine))] = -1.0
        first = int(agreed.argmax())
        return float(agreed[first]), int(rows[first])

    def _views(self, query: int, maps: Tensor) -> Tensor:
        """What the maps show of an image in the disc, (maps, pixels of the disc), of length 1."""
        places = (self._disc @ maps.transpose(1, 2))[None]
        seen = grid_sample(self._asked[query][None, None], places, align_corners=False)[0, 0]
        return normalize(seen)


def _maps(seed: int) -> Tensor:
    """Rotation, zoom and shift, spread evenly by a Sobol sequence: (2 * _MAPS, 2, 3).

    Ranges are a little narrower than what is found: registration goes on from the nearest.
    """
    drawn = 2 * torch.quasirandom.SobolEngine(4, scramble=True, seed=seed).draw(_MAPS) - 1
    angle, zoom, shift = np.radians(28) * drawn[:, 0], torch.exp(0.27 * drawn[:, 1]), drawn[:, 2:]
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    mirrored = turn * torch.tensor([-1.0, 1.0])
    shifts = 0.24 * shift[..., None]
    return torch.cat([torch.cat([both, shifts], dim=2) for both in (turn, mirrored)])


def _small(pixels: Rows, rows: np.ndarray) -> Tensor:
    batches = np.split(rows, np.arange(_BATCH, len(rows), _BATCH))
    return torch.cat([evened(pixels[batch], _COARSE) for batch in batches])


def _detailed(pixels: np.ndarray) -> np.ndarray:
    """Whether images have waves that smaller images could not have, bool (images,)."""
    power = spectra(pixels, 64) ** 2
    fine = power.sum(axis=(1, 2)) - power[:, :40, :40].sum(axis=(1, 2))
    coarse = power[:, :40, :40].sum(axis=(1, 2)) - power[:, :8, :8].sum(axis=(1, 2))
    return np.sqrt(fine) >= LEAST_DETAIL * np.sqrt(np.maximum(coarse, 1e-6))


def _nothing(why: str) -> ChangedCopies:
    return ChangedCopies(searched=0, among=0, not_searched=why)
