"""Precision and negative predictive value at another prevalence, with limits that hold."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from xfer.errors import DataError
from xfer.evaluate.predictive import Share, counted, npv_at, precision_at, predictive_values


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_at_their_own_prevalence_they_are_the_shares_that_were_counted(tp, fn, fp, tn):
    if not (tp + fn and fp + tn):
        return
    recall, specificity = counted(tp, tp + fn), counted(tn, fp + tn)
    own = (tp + fn) / (tp + fn + fp + tn)
    precision, npv = precision_at(recall, specificity, own), npv_at(recall, specificity, own)
    for share, hits, called in ((precision, tp, tp + fp), (npv, tn, tn + fn)):
        if called:
            assert share.value == pytest.approx(hits / called)
            assert 0 <= share.low <= share.value + 1e-12
            assert share.value <= share.high + 1e-12 <= 1 + 1e-12
        else:
            assert isnan(share.value)
            assert (share.low, share.high) == (0, 1)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0.01, 0.49))
def test_rarer_means_a_lower_precision_and_a_higher_npv(tp, tn, prevalence):
    recall, specificity = counted(tp, 21), counted(tn, 21)
    for method, sign in ((precision_at, 1), (npv_at, -1)):
        rare, frequent = (method(recall, specificity, p) for p in (prevalence, 2 * prevalence))
        for limit in ("value", "low", "high"):
            assert sign * (getattr(frequent, limit) - getattr(rare, limit)) >= 0


def test_the_published_example_of_mercaldo_lau_and_zhou():
    """ApoE e4 and Alzheimer's: 240 of 418 ill, 288 of 375 well, 3 % ill.

    Their logit interval: precision .0589 to .0856, NPV .9809 to .9851; by simulation (J. D. Stamey
    and M. M. Holt, 2010, table 9): .0591 to .0860 and .9810 to .9850.
    """
    recall, specificity = counted(240, 418), counted(288, 375)
    precision, npv = (method(recall, specificity, 0.03) for method in (precision_at, npv_at))
    assert precision.value == pytest.approx(0.0711, abs=5e-5)
    assert (precision.low, precision.high) == pytest.approx((0.0591, 0.0860), abs=5e-4)
    assert npv.value == pytest.approx(0.9831, abs=5e-5)
    assert (npv.low, npv.high) == pytest.approx((0.9810, 0.9850), abs=2e-4)


@pytest.mark.parametrize(("ill", "well"), [(50, 50), (20, 200), (100, 390)])
def test_limits_hold_the_truth_as_often_as_they_say(ill, well):
    """Exact: over all samples that can occur. On average .94 or more, and never below .91."""
    coverages = []
    for recall, specificity in ((0.9, 0.8), (0.95, 0.9), (0.99, 0.95), (0.98, 0.99)):
        truth = (
            0.1 * recall / (0.1 * recall + 0.9 * (1 - specificity)),
            0.9 * specificity / (0.9 * specificity + 0.1 * (1 - recall)),
        )
        found = binom.pmf(np.arange(ill + 1), ill, recall)
        cleared = binom.pmf(np.arange(well + 1), well, specificity)
        held = np.zeros(2)
        for tp in np.flatnonzero(found > 1e-5):
            for tn in np.flatnonzero(cleared > 1e-5):
                shares = counted(int(tp), ill), counted(int(tn), well)
                for i, method in enumerate((precision_at, npv_at)):
                    share = method(*shares, 0.1)
                    held[i] += found[tp] * cleared[tn] * (share.low <= truth[i] <= share.high)
        coverages += held.tolist()
    assert np.mean(coverages) >= 0.94
    assert min(coverages) >= 0.91


def test_no_errors_at_all_leave_room_for_some():
    precision = precision_at(counted(50, 50), counted(50, 50), 0.01)
    assert (precision.value, precision.high) == (1.0, 1.0)
    assert 0.05 < precision.low < 0.2
    assert npv_at(counted(0, 50), counted(50, 50), 0.5).value == pytest.approx(0.5)


@pytest.mark.parametrize(("recall", "specificity"), [((0, 0), (5, 9)), ((5, 9), (0, 0))])
def test_a_class_without_images_leaves_nothing_known(recall, specificity):
    for share in (
        method(counted(*recall), counted(*specificity), 0.1) for method in (precision_at, npv_at)
    ):
        assert isnan(share.value)
        assert (share.low, share.high) == (0, 1)


def test_both_are_told_at_10_and_1_percent():
    values = predictive_values(counted(49, 50), counted(46, 50))
    assert list(values) == ["precision_at_0.1", "npv_at_0.1", "precision_at_0.01", "npv_at_0.01"]
    assert set(values["npv_at_0.01"]) == {"value", "low", "high"}


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, float("nan")])
def test_a_prevalence_is_inside_0_and_1(prevalence):
    for method in (precision_at, npv_at):
        with pytest.raises(DataError, match=r"inside \(0, 1\)"):
            method(counted(1, 2), counted(1, 2), prevalence)


def test_limits_out_of_order_are_refused():
    with pytest.raises(DataError, match="in order"):
        precision_at(Share(value=0.5, low=0.6, high=0.4), counted(1, 2), 0.1)
