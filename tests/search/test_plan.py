"""What options make of a space."""

import json
from pathlib import Path

import pytest

from search.errors import OptionsError, SpaceError
from search.options import parse
from search.plan import DEMO_EPOCHS, DEMO_MINUTES, DEMO_SIZE, DEMO_TRIALS, Plan, make_plan
from search.space import load_space
from xfer.recipe import ConvNet, Pretrained

SPACE = """\
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Images, Objective, Pretrained, Recipe

DATA = Images("missing", positive="ill", size=224, demo=True)
OBJECTIVE = Objective("recall_weighted")
BUDGET = Budget(minutes=60, trials=60, epochs=20)
KNOWN = {
    "residual, frozen": {"model": "resnet18", "unfreeze_depth": 0},
    "mobile": {"model": "mobilenet_v2", "unfreeze_depth": 1},
    "small": {"model": "convnet"},
    "open": {"lr": 1e-3},
}

def space(trial: Trial) -> Recipe:
    name = trial.suggest_categorical("model", ["convnet", "resnet18", "mobilenet_v2"])
    pool = trial.suggest_categorical("pool", ["max", "average"])
    if name == "convnet":
        model = ConvNet(kernels=(8,), pool=pool)
        epochs = 9
    else:
        model = Pretrained(name, unfreeze_depth=trial.suggest_int("unfreeze_depth", 0, 4))
        epochs = None
    return Recipe(model=model, lr=trial.suggest_float("lr", 1e-4, 1e-2), epochs=epochs)
"""


