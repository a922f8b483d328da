"""Which parameters of a backbone are trained, and how fast?"""

from __future__ import annotations

from difflib import get_close_matches

from torch import nn

from xfer.errors import RecipeError
from xfer.models.adapters import torchvision_key
from xfer.models.net import Block
from xfer.recipe import Pretrained


def thaw(model: Pretrained, backbone: nn.Module, blocks: tuple[Block, ...]) -> None:
    """Sets `requires_grad` as the recipe says.

    Args:
        model: its depth, or the names that it trains.
        backbone: whole or cut.
        blocks: of the backbone.

    Raises:
        RecipeError: a name that is none of the backbone's, or has no parameters; all are told.
    """
    backbone.requires_grad_(False)
    if model.train is None:
        thawed = stages(blocks)[::-1][: model.unfreeze_depth]
        for block in blocks:
            block.module.requires_grad_(block.part in thawed)
        return
    parameters = {torchvision_key(key): p for key, p in backbone.named_parameters()}
    unknown = []
    for name in model.train:
        chosen = [p for key, p in parameters.items() if key == name or key.startswith(f"{name}.")]
        for parameter in chosen:
            parameter.requires_grad_(True)
        if not chosen:
            unknown.append(_unknown(name, list(parameters), model))
    if unknown:
        raise RecipeError("; ".join(unknown))


def stages(blocks: tuple[Block, ...]) -> list[str]:
    """Names of the stages that are there, from the input."""
    return list(dict.fromkeys(block.part for block in blocks))


def lr_factors(model: Pretrained, blocks: tuple[Block, ...]) -> dict[str, float]:
    """Each stage's learning rate over the recipe's."""
    return {
        stage: model.lr_factor * model.lr_decay**above
        for above, stage in enumerate(reversed(stages(blocks)))
    }


def trainable_names(keys: list[str]) -> list[str]:
    """Modules that hold these parameters, and the parameters, in order.

    >>> trainable_names(["conv1.weight", "layer1.0.conv1.weight"])
    ['conv1', 'conv1.weight', 'layer1', 'layer1.0', 'layer1.0.conv1', 'layer1.0.conv1.weight']
    """
    names: dict[str, None] = {}
    for key in keys:
        steps = key.split(".")
        names |= dict.fromkeys(".".join(steps[: n + 1]) for n in range(len(steps)))
    return list(names)


def _unknown(name: str, keys: list[str], model: Pretrained) -> str:
    near = get_close_matches(name, trainable_names(keys), n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    cut = "" if model.cut_after is None else f" cut after {model.cut_after!r}"
    return (
        f"train names {name!r}, and {model.name}{cut} has no parameters of that name{meant} "
        f"(python -m xfer.models {model.name} lists its modules)"
    )
