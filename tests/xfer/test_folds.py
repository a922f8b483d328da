"""Folds: nobody is on two sides, classes hold, and all trials have the same ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfer.data.folds import cut_folds
from xfer.errors import DataError


@st.composite
def images(draw):
    """Patients of one to four images, each of one class, but for one or none of both."""
    patients, labels = [], []
    for label in (0, 1):
        mixed = draw(st.integers(0, 20))
        for number in range(draw(st.integers(8, 20))):
            count = draw(st.integers(1, 4))
            patients += [f"{label}-{number}"] * count
            labels += [label] * count
            if number == mixed:
                labels[-1] = 1 - label
    return np.array(labels), patients


@given(images(), st.integers(2, 5), st.integers(0, 3))
def test_every_image_is_scored_once_and_nobody_is_on_two_sides(data, folds, seed):
    labels, patients = data
    rows = np.arange(len(labels))
    same = [(0, len(labels) - 1)]
    cut = cut_folds(rows, labels=labels, patients=patients, folds=folds, seed=seed, same=same)
    assert len(cut) == folds
    assert sorted(np.concatenate([fold.val for fold in cut]).tolist()) == rows.tolist()
    for fold in cut:
        sides = [set(part.tolist()) for part in fold.parts]
        assert sum(map(len, sides)) == len(rows)
        assert set.union(*sides) == set(rows.tolist())
        for part in fold.parts:
            assert set(labels[part].tolist()) == {0, 1}
            assert (np.diff(part) > 0).all()
        people = [{patients[i] for i in side} for side in sides]
        assert people[0].isdisjoint(people[1] | people[2])
        assert people[1].isdisjoint(people[2])
        assert sum(0 in side for side in sides if len(labels) - 1 in side) == 1


@given(images(), st.integers(0, 3))
def test_the_same_seed_gives_the_same_folds_in_any_order_of_rows(data, seed):
    labels, patients = data
    rows = np.arange(len(labels))
    first, again = (
        cut_folds(given, labels=labels, patients=patients, folds=3, seed=seed)
        for given in (rows, np.random.default_rng(0).permutation(rows))
    )
    for fold, other in zip(first, again, strict=True):
        assert all(map(np.array_equal, fold.parts, other.parts))


def test_shares_of_classes_hold_in_every_part():
    labels = np.array([0] * 300 + [1] * 100)
    patients = [str(i // 2) for i in range(400)]
    for fold in cut_folds(np.arange(400), labels=labels, patients=patients, folds=5, seed=0):
        assert [len(part) for part in fold.parts] == pytest.approx([256, 64, 80], abs=4)
        for part in fold.parts:
            assert labels[part].mean() == pytest.approx(0.25, abs=0.03)


def test_only_the_given_rows_are_cut():
    labels, patients = np.arange(40) % 2, [str(i) for i in range(40)]
    cut = cut_folds(np.arange(5, 35), labels=labels, patients=patients, folds=3, seed=0)
    assert sorted(np.concatenate([fold.val for fold in cut]).tolist()) == list(range(5, 35))


def test_too_few_patients_of_a_class_are_told_with_their_number():
    labels, patients = np.array([0] * 20 + [1] * 20), [str(i) for i in range(20)] + ["a", "b"] * 10
    with pytest.raises(DataError, match=r"3 folds cannot be cut by patient.*2 of ill"):
        cut_folds(
            np.arange(40), labels=labels, patients=patients, folds=3, seed=0,
            classes=("well", "ill"),
        )  # fmt: skip
