"""Each study's experiments are what the study says: by name, in full, to the parameter."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from search.check.known import check_known
from search.check.lines import Lines
from search.check.walk import Range, contains, take_walk
from search.options import parse
from search.plan import Plan, make_plan
from search.space import Published, load_space
from tests.spaces.meta import train_a_step
from tests.xfer.models.test_study_counts import ROWS
from xfer.models.described import describe
from xfer.recipe import Augment, HeadFirst, Pretrained, Recipe, Schedule

SPACES = Path(__file__).parents[2] / "spaces"
OURS = {
    "pneumonia": ("mobilenet, frozen", "squeezenet, frozen", "three convolutions"),
    "cats_dogs": ("three convolutions",),
}
"""Known configurations that are no study's: what is left where its backbones are not at hand."""
STUDIES = {
    "pneumonia": [*(f"A{n}" for n in range(1, 12)), *(f"B{n}" for n in range(1, 7))],
    "alzheimer": ["C1", "C2", "C3", "C4", "C5 ones", "C5 zeros", "C6", "C7"],
    "cats_dogs": ["D1", "D2", "D3", "D4"],
    "beans": [f"E{n}" for n in range(1, 13)],
    "smoking": [
        "F1", "F2", "F2 rotated", "F3", "F3 lr .01", "F4", "F5", "F5 rotated", "F5 tripled",
        "F6", "F6 batch 64", "F7", "F7 batch 32", "F7 batch 64",
    ],
}  # fmt: skip
STAND_INS = ("mobilenet_v2", "squeezenet1_1")
COUNTED_AS = {
    "A1": "A2 A3 A11", "A4": "A5", "A6": "A7 A8", "A9": "", "A10": "", "B1": "", "B2": "",
    "B3": "", "B4": "B5", "B6": "", "C1": "C2 C3 C4 C5", "C6": "", "C7": "",
    "VGG-16, phase 2": "D1 D2", "ResNet-50, phase 2": "D3 D4", "E1": "E2 E3 E4", "E5": "",
    "E6": "", "E7": "", "E8": "", "E9": "", "E10": "", "E11": "", "E12": "", "F1": "F2 F3 F4 F6",
    "F5": "F7",
}  # fmt: skip
"""Rows of docs/parameters.md, and the experiments that train as many parameters as theirs."""


@dataclass(frozen=True)
class Experiment:
    """A study's experiment, as a space has it."""

    space: str
    name: str

    @property
    def entry(self) -> Mapping[str, Any]:
        return plan_of(self.space).known[self.name]

    @property
    def recipe(self) -> Recipe:
        return walked(self.space, tuple(self.entry.items()))

    @property
    def published(self) -> Published:
        return plan_of(self.space).space.published[self.name]


@cache
def plan_of(name: str) -> Plan:
    path = SPACES / f"{name}.py"
    return make_plan(load_space(path), parse([str(path), "--data", "/", "--known-only"]))


@cache
def walked(space: str, entry: tuple[tuple[str, Any], ...]) -> Recipe:
    """The recipe of an entry that answers all that is asked, and nothing else."""
    values = dict(entry)

    def answer(name: str, distribution: Range) -> Any:
        assert name in values, f"{name} is left to the sampler"
        assert contains(distribution, values[name]), (name, values[name])
        return values[name]

    walk = take_walk(plan_of(space), answer)
    assert walk.problems == ()
    assert walk.recipe is not None
    assert set(walk.answers) == set(values)
    return walk.recipe


def classes_of(space: str) -> int:
    return 3 if space == "beans" else 2


EXPERIMENTS = [Experiment(space, name) for space, names in STUDIES.items() for name in names]
PRETRAINED = [e for e in EXPERIMENTS if e.entry["model"] != "convnet"]
every_space = pytest.mark.parametrize("space", STUDIES)
every_experiment = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)


def by_name(name: str) -> Experiment:
    return next(experiment for experiment in EXPERIMENTS if experiment.name == name)


# --------------------------------------------------------------------------------------------------
# Names


@every_space
def test_the_experiments_are_named_and_ordered_as_in_the_study(space: str) -> None:
    known = list(plan_of(space).known)
    assert known == [*OURS.get(space, ()), *STUDIES[space]]
    assert list(plan_of(space).space.published) == STUDIES[space]


@every_space
def test_the_file_names_the_page_of_its_results_and_its_command(space: str) -> None:
    text = plan_of(space).space.text
    assert "docs/studies.md" in text
    assert f"python -m search.run spaces/{space}.py --known-only" in text


# --------------------------------------------------------------------------------------------------
# Recipes


@every_space
def test_nothing_is_left_to_the_sampler_and_nothing_is_never_asked(space: str) -> None:
    plan = plan_of(space)
    problems, notes, walks = check_known(plan, {}, Lines(plan.space.text))
    assert (problems, notes) == ([], [])
    assert all(walk.recipe is not None for walk in walks)


@every_experiment
def test_an_experiment_can_be_trained(experiment: Experiment) -> None:
    data = plan_of(experiment.space).data
    train_a_step(
        experiment.recipe,
        size=data.size,
        channels=data.channels,
        classes=classes_of(experiment.space),
    )


