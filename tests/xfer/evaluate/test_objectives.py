"""The search score is the best that any threshold gives, found by trying none of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from xfer.errors import DataError
from xfer.evaluate.cuts import make_cuts
from xfer.evaluate.metrics import evaluate_classes
from xfer.evaluate.objectives import best_constant, cost_ratio, score_at, search_score
from xfer.recipe import Objective

SCORE = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))
BY_DECISION = st.one_of(
    st.builds(Objective, st.just("recall_weighted"), recall_weight=st.floats(0, 1)),
    st.builds(Objective, st.just("fbeta"), beta=st.floats(0.1, 4)),
    st.sampled_from([Objective("balanced_accuracy"), Objective("mcc")]),
)
BY_RANK = st.sampled_from([Objective("auroc"), Objective("average_precision")])
ANY = st.one_of(BY_DECISION, BY_RANK)


@st.composite
def answers(draw):
    images = draw(st.integers(2, 20))
    scores = draw(hnp.arrays(np.float64, images, elements=SCORE))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, 1)))
    labels[0], labels[1] = 0, 1
    return scores, labels


def two_columns(scores):
    return np.stack([1 - scores, scores], axis=1)


def by_sklearn(objective, called, labels):
    match objective.name:
        case "recall_weighted":
            weight = objective.recall_weight
            specificity = sk.recall_score(labels, called, pos_label=0)
            return weight * sk.recall_score(labels, called) + (1 - weight) * specificity
        case "balanced_accuracy":
            return sk.balanced_accuracy_score(labels, called)
        case "fbeta":
            return sk.fbeta_score(labels, called, beta=objective.beta, zero_division=0.0)
        case "mcc":
            return sk.matthews_corrcoef(labels, called)


def all_calls(scores):
    """Every set of calls that some threshold in [0, 1] makes."""
    edges = np.unique(np.concatenate([scores, [1.0]]))
    return [(scores >= edge).astype(int) for edge in edges]


@given(BY_DECISION, answers())
def test_no_threshold_beats_the_search_score(objective, case):
    scores, labels = case
    score, _ = search_score(objective, two_columns(scores), labels)
    oracle = max(by_sklearn(objective, called, labels) for called in all_calls(scores))
    assert score == pytest.approx(oracle, abs=1e-9)


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


def test_scores_that_are_all_equal_give_the_best_constant():
    labels = np.array([0, 0, 0, 1])
    names = ("recall_weighted", "fbeta", "mcc", "auroc", "average_precision")
    for objective in (Objective(name, recall_weight=0.2) for name in names):
        score, _ = search_score(objective, two_columns(np.full(4, 0.3)), labels)
        assert score == best_constant(objective, labels, classes=2), objective.name


@given(BY_RANK, answers())
def test_ranking_objectives_equal_scikit_learns_at_the_best_balanced_accuracy(objective, case):
    scores, labels = case
    score, threshold = search_score(objective, two_columns(scores), labels)
    oracle = {"auroc": sk.roc_auc_score, "average_precision": sk.average_precision_score}
    assert score == pytest.approx(oracle[objective.name](labels, scores))
    balanced = max(sk.balanced_accuracy_score(labels, called) for called in all_calls(scores))
    assert sk.balanced_accuracy_score(labels, scores >= threshold) == pytest.approx(balanced)


@st.composite
def class_answers(draw):
    images, classes = draw(st.integers(2, 25)), draw(st.integers(3, 5))
    raw = draw(hnp.arrays(np.float64, (images, classes), elements=st.integers(1, 4)))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    labels[0], labels[1] = 0, 1
    return raw / raw.sum(axis=1, keepdims=True), labels


@given(ANY, class_answers())
def test_several_classes_are_scored_by_the_metric_of_the_same_name(objective, case):
    probabilities, labels = case
    names = [str(c) for c in range(probabilities.shape[1])]
    metrics = evaluate_classes(probabilities, labels, names)
    metrics["recall_weighted"] = (
        objective.recall_weight * metrics["recall"]
        + (1 - objective.recall_weight) * metrics["specificity"]
    )
    score, threshold = search_score(objective, probabilities, labels)
    assert threshold is None
    assert score_at(objective, None, probabilities, labels) == score
    if objective.name != "fbeta":
        assert score == pytest.approx(metrics[objective.name], abs=1e-12)
    else:
        decisions = probabilities.argmax(axis=1)
        by_class = sk.fbeta_score(
            labels, decisions, beta=objective.beta, labels=np.unique(labels), average=None,
            zero_division=0.0,
        )  # fmt: skip
        assert score == pytest.approx(by_class.mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Objective("recall_weighted", recall_weight=0.75), 0.75),
        (Objective("recall_weighted", recall_weight=0.1), 0.9),
        (Objective("balanced_accuracy"), 0.5),
        (Objective("fbeta", beta=2.0), 5 * 0.2 / (5 * 0.2 + 0.8)),
        (Objective("mcc"), 0.0),
        (Objective("auroc"), 0.5),
        (Objective("average_precision"), 0.2),
    ],
)
def test_the_best_constant_of_two_classes_at_a_prevalence_of_a_fifth(objective, expected):
    labels = np.repeat([0, 1], [40, 10])
    assert best_constant(objective, labels, classes=2) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Objective("recall_weighted", recall_weight=0.75), (0.75 + 0.25 * 3) / 4),
        (Objective("balanced_accuracy"), 0.25),
        (Objective("fbeta", beta=1.0), 2 * 0.4 / (2 * 0.4 + 0.6) / 4),
        (Objective("mcc"), 0.0),
        (Objective("auroc"), 0.5),
        (Objective("average_precision"), 0.25),
    ],
)
def test_the_best_constant_of_four_classes(objective, expected):
    labels = np.repeat([0, 1, 2, 3], [10, 40, 20, 30])
    assert best_constant(objective, labels, classes=4) == pytest.approx(expected)


@given(ANY, answers())
def test_no_search_score_is_below_the_best_constant_that_a_threshold_can_give(objective, case):
    scores, labels = case
    if objective.name in ("auroc", "average_precision") or scores.max() == 1.0:
        return  # a ranking can be worse than none; nothing in [0, 1] lies above a score of 1
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
