"""Several scores become one: the mean over classes, the worst of them, the worst subgroup."""

from dataclasses import replace

import numpy as np
import pytest
from answer_cases import (
    ANY,
    BY_DECISION,
    RANKED,
    REACHED,
    all_calls,
    answers,
    by_sklearn,
    class_answers,
    oracle,
    ranked_by_sklearn,
    two_columns,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from xfer.errors import DataError
from xfer.evaluate.metrics import evaluate_classes
from xfer.evaluate.objectives import best_constant, best_threshold, score_at, search_score
from xfer.recipe import Objective


def over(objective, how):
    """The same objective with another `over`."""
    return replace(objective, over=how)


def each_class(objective, probabilities, labels):
    """By scikit-learn, the objective of each class that there is against the rest."""
    decisions = probabilities.argmax(axis=1)
    for c in np.unique(labels):
        truth, called = (labels == c).astype(int), (decisions == c).astype(int)
        if objective.name == "log_loss":
            given_true = probabilities[labels == c, c]
            yield np.exp(-sk.log_loss([1] * len(given_true), given_true, labels=[0, 1]))
        elif objective.name in ("auroc", "partial_auroc", "average_precision") or objective.at:
            yield oracle(objective, probabilities[:, c], truth)
        elif objective.name == "balanced_accuracy":
            yield sk.recall_score(truth, called)
        else:
            yield by_sklearn(objective, called, truth)


@settings(max_examples=40)
@given(ANY, class_answers())
def test_several_classes_are_scored_each_against_the_rest(objective, case):
    probabilities, labels = case
    each = list(each_class(objective, probabilities, labels))
    worst, threshold = search_score(over(objective, "worst"), probabilities, labels)
    assert threshold is None
    assert worst == pytest.approx(min(each), abs=1e-12)
    mean, _ = search_score(objective, probabilities, labels)
    assert score_at(objective, None, probabilities, labels) == mean
    if objective.name not in ("mcc", "log_loss"):
        assert mean == pytest.approx(np.mean(each), abs=1e-12)


@given(class_answers())
def test_of_several_classes_mcc_and_log_loss_are_scikit_learns(case):
    probabilities, labels = case
    mcc, _ = search_score(Objective("mcc"), probabilities, labels)
    assert mcc == pytest.approx(sk.matthews_corrcoef(labels, probabilities.argmax(1)), abs=1e-12)
    loss, _ = search_score(Objective("log_loss"), probabilities, labels)
    classes = range(probabilities.shape[1])
    assert loss == pytest.approx(np.exp(-sk.log_loss(labels, probabilities, labels=classes)))


@given(
    st.sampled_from(["balanced_accuracy", "mcc", "auroc", "average_precision"]).map(Objective),
    class_answers(),
)
def test_the_mean_over_classes_is_the_metric_of_the_same_name(objective, case):
    probabilities, labels = case
    names = [str(c) for c in range(probabilities.shape[1])]
    metrics = evaluate_classes(probabilities, labels, names)
    score, _ = search_score(objective, probabilities, labels)
    assert score == pytest.approx(metrics[objective.name], abs=1e-12)


@st.composite
def grouped_answers(draw):
    """Scores, labels and subgroups (images,), in which some positive image has a subgroup."""
    scores, labels = draw(answers())
    names = st.sampled_from(["bacteria", "virus", None])
    subgroups = draw(st.lists(names, min_size=len(labels), max_size=len(labels)))
    subgroups[1] = "virus"
    return scores, labels, subgroups


def parts_of(labels, subgroups):
    """Of each subgroup, and of none: its positives and all negatives."""
    names = np.array([str(name) for name in subgroups])
    for name in np.unique(names[labels == 1]):
        yield (labels == 0) | (names == name)


@settings(max_examples=25)
@given(st.one_of(BY_DECISION, REACHED), grouped_answers())
def test_the_worst_subgroup_is_the_best_that_one_threshold_gives_it(objective, case):
    scores, labels, subgroups = case
    grouped = over(objective, "worst_subgroup")
    parts = list(parts_of(labels, subgroups))
    worst = [
        min(by_sklearn(objective, called[part], labels[part]) for part in parts)
        for called in all_calls(scores)
    ]
    best = max(*worst, 0.0) if objective.at is not None else max(worst)
    score, threshold = search_score(grouped, two_columns(scores), labels, subgroups=subgroups)
    assert score == pytest.approx(best, abs=1e-9)
    again = score_at(grouped, threshold, two_columns(scores), labels, subgroups=subgroups)
    assert again == score


@given(RANKED, grouped_answers())
def test_the_worst_subgroup_of_a_ranking_is_the_one_ranked_worst(objective, case):
    scores, labels, subgroups = case
    parts = list(parts_of(labels, subgroups))
    worst = min(ranked_by_sklearn(objective, scores[part], labels[part]) for part in parts)
    score, threshold = best_threshold(
        over(objective, "worst_subgroup"), scores, labels, subgroups=subgroups
    )
    assert score == pytest.approx(worst, abs=1e-9)
    assert 0.0 <= threshold <= 1.0


@given(ANY, answers())
def test_one_subgroup_of_all_is_no_subgroup_at_all(objective, case):
    scores, labels = case
    columns, all_alike = two_columns(scores), ["a"] * len(labels)
    alone = search_score(objective, columns, labels)
    grouped = over(objective, "worst_subgroup")
    assert search_score(grouped, columns, labels, subgroups=all_alike) == alone
    constants = [
        best_constant(objective, labels, classes=2),
        best_constant(grouped, labels, classes=2, subgroups=all_alike),
    ]
    assert constants[0] == pytest.approx(constants[1])


@settings(max_examples=20)
@given(st.one_of(BY_DECISION, st.just(Objective("log_loss"))), grouped_answers())
def test_no_constant_answer_beats_the_best_one_in_the_worst_subgroup(objective, case):
    _, labels, subgroups = case
    grouped = over(objective, "worst_subgroup")
    best = best_constant(grouped, labels, classes=2, subgroups=subgroups)
    found = [
        score_at(grouped, 0.5, two_columns(np.full(len(labels), value)), labels,
                 subgroups=subgroups)
        for value in np.linspace(0.005, 0.995, 67)
    ]  # fmt: skip
    assert max(found) == pytest.approx(best, abs=2e-3)
    assert max(found) <= best + 1e-12


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Objective("recall_weighted", recall_weight=0.75), (0.75 + 0.25 * 3) / 4),
        (Objective("cost", miss_cost=3, prevalence=0.5), (0.75 + 0.25 * 3) / 4),
        (Objective("balanced_accuracy"), 0.25),
        (Objective("fbeta", beta=1.0), 2 * 0.4 / (2 * 0.4 + 0.6) / 4),
        (Objective("mcc"), 0.0),
        (Objective("specificity_at_recall", at=0.9), 0.1),
        (Objective("auroc"), 0.5),
        (Objective("partial_auroc", above=0.5), 0.5),
        (Objective("average_precision"), 0.25),
        (Objective("log_loss"), 0.1**0.1 * 0.4**0.4 * 0.2**0.2 * 0.3**0.3),
        (Objective("recall_weighted", over="worst"), 0.5),
        (Objective("balanced_accuracy", over="worst"), 0.0),
        (Objective("log_loss", over="worst"), 0.25),
        (Objective("average_precision", over="worst"), 0.1),
    ],
)
def test_the_best_constant_of_four_classes(objective, expected):
    labels = np.repeat([0, 1, 2, 3], [10, 40, 20, 30])
    assert best_constant(objective, labels, classes=4) == pytest.approx(expected)


