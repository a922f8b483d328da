"""Can a recipe be trained? On the `meta` device: every shape, and no numbers."""

import torch
from torch.nn.functional import cross_entropy

from xfer.models.assembly import skeleton
from xfer.optim import build_optimizer, parameter_groups
from xfer.recipe import Recipe


def train_a_step(recipe: Recipe, *, size: int, channels: int = 1, classes: int = 2) -> None:
    """Everything that a trial does but for the numbers: on `meta` nothing is computed."""
    with torch.device("meta"):
        net = skeleton(recipe, classes=classes, size=size, channels=channels)
        images = torch.empty(4, channels, size, size, dtype=torch.uint8)
        labels = torch.empty(4, dtype=torch.int64)
    optimizer = build_optimizer(
        parameter_groups(net.parts()), name=recipe.optimizer, lr=recipe.lr, l2=recipe.l2
    )
    for head_only in (True, False) if recipe.head_first else (False,):
        net.head_only(head_only)
        net.train()
        logits = net.suffix(net.prefix(images))
        assert logits.shape == (4, classes)
        cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing).backward()
        without = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
        assert without == []
        optimizer.zero_grad()
