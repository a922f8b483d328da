"""Metrics of decisions as shipped tell each subgroup; skill agrees with its definition."""

import numpy as np
import pytest

from search.scores import HALF, compared_said, measured
from search.skill import skill
from xfer.evaluate.eligible import skill as skill_of_answers
from xfer.evaluate.objectives import best_constant, search_score
from xfer.recipe import Objective
from xfer.recipe.objective import ObjectiveName

LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0])
SICK = np.array([0.9, 0.8, 0.2, 0.7, 0.1, 0.6, 0.2, 0.3])
ANSWERS = np.stack([1 - SICK, SICK], axis=1)
PATIENTS = [f"p{i}" for i in range(8)]
GROUPS = ["a", "a", "b", "b", None, None, None, None]


def test_subgroups_are_measured_at_the_threshold_that_ships() -> None:
    found = measured(
        ANSWERS, LABELS, PATIENTS, ("well", "sick"), threshold=0.5, subgroups=GROUPS
    ).metrics
    recalls = {name: group["recall"]["value"] for name, group in found["subgroups"].items()}
    assert recalls == {"a": 1.0, "b": 0.5}
    lower = measured(ANSWERS, LABELS, PATIENTS, ("well", "sick"), threshold=0.1, subgroups=GROUPS)
    assert lower.metrics["subgroups"]["b"]["recall"]["value"] == 1.0


def test_accuracy_at_one_half_does_not_know_the_threshold() -> None:
    for threshold in (0.1, 0.9):
        metrics = measured(ANSWERS, LABELS, PATIENTS, ("well", "sick"), threshold=threshold).metrics
        right = ((ANSWERS[:, 1] >= 0.5) == LABELS).mean()
        assert metrics[HALF]["value"] == pytest.approx(right)
        assert metrics[HALF]["low"] < right <= metrics[HALF]["high"]


def test_several_classes_are_measured_by_their_most_probable_one() -> None:
    found = measured(
        ANSWERS, LABELS, PATIENTS, ("well", "sick"), threshold=None, subgroups=GROUPS
    ).metrics
    assert found["subgroups"]["b"]["accuracy"]["value"] == 0.5


@pytest.mark.parametrize("subgroups", [None, [None] * 8])
def test_without_subgroups_nothing_is_said_of_them(subgroups: list[None] | None) -> None:
    found = measured(
        ANSWERS, LABELS, PATIENTS, ("well", "sick"), threshold=0.5, subgroups=subgroups
    )
    assert "subgroups" not in found.metrics


@pytest.mark.parametrize("name", ["balanced_accuracy", "fbeta", "auroc", "mcc", "log_loss"])
def test_skill_of_a_score_is_skill_of_its_answers(name: ObjectiveName) -> None:
    objective = Objective(name)
    score, _ = search_score(objective, ANSWERS, LABELS)
    constant = best_constant(objective, LABELS, classes=2)
    assert skill(score, constant) == pytest.approx(skill_of_answers(objective, ANSWERS, LABELS))


def test_nothing_has_a_sign_that_it_does_not_show() -> None:
    difference = {"metric": "auroc", "value": -0.001, "low": -0.01, "high": 0.004, "better": 0.4}
    assert compared_said("probe", difference | {"beaten": False}) == (
        "probe: not shown to be beaten (auroc +.00, -.01 to +.00)."
    )
