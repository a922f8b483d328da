"""A chosen score is corrected for the choice, and the choice follows rules made beforehand."""

from dataclasses import replace
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import norm

from xfer.errors import DataError
from xfer.evaluate.bags import bag_scores, dealt, kinds_of, strata
from xfer.evaluate.correction import corrected
from xfer.evaluate.objectives import best_threshold, search_score
from xfer.evaluate.selection import choose, probability_best
from xfer.recipe import Objective

OBJECTIVES = (
    Objective("recall_weighted", recall_weight=0.75),
    Objective("balanced_accuracy"),
    Objective("fbeta"),
    Objective("mcc"),
    Objective("auroc"),
    Objective("average_precision"),
)
SKILL = 2.33
"""Deviations between the means of the two classes: an AUROC of .950."""


def labels_of(positives, negatives):
    return np.repeat([1, 0], [positives, negatives])


def answers_of(rng, labels, trials, *, skills=SKILL, alike=0.0):
    """Normal scores within each class, as probabilities; trials share `alike` of the variance."""
    shared, own = rng.normal(size=len(labels)), rng.normal(size=(trials, len(labels)))
    scores = np.reshape(skills, (-1, 1)) * (labels - 0.5)
    return 1 / (1 + np.exp(-(scores + sqrt(alike) * shared + sqrt(1 - alike) * own)))


def true_score(objective, skill, threshold):
    if objective.name == "auroc":
        return norm.cdf(skill / sqrt(2))
    at = log(threshold / (1 - threshold))
    weight = {"recall_weighted": objective.recall_weight, "balanced_accuracy": 0.5}[objective.name]
    recall, specificity = norm.sf(at - skill / 2), norm.cdf(at + skill / 2)
    return weight * recall + (1 - weight) * specificity


def biases(objective, labels, *, trials, searches, seed, spread=0.0, alike=0.0, repeats=8):
    """Bias of the chosen and the corrected score, in standard errors of one fixed model's score."""
    rng = np.random.default_rng(seed)
    errors, single = [], []
    for _ in range(searches):
        skills = SKILL + spread * rng.normal(size=trials)
        answers = answers_of(rng, labels, trials, skills=skills, alike=alike)
        result = corrected(answers, labels, None, objective, seed=0, repeats=repeats)
        best = [best_threshold(objective, scores, labels) for scores in answers]
        winner = int(np.argmax([score for score, _ in best]))
        true = true_score(objective, skills[winner], best[winner][1])
        errors.append((result.naive - true, result.corrected - true))
        one = answers_of(rng, labels, 1)
        if objective.name == "auroc":
            single.append(search_score(objective, np.stack([1 - one[0], one[0]], 1), labels)[0])
        else:
            called = one[0] >= 0.5
            weight = objective.recall_weight if objective.name == "recall_weighted" else 0.5
            recall, specificity = called[labels == 1].mean(), 1 - called[labels == 0].mean()
            single.append(weight * recall + (1 - weight) * specificity)
    return np.mean(errors, axis=0) / np.std(single)


@st.composite
def bagged(draw):
    images = draw(st.integers(4, 12))
    score = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))
    values = draw(hnp.arrays(np.float64, (2, images), elements=score))
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=images - 2))][:images])
    weights = draw(hnp.arrays(np.int64, (3, images), elements=st.integers(0, 2)))
    weights[:, :2] = np.maximum(weights[:, :2], 1)
    return values, labels, weights[:, : len(labels)]


RARELY_POSITIVE = Objective("recall_weighted", recall_weight=0.25)  # "never" may be the best answer


@pytest.mark.parametrize("objective", [*OBJECTIVES, RARELY_POSITIVE], ids=str)
@settings(max_examples=40)
@given(bagged())
def test_a_bags_score_is_the_search_score_of_its_images(objective, case):
    values, labels, weights = case
    values = values[:, : len(labels)]
    got = bag_scores(objective, values, labels, weights)
    for bag, weight in enumerate(weights):
        rows = np.repeat(np.arange(len(labels)), weight)
        for trial, scores in enumerate(values):
            both = np.stack([1 - scores, scores], axis=1)[rows]
            assert got[bag, trial] == pytest.approx(
                search_score(objective, both, labels[rows])[0], abs=1e-12
            )