def test_a_class_without_images_is_not_the_worst():
    probabilities = np.eye(3)[[0, 1, 0, 1]]
    objective = Objective("recall_weighted", recall_weight=1.0, over="worst")
    assert search_score(objective, probabilities, [0, 1, 0, 1])[0] == 1.0
    assert best_constant(Objective("log_loss", over="worst"), [0, 1, 0, 1], classes=3) == 0.5


TWO, THREE = [[0.9, 0.1], [0.2, 0.8]], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]


@pytest.mark.parametrize(
    ("how", "probabilities", "subgroups", "said"),
    [
        ("worst", TWO, None, "over='worst' is the worst of several classes, and here are two"),
        ("worst_subgroup", THREE, ["a", "b"], "needs a positive class, and several classes are"),
        ("worst_subgroup", TWO, None, "needs positive images that have a subgroup, got none"),
        ("worst_subgroup", TWO, ["a", None], "needs positive images that have a subgroup, got"),
        ("worst_subgroup", TWO, ["a"], "subgroups must name one for each image or None, got 1 for"),
    ],
)
@pytest.mark.parametrize("name", ["mcc", "auroc"])
def test_what_does_not_go_together_is_refused(name, how, probabilities, subgroups, said):
    objective = Objective(name, over=how)
    with pytest.raises(DataError) as caught:
        search_score(objective, probabilities, [0, 1], subgroups=subgroups)
    assert said in str(caught.value)
    with pytest.raises(DataError):
        best_constant(objective, [0, 1], classes=len(probabilities[0]), subgroups=subgroups)
