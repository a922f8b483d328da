import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfer.errors import RecipeError
from xfer.recipe import (
    Activation,
    Augment,
    Balance,
    BestScore,
    ConvNet,
    FixedThreshold,
    Head,
    HeadFirst,
    Images,
    Initial,
    Objective,
    Pool,
    Pretrained,
    Recipe,
    Schedule,
    TargetRecall,
    from_json,
    to_json,
)

names = st.text(min_size=1, max_size=20)
widths = st.lists(st.integers(1, 4096), max_size=4).map(tuple)
shares = st.floats(0, 0.95)
kernels = st.lists(st.integers(1, 512), min_size=1, max_size=5).map(tuple)


def convnets_of(padding, sides):
    return kernels.flatmap(
        lambda widths: st.builds(
            ConvNet,
            kernels=st.just(widths),
            kernel_size=sides,
            padding=st.just(padding),
            pool=st.sampled_from(("max", "average")),
            pool_after=st.none() | st.sets(st.integers(1, len(widths))).map(tuple),
            batch_norm=st.booleans(),
            dropout=shares,
            initial=st.sampled_from(get_args(Initial)),
        )
    )


def pretrained(**thawed):
    return st.builds(
        Pretrained,
        names,
        cut_after=st.none() | names,
        batch_norm=st.sampled_from(("train", "inference")),
        weights=st.sampled_from(("imagenet", "none")),
        lr_factor=st.floats(1e-6, 10),
        lr_decay=st.floats(1e-6, 1),
        **thawed,
    )


frozen = pretrained()
thawed = pretrained(unfreeze_depth=st.integers(1, 4)) | pretrained(
    train=st.lists(names, min_size=1, max_size=3).map(tuple)
)
convnets = convnets_of("same", st.sampled_from((1, 3, 5, 7))) | convnets_of(
    "valid", st.integers(1, 31)
)
heads = widths.flatmap(
    lambda dense: st.builds(
        Head,
        pool=st.sampled_from(get_args(Pool)),
        dense=st.just(dense),
        activation=st.sampled_from(get_args(Activation)),
        dropout=shares | st.tuples(*[shares] * (len(dense) + 1)),
    )
)


def schedules_of(name, warmup_epochs):
    return st.builds(
        Schedule,
        name,
        factor=st.floats(1e-9, 1),
        every=st.integers(1, 10**9),
        per=st.sampled_from(("epoch", "step")),
        patience=st.integers(1, 10_000),
        warmup_epochs=warmup_epochs,
    )


schedules = schedules_of(
    st.sampled_from(("constant", "cosine", "step", "exponential", "on_plateau")),
    st.floats(0, 10_000) | st.integers(0, 10_000),
) | schedules_of(st.just("one_cycle"), st.just(0.0))


small = st.floats(0, 0.9)
zooms = small | st.tuples(st.floats(0.1, 0.99), st.floats(1, 10))


def augments_of(mode, **fields):
    return st.builds(
        Augment,
        st.just(mode),
        flip_horizontal=st.booleans(),
        flip_vertical=st.booleans(),
        rotation=st.floats(1e-3, 180),
        shift=st.floats(0, 1),
        shear=st.floats(0, 60),
        zoom=zooms,
        brightness=small,
        contrast=small,
        noise=small,
        erase=small,
        one_of=st.booleans(),
        **fields,
    )


augments = (
    st.builds(Augment) | augments_of("fresh") | augments_of("views", views=st.integers(2, 100))
)


def recipes_of(**fields):
    return st.builds(
        Recipe,
        head=heads,
        focal_gamma=st.floats(0, 10),
        train_share=st.floats(0.01, 1),
        lr=st.floats(1e-9, 10),
        schedule=schedules,
        batch_size=st.integers(1, 4096),
        early_stopping=st.none() | st.integers(1, 100),
        label_smoothing=st.floats(0, 0.9),
        clip_norm=st.none() | st.floats(1e-6, 1e6),
        l1=st.floats(0, 10),
        l1_on=st.sampled_from(("all", "convolutions")),
        l2=st.floats(0, 10),
        **fields,
    )