def test_the_highest_score_of_a_bag_decides_whether_none_can_be_positive():
    values, labels = np.array([[1, 0.9, 0.1]]), np.array([0, 0, 1])
    got = bag_scores(RARELY_POSITIVE, values, labels, np.array([[0, 1, 1], [1, 1, 1]]))
    assert got[:, 0].tolist() == [0.75, 0.375]


WORST = Objective("recall_weighted", recall_weight=0.75, over="worst_subgroup")


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_a_bags_worst_subgroup_is_that_of_its_images(objective):
    objective = replace(objective, over="worst_subgroup")
    rng = np.random.default_rng(0)
    labels = labels_of(20, 30)
    named = np.array(["virus", "bacteria", None, None, "bacteria"] * 10, dtype=object)
    values, weights = answers_of(rng, labels, 3).round(1), rng.integers(0, 3, (8, 50))
    got = bag_scores(objective, values, labels, weights, subgroups=named)
    for bag, weight in enumerate(weights):
        rows = np.repeat(np.arange(50), weight)
        for trial, scores in enumerate(values):
            both = np.stack([1 - scores, scores], axis=1)[rows]
            score, _ = search_score(objective, both, labels[rows], subgroups=named[rows].tolist())
            assert got[bag, trial] == pytest.approx(score, abs=1e-12)


def test_the_positives_of_each_subgroup_are_a_kind_where_they_count():
    labels, named = np.array([0, 1, 1, 0, 1, 1]), ["a", "a", "b", None, None, "a"]
    kinds = kinds_of(WORST, labels, named)
    assert (kinds[labels == 0] == 0).all()
    assert kinds[1] == kinds[5]
    assert sorted({int(kind) for kind in kinds}) == [0, 1, 2, 3]
    assert kinds_of(Objective("auroc"), labels, named).tolist() == labels.tolist()


def test_the_worst_subgroups_score_is_corrected_downwards_and_told_with_more_doubt():
    rng = np.random.default_rng(3)
    labels = labels_of(60, 60)
    named = ["rare" if i % 6 == 0 else "common" for i in range(120)]
    answers = answers_of(rng, labels, 30, skills=0.0)  # all guess: what is above 3/4 was luck
    found = corrected(answers, labels, None, WORST, seed=0, repeats=8, subgroups=named)
    assert found.naive > found.corrected
    whole = corrected(answers, labels, None, replace(WORST, over="macro"), seed=0, repeats=8)
    assert found.high - found.low > whole.high - whole.low
    shuffled = rng.permutation(120)
    again = corrected(
        answers[:, shuffled], labels[shuffled], shuffled, WORST, seed=0, repeats=8,
        subgroups=[named[i] for i in shuffled],
    )  # fmt: skip
    assert again.naive == pytest.approx(found.naive)
    one = ["rare" if i == 0 else "common" for i in range(120)]
    with pytest.raises(DataError, match="two patients of each class, and of each subgroup"):
        corrected(answers, labels, None, WORST, seed=0, subgroups=one)


def test_who_fails_one_subgroup_is_never_the_best_by_the_worst():
    labels = labels_of(40, 40)
    named = ["rare" if i < 8 else "common" for i in range(80)]
    fails = np.where(labels == 1, 0.9, 0.2)
    fails[:8] = 0.1  # every rare one is missed, and nobody else
    some = np.where(labels == 1, 0.9, 0.2)
    some[[0, *range(8, 17)]] = 0.1  # more are missed, of both
    whole = Objective("balanced_accuracy")
    worst = replace(whole, over="worst_subgroup")
    best = probability_best([fails, some], labels, None, worst, seed=0, draws=200, subgroups=named)
    assert best.tolist() == [0.0, 1.0]
    assert probability_best([fails, some], labels, None, whole, seed=0, draws=200)[0] > 0.5


