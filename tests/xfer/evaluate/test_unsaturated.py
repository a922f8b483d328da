"""Answers of a very sure model are ranked as its logits are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from xfer.evaluate.answers import LARGEST, unsaturated

SURE = st.lists(st.floats(-5000, 5000).map(lambda x: round(x, 1)), min_size=2, max_size=60)


@given(SURE)
def test_two_classes_keep_their_order_and_no_ties_are_made(odds):
    logits = np.stack([np.zeros(len(odds)), np.array(odds)], axis=1)
    scores = unsaturated(logits)[:, 1]
    for i in range(len(odds)):
        for j in range(len(odds)):
            assert (odds[i] > odds[j]) == (scores[i] > scores[j])
    assert ((scores > 0) & (scores < 1)).all()


def test_probabilities_that_are_not_sure_stay_as_they_are():
    logits = np.random.default_rng(0).normal(0, 2, (50, 3))
    assert np.ptp(logits, axis=1).max() < LARGEST
    np.testing.assert_array_equal(unsaturated(logits), softmax(logits, axis=1))


def test_the_most_probable_of_several_classes_stays_so():
    logits = np.random.default_rng(0).normal(0, 300, (200, 5))
    scaled = unsaturated(logits)
    np.testing.assert_array_equal(scaled.argmax(axis=1), logits.argmax(axis=1))
    assert scaled.sum(axis=1) == pytest.approx(1)


def test_equal_logits_and_no_images_are_no_special_case():
    assert unsaturated(np.zeros((3, 2))).tolist() == [[0.5, 0.5]] * 3
    assert unsaturated(np.zeros((0, 2))).shape == (0, 2)
