"""Whatever the pneumonia space proposes can be built and trained."""

import random
from pathlib import Path

import pytest

from search.check.walk import draw, edge, take_walk
from search.options import parse
from search.plan import make_plan
from search.space import load_space
from tests.spaces.meta import train_a_step
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


def test_recipes_of_the_space_can_be_built_and_trained():
    for recipe in drawn(12):
        train_a_step(recipe, size=SIZE)


@pytest.mark.slow
def test_500_recipes_of_the_space_can_be_built_and_trained():
    recipes = drawn(500)
    models = {r.model if isinstance(r.model, ConvNet) else r.model.name for r in recipes}
    assert len(set(recipes)) == 500
    assert len(models) > 50
    for recipe in recipes:
        train_a_step(recipe, size=SIZE)