recipes = (
    recipes_of(
        model=convnets | frozen | thawed,
        augment=augments,
        balance=st.sampled_from([name for name in get_args(Balance) if "augmented" not in name]),
        optimizer=st.sampled_from(("adam", "adamw", "sgd")),
        momentum=st.floats(0, 0.9999),
        epochs=st.none() | st.integers(1, 100),
    )
    | recipes_of(
        model=frozen,
        balance=st.just("ensemble"),
        ensemble_parts=st.integers(2, 16),
    )
    | recipes_of(
        model=thawed,
        augment=st.just(Augment.strong()),
        balance=st.just("oversample_augmented"),
        optimizer=st.just("sgd"),
        nesterov=st.booleans(),
        head_first=st.builds(HeadFirst, epochs=st.integers(1, 50), lr=st.floats(1e-9, 10)),
        epochs=st.none() | st.integers(51, 100),
    )
)
images = st.builds(
    Images,
    names,
    positive=st.none() | names,
    size=st.integers(8, 4096),
    fit=st.sampled_from(("squash", "pad", "crop")),
    channels=st.sampled_from((1, 3)),
    patient=st.none() | st.just(r"(person\d+)_"),
    demo=st.booleans(),
)
thresholds = (
    st.builds(TargetRecall, st.floats(0.01, 0.999))
    | st.builds(BestScore)
    | st.builds(FixedThreshold, st.floats(0, 1))
)
overs = st.sampled_from(("macro", "worst", "worst_subgroup"))
objectives = st.one_of(
    st.builds(Objective, st.sampled_from(names), threshold=thresholds, over=overs, **numbers)
    for names, numbers in (
        (("recall_weighted",), {"recall_weight": st.floats(0, 1)}),
        (("cost",), {"miss_cost": st.floats(0.01, 100), "prevalence": st.none() | st.just(0.1)}),
        (("fbeta",), {"beta": st.floats(0.1, 4)}),
        (("specificity_at_recall", "recall_at_specificity"), {"at": st.floats(0.01, 1)}),
        (("partial_auroc",), {"above": st.floats(0, 0.99)}),
        (("balanced_accuracy", "mcc", "auroc", "average_precision", "log_loss"), {}),
    )
)


@given(recipes | objectives | images)
def test_json_loses_nothing(value: Any) -> None:
    assert from_json(json.loads(json.dumps(to_json(value), allow_nan=False))) == value


def test_recipes_written_before_augmentation_and_balance_were_built_still_load() -> None:
    recipe = Recipe(model=NET, lr=1e-3)
    written = to_json(recipe) | {"augment": {"kind": "Augment", "mode": "none"}}
    del written["focal_gamma"]
    assert written["balance"] == "none"
    assert from_json(written) == recipe


