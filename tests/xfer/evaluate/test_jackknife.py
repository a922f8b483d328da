"""The jackknife over groups of patients: what is left out, what is left, how far it spreads."""

from math import sqrt

import numpy as np
import pytest
from answer_cases import EVERY
from hypothesis import given
from hypothesis import strategies as st

from xfer.errors import DataError
from xfer.evaluate.jackknife import (
    FEW,
    GROUPS,
    leave_out_scores,
    left_out_groups,
    paired_standard_error,
)
from xfer.evaluate.objectives import score_at, search_score
from xfer.recipe import Objective

SUBGROUPS = [Objective(o.name, over="worst_subgroup") for o in EVERY if o.name in
             ("balanced_accuracy", "fbeta", "auroc", "log_loss")]  # fmt: skip
SEVERAL = [
    Objective("balanced_accuracy"),
    Objective("mcc"),
    Objective("auroc", over="worst"),
    Objective("log_loss"),
    Objective("recall_weighted", recall_weight=0.75, over="worst"),
]


def label(objective):
    return f"{objective.name} {objective.over}"


def two_columns(scores):
    return np.stack([1 - scores, scores], axis=1)


def drawn(seed, *, patients=60, each=1, classes=2):
    """Labels, patients and subgroups, and two models' answers that are alike."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(patients) % classes, each)
    owner = np.repeat(np.arange(patients), each)
    hard = generator.normal(size=patients)[owner] + generator.normal(size=len(truth))
    answers = []
    for skill in (1.0, 0.9):
        own = generator.normal(size=(len(truth), classes))
        logits = own + 2 * skill * np.eye(classes)[truth] - np.eye(classes)[truth] * hard[:, None]
        odds = np.exp(logits)
        answers.append(odds / odds.sum(axis=1, keepdims=True))
    names = np.array([f"p{number}" for number in owner])
    subgroups = [("a", "b", None)[number % 3] for number in owner // 2]
    return truth, names, subgroups, answers


# --------------------------------------------------------------------------------------------------
# Who is left out


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=60),
    st.integers(2, 25),
)
def test_every_set_keeps_every_class_and_each_image_is_left_out_once_at_most(images, groups):
    truth = np.array([of for of, _ in images])
    patients = [f"p{owner}" for _, owner in images]
    kept = left_out_groups(truth, patients, groups=groups)
    assert kept.shape == (min(groups, len(set(patients))), len(truth))
    for row in kept == 1:
        assert set(truth[row]) == set(truth)
    assert ((kept == 0).sum(axis=0) <= 1).all()


@given(st.integers(2, 60), st.integers(2, 60), st.integers(1, 3), st.integers(2, 20))
def test_patients_are_left_out_whole_and_each_group_has_its_share(sick, well, each, groups):
    truth = np.repeat(np.arange(sick + well) < sick, each).astype(int)
    owner = np.repeat(np.arange(sick + well), each)
    kept = left_out_groups(truth, owner, groups=groups)
    assert np.array_equal(kept[:, ::each].repeat(each, axis=1), kept)
    assert ((kept == 0).sum(axis=0) == 1).all()
    for of in (0, 1):
        sizes = (kept[:, (truth == of)] == 0).sum(axis=1) // each
        assert sizes.max() - sizes.min() <= 1


def test_subgroups_are_dealt_evenly_and_a_patient_who_is_alone_in_one_stays():
    truth = np.array([1] * 41 + [0] * 40)
    subgroups = ["a"] * 20 + ["b"] * 20 + ["rare"] + [None] * 40
    kept = left_out_groups(truth, None, groups=10, subgroups=subgroups)
    for rows, share in ((slice(0, 20), 2), (slice(20, 40), 2), (slice(41, 81), 4)):
        assert (kept[:, rows] == 0).sum(axis=1).tolist() == [share] * 10
    assert kept[:, 40].all()


def test_the_groups_are_those_of_the_patients_whatever_the_order_of_images():
    truth, names, _, _ = drawn(0, patients=50, each=2)
    order = np.random.default_rng(1).permutation(len(truth))
    assert np.array_equal(
        left_out_groups(truth, names)[:, order], left_out_groups(truth[order], names[order])
    )


def test_fewer_than_two_groups_are_refused():
    with pytest.raises(DataError, match="groups must be 2 or more, got 1"):
        left_out_groups([0, 1], None, groups=1)


# --------------------------------------------------------------------------------------------------
# What they score


@pytest.mark.parametrize("objective", [*EVERY, *SUBGROUPS], ids=label)
def test_each_score_is_that_of_the_images_that_stay(objective):
    truth, names, subgroups, (answers, _) = drawn(3, patients=70, each=2)
    _, threshold = search_score(objective, answers, truth, subgroups=subgroups)
    found = leave_out_scores(
        objective, answers, truth, names, threshold=threshold, subgroups=subgroups
    )
    expected = [
        score_at(
            objective, threshold, answers[row], truth[row],
            subgroups=[name for name, stays in zip(subgroups, row, strict=True) if stays],
        )
        for row in left_out_groups(truth, names, subgroups=subgroups) == 1
    ]  # fmt: skip
    assert len(found) == GROUPS
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("objective", SEVERAL, ids=label)
def test_each_score_is_that_of_the_images_that_stay_with_several_classes(objective):
    truth, names, _, (answers, _) = drawn(4, patients=60, classes=3)
    found = leave_out_scores(objective, answers, truth, names, threshold=None)
    expected = [
        score_at(objective, None, answers[row], truth[row])
        for row in left_out_groups(truth, names) == 1
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_decision_needs_its_threshold():
    truth, names, _, (answers, _) = drawn(0)
    with pytest.raises(DataError, match="fbeta of two classes needs a threshold, got None"):
        leave_out_scores(Objective("fbeta"), answers, truth, names, threshold=None)


# --------------------------------------------------------------------------------------------------
# How far they spread

scores = st.lists(st.floats(0, 1), min_size=5, max_size=5)
folds = st.lists(scores, min_size=2, max_size=2)


@given(folds, folds, st.floats(-1, 1))
def test_what_both_have_more_of_is_no_difference(one, other, more):
    error = paired_standard_error(one, other)
    assert paired_standard_error(other, one) == pytest.approx(error)
    assert paired_standard_error(one, one) == 0
    shifted = np.add(one, more).tolist()
    assert paired_standard_error(shifted, other) == pytest.approx(error, abs=1e-9)


@given(folds, folds)
def test_the_variance_of_a_mean_over_folds_is_the_mean_of_theirs_divided_by_their_number(
    one, other
):
    each = [paired_standard_error([a], [b]) for a, b in zip(one, other, strict=True)]
    assert paired_standard_error(one, other) == pytest.approx(sqrt(sum(e**2 for e in each)) / 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [([], []), ([[]], [[]]), ([[0.5, 0.6]], []), ([[0.5, 0.6]], [[0.5, 0.6, 0.7]]),
     ([[0.5, 0.6], []], [[0.5, 0.6], [0.5, 0.6]])],
)  # fmt: skip
def test_scores_that_cannot_be_paired_have_no_standard_error(one, other):
    assert paired_standard_error(one, other) is None


def test_with_a_patient_in_each_group_it_is_the_standard_error_of_a_mean():
    generator = np.random.default_rng(0)
    truth = np.arange(80) % 2
    right = [generator.random(80) < share for share in (0.9, 0.8)]
    answers = [two_columns(np.where(r, truth, 1 - truth) * 0.8 + 0.1) for r in right]
    objective = Objective("recall_weighted", recall_weight=0.25)
    one, other = (
        leave_out_scores(objective, a, truth, None, threshold=0.5, groups=80) for a in answers
    )
    difference = right[0].astype(float) - right[1]
    parts = [difference[truth == of].var(ddof=1) / 40 * w**2 for of, w in ((1, 0.25), (0, 0.75))]
    # One jackknife over both classes: the mean of all 80 counts, and not each class's own.
    assert paired_standard_error([one], [other]) == pytest.approx(sqrt(sum(parts)), rel=0.03)


@pytest.mark.parametrize("images", [20, 50, 77, 100, 501])
def test_one_image_makes_no_more_than_a_standard_error(images):
    truth = np.arange(images) % 2
    sure = truth * 0.8 + 0.1
    for wrong in range(0, images, 7):
        missed = np.where(np.arange(images) == wrong, 1 - sure, sure)
        one, other = (
            leave_out_scores(Objective("balanced_accuracy"), two_columns(s), truth, None,
                             threshold=0.5)
            for s in (sure, missed)
        )  # fmt: skip
        difference = 0.5 / np.count_nonzero(truth == truth[wrong])
        error = paired_standard_error([one], [other])
        wider = sqrt(max(1.0, FEW / (images // 2)))  # with few it is made larger
        assert difference == pytest.approx(error / wider, rel=0.03)
        assert difference <= error * 1.0005


def spread_found(objective, *, patients, each, repeats, groups=GROUPS):
    """Root mean square of the standard errors over the spread of the differences themselves."""
    differences, variances = [], []
    for seed in range(repeats):
        truth, names, _, answers = drawn(seed, patients=patients, each=each)
        found = [search_score(objective, a, truth) for a in answers]
        one, other = (
            [leave_out_scores(objective, a, truth, names, threshold=t, groups=groups)]
            for a, (_, t) in zip(answers, found, strict=True)
        )
        differences.append(found[0][0] - found[1][0])
        variances.append(paired_standard_error(one, other) ** 2)
    return np.sqrt(np.mean(variances)) / np.std(differences)


@pytest.mark.parametrize("objective", [EVERY[0], Objective("auroc")], ids=label)
@pytest.mark.parametrize("each", [1, 4])
def test_it_is_as_large_as_differences_of_search_scores_spread(objective, each):
    # 200 draws: their own standard deviation is known to 5 %.
    assert 0.85 < spread_found(objective, patients=100, each=each, repeats=200) < 1.25


@pytest.mark.slow
@pytest.mark.parametrize("objective", EVERY, ids=label)
@pytest.mark.parametrize(("patients", "each"), [(100, 1), (500, 1), (100, 4)])
def test_it_is_as_large_as_differences_spread_by_all_objectives(objective, patients, each):
    ratio = spread_found(objective, patients=patients, each=each, repeats=400)
    # A threshold that is found anew jumps from image to image: its spread is overstated; where a
    # miss costs much and images are few, it follows a handful of them: understated.
    few = objective.name == "cost" and patients == 100 and each == 1
    assert (0.85 if few else 0.9) < ratio < (1.7 if objective.at else 1.22)


def test_with_few_patients_of_a_class_it_is_overstated_and_not_understated():
    found = []
    for seed in range(300):
        generator = np.random.default_rng(seed)
        truth = np.array([1] * 5 + [0] * 100)
        one, other = (
            leave_out_scores(Objective("balanced_accuracy"), two_columns(generator.random(105)),
                             truth, None, threshold=0.5)
            for _ in range(2)
        )  # fmt: skip
        found.append(paired_standard_error([one], [other]) ** 2)
    exact = 2 * (0.25 / 5 + 0.25 / 100) / 4
    assert 1.0 < np.mean(found) / (FEW / 5) / exact < 1.4