class First:
    """Answers with what it was told to, else with the first there is."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.choices: dict[str, list[object]] = {}

    def suggest_float(self, name, low, high, *, step=None, log=False):
        return self.answers.get(name, low)

    def suggest_int(self, name, low, high, *, step=1, log=False):
        return self.answers.get(name, low)

    def suggest_categorical(self, name, choices):
        self.choices[name] = list(choices)
        return self.answers.get(name, choices[0])


@pytest.fixture
def plan(tmp_path: Path):
    def make(*flags: str, at_hand: tuple[str, ...] = (), text: str = SPACE) -> Plan:
        path = tmp_path / "mine.py"
        path.write_text(text)
        words = flags if {"--data", "--demo"} & set(flags) else ("--data", str(tmp_path), *flags)
        words = tuple(word for word in words if word != "no-data")
        return make_plan(load_space(path), parse([str(path), *words]), at_hand=at_hand)

    return make


def test_without_options_a_plan_is_its_space(plan) -> None:
    made = plan()
    assert made.budget == made.space.budget
    assert made.known == made.space.known
    assert (made.models, made.demo, made.notes, made.most_epochs) == (None, False, (), None)


def test_images_are_where_and_as_large_as_options_say(plan, tmp_path: Path) -> None:
    data = plan("--positive", "ok", "--image-size", "64").data
    assert (data.path, data.positive, data.size) == (str(tmp_path), "ok", 64)
    assert plan("--data", "builtin:digits").data.path == "builtin:digits"
    assert plan("--data", "here").data.path == str(Path.cwd() / "here")


@pytest.mark.parametrize(
    ("flags", "named", "unnamed"),
    [
        ((), 9, 20),
        (("--epochs", "5"), 5, 5),
        (("--epochs", "15"), 9, 15),
        (("--epochs", "30"), 9, 20),
    ],
)
def test_epochs_are_the_recipes_else_the_budgets_and_capped(
    plan, flags: tuple[str, ...], named: int, unnamed: int
) -> None:
    made = plan(*flags)
    assert made.recipe(First(model="convnet")).epochs == named
    assert made.recipe(First(model="resnet18")).epochs == unnamed
    assert made.budget.epochs == unnamed


def test_a_cap_above_the_budget_is_told(plan) -> None:
    assert "--epochs 30 is a cap" in plan("--epochs", "30").notes[0]


def test_trials_and_minutes_replace_the_budgets(plan) -> None:
    budget = plan("--trials", "99", "--minutes", "90").budget
    assert (budget.trials, budget.minutes) == (99, 90)


def test_backbones_narrow_the_choice_of_models_alone(plan) -> None:
    trial = First()
    plan("--backbones", "mobilenet_v2,convnet").recipe(trial)
    assert trial.choices == {"model": ["convnet", "mobilenet_v2"], "pool": ["max", "average"]}


def test_known_configurations_of_other_models_are_left_out_and_said(plan) -> None:
    made = plan("--backbones", "mobilenet_v2,convnet")
    assert list(made.known) == ["mobile", "small", "open"]
    expected = "Known configuration 'residual, frozen' is left out: resnet18 may not be chosen."
    assert made.notes == (expected,)


def test_without_weights_every_stage_is_trained_and_it_is_said(plan) -> None:
    made = plan("--weights", "none")
    recipe = made.recipe(First(model="resnet18", unfreeze_depth=1))
    assert recipe.model == Pretrained("resnet18", weights="none", unfreeze_depth=4)
    assert "--weights none: backbones start from random weights" in made.notes[0]
    assert made.recipe(First(model="convnet")).model == ConvNet(kernels=(8,))


def test_imagenet_weights_replace_the_spaces_none(plan) -> None:
    text = SPACE.replace("Pretrained(name,", 'Pretrained(name, weights="none",')
    recipe = plan("--weights", "imagenet", text=text).recipe(First(model="resnet18"))
    assert recipe.model == Pretrained("resnet18", unfreeze_depth=0)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (("--known", "mobile"), ["mobile"]),
        (("--known", "small,mobile"), ["mobile", "small"]),
        (("--known", "residual, frozen"), ["residual, frozen"]),
        (("--known", "small,residual, frozen"), ["residual, frozen", "small"]),
        (("--known", "small", "--known", "open"), ["small", "open"]),
        (("--known", "mobile,small", "--backbones", "convnet"), ["small"]),
    ],
)
def test_known_names_entries_even_with_commas_in_them(
    plan, flags: tuple[str, ...], names: list[str]
) -> None:
    assert list(plan(*flags).known) == names


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--known", "mobil"), "--known 'mobil' is no known configuration; did you mean 'mobile'?"),
        (("--known", "xyz"), "KNOWN has 'residual, frozen', 'mobile', 'small', 'open'"),
        (("--known", "residual, frozen", "--known-only", "--backbones", "convnet"),
         "--known-only has nothing to run"),
    ],
)  # fmt: skip
def test_options_that_the_space_cannot_follow_are_told(
    plan, flags: tuple[str, ...], text: str
) -> None:
    with pytest.raises(OptionsError) as caught:
        plan(*flags)
    assert text in str(caught.value)


def test_known_only_runs_as_many_trials_as_there_are_configurations(plan) -> None:
    assert plan("--known-only").budget.trials == 4
    assert plan("--known-only", "--known", "mobile").budget.trials == 1


def test_missing_images_of_a_demo_space_make_a_demo(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SPACE.replace('"missing"', repr(str(tmp_path / "missing"))))
    made = make_plan(load_space(path), parse([str(path)]), at_hand=["mobilenet_v2"])
    assert made.demo
    assert (made.data.path, made.data.positive) == ("builtin:phantoms", "PNEUMONIA")
    assert made.data.size == DEMO_SIZE
    assert made.models == {"convnet", "mobilenet_v2"}
    assert (made.budget.trials, made.budget.epochs) == (DEMO_TRIALS, DEMO_EPOCHS)
    assert made.budget.minutes == DEMO_MINUTES
    assert made.notes[0].startswith("DEMO, SYNTHETIC IMAGES (no images at ")
    assert made.notes[1].endswith("backbones whose weights are on this machine: mobilenet_v2.")
    assert list(made.known) == ["mobile", "small", "open"]


def test_missing_images_that_were_asked_for_make_no_demo(plan, tmp_path: Path) -> None:
    made = plan("--data", str(tmp_path / "nowhere"))
    assert not made.demo
    assert made.data.path == str(tmp_path / "nowhere")


def test_missing_images_of_another_space_make_no_demo(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SPACE.replace(", demo=True", ""))
    assert not make_plan(load_space(path), parse([str(path)])).demo


def test_a_demo_does_what_options_say(plan) -> None:
    made = plan("--demo", "--trials", "2", "--minutes", "9", "--epochs", "6", "--image-size", "32")
    assert (made.budget.trials, made.budget.minutes, made.budget.epochs) == (2, 9, 6)
    assert made.data.size == 32
    assert made.notes[0].startswith("DEMO, SYNTHETIC IMAGES (--demo)")
    assert plan("--demo", "--backbones", "resnet18").models == {"resnet18"}


def test_what_is_no_recipe_is_refused(plan) -> None:
    text = SPACE + "\n\ndef space(trial):\n    return {}\n"
    with pytest.raises(SpaceError, match=r"must return a Recipe, got \{\}"):
        plan(text=text).recipe(First())


def test_other_words_of_a_trial_are_refused_with_the_right_ones(plan) -> None:
    text = SPACE.replace("suggest_float", "suggest_flat")
    with pytest.raises(AttributeError, match=r"trial\.suggest_flat; did you mean 'suggest_float'"):
        plan(text=text).recipe(First())


def test_a_manifest_can_keep_a_plan(plan) -> None:
    body = json.loads(json.dumps(plan("--backbones", "convnet").to_json()))
    assert body["models"] == ["convnet"]
    assert body["budget"] == {"minutes": 60, "trials": 60, "epochs": 20}
    assert body["data"]["kind"] == "Images"
