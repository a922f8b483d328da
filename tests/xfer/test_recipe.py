import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfer.errors import RecipeError
from xfer.recipe import (
    Augment,
    BestScore,
    ConvNet,
    FixedThreshold,
    Head,
    Images,
    Objective,
    Pretrained,
    Recipe,
    Schedule,
    TargetRecall,
    from_json,
    to_json,
)

widths = st.lists(st.integers(1, 4096), max_size=4).map(tuple)
shares = st.floats(0, 0.95)
convnets = st.builds(
    ConvNet,
    kernels=st.lists(st.integers(1, 512), min_size=1, max_size=5).map(tuple),
    kernel_size=st.sampled_from((1, 3, 5, 7)),
    pool=st.sampled_from(("max", "average")),
    batch_norm=st.booleans(),
    dropout=shares,
)
pretrained = st.builds(
    Pretrained,
    st.text(min_size=1, max_size=20),
    unfreeze_depth=st.integers(0, 4),
    batch_norm=st.sampled_from(("train", "inference")),
    weights=st.sampled_from(("imagenet", "none")),
    lr_factor=st.floats(1e-6, 10),
)
recipes = st.builds(
    Recipe,
    model=convnets | pretrained,
    head=st.builds(
        Head, pool=st.sampled_from(("average", "flatten")), dense=widths, dropout=shares
    ),
    lr=st.floats(1e-9, 10),
    optimizer=st.sampled_from(("adam", "adamw", "sgd")),
    schedule=st.builds(Schedule, st.sampled_from(("constant", "cosine"))),
    batch_size=st.integers(1, 4096),
    epochs=st.none() | st.integers(1, 100),
    early_stopping=st.none() | st.integers(1, 100),
    l1=st.floats(0, 10),
    l2=st.floats(0, 10),
)
objectives = st.builds(
    Objective,
    st.sampled_from(("recall_weighted", "fbeta", "auroc")),
    recall_weight=st.floats(0, 1),
    threshold=st.builds(TargetRecall, st.floats(0.01, 0.999))
    | st.builds(BestScore)
    | st.builds(FixedThreshold, st.floats(0, 1)),
)


@given(recipes | objectives)
def test_json_loses_nothing(value: Any) -> None:
    assert from_json(json.loads(json.dumps(to_json(value), allow_nan=False))) == value


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ConvNet(kernels=()), "at least 1"),
        (lambda: ConvNet(kernels=(8,), kernel_size=4), "must be odd, got 4"),
        (lambda: ConvNet(kernels=(8,), pool_after=(2,)), "names convolutions [2], there are 1"),
        (lambda: ConvNet(kernels=(True,)), "(True,)"),
        (
            lambda: Pretrained("resnet18", unfreeze_depth=5),
            "must be a whole number in [0, 4], got 5",
        ),
        (lambda: Head(dropout=1.0), "must be a number in [0, 0.95], got 1.0"),
        (lambda: Recipe(model=ConvNet(kernels=(8,)), lr=float("nan")), "Recipe.lr"),
        (lambda: Recipe(model="resnet18", lr=1e-3), "must be a ConvNet or Pretrained"),  # type: ignore[arg-type]
        (
            lambda: Recipe(model=ConvNet(kernels=(8,)), lr=1e-3, nesterov=True),
            "nesterov needs optimizer='sgd'",
        ),
        (lambda: Images("x", size=4), "Images.size must be a whole number in [8, 4096], got 4"),
        (lambda: Images("x", patient="("), "is not a regular expression"),
        (lambda: Images("x", patient="(a)(b)"), "at most one group, got 2"),
        (lambda: Objective("recal"), "must be one of"),  # type: ignore[arg-type]
        (lambda: Objective("mcc", threshold=0.5), "must be one of TargetRecall"),  # type: ignore[arg-type]
        (lambda: TargetRecall(1.0), "0.9999"),
        (lambda: FixedThreshold(2), "must be a number in [0, 1], got 2"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(make: Any, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Objective("cost"), "cost"),  # type: ignore[arg-type]
        (lambda: Head(pool="positional"), "positional"),  # type: ignore[arg-type]
        (lambda: Schedule("one_cycle"), "one_cycle"),  # type: ignore[arg-type]
        (lambda: Augment("fresh"), "fresh"),
        (lambda: Images("x", fit="pad"), "pad"),
        (lambda: Pretrained("resnet18", train=("layer4",)), "train"),
        (lambda: Pretrained("resnet18", cut_after="layer3"), "cut_after"),
        (
            lambda: Recipe(model=ConvNet(kernels=(8,)), lr=1e-3, balance="focal"),
            "focal",
        ),
    ],
)
def test_what_has_no_code_yet_is_refused_by_name(make: Any, name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make()
    assert "is not built yet" in str(caught.value)
    assert name in str(caught.value)


def test_all_problems_of_a_value_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(model=ConvNet(kernels=(8,)), lr=-1.0, batch_size=0, l1=-1)
    assert str(caught.value).count("must be") == 3


def test_lists_are_taken_for_tuples() -> None:
    net = ConvNet(kernels=[8, 16])  # type: ignore[arg-type]
    assert net == ConvNet(kernels=(8, 16))
    assert len({net, ConvNet(kernels=(8, 16))}) == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"kind": "Rezipe"},
        {"lr": 1.0},
        to_json(Head()) | {"witdh": 3},
        {"kind": "Recipe", "lr": 1e-3},
        to_json(Head()) | {"dropout": 3},
    ],
)
def test_broken_json_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        from_json(broken)


def test_replacing_a_field_checks_again() -> None:
    with pytest.raises(RecipeError):
        replace(Recipe(model=ConvNet(kernels=(8,)), lr=1e-3), batch_size=0)
