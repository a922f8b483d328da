"""What does an epoch's training see: which images, in what order, and changed how?"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xfer.augment import augmented
from xfer.balance import Drawn, draw_epoch, member_places
from xfer.numerics import seed_of
from xfer.recipe import Recipe

Rows = npt.NDArray[np.int64]

# What a run's seed is for; 2 is dropout and the like, in xfer.train.
_ORDER, _MEMBERS = 1, 4


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """What an epoch's images, their order and their fresh changes are drawn from.

    Args:
        seed: of the run.
        epoch: from 1.
    """
    return np.random.default_rng(seed_of(seed, epoch, _ORDER))


def view_seeds(pixels: npt.NDArray[np.uint8], views: Rows) -> list[int]:
    """Of the fixed views: the same in every epoch, trial and run, so that they can be kept.

    Args:
        pixels: (images, height, width, channels).
        views: (images,), which view of each; from 1.

    Returns:
        For each a number in [0, 2^64), of its pixels and its view alone.
    """
    return [
        int.from_bytes(blake2b(image.tobytes() + bytes([view]), digest_size=8).digest())
        for image, view in zip(pixels, views.tolist(), strict=True)
    ]


def draw_orders(
    recipe: Recipe, rows: Rows, labels: Rows, generator: np.random.Generator, *, seed: int
) -> list[tuple[Drawn, int]]:
    """Of each member, an epoch's images in the order of its steps, and a seed of fresh changes.

    Args:
        recipe: its balance and augmentation decide; all but an ensemble have one member.
        rows: (images,) of the training part.
        labels: (images,) of the same.
        generator: the epoch's, untouched; advanced.
        seed: of the run; who trains on what hangs on it and not on the epoch.
    """
    orders = []
    views = recipe.augment.views
    of_members = np.random.default_rng(seed_of(seed, 0, _MEMBERS))
    for places in member_places(labels, recipe.members, of_members):
        drawn = draw_epoch(rows[places], labels[places], recipe.balance, generator, views=views)
        order = drawn.at(generator.permutation(len(drawn.rows)))
        # After the order, which is then the same with and without augmentation.
        orders.append((order, int(generator.integers(2**63))))
    return orders


def as_trained(
    recipe: Recipe,
    pixels: npt.NDArray[np.uint8],
    drawn: Drawn,
    device: torch.device,
    *,
    seed: int,
) -> Tensor:
    """The images of a step as the net is given them: changed, as they are, or some of each.

    What an image freshly becomes depends on the seed, its row and which repeat it is; a fixed view
    on its pixels and which it is. Neither depends on the batch or the order.

    Args:
        recipe: says which are changed, and how.
        pixels: (batch, height, width, channels), of the drawn rows.
        drawn: (batch,) images.
        device: where it is done.
        seed: of fresh changes, as `draw_orders` returns it with these images.

    Returns:
        (batch, channels, height, width), uint8 where the recipe changes none, else float in [0, 1].
    """
    images, augment = to_images(pixels, device), recipe.augment
    if augment.mode == "none":
        return images
    views = augment.mode == "views"
    numbers = drawn.views if views else drawn.repeats
    places = np.arange(len(numbers))
    if views or recipe.balance == "oversample_augmented":
        places = np.flatnonzero(numbers)  # what stands for itself stays as it is
    if views:
        seeds = view_seeds(pixels[places], numbers[places])
    else:
        seeds = [seed_of(seed, int(drawn.rows[place]), int(numbers[place])) for place in places]
    if len(places) == len(numbers):
        return augmented(images, augment, seeds)
    where = torch.from_numpy(places).to(device)
    values = images.float().div_(255)
    return values.index_copy_(0, where, augmented(images[where], augment, seeds))


def to_images(pixels: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Pixels (batch, height, width, channels) as a tensor (batch, channels, height, width).

    Still uint8, a quarter of the bytes to send, and laid out as it was: channels last.
    """
    return torch.from_numpy(pixels).to(device, non_blocking=True).permute(0, 3, 1, 2)