def test_patients_of_each_class_are_dealt_evenly():
    patients = ["a", "a", "b", "c", "d", "e", "e", "f", "g", "h", "i"]
    labels = np.array([1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    owner, class_of = strata(patients, labels)
    assert class_of.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]  # who has a rare image is rare
    part = dealt(class_of, 3, np.random.default_rng(0))
    assert part[owner].shape == (11,)
    assert sorted(part[class_of == 1]) == [0, 1, 2]
    assert sorted(part[class_of == 0]) == [0, 0, 1, 1, 2, 2]


def test_one_trial_that_needs_no_threshold_has_nothing_to_correct():
    labels = labels_of(50, 50)
    answers = answers_of(np.random.default_rng(0), labels, 1)
    result = corrected(answers, labels, None, Objective("auroc"), seed=0)
    assert result.corrected == pytest.approx(result.naive, abs=1e-3)
    assert result.low < result.corrected < result.high
    assert {type(value) for value in vars(result).values()} == {float}  # plain ones, for JSON
    assert result.optimism == result.naive - result.corrected


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
def test_copies_and_the_order_of_trials_and_images_change_nothing(objective):
    rng = np.random.default_rng(1)
    labels = labels_of(20, 25)
    patients = np.repeat(np.arange(15), 3)
    answers = np.round(answers_of(rng, labels, 6), 1)
    answers[1] = answers[0]
    answers[1, [0, 3, 44]] = answers[0, [3, 0, 41]]  # as good as another, and not the same
    answers[1, 41] = answers[0, 44]
    result = corrected(answers, labels, patients, objective, seed=3, repeats=4)
    images, trials = rng.permutation(45), rng.permutation(6)
    tied = [0, *[1] * 9, 2, 3, 4, 5]  # of two equal ones, neither counts more for its copies
    for other in (
        corrected(answers[tied], labels, patients, objective, seed=3, repeats=4),
        corrected(answers[trials], labels, patients, objective, seed=3, repeats=4),
        corrected(
            answers[:, images], labels[images], patients[images], objective, seed=3, repeats=4
        ),
    ):
        assert np.allclose(list(vars(other).values()), list(vars(result).values()), atol=1e-12)


def test_two_columns_are_the_positive_class_alone_and_several_classes_are_corrected_too():
    rng = np.random.default_rng(2)
    labels = labels_of(10, 12)
    answers = answers_of(rng, labels, 4)
    objective = Objective("balanced_accuracy")
    both = np.stack([1 - answers, answers], axis=2)
    assert corrected(both, labels, None, objective, seed=0, repeats=2) == corrected(
        answers, labels, None, objective, seed=0, repeats=2
    )
    classes = np.repeat([0, 1, 2], 10)
    drawn = rng.dirichlet(np.ones(3), size=(20, 30))
    result = corrected(drawn, classes, None, objective, seed=0, repeats=10)
    assert result.naive > 0.45  # the luckiest of twenty that guess
    assert abs(result.corrected - 1 / 3) < 0.12
    assert result.low < 1 / 3 < result.high


def test_a_winner_without_a_mistake_has_an_interval():
    labels = labels_of(20, 20)
    result = corrected([0.2 + 0.6 * labels], labels, None, Objective("balanced_accuracy"), seed=0)
    assert (result.naive, result.corrected, result.high) == (1.0, 1.0, 1.0)
    assert result.low == pytest.approx(40 / (40 + 1.96**2), abs=1e-4)  # Wilson's of 40 of 40


def test_a_score_that_few_patients_decide_has_a_wide_interval():
    labels = labels_of(20, 200)
    answers = answers_of(np.random.default_rng(6), labels, 1)
    recall, both = (
        corrected(answers, labels, None, Objective("recall_weighted", recall_weight=w), seed=0)
        for w in (0.95, 0.5)
    )
    assert recall.high - recall.low > 1.3 * (both.high - both.low)


def test_images_of_few_patients_say_less_than_as_many_of_different_ones():
    rng = np.random.default_rng(4)
    by_patient = labels_of(20, 20)
    answers = np.repeat(answers_of(rng, by_patient, 1), 10, axis=1)
    labels, patients = np.repeat(by_patient, 10), np.repeat(np.arange(40), 10)
    objective = Objective("auroc")
    known = corrected(answers, labels, patients, objective, seed=0)
    blind = corrected(answers, labels, None, objective, seed=0)
    assert known.high - known.low > 2 * (blind.high - blind.low)


def test_luck_is_taken_off():
    """Thirty trials of equal skill: without the correction the best is above one error too high."""
    naive, rest = biases(
        Objective("auroc"), labels_of(40, 40), trials=30, searches=40, seed=0, repeats=2
    )
    assert naive > 1.0
    assert abs(rest) <= 0.35


@pytest.mark.slow
@pytest.mark.parametrize("objective", [OBJECTIVES[0], OBJECTIVES[1], OBJECTIVES[4]], ids=str)
@pytest.mark.parametrize(("trials", "alike"), [(10, 0.0), (60, 0.0), (60, 0.7)])
def test_the_corrected_score_is_within_a_third_of_a_standard_error(objective, trials, alike):
    naive, rest = biases(
        objective, labels_of(50, 50), trials=trials, searches=100, seed=1, alike=alike, repeats=3
    )
    assert naive > 1.0
    assert abs(rest) <= 0.35


def test_the_probability_of_being_best_is_shared_and_follows_skill():
    rng = np.random.default_rng(5)
    labels = labels_of(60, 60)
    strong, weak = answers_of(rng, labels, 1, skills=3.0), answers_of(rng, labels, 1, skills=1.0)
    objective = Objective("auroc")
    alone = probability_best(np.concatenate([strong, weak]), labels, None, objective, seed=0)
    assert alone.sum() == pytest.approx(1.0)
    assert alone[0] > 0.99
    shared = probability_best(
        np.concatenate([strong, weak, strong]), labels, None, objective, seed=0
    )
    assert shared == pytest.approx([alone[0] / 2, alone[1], alone[0] / 2])
    again = probability_best(np.concatenate([strong, weak]), labels, None, objective, seed=0)
    assert (again == alone).all()


def test_patients_are_drawn_and_not_images():
    """One patient decides between two finalists: in (1 - 1/n) ** n of the draws it is not there."""
    labels = np.array([1, 1, 1, 1, 1, 0, 0, 0])
    patients = ["a", "a", "b", "c", "d", "e", "f", "g"]
    perfect, misses = np.where(labels, 0.9, 0.1), np.array([0.05, 0.05, *[0.9] * 3, *[0.1] * 3])
    got = probability_best([perfect, misses], labels, patients, Objective("auroc"), seed=0)
    absent = (3 / 4) ** 4
    assert got[1] == pytest.approx(absent / 2, abs=0.03)


@pytest.mark.parametrize(
    ("means", "simplicity", "winner"),
    [
        ([0.90, 0.93, 0.92], [3, 2, 1], 1),  # simpler, and too much worse
        ([0.90, 0.930, 0.926], [3, 2, 1], 2),  # simpler, and near
        ([0.90, 0.930, 0.925], [3, 2, 1], 2),  # exactly the margin
        ([0.928, 0.930], [9, 2], 1),  # near and not simpler
        ([0.928, 0.930], [2, 2], 1),  # equally simple: the better
        ([0.930, 0.930], [2, 2], 0),  # equal: the first
        ([0.926, 0.928, 0.930], [1, 1, 5], 1),
    ],
)
def test_a_simpler_one_wins_only_inside_the_margin(means, simplicity, winner):
    assert choose(means, simplicity, margin=0.005) == winner


ONE_PATIENT = ([[0.1, 0.2, 0.9, 0.8]], [0, 0, 1, 1], ["a", "b", "c", "c"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: corrected(*ONE_PATIENT, OBJECTIVES[0], seed=0), "two patients of each class"),
        (lambda: corrected([0.1], [0], None, OBJECTIVES[0], seed=0), "got (1,)"),
        (lambda: corrected([[0.1, 2]], [0, 1], None, OBJECTIVES[0], seed=0), "in [0, 1]"),
        (
            lambda: corrected([[0.1, 0.2]], [0, 1], ["a"], OBJECTIVES[0], seed=0),
            "patients (1,) and labels (2,) must be of the same images",
        ),
        (lambda: choose([], []), "each finalist needs a mean and a simplicity, got 0 and 0"),
        (lambda: choose([0.5], [1, 2]), "got 1 and 2"),
        (lambda: choose([float("nan")], [1]), "must be numbers"),
        (lambda: choose([0.5], [1], margin=-0.1), "the margin 0 or more"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(call, said):
    with pytest.raises(DataError) as caught:
        call()
    assert said in str(caught.value)
