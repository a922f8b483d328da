"""Intervals equal SciPy's, and the sizes they ask for equal the published ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, f_oneway

from xfer.errors import DataError
from xfer.evaluate.intervals import (
    effective_number,
    intraclass_correlation,
    lower_bound,
    lower_bound_by_patient,
    proportion_by_patient,
    trials_needed,
    wilson,
    wilson_by_patient,
)


@st.composite
def proportions(draw):
    trials = draw(st.integers(1, 400))
    return draw(st.integers(0, trials)), trials


@st.composite
def patients_with_images(draw):
    """Successes and images of each patient, at least two of them."""
    images = draw(st.lists(st.integers(1, 7), min_size=2, max_size=20))
    return np.array([draw(st.integers(0, n)) for n in images]), np.array(images)


def image_by_image(found, images):
    """The same as one answer per image, and whose it is."""
    successes = [np.arange(n) < hits for hits, n in zip(found, images, strict=True)]
    return np.concatenate(successes), np.repeat(np.arange(len(images)), images)


# R. G. Newcombe, Statistics in Medicine 17, 1998, table I: methods 3 (score) and 5 (exact).
PUBLISHED = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("successes", "trials", "score", "exact"), PUBLISHED)
def test_published_intervals(successes, trials, score, exact):
    assert wilson(successes, trials) == pytest.approx(score, abs=5e-5)
    lower = lower_bound(successes, trials, confidence=0.975)
    upper = 1 - lower_bound(trials - successes, trials, confidence=0.975)
    assert (lower, upper) == pytest.approx(exact, abs=5e-5)


@given(proportions(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_equals_scipys(case, confidence):
    oracle = binomtest(*case).proportion_ci(confidence, method="wilson")
    assert wilson(*case, confidence=confidence) == pytest.approx((oracle.low, oracle.high))


@given(proportions(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_lower_bound_equals_scipys_exact_one(case, confidence):
    oracle = binomtest(*case, alternative="greater").proportion_ci(confidence, method="exact")
    assert lower_bound(*case, confidence=confidence) == pytest.approx(oracle.low, abs=1e-12)


@given(proportions())
def test_a_proportion_lies_between_its_bounds(case):
    low, high = wilson(*case)
    share = case[0] / case[1]
    assert 0.0 <= low <= share <= high <= 1.0
    assert 0.0 <= lower_bound(*case) <= share


def test_zero_trials_know_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    assert lower_bound(0, 0) == 0.0


@pytest.mark.parametrize(("recall", "positives"), [(0.95, 59), (0.98, 149), (0.99, 299)])
def test_published_numbers_of_positives_without_a_miss(recall, positives):
    assert trials_needed(recall) == positives
    assert lower_bound(positives, positives) >= recall
    assert lower_bound(positives - 1, positives - 1) < recall


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: wilson(3, 2), "successes must be in [0, trials], got 3 of 2"),
        (lambda: lower_bound(-1, 2), "successes must be in [0, trials], got -1 of 2"),
        (lambda: lower_bound(1, 2, confidence=1.0), "confidence must be in (0, 1), got 1.0"),
        (lambda: trials_needed(1.0), "proportion must be in (0, 1), got 1.0"),
    ],
)
def test_impossible_counts_are_refused(call, said):
    with pytest.raises(DataError) as caught:
        call()
    assert said in str(caught.value)


@given(proportions(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_one_image_per_patient_has_the_plain_intervals_exactly(case, confidence):
    hits, trials = case
    successes = np.arange(trials) < hits
    patients = [f"patient {i}" for i in range(trials)]
    found = proportion_by_patient(successes, patients, confidence=confidence)
    assert (found.low, found.high) == wilson(hits, trials, confidence=confidence)
    assert (found.images, found.patients, found.effective) == (trials, trials, trials)
    bound = lower_bound_by_patient(successes, patients, confidence=confidence)
    assert bound == lower_bound(hits, trials, confidence=confidence)


@given(patients_with_images())
def test_the_correlation_is_that_of_the_analysis_of_variance(case):
    found, images = case
    total, hits = images.sum(), found.sum()
    if hits in (0, total) or (images == 1).all() or ((found == 0) | (found == images)).all():
        assert intraclass_correlation(found, images) == 1.0
        return
    successes, patients = image_by_image(found, images)
    f = f_oneway(*(successes[patients == p].astype(float) for p in range(len(images)))).statistic
    size = (total - (images**2).sum() / total) / (len(images) - 1)
    expected = np.clip((f - 1) / (f - 1 + size), 0, 1)
    assert intraclass_correlation(found, images) == pytest.approx(expected, abs=1e-9)


@given(patients_with_images())
def test_a_patient_who_counts_twice_is_two_such_patients(case):
    found, images = case
    weights = np.ones(len(images))
    weights[0] = 2
    twice = np.append(found, found[0]), np.append(images, images[0])
    assert intraclass_correlation(found, images, weights=weights) == pytest.approx(
        intraclass_correlation(*twice)
    )


@given(patients_with_images())
def test_the_effective_number_lies_between_that_of_patients_and_that_of_images(case):
    found, images = case
    total = images.sum()
    least = total**2 / (images**2).sum()
    number = effective_number(found, images)
    assert least - 1e-9 <= number <= total + 1e-9
    low, high, _ = wilson_by_patient(found, images)
    plain = wilson(int(found.sum()), int(total))
    assert 0.0 <= low <= plain[0] + 1e-9
    assert plain[1] - 1e-9 <= high <= 1.0
    successes, patients = image_by_image(found, images)
    bound = lower_bound_by_patient(successes, patients)
    assert 0.0 <= bound <= found.sum() / total
    assert bound <= lower_bound(int(found.sum()), int(total)) + 1e-9


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20))
def test_without_misses_images_of_one_patient_tell_no_more_than_one(images):
    sizes = np.array(images)
    number = effective_number(sizes, sizes)
    assert number == pytest.approx(sizes.sum() ** 2 / (sizes**2).sum())
    assert number <= len(sizes) + 1e-9
    same_size = effective_number(np.full(len(images), 3), np.full(len(images), 3))
    assert same_size == pytest.approx(len(images))


def test_misses_of_one_patient_tell_less_than_misses_of_several():
    images = np.full(30, 4)
    together, apart = np.full(30, 4), np.full(30, 4)
    together[0] -= 4
    apart[:4] -= 1
    of_one, of_four = (wilson_by_patient(found, images) for found in (together, apart))
    assert of_one[2] == pytest.approx(30)
    assert of_four[2] > 60
    assert of_one[0] < of_four[0]


@given(patients_with_images(), st.randoms(use_true_random=False))
def test_neither_the_order_of_images_nor_the_names_of_patients_matter(case, random):
    successes, patients = image_by_image(*case)
    order = np.array(random.sample(range(len(successes)), len(successes)))
    shuffled = proportion_by_patient(successes[order], [f"p{p}" for p in patients[order]])
    there = proportion_by_patient(successes, patients)
    assert shuffled.effective == pytest.approx(there.effective)
    assert (shuffled.low, shuffled.high) == pytest.approx((there.low, there.high))
    assert (shuffled.images, shuffled.patients) == (len(successes), len(case[1]))


def test_no_images_and_a_single_patient_are_answered():
    nothing = proportion_by_patient(np.array([], bool), [])
    assert (nothing.value, nothing.low, nothing.high, nothing.effective) == (0.0, 0.0, 1.0, 0.0)
    alone = proportion_by_patient([True, False, True], ["a", "a", "a"])
    assert alone.effective == pytest.approx(1)
    assert lower_bound_by_patient(np.array([], bool), []) == 0.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: proportion_by_patient([True], ["a", "b"]), "(1,) and patients (2,) must be of"),
        (lambda: proportion_by_patient([1, 0], ["a", "b"]), "successes must be bool, got int64"),
        (lambda: lower_bound_by_patient([True], ["a"], confidence=0.0), "in (0, 1), got 0.0"),
        (lambda: wilson_by_patient([2], [1]), "no patient can have fewer than 0 successes"),
    ],
)
def test_impossible_answers_of_patients_are_refused(call, said):
    with pytest.raises(DataError) as caught:
        call()
    assert said in str(caught.value)
