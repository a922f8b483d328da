"""What does training see of some images? A sheet: originals on top, their changes below."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xfer.balance import Drawn
from xfer.recipe import Recipe
from xfer.seen import as_trained, draw_orders, epoch_generator, to_images
from xfer.steps import Data

Rows = npt.NDArray[np.int64]

GAP = 2
"""White pixels between two pictures."""
_CPU = torch.device("cpu")


def contact_sheet(
    recipe: Recipe, data: Data, *, seed: int, images: int = 8, rows: int = 4, side: int = 96
) -> npt.NDArray[np.uint8] | None:
    """Some training images, and below each what `xfer.train.fit` makes of it.

    With fresh changes a row is an epoch, from the first; with views it is a view. A place is black
    where an epoch leaves that image out. Where it has it several times the last of these is shown,
    and of an ensemble what the first of its members sees that is trained on it. The images of each
    class are evenly spaced over it, so that neither the seed nor the recipe decides which are
    shown, and sheets of two trials can be laid side by side. Computed on the CPU: an image that was
    trained on elsewhere can differ from it in the last bits.

    Args:
        recipe: how images are changed, and which an epoch trains on.
        data: its training part is shown.
        seed: as `fit` is given it.
        images: at most so many, as evenly from all classes as they have them; at least 1.
        rows: at most so many, that of the originals among them; at least 2.
        side: of a picture, in pixels; images of another size are resized to it, bilinearly.

    Returns:
        (height, width, 3), RGB, or None where the recipe changes nothing.
    """
    augment = recipe.augment
    if augment.mode == "none":
        return None
    part: Rows = data.splits["train"]
    labels = data.labels[part]
    shown = part[_spread(labels, images)]
    pixels = data.pixels[shown]
    strips = [_strip(to_images(pixels, _CPU), side)]
    if augment.mode == "views":
        last = augment.views - 1
    else:
        last = rows if recipe.epochs is None else recipe.epochs
    for number in range(1, 1 + min(rows - 1, last)):
        if augment.mode == "views":
            view = Drawn(shown, np.zeros_like(shown), np.full_like(shown, number))
            seen = as_trained(recipe, pixels, view, _CPU, seed=0)
        else:
            seen = torch.zeros_like(to_images(pixels, _CPU), dtype=torch.float32)
            generator = epoch_generator(seed, number)
            orders = draw_orders(recipe, part, labels, generator, seed=seed)
            for order, changes in reversed(orders):
                drawn, there = _last_showing(order, shown)
                places = torch.from_numpy(there)
                seen[places] = as_trained(recipe, pixels, drawn, _CPU, seed=changes)[places]
        strips.append(_strip(seen, side))
    line = np.full((GAP, *strips[0].shape[1:]), 255, dtype=np.uint8)
    return np.concatenate([each for strip in strips for each in (line, strip)][1:])


def _spread(labels: Rows, images: int) -> Rows:
    """Places of so many labels, by class, evenly spaced over each; fewer where there are fewer."""
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    # One of each class, then a second of each, and so on, until there are enough.
    turns = sorted((turn, c) for c, own in enumerate(members) for turn in range(len(own)))
    wanted = Counter(c for _, c in turns[:images])
    return np.concatenate(
        [members[c][np.linspace(0, len(members[c]) - 1, n).round().astype(int)]
         for c, n in sorted(wanted.items())]
    )  # fmt: skip


def _last_showing(order: Drawn, shown: Rows) -> tuple[Drawn, npt.NDArray[np.bool_]]:
    """As what each row is shown in an epoch, with its largest repeat, and whether it is at all."""
    repeats = np.array([order.repeats[order.rows == row].max(initial=-1) for row in shown])
    return Drawn(shown, repeats.clip(0), np.zeros_like(shown)), repeats >= 0


def _strip(images: Tensor, side: int) -> npt.NDArray[np.uint8]:
    """(images, channels, height, width), uint8 or in [0, 1], as one row of pictures.

    Returns:
        (side, width, 3).
    """
    values = images.float() / 255 if images.dtype == torch.uint8 else images
    if values.shape[2:] != (side, side):
        values = interpolate(values, (side, side), mode="bilinear", antialias=True)
    values = (255 * values.expand(-1, 3, -1, -1)).round().clamp(0, 255).to(torch.uint8)
    pictures = values.permute(0, 2, 3, 1).numpy()
    line = np.full((side, GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([e for picture in pictures for e in (line, picture)][1:], axis=1)
