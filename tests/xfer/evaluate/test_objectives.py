"""The search score is the best that any threshold gives, found by trying none of them."""

import math

import numpy as np
import pytest
from answer_cases import (
    ANY,
    BY_DECISION,
    EVERY,
    RANKED,
    REACHED,
    all_calls,
    answers,
    by_sklearn,
    oracle,
    two_columns,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from xfer.errors import DataError
from xfer.evaluate.cuts import make_cuts
from xfer.evaluate.objectives import best_constant, cost_ratio, score_at, search_score
from xfer.recipe import Objective


@given(ANY, answers())
def test_the_search_score_is_what_scikit_learn_makes_of_the_best_threshold(objective, case):
    scores, labels = case
    score, _ = search_score(objective, two_columns(scores), labels)
    assert score == pytest.approx(oracle(objective, scores, labels), abs=1e-9)
    low = {"mcc": -1.0, "partial_auroc": (objective.above or 0) / (1 + (objective.above or 0))}
    assert low.get(objective.name, 0.0) - 1e-12 <= score <= 1.0 + 1e-12


@given(ANY, answers())
def test_the_search_score_is_reached_at_its_threshold(objective, case):
    scores, labels = case
    score, threshold = search_score(objective, two_columns(scores), labels)
    assert 0.0 <= threshold <= 1.0
    assert score_at(objective, threshold, two_columns(scores), labels) == score


@given(BY_DECISION, answers())
def test_of_equally_good_thresholds_the_one_with_the_highest_recall_is_taken(objective, case):
    scores, labels = case
    score, threshold = search_score(objective, two_columns(scores), labels)
    recalls = [
        sk.recall_score(labels, called)
        for called in all_calls(scores)
        if by_sklearn(objective, called, labels) >= score - 1e-9
    ]
    # Float dust may make a better recall look better by 1e-16 to one and not the other.
    assert sk.recall_score(labels, scores >= threshold) == max(recalls)


@given(ANY, answers())
def test_the_threshold_decides_alike_in_float32_and_float64(objective, case):
    scores, labels = case
    _, threshold = search_score(objective, two_columns(scores), labels)
    single = scores.astype(np.float32) >= np.float32(threshold)
    assert single.tolist() == (scores >= threshold).tolist()


@pytest.mark.parametrize("low", [0.0, 0.5, 0.1, 0.99999994])
def test_neighbours_in_float32_are_parted(low):
    lower = np.float32(low)
    upper = np.nextafter(lower, np.float32(1))
    scores = np.array([lower, upper], np.float64)
    threshold = make_cuts(scores, np.array([False, True])).threshold(0)
    assert lower < np.float32(threshold) <= upper
    assert lower < threshold <= upper


@given(BY_DECISION, answers())
def test_a_threshold_lies_midway_between_the_scores_it_parts(objective, case):
    scores, labels = case
    _, threshold = search_score(objective, two_columns(scores), labels)
    below = scores[scores < threshold].max(initial=0.0)
    above = scores[scores >= threshold].min(initial=1.0)
    # The middle in float32; the upper of two scores that have none between them.
    middle = float(np.float32((below + above) / 2))
    assert threshold == (middle if below < middle <= above else above)


def test_equal_scores_are_never_parted():
    cuts = make_cuts(np.array([0.5, 0.5, 0.5, 0.2]), np.array([True, False, True, True]))
    assert cuts.scores.tolist() == [0.5, 0.2]
    assert cuts.counts.tp.tolist() == [2, 3]


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
def test_scores_that_are_all_equal_are_no_better_than_the_best_constant(objective):
    labels = np.array([0, 0, 0, 1])
    constant = best_constant(objective, labels, classes=2)
    for value in (0.0, 0.3, 1.0):
        score, _ = search_score(objective, two_columns(np.full(4, value)), labels)
        assert score <= constant + 1e-12
        if value == 0.3 and objective.name != "log_loss" and objective.at is None:
            assert score == constant  # calibration and chance are not to be had from a threshold


@given(st.floats(0, 0.99), answers())
def test_the_partial_area_is_scikit_learns_with_the_classes_exchanged(above, case):
    scores, labels = case
    score, _ = search_score(Objective("partial_auroc", above=above), two_columns(scores), labels)
    expected = sk.roc_auc_score(1 - labels, -scores, max_fpr=1 - above)
    assert score == pytest.approx(expected, abs=1e-9)


@given(RANKED, answers())
def test_what_needs_no_threshold_has_that_of_the_best_balanced_accuracy(objective, case):
    scores, labels = case
    _, threshold = search_score(objective, two_columns(scores), labels)
    balanced = max(sk.balanced_accuracy_score(labels, called) for called in all_calls(scores))
    assert sk.balanced_accuracy_score(labels, scores >= threshold) == pytest.approx(balanced)


@settings(max_examples=25)
@given(REACHED, answers())
def test_a_rate_at_another_is_reached_by_the_calls_at_its_threshold(objective, case):
    scores, labels = case
    score, threshold = search_score(objective, two_columns(scores), labels)
    called = (scores >= threshold).astype(int)
    if score > 0:
        assert by_sklearn(objective, called, labels) == pytest.approx(score)
    equally_good = [c for c in all_calls(scores) if by_sklearn(objective, c, labels) == score]
    better = [c for c in equally_good if sk.accuracy_score(labels, c) > np.mean(called == labels)]
    assert not better  # nothing is had for nothing: fewer false alarms, or fewer misses


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_log_loss_clips_as_scikit_learn_does_in_either_precision(kind):
    probabilities = np.array([[1, 0], [0, 1], [0.25, 0.75]], kind)
    labels = [1, 1, 0]
    score, _ = search_score(Objective("log_loss"), probabilities, labels)
    assert score == pytest.approx(np.exp(-sk.log_loss(labels, probabilities)), rel=1e-5)


def test_the_partial_area_of_the_whole_curve_is_auroc_and_of_a_perfect_order_one():
    labels, scores = np.array([0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    whole, _ = search_score(Objective("partial_auroc", above=0), two_columns(scores), labels)
    assert whole == pytest.approx(sk.roc_auc_score(labels, scores))
    part = Objective("partial_auroc", above=0.5)
    assert search_score(part, two_columns(labels * 0.5), labels)[0] == 1.0
    # recall rises from 2/3 to 1 at specificity 1/2, from 1/2 to 2/3 at 1: A = 1/3
    assert search_score(part, two_columns(scores), labels)[0] == pytest.approx(
        (1 + (1 / 3 - 1 / 8) / (1 / 2 - 1 / 8)) / 2
    )


def test_the_cost_of_a_miss_is_that_many_false_alarms_at_the_stated_prevalence():
    labels = np.repeat([0, 1], [50, 50])
    objective = Objective("cost", miss_cost=20, prevalence=0.1)
    miss, alarm = labels.astype(float), labels.astype(float)
    miss[-1], alarm[0] = 0.0, 1.0
    lost = [1 - score_at(objective, 0.5, two_columns(s), labels) for s in (miss, alarm)]
    assert lost[0] / lost[1] == pytest.approx(20 * 0.1 / 0.9)
    # the worst answer costs .1 * 20 + .9 = 2.9, and one of 50 missed .1 * 20 / 50
    assert lost[0] == pytest.approx(0.1 * 20 / 50 / 2.9)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Objective("recall_weighted", recall_weight=0.75), 0.75),
        (Objective("recall_weighted", recall_weight=0.1), 0.9),
        (Objective("balanced_accuracy"), 0.5),
        (Objective("fbeta", beta=2.0), 5 * 0.2 / (5 * 0.2 + 0.8)),
        (Objective("mcc"), 0.0),
        (Objective("cost", miss_cost=10), 2 / 2.8),
        (Objective("cost", miss_cost=10, prevalence=0.01), 0.99 / 1.09),
        (Objective("specificity_at_recall", at=0.9), 0.1),
        (Objective("recall_at_specificity", at=0.75), 0.25),
        (Objective("auroc"), 0.5),
        (Objective("partial_auroc", above=0.8), 0.5),
        (Objective("log_loss"), 0.2**0.2 * 0.8**0.8),
        (Objective("average_precision"), 0.2),
    ],
)
def test_the_best_constant_of_two_classes_at_a_prevalence_of_a_fifth(objective, expected):
    labels = np.repeat([0, 1], [40, 10])
    assert best_constant(objective, labels, classes=2) == pytest.approx(expected)


