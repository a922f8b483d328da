"""The small tree is scikit-learn's, and the order of rows says nothing to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfer.data.small_tree import DEPTH, LEAF_ROWS, LEAF_SHARE, fit_tree


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_tree_is_scikit_learns(classes, seed):
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 400)
    values = rng.normal(size=(400, 6)) + 0.7 * labels[:, None] * np.arange(6) / 6
    values[:, 2] = values[:, 2].round()
    leaf = max(LEAF_ROWS, round(LEAF_SHARE * 400))
    oracle = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=leaf).fit(values, labels)
    tree = fit_tree(values, labels, classes=classes)
    # Of cuts that are equally good scikit-learn takes any, in the last nodes often another one.
    assert (tree.column[0], tree.cut[0]) == (
        oracle.tree_.feature[0],
        pytest.approx(oracle.tree_.threshold[0]),
    )
    purity = [(p**2).sum() for p in (tree.probabilities(values), oracle.predict_proba(values))]
    assert purity[0] == pytest.approx(purity[1])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 1)), min_size=1),
    st.randoms(use_true_random=False),
)
def test_the_order_of_rows_says_nothing_and_leaves_are_not_small(rows, random):
    mixed = random.sample(rows, len(rows))
    table, other = np.array(rows), np.array(mixed)
    tree = fit_tree(table[:, :2].astype(float), table[:, 2], classes=2)
    again = fit_tree(other[:, :2].astype(float), other[:, 2], classes=2)
    for name, value in vars(tree).items():
        np.testing.assert_array_equal(value, getattr(again, name))
    ends = np.bincount(tree.leaves(table[:, :2].astype(float)))
    assert len(tree.column) == 1 or ends[ends > 0].min() >= LEAF_ROWS


def test_of_columns_that_say_the_same_the_first_is_asked():
    values = np.arange(40.0)
    tree = fit_tree(
        np.stack([values, -values, 2 * values], axis=1), np.repeat([0, 1], 20), classes=2
    )
    assert tree.importance.tolist() == [1, 0, 0]
    assert len(tree.column) == 3


def test_a_cut_between_two_neighbouring_numbers_parts_them():
    low = 0.1
    high = np.nextafter(low, 1)
    values, labels = np.repeat([low, high], 20)[:, None], np.repeat([0, 1], 20)
    tree = fit_tree(values, labels, classes=2)
    np.testing.assert_array_equal(tree.probabilities(values)[:, 1], labels)
