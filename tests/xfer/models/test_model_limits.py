import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.errors import RecipeError
from xfer.models.assembly import describe
from xfer.models.limits import problems
from xfer.models.table import Backbone
from xfer.recipe import ConvNet, Head, Pretrained, Recipe

REFUSED = {
    "misspelt": (Pretrained("mobilnet_v2"), 224, "did you mean 'mobilenet_v2'"),
    "in capitals": (Pretrained("ResNet18"), 224, "did you mean 'resnet18'"),
    "from elsewhere": (
        Pretrained("efficientnet_b9000"),
        224,
        "not a backbone (there are squeezenet1_1, mobilenet_v2, resnet18)",
    ),
    "to come": (Pretrained("vit_b_16"), 224, "'vit_b_16' is not built yet; there are squeezenet"),
    "too small": (
        Pretrained("squeezenet1_1"),
        16,
        "squeezenet1_1 needs images of at least 17 x 17 pixels, got 16; nearest is 17",
    ),
    "too many pools": (
        ConvNet(kernels=(8,) * 5, kernel_size=1),
        28,
        "a ConvNet with 5 pools needs images of at least 32 x 32 pixels, got 28",
    ),
    "kernel over the map": (
        ConvNet(kernels=(8, 8, 8), kernel_size=13),
        24,
        "kernel_size 13 is too large for the 6 x 6 map that convolution 3 sees",
    ),
}


@pytest.mark.parametrize(("model", "size", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_built_is_told_with_what_would_have_been_right(model, size, told):
    found = problems(Recipe(model=model, lr=1e-3), size=size, channels=3)
    assert len(found) == 1
    assert told in found[0]


def test_nothing_is_wrong_with_what_just_fits():
    for model, size in [
        (Pretrained("squeezenet1_1"), 17),
        (ConvNet(kernels=(8,) * 5, kernel_size=1), 32),
        (ConvNet(kernels=(8,) * 5, pool_after=()), 8),
        (ConvNet(kernels=(8, 8, 8), kernel_size=13), 28),
    ]:
        assert problems(Recipe(model=model, lr=1e-3), size=size, channels=1) == []


def test_all_problems_are_told_at_once():
    recipe = Recipe(model=ConvNet(kernels=(8,) * 5, kernel_size=9), lr=1e-3)
    assert len(problems(recipe, size=16, channels=4)) == 3


@pytest.mark.parametrize(
    ("size", "nearest"), [(10, 32), (32, 32), (47, 48), (224, 224), (225, 224), (232, 240)]
)
def test_the_nearest_size_is_allowed_and_closest(size, nearest):
    stage = ("a",)
    row = Backbone(stages=(stage,) * 4, weights="DEFAULT", file="a.pth", min_size=20, multiple=16)
    assert row.nearest_size(size) == nearest


@settings(max_examples=40, deadline=None)
@given(
    model=st.builds(
        ConvNet,
        kernels=st.lists(st.integers(1, 8), min_size=1, max_size=5).map(tuple),
        kernel_size=st.sampled_from([1, 3, 5]),
        pool=st.sampled_from(["max", "average"]),
        batch_norm=st.booleans(),
        dropout=st.sampled_from([0.0, 0.5]),
    ),
    size=st.integers(8, 40),
    pool=st.sampled_from(["average", "flatten"]),
)
def test_a_recipe_is_refused_or_built_and_never_fails_in_between(model, size, pool):
    recipe = Recipe(model=model, lr=1e-3, head=Head(pool=pool))
    found = problems(recipe, size=size, channels=1)
    if found:
        with pytest.raises(RecipeError):
            describe(recipe, classes=2, size=size, channels=1)
    else:
        side = size // 2 ** len(model.kernels)
        values = model.kernels[-1] * (side**2 if pool == "flatten" else 1)
        described = describe(recipe, classes=2, size=size, channels=1)
        body = sum(
            k * before * model.kernel_size**2 + (2 if model.batch_norm else 1) * k
            for before, k in zip((1, *model.kernels), model.kernels, strict=False)
        )
        assert described.parameters == described.trainable == body + 2 * (values + 1)


def test_table_and_limits_load_no_torch():
    code = "import sys, xfer.models.limits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