NET = ConvNet(kernels=(8,))
THAWED = Pretrained("resnet18", unfreeze_depth=1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ConvNet(kernels=()), "at least 1"),
        (lambda: ConvNet(kernels=(8,), kernel_size=4), "must be odd, got 4; padding='valid' takes"),
        (lambda: ConvNet(kernels=(8,), pool_after=(2,)), "names convolutions [2], there are 1"),
        (lambda: ConvNet(kernels=(True,)), "(True,)"),
        (lambda: Pretrained("x", unfreeze_depth=5), "must be a whole number in [0, 4], got 5"),
        (lambda: Head(dropout=1.0), "must be a number in [0, 0.95], got 1.0"),
        (lambda: Recipe(model=NET, lr=float("nan")), "Recipe.lr"),
        (lambda: Recipe(model="resnet18", lr=1e-3), "must be a ConvNet or Pretrained"),  # type: ignore[arg-type]
        (lambda: Recipe(model=NET, lr=1e-3, nesterov=True), "nesterov needs optimizer='sgd'"),
        (lambda: Images("x", size=4), "Images.size must be a whole number in [8, 4096], got 4"),
        (lambda: Images("x", patient="("), "is not a regular expression"),
        (lambda: Images("x", patient="(a)(b)"), "at most one group, got 2"),
        (lambda: Objective("recal"), "must be one of"),  # type: ignore[arg-type]
        (lambda: Objective("mcc", threshold=0.5), "must be one of TargetRecall"),  # type: ignore[arg-type]
        (lambda: Objective("mcc", over="mean"), "over must be one of ('macro', 'worst', 'worst_su"),  # type: ignore[arg-type]
        (lambda: Objective("cost", miss_cost=0), "miss_cost must be a number in [0.001, 1e+06]"),
        (
            lambda: Objective("cost", miss_cost=9, prevalence=1),
            "must be a number in [1e-06, 0.9999",
        ),
        (lambda: Objective("partial_auroc", above=1), "above must be a number in [0, 0.99], got 1"),
        (
            lambda: Objective("recall_at_specificity", at=0),
            "at must be a number in [0.01, 1], got 0",
        ),
        (lambda: Images("x", fit="stretch"), "Images.fit must be one of ('squash', 'pad', 'crop')"),
        (lambda: TargetRecall(1.0), "0.9999"),
        (lambda: FixedThreshold(2), "must be a number in [0, 1], got 2"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(make: Any, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make()
    assert said in str(caught.value)


WRONG = {
    "padding": (lambda v: ConvNet(kernels=(8,), padding=v), "full", "one of ('same', 'valid')"),
    "initial": (lambda v: ConvNet(kernels=(8,), initial=v), "he", "one of ('he_uniform', 'he_no"),
    "train": (lambda v: Pretrained("x", train=v), (), "None or a tuple of at least one name"),
    "train as text": (lambda v: Pretrained("x", train=v), "layer4", "None or a tuple of at least"),
    "train, nameless": (lambda v: Pretrained("x", train=v), ("a", ""), "None or a tuple of at le"),
    "unfreeze_depth": (
        lambda v: Pretrained("x", train=("a",), unfreeze_depth=v),
        2,
        "train names what is trained, so unfreeze_depth must stay 0",
    ),
    "cut_after": (lambda v: Pretrained("x", cut_after=v), "", "must be None or a name"),
    "lr_decay": (lambda v: Pretrained("x", lr_decay=v), 1.1, "a number in [1e-06, 1]"),
    "pool": (lambda v: Head(pool=v), "mean", "one of ('average', 'max', 'both', 'flatten', 'pos"),
    "dropout, too few": (
        lambda v: Head(dense=(8, 4), dropout=v),
        (0.1, 0.2),
        "a number or 3 of them (before each dense layer, and before the outputs)",
    ),
    "dropout, one wrong": (lambda v: Head(dropout=(v,)), 0.99, "dropout[0] must be a number in"),
    "name": (Schedule, "linear", "one of ('constant', 'cosine', 'step', 'exponentia"),
    "factor": (lambda v: Schedule("step", factor=v), 0, "a number in [1e-09, 1]"),
    "every": (lambda v: Schedule("step", every=v), 0.5, "a whole number in [1, 1e+09]"),
    "per": (lambda v: Schedule("step", per=v), "batch", "one of ('epoch', 'step')"),
    "patience": (lambda v: Schedule("on_plateau", patience=v), 0, "a whole number in [1, 10000]"),
    "warmup_epochs": (lambda v: Schedule(warmup_epochs=v), -1, "a number in [0, 10000]"),
    "warmup twice": (lambda v: Schedule("one_cycle", warmup_epochs=v), 2, "stay 0 with one_cycle"),
    "epochs of the head": (lambda v: HeadFirst(epochs=v, lr=1), 0, "a whole number in [1, 10000]"),
    "lr of the head": (lambda v: HeadFirst(epochs=1, lr=v), 11, "a number in [1e-09, 10]"),
    "head_first": (lambda v: Recipe(model=THAWED, lr=1, head_first=v), 3, "a HeadFirst or None"),
    "epochs": (
        lambda v: Recipe(model=THAWED, lr=1, head_first=HeadFirst(epochs=5, lr=1), epochs=v),
        5,
        "epochs must be more than the 5 of head_first, which count among them",
    ),
    "label_smoothing": (lambda v: Recipe(model=NET, lr=1, label_smoothing=v), 0.95, "in [0, 0.9]"),
    "clip_norm": (lambda v: Recipe(model=NET, lr=1, clip_norm=v), 0, "a number in [1e-06, 1e+06]"),
    "rotation": (lambda v: Augment("fresh", rotation=v), 181, "a number in [0, 180]"),
    "shift": (lambda v: Augment("fresh", shift=v), -0.1, "a number in [0, 1]"),
    "shear": (lambda v: Augment("fresh", shear=v), 90, "a number in [0, 60]"),
    "zoom": (lambda v: Augment("fresh", zoom=v), 1.5, "Augment.zoom must be a number in [0, 0.9]"),
    "zoom, three": (lambda v: Augment("fresh", zoom=v), (1, 1, 2), "the least and the largest fa"),
    "zoom, turned": (lambda v: Augment("fresh", zoom=v), (1.2, 0.8), "least factor, then the lar"),
    "zoom, text": (lambda v: Augment("fresh", zoom=v), "x", "a number in [0, 0.9]"),
    "zoom, one wrong": (lambda v: Augment("fresh", zoom=(v, 1)), 0, "zoom[0] must be a number in"),
    "brightness": (lambda v: Augment("fresh", brightness=v), 2, "a number in [0, 1]"),
    "contrast": (lambda v: Augment("fresh", contrast=v), 2, "a number in [0, 1]"),
    "noise": (lambda v: Augment("fresh", noise=v), 2, "a number in [0, 1]"),
    "erase": (lambda v: Augment("fresh", erase=v), 1, "a number in [0, 0.9]"),
    "flip": (lambda v: Augment("fresh", flip_vertical=v), 1, "flip_vertical must be a bool"),
    "one_of": (lambda v: Augment("fresh", rotation=9, one_of=v), 1, "one_of must be a bool"),
    "mode": (Augment, "often", "must be one of ('none', 'views', 'fresh')"),
    "views": (lambda v: Augment("views", rotation=9, views=v), 101, "a whole number in [2, 100]"),
    "one view": (lambda v: Augment("views", rotation=9, views=v), 1, "a whole number in [2, 100]"),
    "views, a part": (lambda v: Augment("views", rotation=9, views=v), 2.5, "a whole number in"),
    "views of fresh ones": (
        lambda v: Augment("fresh", rotation=9, views=v),
        5,
        "views must stay 1 with mode='fresh'",
    ),
    "views of nothing": (lambda v: Augment(views=v), 5, "views must stay 1 with mode='none'"),
    "balance": (lambda v: Recipe(model=NET, lr=1, balance=v), "smote", "must be one of ('none', '"),
    "focal_gamma": (lambda v: Recipe(model=NET, lr=1, focal_gamma=v), -1, "a number in [0, 10]"),
    "train_share": (lambda v: Recipe(model=NET, lr=1, train_share=v), 0, "a number in [0.01, 1]"),
    "test_share": (lambda v: Images("x", test_share=v), 1, "a number in [0.02, 0.8]"),
    "ensemble_parts": (
        lambda v: Recipe(model=NET, lr=1, balance="ensemble", ensemble_parts=v),
        17,
        "a whole number in [2, 16]",
    ),
    "parts of nothing": (
        lambda v: Recipe(model=NET, lr=1, balance="focal", ensemble_parts=v),
        4,
        "ensemble_parts must stay 3 with balance='focal', which has none",
    ),
    "l1_on": (lambda v: Recipe(model=NET, lr=1, l1_on=v), "head", "one of ('all', 'convolutions')"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "value", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_told_with_itself_and_what_is_allowed(
    make: Any, value: Any, said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        make(value)
    assert said in str(caught.value)
    assert f"got {value!r}" in str(caught.value)


@pytest.mark.parametrize("model", [NET, Pretrained("resnet18")])
def test_two_phases_are_refused_where_the_second_would_thaw_nothing(model: Any) -> None:
    with pytest.raises(RecipeError, match="head_first needs a Pretrained model with an unfreeze"):
        Recipe(model=model, lr=1e-3, head_first=HeadFirst(epochs=1, lr=1e-3))


def test_one_dropout_is_that_of_every_place_and_several_are_each_ones() -> None:
    assert Head(dense=(8, 4), dropout=0.2).dropouts == (0.2, 0.2, 0.2)
    assert Head(dropout=0.2).dropouts == (0.2,)
    assert Head(dense=(8, 4), dropout=(0.1, 0.0, 0.3)).dropouts == (0.1, 0.0, 0.3)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("cost", "miss_cost, such as miss_cost=10"),
        ("specificity_at_recall", "at, such as at=0.95"),
        ("recall_at_specificity", "at, such as at=0.9"),
        ("partial_auroc", "above, such as above=0.9"),
    ],
)
def test_an_objective_says_which_number_it_cannot_do_without(name: Any, needed: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Objective(name)
    assert f"Objective.name={name!r} needs {needed}: " in str(caught.value)


def test_numbers_of_another_objective_are_refused_together() -> None:
    with pytest.raises(RecipeError) as caught:
        Objective("mcc", recall_weight=0.75, at=0.9)
    assert str(caught.value) == (
        "Objective.recall_weight is a number of recall_weighted, and name='mcc' does not use it: "
        "leave it out; Objective.at is a number of specificity_at_recall and "
        "recall_at_specificity, and name='mcc' does not use it: leave it out"
    )


def test_an_objective_written_before_there_were_more_still_loads() -> None:
    written = {"kind": "Objective", "name": "auroc", "recall_weight": 0.5, "beta": 2.0}
    assert from_json(written) == Objective("auroc")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Augment(rotation=5, flip_vertical=True, zoom=0.1, one_of=True),
            "Augment.mode='none' changes nothing, so flip_vertical, rotation, zoom, one_of must "
            "stay at the default; mode='fresh' and mode='views' use what is given",
        ),
        (
            lambda: Augment("views", views=5),
            "Augment.mode='views' needs at least one change, such as rotation=10; mode='none' "
            "needs none",
        ),
        (
            lambda: Augment("fresh", zoom=(1, 1)),
            "Augment.mode='fresh' needs at least one change, such as rotation=10; mode='none' "
            "needs none",
        ),
        (
            lambda: Recipe(model=NET, lr=1e-3, balance="oversample_augmented"),
            "Recipe.balance='oversample_augmented' needs an augment, such as Augment.light(); "
            "balance='oversample' repeats images as they are",
        ),
        (
            lambda: Recipe(
                model=NET, lr=1e-3, balance="oversample_augmented", augment=Augment.study_c()
            ),
            "Recipe.balance='oversample_augmented' changes nothing but what is drawn again, each "
            "time anew, and Augment.mode='views' makes the same images of every one: use "
            "mode='fresh', or balance='oversample', which draws an image with all of its views",
        ),
    ],
)
def test_nothing_that_was_given_is_ignored(make: Any, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make()
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("augment", "changes"),
    [
        (Augment(), ()),
        (Augment.light(), ("rotation", "shift", "brightness", "contrast", "zoom")),
        (Augment.study_a(), ("rotation",)),
        (Augment.study_c(), ("flip_horizontal", "rotation", "shift", "shear", "zoom")),
        (Augment.study_d(), ("flip_horizontal", "rotation", "zoom")),
        (Augment.study_f(), ("rotation",)),
    ],
)
def test_a_preset_changes_what_it_says(augment: Augment, changes: tuple[str, ...]) -> None:
    assert augment.changes == changes


def test_a_study_that_made_copies_has_a_preset_that_makes_as_many() -> None:
    ways = [(a.mode, a.views) for a in (Augment.study_c(), Augment.study_d(), Augment.study_f())]
    assert ways == [("views", 5), ("views", 50), ("fresh", 1)]


def test_one_number_of_zoom_is_as_much_down_as_up_and_two_are_as_given() -> None:
    assert Augment("fresh", zoom=0.25).zooms == (0.75, 1.25)
    assert Augment.study_d().zooms == (0.75, 1.25)


def test_all_problems_of_a_value_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(model=NET, lr=-1.0, batch_size=0, l1=-1)
    assert str(caught.value).count("must be") == 3


def test_lists_are_taken_for_tuples() -> None:
    for typed, meant in [
        (ConvNet(kernels=[8, 16], pool_after=[2]), ConvNet(kernels=(8, 16), pool_after=(2,))),  # type: ignore[arg-type]
        (Pretrained("x", train=["a", "b"]), Pretrained("x", train=("a", "b"))),  # type: ignore[arg-type]
        (Augment("fresh", zoom=[0.5, 2]), Augment("fresh", zoom=(0.5, 2))),  # type: ignore[arg-type]
        (Head(dense=[8], dropout=[0.1, 0.2]), Head(dense=(8,), dropout=(0.1, 0.2))),  # type: ignore[arg-type]
    ]:
        assert typed == meant
        assert len({typed, meant}) == 1


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
        replace(Recipe(model=NET, lr=1e-3), batch_size=0)
