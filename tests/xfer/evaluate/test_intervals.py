"""Intervals equal SciPy's, and the sizes they ask for equal the published ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from xfer.errors import DataError
from xfer.evaluate.intervals import lower_bound, trials_needed, wilson


@st.composite
def proportions(draw):
    trials = draw(st.integers(1, 400))
    return draw(st.integers(0, trials)), trials


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
