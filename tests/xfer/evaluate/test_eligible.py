"""What looks at no image is never taken for a model, and what is a model is."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from answer_cases import ANY, EVERY, answers, class_answers, two_columns
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from xfer.errors import DataError
from xfer.evaluate.cuts import make_cuts
from xfer.evaluate.eligible import LUCK, eligible, lower_score, luck, skill
from xfer.evaluate.objectives import best_constant, score_at, search_score
from xfer.evaluate.redraws import dealt_out, make_case
from xfer.evaluate.weighted import RANKED, REACHED, by_cut, over_classes, without_threshold
from xfer.recipe import Objective

every = pytest.mark.parametrize("objective", EVERY, ids=lambda each: each.name)
LABELS = np.repeat([0, 1], [35, 25])


def blind(labels):
    """Answers (images,) by name that tell nothing of the labels, or next to nothing."""
    generator, images = np.random.default_rng(0), len(labels)
    one = np.full(images, 0.5)
    one[-1] = 0.9  # the one image that is called otherwise happens to be positive
    some = np.full(images, 0.9)
    some[:2] = 0.1
    return {
        "all sick": np.ones(images),
        "all well": np.zeros(images),
        "the prevalence": np.full(images, labels.mean()),
        "noise that float32 does not hold": 0.5 + 1e-9 * generator.standard_normal(images),
        "the same about the prevalence": labels.mean() + 1e-9 * generator.standard_normal(images),
        "one image differs": one,
        "two images differ": some,
        "saturated": generator.integers(0, 2, images).astype(float),
    }


@every
@pytest.mark.parametrize("kind", blind(LABELS))
def test_an_answer_that_is_blind_or_nearly_so_is_never_eligible(objective, kind):
    scores = blind(LABELS)[kind]
    for seed in range(3):
        assert not eligible(objective, two_columns(scores), LABELS, seed=seed, draws=200)


@every
def test_noise_that_float32_does_not_hold_is_never_eligible_whatever_the_noise(objective):
    generator = np.random.default_rng(1)
    for _ in range(50):
        scores = LABELS.mean() + 1e-9 * generator.standard_normal(len(LABELS))
        assert not eligible(objective, two_columns(scores), LABELS, seed=0, draws=100)


def case_of(objective, probabilities, labels, patients=None, *, draws=500):
    return make_case(objective, probabilities, labels, patients, draws=draws, subgroups=None)


@every
def test_random_scores_are_eligible_about_as_often_as_luck_allows(objective):
    generator = np.random.default_rng(2)
    found = sum(
        eligible(objective, two_columns(generator.random(len(LABELS))), LABELS, seed=i, draws=200)
        for i in range(50)
    )
    assert found <= binom.isf(1e-4, 50, LUCK)


@pytest.mark.slow
@every
@pytest.mark.parametrize("images", [20, 100, 500])
def test_of_a_thousand_random_trials_one_in_a_hundred_passes_at_most(objective, images):
    generator = np.random.default_rng(3)
    labels = np.repeat([0, 1], [round(0.7 * images), round(0.3 * images)])
    found = sum(
        eligible(objective, two_columns(generator.random(images)), labels, seed=i, draws=200)
        for i in range(1000)
    )
    assert found <= binom.isf(1e-4, 1000, LUCK)


@every
def test_a_model_that_sees_something_is_eligible_and_its_skill_is_above_none(objective):
    generator = np.random.default_rng(4)
    logits = 2.2 * LABELS - 1.1 + generator.standard_normal(len(LABELS))
    probabilities = two_columns(1 / (1 + np.exp(-3 * logits)))
    assert eligible(objective, probabilities, LABELS, seed=0)
    low = lower_score(case_of(objective, probabilities, LABELS), seed=0)
    score, _ = search_score(objective, probabilities, LABELS)
    assert best_constant(objective, LABELS, classes=2) < low < score
    assert 0.2 < skill(objective, probabilities, LABELS) < 1.0
    assert luck(case_of(objective, probabilities, LABELS), seed=0) == 1 / 501


@every
@pytest.mark.parametrize("over", ["macro", "worst"])
def test_several_classes_are_judged_likewise(objective, over):
    objective = replace(objective, over=over)
    generator = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], [15, 20, 25])
    seen = np.eye(3)[labels] * 8 + generator.standard_normal((60, 3))
    seen = np.exp(seen) / np.exp(seen).sum(axis=1, keepdims=True)
    assert eligible(objective, seen, labels, seed=0, draws=100)
    assert skill(objective, seen, labels) > 0.5
    for answer in (np.eye(3)[2], np.bincount(labels) / 60):
        constant = np.tile(answer, (60, 1)) * (1 + 1e-9 * generator.random((60, 1)))
        assert not eligible(objective, constant.clip(0, 1), labels, seed=0, draws=100)


@every
def test_a_model_blind_to_one_subgroup_is_not_eligible_where_the_worst_counts(objective):
    generator = np.random.default_rng(6)
    labels = np.repeat([0, 1], [60, 60])
    subgroups = [None] * 60 + ["bacteria"] * 50 + ["virus"] * 10
    seen = labels * (np.array(subgroups) != "virus")  # a virus looks like nothing at all
    probabilities = two_columns(1 / (1 + np.exp(4 - 8 * seen - generator.standard_normal(120))))
    if objective.name in ("recall_weighted", "balanced_accuracy", "mcc", "auroc"):
        assert eligible(objective, probabilities, labels, seed=0)
    worst = replace(objective, over="worst_subgroup")
    assert not eligible(worst, probabilities, labels, seed=0, subgroups=subgroups)
    both = two_columns(1 / (1 + np.exp(4 - 8 * labels - generator.standard_normal(120))))
    assert eligible(worst, both, labels, seed=0, subgroups=subgroups)


@given(ANY, answers(), st.data())
def test_weights_count_images_as_often_as_they_say(objective, case, data):
    scores, labels = np.minimum(case[0], 0.99), case[1]  # so that none may be called positive
    times = st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels))
    weights = np.array([data.draw(times), data.draw(times)])
    weights[:, :2] += 1  # both classes stay
    rows = weights[:, None]  # (draws, strata, images)
    if objective.name in (*RANKED, *REACHED):
        found = without_threshold(objective, scores, labels == 1, rows, 2.0**-52)
    else:
        counts = make_cuts(scores, labels == 1, rows).with_none().counts
        found = by_cut(objective, counts).max(axis=-1)
    for each, score in zip(weights, found, strict=True):
        repeated, truth = np.repeat(scores, each), np.repeat(labels, each)
        expected, _ = search_score(objective, two_columns(repeated), truth)
        assert score == pytest.approx(expected, abs=1e-9)


@given(ANY, class_answers())
def test_weights_count_images_of_several_classes_too(objective, case):
    probabilities, labels = case
    times = 1 + np.arange(len(labels)) % 3
    found = over_classes(objective, probabilities, labels, times, 2.0**-52)
    repeated = np.repeat(probabilities, times, axis=0)
    expected, _ = search_score(objective, repeated, np.repeat(labels, times))
    assert float(found) == pytest.approx(expected, abs=1e-9)


def test_the_bound_of_balanced_accuracy_is_that_of_two_binomial_counts():
    labels = np.repeat([0, 1], [30, 20])
    calls = labels.copy()
    calls[:6], calls[-5:] = 1, 0  # specificity .8, recall .75
    kept, hit = np.meshgrid(np.arange(31), np.arange(21), indexing="ij")
    chance = binom.pmf(kept, 30, 0.8) * binom.pmf(hit, 20, 0.75)
    value = (kept / 30 + hit / 20) / 2
    order = np.argsort(value, axis=None)
    below = np.cumsum(chance.flat[order])
    exact = value.flat[order][np.searchsorted(below, 0.05)]
    case = case_of(Objective("balanced_accuracy"), two_columns(calls * 0.5), labels, draws=5_000)
    found = lower_score(case, seed=0)
    assert found == pytest.approx(exact, abs=1 / 60)


def test_luck_is_the_share_of_deals_that_reach_the_score():
    scores, labels = np.array([0.1, 0.4, 0.5, 0.6, 0.3, 0.8, 0.7]), np.array([0, 0, 0, 0, 1, 1, 1])
    for objective in (Objective("auroc"), Objective("fbeta"), Objective("log_loss")):
        score, _ = search_score(objective, two_columns(scores), labels)
        deals = [np.isin(np.arange(7), list(chosen)).astype(int)
                 for chosen in combinations(range(7), 3)]  # fmt: skip
        reach = [
            search_score(objective, two_columns(scores), deal)[0] >= score - 1e-6 for deal in deals
        ]
        found = luck(case_of(objective, two_columns(scores), labels, draws=5_000), seed=0)
        assert found == pytest.approx(np.mean(reach), abs=0.03)


@every
def test_images_of_one_patient_are_drawn_and_dealt_together(objective):
    generator = np.random.default_rng(7)
    labels = np.repeat([0, 1], [15, 10])
    scores = (labels + generator.random(25)) / 2
    thrice, truth = np.repeat(scores, 3), np.repeat(labels, 3)
    patients = [f"patient {i // 3}" for i in range(75)]
    alone = case_of(objective, two_columns(scores), labels, draws=100)
    by_patient = case_of(objective, two_columns(thrice), truth, patients, draws=100)
    for judge in (lower_score, luck):
        assert judge(by_patient, seed=3) == pytest.approx(judge(alone, seed=3), abs=1e-12)


def test_a_patient_of_both_classes_never_leaves_a_draw_with_one():
    scores, labels = np.linspace(0.1, 0.9, 12), np.array([0, 1] * 6)
    patients = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    for objective in EVERY:
        case = case_of(objective, two_columns(scores), labels, patients, draws=200)
        assert np.isfinite(lower_score(case, seed=0))
        assert 0 < luck(case, seed=0) <= 1


def test_a_patient_takes_anothers_labels_in_their_order_repeated_or_cut():
    labels, patients = np.array([0, 1] * 5), list("aabbccdddd")
    scores = np.array([0.2, 0.8] * 5)
    case = case_of(Objective("auroc"), two_columns(scores), labels, patients, draws=100)
    assert (dealt_out(case, np.random.default_rng(0)) == 1.0).all()


def test_nothing_is_eligible_where_always_positive_is_perfect():
    objective = Objective("recall_weighted", recall_weight=1.0)
    perfect = two_columns(LABELS.astype(float))
    assert skill(objective, perfect, LABELS) == 0.0
    assert not eligible(objective, perfect, LABELS, seed=0)


def test_too_few_patients_cannot_tell_skill_from_luck():
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert not eligible(Objective("auroc"), two_columns(labels / 2), labels, seed=0)


def test_the_same_seed_gives_the_same_bound_and_the_order_of_images_does_not_matter_to_skill():
    scores = np.random.default_rng(8).random(60)
    objective, probabilities = Objective("mcc"), two_columns(scores)
    case = case_of(objective, probabilities, LABELS)
    assert lower_score(case, seed=5) == lower_score(case, seed=5)
    shuffled = np.random.default_rng(9).permutation(60)
    assert skill(objective, probabilities[shuffled], LABELS[shuffled]) == pytest.approx(
        skill(objective, probabilities, LABELS)
    )
    _, threshold = search_score(objective, probabilities, LABELS)
    assert lower_score(case, seed=5) < score_at(objective, threshold, probabilities, LABELS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"draws": 99}, "draws must be at least 100, got 99"),
        ({"patients": ["a"]}, "patients must name one for each image, got 1 for 2 images"),
        ({"labels": [1, 1]}, "labels must hold at least two classes"),
        ({"probabilities": [[0.5, float("nan")]] * 2}, "got NaN 2 times"),
    ],
)
def test_what_cannot_be_judged_is_refused(given, said):
    case = {"probabilities": [[0.9, 0.1], [0.2, 0.8]], "labels": [0, 1], "seed": 0} | given
    with pytest.raises(DataError) as caught:
        eligible(Objective("mcc"), **case)
    assert said in str(caught.value)
