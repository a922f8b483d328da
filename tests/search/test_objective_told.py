"""Objectives that these images cannot be scored by are told before a search; others in words."""

from pathlib import Path

import pytest

from search.check import check
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


def problems(folder: Path, objective: str, data: str = "positive='8'", classes: int = 2) -> str:
    path = folder / "mine.py"
    text = SPACE.replace("DATA_ARGUMENTS", data).replace("OBJECTIVE_ARGUMENTS", objective)
    path.write_text(text)
    plan = make_plan(load_space(path), parse([str(path)]))
    return "\n".join(check(plan, classes=classes).problems)


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