@given(BY_DECISION, answers())
def test_no_search_score_is_below_the_best_constant_that_a_threshold_can_give(objective, case):
    scores, labels = case
    if scores.max() == 1.0:
        return  # nothing in [0, 1] lies above a score of 1
    score, _ = search_score(objective, two_columns(scores), labels)
    assert score >= best_constant(objective, labels, classes=2) - 1e-12


def test_answers_that_are_all_positive_beat_nothing_where_never_is_the_best_answer():
    objective = Objective("recall_weighted", recall_weight=0.1)
    score, threshold = search_score(objective, two_columns(np.array([0.9, 0.8])), [0, 1])
    assert (score, threshold > 0.9) == (0.9, True)


@pytest.mark.parametrize(
    ("weight", "prevalence", "ratio"), [(0.75, 0.5, 3.0), (0.5, 0.5, 1.0), (0.75, 0.1, 27.0)]
)
def test_the_cost_ratio_is_the_loss_by_a_miss_over_that_by_a_false_alarm(weight, prevalence, ratio):
    assert cost_ratio(weight, prevalence) == pytest.approx(ratio)
    labels = np.repeat([0, 1], [round(100 * (1 - prevalence)), round(100 * prevalence)])
    objective = Objective("recall_weighted", recall_weight=weight)
    miss, alarm = labels.astype(float), labels.astype(float)
    miss[-1], alarm[0] = 0.0, 1.0
    lost = [1 - score_at(objective, 0.5, two_columns(s), labels) for s in (miss, alarm)]
    assert lost[0] / lost[1] == pytest.approx(ratio)


def test_a_weight_of_one_makes_a_miss_cost_without_end():
    assert cost_ratio(1.0, 0.3) == math.inf


@pytest.mark.parametrize(("weight", "prevalence"), [(1.1, 0.5), (0.5, 0.0), (0.5, 1.0)])
def test_a_cost_ratio_out_of_range_is_refused(weight, prevalence):
    with pytest.raises(DataError, match="recall weight in"):
        cost_ratio(weight, prevalence)


@pytest.mark.parametrize(
    ("probabilities", "labels", "said"),
    [
        ([[0.5, 0.5], [float("nan"), 0.5]], [0, 1], "got NaN 1 times"),
        ([[0.5, 0.5], [0.1, 0.9]], [1, 1], "must hold at least two classes, got 2 images"),
        ([[0.2, 0.3, 0.5]], [2], "must hold at least two classes, got 1 images"),
    ],
)
def test_what_cannot_be_scored_is_refused(probabilities, labels, said):
    with pytest.raises(DataError) as caught:
        search_score(Objective("auroc"), probabilities, labels)
    assert said in str(caught.value)


def test_a_decision_without_a_threshold_is_refused():
    with pytest.raises(DataError, match="mcc of two classes needs a threshold"):
        score_at(Objective("mcc"), None, two_columns(np.array([0.1, 0.9])), [0, 1])
