"""The highest threshold that keeps its promise ships; a promise that cannot be kept is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest

from xfer.errors import DataError
from xfer.evaluate.objectives import search_score
from xfer.evaluate.thresholds import choose_threshold
from xfer.recipe import BestScore, FixedThreshold, Objective, TargetRecall

OBJECTIVE = Objective("recall_weighted", recall_weight=0.75)
SCORE = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))


@st.composite
def answers(draw):
    images = draw(st.integers(2, 40))
    scores = draw(hnp.arrays(np.float64, images, elements=SCORE))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, 1)))
    labels[0], labels[1] = 0, 1
    return scores, labels


def highest_score_that(keeps, scores, labels):
    """Brute force: the highest score used as a threshold whose hits keep a promise."""
    for edge in sorted(set(scores.tolist()), reverse=True):
        if keeps(int(((scores >= edge) & (labels == 1)).sum()), int(labels.sum())):
            return edge
    raise AssertionError("calling every image positive must keep it")


@given(answers(), st.sampled_from([0.1, 0.3, 0.5, 0.6, 0.75, 0.8, 0.9, 0.95]))
def test_target_recall_takes_the_highest_threshold_that_keeps_it(case, target):
    scores, labels = case
    chosen = choose_threshold(TargetRecall(target), OBJECTIVE, scores, labels)

    def bounded(hits, positives):
        test = binomtest(hits, positives, alternative="greater")
        return test.proportion_ci(0.95, method="exact").low >= target

    def observed(hits, positives):
        return hits / positives >= target

    positives = int(labels.sum())
    assert chosen.supported == bounded(positives, positives)
    edge = highest_score_that(bounded if chosen.supported else observed, scores, labels)
    assert ((scores >= chosen.value) == (scores >= edge)).all()
    assert ((scores.astype(np.float32) >= np.float32(chosen.value)) == (scores >= edge)).all()
    assert 0.0 <= chosen.value <= 1.0


@given(answers(), st.sampled_from([TargetRecall(0.8), BestScore(), FixedThreshold(0.25)]))
def test_recall_and_bound_are_those_at_the_threshold(case, rule):
    scores, labels = case
    chosen = choose_threshold(rule, OBJECTIVE, scores, labels)
    hits = int((scores[labels == 1] >= chosen.value).sum())
    assert chosen.positives == labels.sum()
    assert chosen.recall == hits / labels.sum()
    oracle = binomtest(hits, chosen.positives, alternative="greater").proportion_ci(0.95, "exact")
    assert chosen.lower_bound == pytest.approx(oracle.low, abs=1e-12)
    assert chosen.rule["kind"] == type(rule).__name__


@given(answers(), st.sampled_from(["recall_weighted", "mcc", "auroc"]))
def test_best_score_takes_the_search_scores_threshold(case, name):
    scores, labels = case
    objective = Objective(name)
    _, threshold = search_score(objective, np.stack([1 - scores, scores], axis=1), labels)
    assert choose_threshold(BestScore(), objective, scores, labels).value == threshold


def test_a_fixed_threshold_is_taken_as_it_is():
    chosen = choose_threshold(FixedThreshold(0.3), OBJECTIVE, [0.1, 0.3, 0.9], [0, 1, 1])
    assert (chosen.value, chosen.recall, chosen.supported) == (0.3, 1.0, True)
    assert chosen.said.startswith("A fixed threshold: at 0.3, 2 of 2 positive images are found")


@pytest.mark.parametrize(("recall", "positives"), [(0.95, 59), (0.98, 149), (0.99, 299)])
def test_one_positive_less_than_published_cannot_support_the_recall(recall, positives):
    for count, supported in ((positives, True), (positives - 1, False)):
        labels = np.repeat([0, 1], [20, count])
        scores = np.linspace(0, 1, len(labels))
        chosen = choose_threshold(TargetRecall(recall), OBJECTIVE, scores, labels)
        assert chosen.supported is supported


def test_too_few_positives_are_told_with_what_they_support():
    labels = np.repeat([0, 1], [50, 50])
    scores = np.linspace(0, 1, 100)
    chosen = choose_threshold(TargetRecall(0.98), OBJECTIVE, scores, labels)
    assert not chosen.supported
    assert chosen.recall == 0.98  # 49 of 50, the highest threshold whose observed recall reaches it
    assert chosen.lower_bound < 0.98
    assert (
        "50 positive images cannot support a recall of 0.98; the most they support is 0.941, and "
        "149 without a miss would be needed."
    ) in chosen.said


def test_enough_positives_are_told_with_what_they_vouch_for():
    labels = np.repeat([0, 1], [100, 100])
    scores = np.linspace(0, 1, 200)
    chosen = choose_threshold(TargetRecall(0.95), OBJECTIVE, scores, labels)
    assert chosen.supported
    assert chosen.lower_bound >= 0.95
    assert chosen.recall == 0.99  # two misses of 100 are one too many
    assert chosen.said.startswith("The highest threshold that vouches for a recall of 0.95: at ")
    assert "99 of 100 positive images are found (recall 0.990" in chosen.said


def test_a_target_met_to_the_last_digit_counts_as_met():
    labels = np.repeat([0, 1], [10, 10])  # .7 of 10 positives are 7, in floats 7.000000000000001
    chosen = choose_threshold(TargetRecall(0.9), OBJECTIVE, np.linspace(0, 1, 20), labels)
    assert (chosen.supported, chosen.recall) == (False, 0.9)


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        ([0.1, float("nan")], [0, 1], "got NaN 1 times"),
        ([0.1, 0.2], [0, 0], "labels must hold both classes, got 2 images that are all 0"),
    ],
)
def test_images_that_no_threshold_can_be_chosen_on_are_refused(scores, labels, said):
    with pytest.raises(DataError) as caught:
        choose_threshold(TargetRecall(0.9), OBJECTIVE, scores, labels)
    assert said in str(caught.value)


# --------------------------------------------------------------------------------------------------
# Scores that were brought to another scale


@given(answers(), st.sampled_from([TargetRecall(0.8), BestScore(), FixedThreshold(0.25)]))
def test_a_scale_that_does_not_err_changes_nothing(case, rule):
    scores, labels = case
    plain = choose_threshold(rule, OBJECTIVE, scores, labels)
    assert choose_threshold(rule, OBJECTIVE, scores, labels, low=scores) == plain


def test_the_bound_has_both_margins_as_the_sides_of_a_right_triangle():
    scores, labels = np.linspace(0.002, 0.998, 200), np.repeat([0, 1, 1, 1], 50)
    low = np.maximum(scores - 0.06, 0.0)
    chosen = choose_threshold(FixedThreshold(0.3), OBJECTIVE, scores, labels, low=low)
    assert chosen.recall == 140 / 150
    exact = binomtest(140, 150, alternative="greater").proportion_ci(0.95, method="exact").low
    surely = (low[labels == 1] >= 0.3).mean()
    assert surely == 128 / 150
    expected = 140 / 150 - np.hypot(140 / 150 - exact, 12 / 150)
    assert chosen.lower_bound == pytest.approx(expected)
    assert f"at least {int(expected * 1000) / 1000:.3f}" in chosen.said


@given(answers(), st.floats(0, 1), st.sampled_from([0.3, 0.6, 0.8]))
def test_target_recall_keeps_its_promise_whatever_the_scale_errs_by(case, share, target):
    scores, labels = case
    plain = choose_threshold(TargetRecall(target), OBJECTIVE, scores, labels)
    chosen = choose_threshold(TargetRecall(target), OBJECTIVE, scores, labels, low=share * scores)
    assert chosen.supported == plain.supported
    if chosen.supported:
        assert chosen.lower_bound >= target
        assert chosen.value <= plain.value
    else:
        assert chosen.value == plain.value
        assert chosen.lower_bound <= plain.lower_bound


def test_where_no_score_is_low_enough_the_threshold_lies_below_them_all():
    scores, labels = np.full(60, 0.9), np.repeat([0, 1], [20, 40])
    chosen = choose_threshold(TargetRecall(0.9), OBJECTIVE, scores, labels, low=np.full(60, 0.01))
    assert chosen.supported
    assert chosen.value == pytest.approx(0.01)
    assert chosen.value < 0.01
    assert chosen.lower_bound == pytest.approx(0.05 ** (1 / 40))


def test_low_scores_of_other_images_are_refused():
    with pytest.raises(DataError, match="must be of the same images"):
        choose_threshold(BestScore(), OBJECTIVE, [0.1, 0.9], [0, 1], low=[0.1])
