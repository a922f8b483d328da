"""How does torchvision's classifier become a backbone: its blocks, and nothing else of it?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xfer.models.net import Block
from xfer.models.table import TABLE


def build_backbone(name: str) -> tuple[nn.Module, tuple[Block, ...]]:
    """Torchvision's model without what its blocks do not use, on the device of the context.

    Its parameters keep torchvision's names; their values are whatever torchvision starts from.

    Args:
        name: a row of the table.

    Returns:
        The module that owns everything, and its blocks, none of which writes on its input.
    """
    from torchvision.models import get_model

    model = get_model(name, weights=None)
    names = TABLE[name].blocks
    _keep_only(model, names, prefix="")
    blocks = tuple(Block(name=block, module=model.get_submodule(block)) for block in names)
    for block in blocks:
        # A bare activation may be the suffix's first block, and must not write on stored features.
        # (One inside of a block writes on what the block itself has made.)
        if getattr(block.module, "inplace", False):
            setattr(block.module, "inplace", False)  # noqa: B010  (a plain name is a Tensor to pyright)
    return model, blocks


def _keep_only(module: nn.Module, names: tuple[str, ...], *, prefix: str) -> None:
    """Removes every descendant that is neither named, nor above or below one that is."""
    for child_name, child in list(module.named_children()):
        full = prefix + child_name
        if full in names:
            continue
        if any(name.startswith(f"{full}.") for name in names):
            _keep_only(child, names, prefix=f"{full}.")
        else:
            delattr(module, child_name)


def random_state(name: str, *, seed: int) -> dict[str, Tensor]:
    """Torchvision's own initial weights of the whole classifier, drawn from `seed`.

    The global generator is left as it was.
    """
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would seed every accelerator too, and those are not restored.
        torch.default_generator.manual_seed(seed)
        return get_model(name, weights=None).state_dict()


def fill(backbone: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Moves a backbone from `meta` to the CPU and gives it values, in place.

    Args:
        backbone: from `build_backbone`.
        state: of the whole classifier; what the backbone has not is left aside. Counters of
            batches that batch norms keep may be missing, as in torchvision's oldest files.
    """
    backbone.to_empty(device="cpu")
    for buffer in backbone.buffers():
        buffer.zero_()
    own = backbone.state_dict()
    missing = {key for key in own if key not in state}
    if unexplained := {key for key in missing if not key.endswith("num_batches_tracked")}:
        raise KeyError(f"no values for {sorted(unexplained)}")
    backbone.load_state_dict({key: state.get(key, value) for key, value in own.items()})
