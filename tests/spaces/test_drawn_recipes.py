"""Whatever the pneumonia space proposes can be built and trained."""

import random
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from search.check.walk import draw, edge, take_walk
from search.options import parse
from search.plan import make_plan
from search.space import load_space
from xfer.models.assembly import skeleton
from xfer.optim import build_optimizer, parameter_groups
from xfer.recipe import ConvNet, Recipe

SPACE = Path(__file__).parent.parent.parent / "spaces" / "pneumonia.py"
SIZE = 80
"""Small, and large enough for Inception."""


def drawn(count: int) -> list[Recipe]:
    plan = make_plan(load_space(SPACE), parse([str(SPACE), "--data", "/"]))
    recipes = []
    for number in range(count):
        generator = random.Random(1000 + number)
        how = edge if number % 3 == 0 else draw
        walk = take_walk(plan, lambda _, range_, how=how, g=generator: how(range_, g))
        assert walk.problems == ()
        assert walk.recipe is not None
        recipes.append(walk.recipe)
    return recipes


def train_a_step(recipe: Recipe) -> None:
    """Everything that a trial does but for the numbers: on `meta` nothing is computed."""
    with torch.device("meta"):
        net = skeleton(recipe, classes=2, size=SIZE, channels=1)
        images = torch.empty(4, 1, SIZE, SIZE, dtype=torch.uint8)
        labels = torch.empty(4, dtype=torch.int64)
    optimizer = build_optimizer(
        parameter_groups(net.parts()), name=recipe.optimizer, lr=recipe.lr, l2=recipe.l2
    )
    for head_only in (True, False) if recipe.head_first else (False,):
        net.head_only(head_only)
        net.train()
        logits = net.suffix(net.prefix(images))
        assert logits.shape == (4, 2)
        cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing).backward()
        without = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
        assert without == []
        optimizer.zero_grad()


def test_recipes_of_the_space_can_be_built_and_trained():
    for recipe in drawn(12):
        train_a_step(recipe)


@pytest.mark.slow
def test_500_recipes_of_the_space_can_be_built_and_trained():
    recipes = drawn(500)
    models = {r.model if isinstance(r.model, ConvNet) else r.model.name for r in recipes}
    assert len(set(recipes)) == 500
    assert len(models) > 50
    for recipe in recipes:
        train_a_step(recipe)
