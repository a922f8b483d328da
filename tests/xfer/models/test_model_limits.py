import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.errors import RecipeError
from xfer.models.convnet import build_convnet
from xfer.models.described import describe
from xfer.models.limits import convnet_sides, problems
from xfer.models.table import TABLE, Backbone
from xfer.recipe import ConvNet, Head, Pretrained, Recipe

VALID = ConvNet(kernels=(8, 8, 8), kernel_size=5, padding="valid", pool_after=(1, 2))
REFUSED = {
    "misspelt": (Pretrained("mobilnet_v2"), 224, "did you mean 'mobilenet_v2'"),
    "in capitals": (Pretrained("ResNet18"), 224, "did you mean 'resnet18'"),
    "from elsewhere": (
        Pretrained("yolo"),
        224,
        f"'yolo' is not a backbone (there are {', '.join(TABLE)})",
    ),
    "too small": (
        Pretrained("squeezenet1_1"),
        16,
        "squeezenet1_1 needs images of at least 17 x 17 pixels, got 16; nearest is 17",
    ),
    "between two sizes": (
        Pretrained("vit_b_16"),
        230,
        "vit_b_16 needs images of at least 16 x 16 pixels whose side is a multiple of 16, got 230; "
        "nearest is 224",
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
    "valid kernel over the map": (
        VALID,
        28,
        "a ConvNet with 3 convolutions of 5 x 5, padding='valid' and 2 pools needs images of at "
        "least 32 x 32 pixels, got 28 (convolution 3 sees only 4 x 4); use kernel_size 4 at most, "
        "fewer pools or fewer convolutions",
    ),
    "valid map that a pool would halve": (
        ConvNet(kernels=(8,), kernel_size=8, padding="valid"),
        8,
        "a ConvNet with 1 convolution of 8 x 8, padding='valid' and 1 pool needs images of at "
        "least 9 x 9 pixels, got 8 (convolution 1 leaves 1 x 1, and a pool would halve it); "
        "use kernel_size 7 at most",
    ),
    "valid, and no kernel would do": (
        ConvNet(kernels=(8,) * 5, kernel_size=3, padding="valid"),
        28,
        "(convolution 4 sees only 1 x 1); use fewer pools or fewer convolutions",
    ),
}


@pytest.mark.parametrize(("model", "size", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_built_is_told_with_what_would_have_been_right(model, size, told):
    found = problems(Recipe(model=model, lr=1e-3), size=size, channels=3)
    assert len(found) == 1
    assert told in found[0]


@pytest.mark.parametrize("name", [*TABLE, None])
def test_token_is_refused_where_there_is_none_and_allowed_where_there_is(name):
    model = Pretrained(name) if name else ConvNet(kernels=(8,))
    found = problems(Recipe(model=model, head=Head(pool="token"), lr=1e-3), size=224, channels=3)
    if name and TABLE[name].tokens:
        assert found == []
    else:
        owner = name or "a ConvNet"
        assert found == [
            f"Head.pool='token' needs a backbone with a class token (vit_b_16), {owner} has none; "
            f"use one of average, max, both, flatten, positional"
        ]


def test_nothing_is_wrong_with_what_just_fits():
    for model, size in [
        (Pretrained("squeezenet1_1"), 17),
        (ConvNet(kernels=(8,) * 5, kernel_size=1), 32),
        (ConvNet(kernels=(8,) * 5, pool_after=()), 8),
        (ConvNet(kernels=(8, 8, 8), kernel_size=13), 28),
        (VALID, 32),
        (ConvNet(kernels=(8,), kernel_size=8, padding="valid", pool_after=()), 8),
    ]:
        assert problems(Recipe(model=model, lr=1e-3), size=size, channels=1) == []


def test_no_head_is_too_large():  # memory decides
    head = Head(pool="positional", dense=(65_536,))
    recipe = Recipe(model=ConvNet(kernels=(65_536,), pool_after=()), lr=1e-3, head=head)
    assert problems(recipe, size=4096, channels=3) == []


def test_all_problems_are_told_at_once():
    recipe = Recipe(
        model=ConvNet(kernels=(8,) * 5, kernel_size=9), lr=1e-3, head=Head(pool="token")
    )
    assert len(problems(recipe, size=16, channels=4)) == 4
    recipe = Recipe(model=Pretrained("squeezenet1_1"), lr=1e-3, head=Head(pool="token"))
    assert len(problems(recipe, size=16, channels=4)) == 3


@pytest.mark.parametrize(
    ("size", "nearest"), [(10, 32), (32, 32), (47, 48), (224, 224), (225, 224), (232, 240)]
)
def test_the_nearest_size_is_allowed_and_closest(size, nearest):
    stage = ("a",)
    row = Backbone(stages=(stage,) * 4, weights="DEFAULT", file="a.pth", min_size=20, multiple=16)
    assert row.nearest_size(size) == nearest


def layers_of(model: ConvNet) -> torch.nn.Module:
    fields = {name: value for name, value in vars(model).items() if name != "initial"}
    with torch.device("meta"):
        return build_convnet(1, **fields)


valid_convnets = st.integers(1, 5).flatmap(
    lambda depth: st.builds(
        ConvNet,
        kernels=st.just((1,) * depth),
        kernel_size=st.integers(1, 12),
        padding=st.just("valid"),
        pool=st.sampled_from(["max", "average"]),
        pool_after=st.none() | st.sets(st.integers(1, depth)).map(tuple),
    )
)


@settings(max_examples=150, deadline=None)
@given(valid_convnets, st.integers(8, 60))
def test_a_valid_convnet_is_refused_exactly_where_torch_cannot_run_it(model, size):
    refused = problems(Recipe(model=model, lr=1e-3), size=size, channels=1)
    images = torch.empty(1, 1, size, size, device="meta")
    if refused:
        with pytest.raises(RuntimeError, match=r"(?i)size.*(kernel|too small)"):
            layers_of(model)(images)
    else:
        last = convnet_sides(model, size)[-1]
        assert layers_of(model)(images).shape == (1, 1, last, last)


@settings(max_examples=150, deadline=None)
@given(valid_convnets, st.integers(8, 60))
def test_the_size_and_the_kernel_that_a_refusal_names_are_the_nearest_that_fit(model, size):
    def told(model, size):
        return " ".join(problems(Recipe(model=model, lr=1e-3), size=size, channels=1))

    refusal = told(model, size)
    if not refusal:
        return
    least = int(re.findall(r"at least (\d+)", refusal)[0])
    assert least > size
    assert told(model, least) == ""
    assert told(model, least - 1) != ""
    fitting = re.findall(r"use kernel_size (\d+)", refusal)
    largest = int(fitting[0]) if fitting else 0
    assert told(replace(model, kernel_size=largest + 1), size) != ""
    if largest:
        assert told(replace(model, kernel_size=largest), size) == ""


@settings(max_examples=60, deadline=None)
@given(
    model=st.builds(
        ConvNet,
        kernels=st.lists(st.integers(1, 8), min_size=1, max_size=5).map(tuple),
        kernel_size=st.sampled_from([1, 3, 5]),
        padding=st.sampled_from(["same", "valid"]),
        pool=st.sampled_from(["max", "average"]),
        batch_norm=st.booleans(),
        dropout=st.sampled_from([0.0, 0.5]),
    ),
    size=st.integers(8, 40),
    pool=st.sampled_from(["average", "max", "both", "flatten", "positional"]),
    dense=st.sampled_from([(), (3,)]),
)
def test_a_recipe_is_refused_or_built_and_never_fails_in_between(model, size, pool, dense):
    recipe = Recipe(model=model, lr=1e-3, head=Head(pool=pool, dense=dense))
    found = problems(recipe, size=size, channels=1)
    if found:
        with pytest.raises(RecipeError):
            describe(recipe, classes=2, size=size, channels=1)
        return
    side = size
    for _ in model.kernels:
        side = (side - (model.kernel_size - 1) * (model.padding == "valid")) // 2
    wanted = sum(
        k * before * model.kernel_size**2 + (2 if model.batch_norm else 1) * k
        for before, k in zip((1, *model.kernels), model.kernels, strict=False)
    )
    values = model.kernels[-1] * {"both": 2, "flatten": side**2}.get(pool, 1)
    if dense:
        wanted, values = wanted + 3 * (values + 1), 3
    if pool == "positional":
        values *= side**2
    described = describe(recipe, classes=2, size=size, channels=1)
    assert described.parameters == described.trainable == wanted + 2 * (values + 1)


def test_table_and_limits_load_no_torch():
    code = "import sys, xfer.models.limits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