def test_each_row_of_the_page_is_some_experiments_count() -> None:
    """But for the first phases, which are no recipes of their own."""
    assert {row.experiment for row in ROWS if "phase 1" not in row.experiment} == set(COUNTED_AS)


@every_experiment
def test_as_many_parameters_are_trained_as_the_page_says(experiment: Experiment) -> None:
    number = experiment.name.split()[0]
    [as_in] = [row for row, others in COUNTED_AS.items() if number in (row, *others.split())]
    [ours] = [row.ours for row in ROWS if row.experiment == as_in]
    data = plan_of(experiment.space).data
    described = describe(
        experiment.recipe,
        classes=classes_of(experiment.space),
        size=data.size,
        channels=data.channels,
    )
    assert f"{described.trainable:,}" == ours


B_SCHEDULE = Schedule("exponential", factor=0.85, every=1)
D_SCHEDULE = Schedule("exponential", factor=0.002, every=100_000, per="step")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("A1 A4 A6", {"head.pool": "positional", "head.dropouts": (0, 0, 0), "balance": "none"}),
        ("A1 A4 A5 A6 A7 A8", {"model.unfreeze_depth": 0, "model.train": None, "l1": 0, "l2": 0}),
        ("A1 A2 A3 A11", {"head.dense": (10, 6), "model.name": "inception_v3"}),
        ("A2 A3 A7 A11", {"head.dropouts": (0, 0.2, 0.2)}),
        ("A3 A8", {"augment": Augment.light()}),
        ("A5", {"augment": Augment("fresh", rotation=10), "model.name": "resnet50"}),
        ("A6 A7 A8", {"model.name": "densenet121", "head.dense": (8, 5)}),
        ("A9", {"head.dense": (10,), "head.dropouts": (0, 0.2), "model.batch_norm": "train"}),
        ("A10", {"head.dense": (10,), "head.dropouts": (0, 0), "model.cut_after": None}),
        ("A11", {"balance": "oversample", "augment": Augment()}),
        ("B1 B2 B3 B4 B5 B6", {
            "head.pool": "flatten", "head.dense": (128,), "head.activation": "relu",
            "head.dropouts": (0, 0.1), "optimizer": "adam", "schedule": B_SCHEDULE,
            "early_stopping": 5, "head_first": None, "clip_norm": None,
        }),
        ("B1", {"model.cut_after": "layer4.0.conv2", "model.name": "resnet152"}),
        ("B2", {"model.cut_after": "features.denseblock4.denselayer15.conv1"}),
        ("B3 B4 B5", {"model.cut_after": "Mixed_7b.branch3x3_1.conv"}),
        ("B5", {"balance": "oversample_augmented", "augment": Augment.light()}),
        ("B6", {"balance": "class_weights", "model.cut_after": None}),
        ("C1 C2 C3 C4 C6 C7", {
            "augment": Augment.study_c(), "model.initial": "glorot_uniform", "optimizer": "adam",
            "lr": 1e-3, "batch_size": 64, "head.pool": "flatten", "model.kernel_size": 3,
        }),
        ("C1 C4 C5+ones C5+zeros C6 C7", {"train_share": 1.0}),
        ("C2", {"train_share": 0.7 / 0.95}),
        ("C3", {"train_share": 0.5 / 0.95}),
        ("C4", {"head.dropouts": (0, 0.2, 0.2)}),
        ("C5+ones", {"model.initial": "ones", "augment": Augment.study_c()}),
        ("C5+zeros", {"model.initial": "zeros", "augment": Augment.study_c()}),
        ("C6", {"model.kernels": (32, 32), "head.dense": (128,), "model.pool_after": None}),
        ("C7", {"model.kernels": (32, 32), "head.dense": (128, 64), "model.pool_after": (2,)}),
        ("D1 D2 D3 D4", {
            "optimizer": "sgd", "momentum": 0.9, "schedule": D_SCHEDULE, "head.dense": (4096,),
            "head.activation": "relu", "epochs": 50, "head_first.epochs": 20,
            "early_stopping": None, "model.unfreeze_depth": 1, "model.lr_factor": 1.0,
        }),
        ("D1 D2", {"model.name": "vgg16", "lr": 0.1, "head_first": HeadFirst(epochs=20, lr=0.1)}),
        ("D3 D4", {"model.name": "resnet50", "lr": 0.01, "head_first.lr": 0.01}),
        ("D1 D3", {"augment": Augment.study_d()}),
        ("D2 D4", {"augment": Augment()}),
        ("E1 E2 E3 E4 E5 E6 E7 E8", {
            "model.padding": "valid", "model.pool_after": (1, 2), "head.dense": (50,),
            "epochs": 20, "augment": Augment(),
        }),
        ("E1 E3 E4 E5", {"l1": 0}),
        ("E1 E2 E4 E5", {"l2": 0}),
        ("E2", {"l1": 1e-5}),
        ("E3", {"l2": 1e-3}),
        ("E4", {"head.dropouts": (0, 0.2)}),
        ("E7", {"model.kernels": (3, 8, 60)}),
        ("E8", {"model.kernels": (12, 32, 240)}),
        ("E9 E10 E11 E12", {
            "head.pool": "average", "head.dense": (1024,), "head.activation": "none",
            "model.batch_norm": "inference",
        }),
        ("E9", {"lr": 1e-3, "epochs": 20, "head_first": None, "model.train": None}),
        ("E10 E11 E12", {
            "head_first": HeadFirst(epochs=20, lr=1e-3), "lr": pytest.approx(1e-4), "epochs": 30,
        }),
        ("E10", {"model.train": ("Mixed_7b", "Mixed_7c")}),
        ("F1 F2 F3 F4 F6", {"model.kernels": (32, 64, 128), "model.kernel_size": 3, "epochs": 10}),
        ("F1 F6", {"lr": 1e-3, "optimizer": "adam", "l2": 0, "head.dropouts": (0.5, 0)}),
        ("F1 F2 F3 F4 F5", {"batch_size": 32}),
        ("F2 F3 F4", {"l2": 1e-4}),
        ("F2 F2+rotated", {"head.dropouts": (0.6, 0)}),
        ("F2+rotated F3 F5+rotated", {"augment": Augment("fresh", rotation=10)}),
        ("F3 F3+lr+.01 F4", {"head.dropouts": (0.6, 0.4)}),
        ("F3+lr+.01", {"lr": 0.01}),
        ("F4 F5+tripled", {"augment": Augment("views", views=3, rotation=10)}),
        ("F5 F7", {"model.name": "resnet18", "model.unfreeze_depth": 4, "augment": Augment()}),
        ("F6 F7", {"batch_size": 54}),
        ("F6+batch+64 F7+batch+64", {"batch_size": 64}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_experiment_is_what_the_study_says(names: str, said: Mapping[str, Any]) -> None:
    for name in names.split():
        recipe = by_name(name.replace("+", " ")).recipe
        for path, expected in said.items():
            found: Any = recipe
            for attribute in path.split("."):
                found = getattr(found, attribute)
            assert found == expected, (name, path)


@every_space
def test_no_two_experiments_are_the_same_but_on_another_set(space: str) -> None:
    seen: dict[Recipe, Experiment] = {}
    for experiment in (e for e in EXPERIMENTS if e.space == space):
        first = seen.setdefault(experiment.recipe, experiment)
        if first is not experiment:
            assert "second set" in experiment.published.differs
            assert "second set" not in first.published.differs


# --------------------------------------------------------------------------------------------------
# Published


def rounding(value: float) -> float:
    """Half of a number's last digit; studies give two at least."""
    return 0.5 * 10.0 ** -max(2, len(str(value).partition(".")[2])) + 1e-9


@every_experiment
def test_what_was_published_agrees_with_its_matrix(experiment: Experiment) -> None:
    published = experiment.published
    if published.matrix is None:
        assert published.accuracy is not None or published.differs
        return
    (tn, fp), (fn, tp) = published.matrix
    for value, counted in (
        (published.accuracy, (tp + tn) / (tn + fp + fn + tp)),
        (published.precision, tp / (tp + fp)),
        (published.recall, tp / (tp + fn)),
    ):
        assert not isinstance(value, tuple)
        assert value is None or abs(value - counted) <= rounding(value)


def test_a_rounding_knows_the_digits() -> None:
    assert abs(0.9664 - 0.96637) <= rounding(0.9664) < abs(0.9664 - 0.9665)
    assert abs(0.8 - 0.804) <= rounding(0.8) < abs(0.8 - 0.806)


# --------------------------------------------------------------------------------------------------
# Where the studies' weights are not at hand


@pytest.mark.parametrize("stand_in", STAND_INS)
@pytest.mark.parametrize("experiment", PRETRAINED, ids=lambda e: e.name)
def test_another_backbone_can_stand_in(experiment: Experiment, stand_in: str) -> None:
    recipe = walked(experiment.space, tuple({**experiment.entry, "model": stand_in}.items()))
    own = experiment.recipe
    assert isinstance(recipe.model, Pretrained)
    assert isinstance(own.model, Pretrained)
    assert recipe.model.name == stand_in
    assert (recipe.model.cut_after is None) == (own.model.cut_after is None)
    assert (recipe.model.train is None) == (own.model.train is None)
    assert recipe.head == own.head
    data = plan_of(experiment.space).data
    train_a_step(
        recipe, size=data.size, channels=data.channels, classes=classes_of(experiment.space)
    )


@pytest.mark.parametrize(
    ("space", "first"),
    [
        ("pneumonia", "three convolutions"), ("cats_dogs", "three convolutions"),
        ("alzheimer", "C1"), ("beans", "E1"), ("smoking", "F1"),
    ],
)  # fmt: skip
def test_a_demo_without_weights_begins_with_a_network_of_its_own(
    space: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = SPACES / f"{space}.py"
    plan = make_plan(load_space(path), parse([str(path)]), at_hand=[])
    assert plan.demo
    assert next(iter(plan.known)) == first
    problems, notes, _ = check_known(plan, {}, Lines(plan.space.text))
    assert (problems, notes) == ([], [])
