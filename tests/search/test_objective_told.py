"""Objectives that these images cannot be scored by are told before a search; others in words."""

from pathlib import Path
from typing import Any

import pytest

from search.check import Checked, check
from search.check.objective import in_words
from search.options import parse
from search.plan import make_plan
from search.space import load_space
from xfer.recipe import Objective

SPACE = """
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Images, Objective, Recipe

DATA = Images("builtin:digits", DATA_ARGUMENTS, size=16)
OBJECTIVE = Objective(OBJECTIVE_ARGUMENTS)
BUDGET = Budget(trials=2, epochs=1)
KNOWN = {}


def space(trial: Trial) -> Recipe:
    return Recipe(model=ConvNet(kernels=(4,)), lr=trial.suggest_float("lr", 1e-3, 1e-2))
"""


def checked(
    folder: Path,
    objective: str,
    data: str = "positive='8'",
    classes: int = 2,
    *,
    space: str = SPACE,
    flags: tuple[str, ...] = (),
) -> Checked:
    path = folder / "mine.py"
    text = space.replace("DATA_ARGUMENTS", data).replace("OBJECTIVE_ARGUMENTS", objective)
    path.write_text(text)
    plan = make_plan(load_space(path), parse([str(path), *flags]))
    return check(plan, classes=classes)


def problems(folder: Path, *args: Any, **more: Any) -> str:
    return "\n".join(checked(folder, *args, **more).problems)


def notes(folder: Path, *args: Any, **more: Any) -> list[str]:
    return list(checked(folder, *args, **more).notes)


@pytest.mark.parametrize(
    ("objective", "data", "classes", "told"),
    [
        ("'auroc', over='worst'", "positive='8'", 2, "is the worst of several classes"),
        ("'auroc', over='worst_subgroup'", "positive='8'", 2, "needs subgroups"),
        ("'auroc', over='worst_subgroup'", "subgroup='(a)'", 10, "needs a positive class"),
        ("'recall_weighted', recall_weight=1.0", "positive='8'", 2, "by calling all positive"),
        ("'recall_weighted', recall_weight=0.0", "positive='8'", 2, "by calling none"),
    ],
)
def test_an_objective_that_does_not_fit_is_told(
    tmp_path: Path, objective: str, data: str, classes: int, told: str
) -> None:
    assert told in problems(tmp_path, objective, data, classes)


@pytest.mark.parametrize(
    ("objective", "data", "classes"),
    [
        ("'auroc', over='worst'", "channels=1", 10),
        ("'auroc', over='worst_subgroup'", "positive='8', subgroup='(a)'", 2),
        ("'cost', miss_cost=10", "positive='8'", 2),
        ("'log_loss'", "channels=1", 10),
    ],
)
def test_an_objective_that_fits_is_no_problem(
    tmp_path: Path, objective: str, data: str, classes: int
) -> None:
    assert problems(tmp_path, objective, data, classes) == ""


def test_words_have_the_numbers_that_count() -> None:
    assert in_words(Objective("recall_weighted", recall_weight=0.75)) == (
        "recall_weighted (.75 recall + .25 specificity)"
    )
    assert in_words(Objective("partial_auroc", above=0.9, over="worst_subgroup")) == (
        "partial_auroc (where recall is at least .90, of the worst subgroup)"
    )
    assert in_words(Objective("mcc", over="worst")) == "mcc (of the worst class)"
    assert in_words(Objective("auroc")) == "auroc"


# --------------------------------------------------------------------------------------------------
# A second objective


@pytest.mark.parametrize("what", ["parameters", "latency"])
def test_a_cost_that_no_model_changes_is_told(tmp_path: Path, what: str) -> None:
    objective = f"'auroc', minimise='{what}'"
    assert "every recipe is the same network; leave minimise out" in problems(tmp_path, objective)
    kernels, vary = "ConvNet(kernels=(4,))", "ConvNet(kernels=(trial.suggest_int('k', 4, 8),))"
    assert problems(tmp_path, objective, space=SPACE.replace(kernels, vary)) == ""


def test_parameters_that_no_model_changes_are_told(tmp_path: Path) -> None:
    pools = "trial.suggest_categorical('pool', ['max', 'average'])"
    space = SPACE.replace("kernels=(4,)", f"kernels=(4,), pool={pools}")
    told = problems(tmp_path, "'auroc', minimise='parameters'", space=space)
    assert "every recipe has 122 parameters; leave minimise out" in told
    assert problems(tmp_path, "'auroc', minimise='latency'", space=space) == ""


def test_what_the_models_cost_is_told(tmp_path: Path) -> None:
    space = SPACE.replace("kernels=(4,)", "kernels=(trial.suggest_int('k', 4, 8, step=4),)")
    [note] = notes(tmp_path, "'auroc', minimise='parameters'", space=space)
    assert note == "Parameters: from 122 to 242, in 2 networks tried."
    [note] = notes(tmp_path, "'auroc', minimise='latency'", space=space)
    assert "between unlike machines latencies cannot be compared" in note
    assert notes(tmp_path, "'auroc'", space=space) == []


def test_models_that_flags_leave_alone_are_no_problem(tmp_path: Path) -> None:
    model = """ConvNet(kernels=(4,)) if trial.suggest_categorical(
            'model', ['convnet', 'resnet18']) == 'convnet' else Pretrained('resnet18')"""
    space = SPACE.replace("ConvNet(kernels=(4,))", model).replace(
        "Objective,", "Objective, Pretrained,"
    )
    flags = ("--backbones", "convnet")
    objective = "'auroc', minimise='parameters'"
    assert problems(tmp_path, objective, space=space, flags=flags) == ""
    [note] = notes(tmp_path, objective, space=space, flags=flags)
    assert note.endswith("every recipe is the same network, of the models that are left.")


def test_words_say_what_is_minimised() -> None:
    assert in_words(Objective("fbeta", beta=2, minimise="latency")) == (
        "fbeta (recall counts 2 times as much as precision), at a low latency"
    )
