"""Can this recipe's model be built for images of this size? Answered without building; no torch."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from difflib import get_close_matches
from typing import get_args

from xfer.errors import RecipeError
from xfer.models.table import TABLE, Backbone
from xfer.recipe import ConvNet, Pool, Recipe


def backbone_named(name: str) -> Backbone:
    """The table's row.

    Raises:
        RecipeError: there is no such row; says what was meant, or what there is.
    """
    if name in TABLE:
        return TABLE[name]
    near = get_close_matches(name, TABLE, n=1) or get_close_matches(name.lower(), TABLE, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise RecipeError(f"{name!r} is not a backbone{meant} (there are {', '.join(TABLE)})")


def convnet_sides(model: ConvNet, size: int) -> list[int]:
    """Side of the map each convolution sees, then that of the last map, in pixels; 0: none is left.

    >>> convnet_sides(ConvNet(kernels=(8, 16, 32), pool_after=(1, 3)), 28)
    [28, 14, 14, 7]
    >>> convnet_sides(ConvNet(kernels=(8, 16), kernel_size=5, padding="valid"), 28)
    [28, 12, 4]
    """
    sides = [size]
    for number in range(1, len(model.kernels) + 1):
        side = max(0, sides[-1] - _lost(model))
        sides.append(side // 2 if number in _pooled(model) else side)
    return sides


def problems(recipe: Recipe, *, size: int, channels: int) -> list[str]:
    """Every reason why this recipe cannot be built for `channels` x `size` x `size` images.

    Whether a backbone has what `train` and `cut_after` name is not looked at: the table does not
    know.

    >>> from xfer.recipe import Pretrained
    >>> problems(Recipe(model=Pretrained("resnet-18"), lr=1e-3), size=224, channels=3)[0][:54]
    "'resnet-18' is not a backbone; did you mean 'resnet18'"
    """
    found = []
    if channels not in (1, 3):
        found.append(f"images must have 1 or 3 channels, got {channels}")
    if isinstance(recipe.model, ConvNet):
        found += _convnet_problems(recipe.model, size)
        return found + _token_problems(recipe, "a ConvNet", 0)
    try:
        row = backbone_named(recipe.model.name)
    except RecipeError as error:
        return [*found, str(error)]
    nearest = row.nearest_size(size)
    if nearest != size:
        rule = f"of at least {row.min_size} x {row.min_size} pixels"
        if row.multiple > 1:
            rule += f" whose side is a multiple of {row.multiple}"
        found.append(f"{recipe.model.name} needs images {rule}, got {size}; nearest is {nearest}")
    return found + _token_problems(recipe, recipe.model.name, row.tokens)


def _token_problems(recipe: Recipe, owner: str, tokens: int) -> list[str]:
    if recipe.head.pool != "token" or tokens:
        return []
    with_tokens = ", ".join(name for name, row in TABLE.items() if row.tokens)
    others = ", ".join(pool for pool in get_args(Pool) if pool != "token")
    return [
        f"Head.pool='token' needs a backbone with a class token ({with_tokens}), {owner} has none; "
        f"use one of {others}"
    ]


# --------------------------------------------------------------------------------------------------
# Of a ConvNet


def _pooled(model: ConvNet) -> Container[int]:
    everyone = range(1, len(model.kernels) + 1)
    return everyone if model.pool_after is None else model.pool_after


def _lost(model: ConvNet) -> int:
    """Pixels that a map loses in a convolution."""
    return model.kernel_size - 1 if model.padding == "valid" else 0


def _least_size(model: ConvNet) -> int:
    """Side of the smallest image of which one pixel is left at the end."""
    side = 1
    for number in range(len(model.kernels), 0, -1):
        side = (2 * side if number in _pooled(model) else side) + _lost(model)
    return side


def _convnet_problems(model: ConvNet, size: int) -> list[str]:
    if model.padding == "valid":
        return _valid_problems(model, size)
    found = []
    sides = convnet_sides(model, size)
    if 0 in sides:
        needed = _least_size(model)
        found.append(
            f"a ConvNet with {_pools(model)} needs images of at least {needed} x {needed} pixels, "
            f"got {size}; name fewer convolutions in pool_after, or use fewer"
        )
    for number, side in enumerate(sides[:-1], start=1):
        # From the map's last pixel to its first are side - 1 steps: beyond, weights see padding.
        if side > 0 and model.kernel_size > 2 * side - 1:
            found.append(
                f"kernel_size {model.kernel_size} is too large for the {side} x {side} map that "
                f"convolution {number} sees: its outer weights would never meet a pixel; use "
                f"{2 * side - 1} at most, larger images or fewer pools"
            )
            break  # all later ones see no larger map
    return found


def _valid_problems(model: ConvNet, size: int) -> list[str]:
    sides = convnet_sides(model, size)
    if 0 not in sides:
        return []
    number = sides.index(0)  # the convolution after which nothing is left
    seen = sides[number - 1]
    if model.kernel_size > seen:
        why = f"convolution {number} sees only {seen} x {seen}"
    else:
        why = f"convolution {number} leaves 1 x 1, and a pool would halve it"
    smaller = range(model.kernel_size - 1, 0, -1)
    fitting = [k for k in smaller if _least_size(replace(model, kernel_size=k)) <= size]
    kernel = f"kernel_size {fitting[0]} at most, " if fitting else ""
    needed, k = _least_size(model), model.kernel_size
    count = len(model.kernels)
    return [
        f"a ConvNet with {count} convolution{'s' * (count > 1)} of {k} x {k}, padding='valid' and "
        f"{_pools(model)} needs images of at least {needed} x {needed} pixels, got {size} ({why}); "
        f"use {kernel}fewer pools or fewer convolutions"
    ]


def _pools(model: ConvNet) -> str:
    pools = sum(number in _pooled(model) for number in range(1, len(model.kernels) + 1))
    return f"{pools} pool{'s' * (pools != 1)}"
