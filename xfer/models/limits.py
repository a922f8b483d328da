"""Can this recipe's model be built for images of this size? Answered without building; no torch."""

from __future__ import annotations

from difflib import get_close_matches

from xfer.errors import RecipeError
from xfer.models.table import NOT_BUILT_YET, TABLE, Backbone
from xfer.recipe import ConvNet, Recipe


def backbone_named(name: str) -> Backbone:
    """The table's row.

    Raises:
        RecipeError: there is no such row; says whether it is to come, or what was meant.
    """
    if name in TABLE:
        return TABLE[name]
    there = f"there are {', '.join(TABLE)}"
    if name in NOT_BUILT_YET:
        raise RecipeError(f"backbone {name!r} is not built yet; {there}")
    near = get_close_matches(name, TABLE, n=1) or get_close_matches(name.lower(), TABLE, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise RecipeError(f"{name!r} is not a backbone{meant} ({there})")


def convnet_sides(model: ConvNet, size: int) -> list[int]:
    """Side of the map each convolution sees, then that of the last map, in pixels.

    >>> convnet_sides(ConvNet(kernels=(8, 16, 32), pool_after=(1, 3)), 28)
    [28, 14, 14, 7]
    """
    pooled = range(1, len(model.kernels) + 1) if model.pool_after is None else model.pool_after
    sides = [size]
    for number in range(1, len(model.kernels) + 1):
        sides.append(sides[-1] // 2 if number in pooled else sides[-1])
    return sides


def problems(recipe: Recipe, *, size: int, channels: int) -> list[str]:
    """Every reason why this recipe cannot be built for `channels` x `size` x `size` images.

    >>> from xfer.recipe import Pretrained
    >>> problems(Recipe(model=Pretrained("resnet-18"), lr=1e-3), size=224, channels=3)[0][:54]
    "'resnet-18' is not a backbone; did you mean 'resnet18'"
    """
    found = []
    if channels not in (1, 3):
        found.append(f"images must have 1 or 3 channels, got {channels}")
    if isinstance(recipe.model, ConvNet):
        return found + _convnet_problems(recipe.model, size)
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
    return found


def _convnet_problems(model: ConvNet, size: int) -> list[str]:
    found = []
    sides = convnet_sides(model, size)
    if 0 in sides:
        pools = len(model.kernels) if model.pool_after is None else len(set(model.pool_after))
        needed = 2**pools
        found.append(
            f"a ConvNet with {pools} pools needs images of at least {needed} x {needed} pixels, "
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
