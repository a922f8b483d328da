"""What does an answer of a model cost? Known without training it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from xfer.recipe import ConvNet, Head, Pretrained, Recipe
from xfer.recipe.objective import Cost

if TYPE_CHECKING:
    import torch


def cost_of(
    recipe: Recipe,
    what: Cost,
    *,
    classes: int,
    size: int,
    channels: int,
    device: torch.device | str,
) -> float:
    """Parameters of the model that ships, or milliseconds of its forward pass of one image.

    Args:
        recipe: of the model; its weights are not read.
        what: `parameters` or `latency`.
        classes: outputs.
        size: side of the images, in pixels.
        channels: of the images.
        device: on which a latency is measured.

    Raises:
        RecipeError: the model cannot be built.
    """
    from xfer.latency import measure_latency
    from xfer.models.assembly import assemble
    from xfer.models.described import describe

    shape = {"classes": classes, "size": size, "channels": channels}
    if what == "parameters":
        return float(describe(recipe, **shape).parameters)
    net = assemble(recipe, **shape, seed=0, load_weights=False).to(device)
    return measure_latency(net, size=size, channels=channels, device=device)


def network_of(recipe: Recipe) -> Recipe:
    """The same for all recipes whose models do the same arithmetic for an answer.

    What is of training alone is left out: rates, dropout, first weights; also what is frozen, but
    for an ensemble, whose members share that.

    >>> one = Recipe(model=Pretrained("resnet18", unfreeze_depth=2), lr=1e-3)
    >>> network_of(one) == network_of(replace(one, model=Pretrained("resnet18"), lr=1e-4))
    True
    """
    model, shared = recipe.model, recipe.members > 1
    if isinstance(model, ConvNet):
        model = replace(model, dropout=0.0, initial="he_uniform")
    else:
        frozen = {"unfreeze_depth": model.unfreeze_depth, "train": model.train} if shared else {}
        model = Pretrained(model.name, cut_after=model.cut_after, **frozen)
    return Recipe(
        model=model,
        head=replace(recipe.head, dropout=Head.dropout),
        lr=1.0,
        balance="ensemble" if shared else "none",
        ensemble_parts=recipe.ensemble_parts if shared else Recipe.ensemble_parts,
    )
