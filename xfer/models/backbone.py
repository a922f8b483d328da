"""How does torchvision's classifier become a backbone: its blocks, and nothing else of it?"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from xfer.models.adapters import adapt, fitted, torchvision_key
from xfer.models.net import Block
from xfer.models.table import TABLE


def build_backbone(name: str, *, size: int) -> tuple[nn.Module, tuple[Block, ...]]:
    """Torchvision's model without what its blocks do not use, on the device of the context.

    Its parameters keep torchvision's names (`xfer.models.adapters.torchvision_key` where they
    cannot); their values are whatever torchvision starts from.

    Args:
        name: a row of the table.
        size: side of the images, in pixels.

    Returns:
        The module that owns everything, and its blocks, none of which writes on its input.
    """
    row = TABLE[name]
    model = _classifier(name, size=size)
    adapt(row.adapter, model)
    backbone = nn.Module()
    blocks = []
    for number, stage in enumerate(row.stages, start=1):
        for block in stage:
            module = model.get_submodule(block)
            # A bare activation may be the suffix's first block, and must not write on stored
            # features. (One inside of a block writes on what the block itself has made.)
            if getattr(module, "inplace", False):
                setattr(module, "inplace", False)  # noqa: B010  (a plain name is a Tensor to pyright)
            own(backbone, block, module)
            blocks.append(Block(name=block, module=module, part=f"stage{number}"))
    return backbone, tuple(blocks)


def _classifier(name: str, *, size: int | None = None) -> nn.Module:
    from torchvision.models import get_model

    row = TABLE[name]
    arguments: dict[str, Any] = dict(row.arguments)
    if row.adapter == "vit" and size is not None:
        arguments["image_size"] = size
    if torch.get_default_device().type == "meta":
        return deepcopy(_without_values(name, tuple(sorted(arguments.items()))))
    return get_model(name, weights=None, **arguments)


@cache  # filling what has no values takes most of a second of a ResNet-152
def _without_values(name: str, arguments: tuple[tuple[str, Any], ...]) -> nn.Module:
    """Torchvision's model on `meta`; to be copied before it is changed."""
    from torchvision.models import get_model

    if name.startswith("regnet"):
        # Its widths are computed by tensors that are read, so it is built for real, then emptied.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            return get_model(name, weights=None, **dict(arguments)).to("meta")
    with torch.device("meta"):
        return get_model(name, weights=None, **dict(arguments))


def own(backbone: nn.Module, path: str, module: nn.Module) -> None:
    """Puts a module at a path, over plain modules where there are none yet."""
    *parents, last = path.split(".")
    place = backbone
    for parent in parents:
        if not hasattr(place, parent):
            place.add_module(parent, nn.Module())
        place = place.get_submodule(parent)
    place.add_module(last, module)


@cache
def classifier_shapes(name: str) -> dict[str, torch.Size]:
    """Every value in a file of torchvision's weights, at the size they were trained at."""
    with torch.device("meta"):
        return {key: value.shape for key, value in _classifier(name).state_dict().items()}


def random_state(name: str, *, seed: int) -> dict[str, Tensor]:
    """Torchvision's own initial weights of the whole classifier, drawn from `seed`.

    The global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would seed every accelerator too, and those are not restored.
        torch.default_generator.manual_seed(seed)
        return _classifier(name).state_dict()


def fill(backbone: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Moves a backbone from `meta` to the CPU and gives it values, in place.

    Args:
        backbone: from `build_backbone`, cut or not.
        state: of the whole classifier; what the backbone has not is left aside. Counters of
            batches that batch norms keep may be missing, as in torchvision's oldest files. A
            vision transformer's positions are interpolated to the backbone's size.
    """
    backbone.to_empty(device="cpu")
    missing = []
    with torch.no_grad():
        for key, value in backbone.state_dict().items():
            theirs = torchvision_key(key)
            if theirs in state:
                value.copy_(fitted(state, theirs, value.shape))
            elif theirs.endswith("num_batches_tracked"):
                value.zero_()
            else:
                missing.append(theirs)
    if missing:
        raise KeyError(f"no values for {sorted(missing)}")
