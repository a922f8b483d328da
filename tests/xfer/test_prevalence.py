"""A class that is more frequent in one part than in another is told, and chance is not."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfer.data.items import Item
from xfer.data.prevalence import fisher, prevalence_finding
from xfer.data.splits import split_items


@given(*(st.integers(0, 60),) * 4)
def test_fishers_test_counts_all_tables_that_are_as_unlikely(a, b, c, d):
    first, second, yes = a + c, b + d, a + b
    tables = [comb(first, x) * comb(second, yes - x) for x in range(yes + 1)]
    oracle = sum(table for table in tables if table <= tables[a]) / sum(tables)
    assert fisher((a, b), (c, d)) == pytest.approx(oracle, rel=1e-6, abs=1e-12)


def parts(*shares, images=300, per_patient=1):
    """Labels, patients and splits with these shares of class 1 in train, val and test."""
    labels, patients, splits = [], [], {}
    for part, share in zip(("train", "val", "test"), shares, strict=False):
        start = len(labels)
        labels += [int(i < share * images) for i in range(images)]
        patients += [f"{part}{i // per_patient}" for i in range(images)]
        splits[part] = np.arange(start, len(labels))
    return np.array(labels), patients, splits


def shift(labels, patients, splits, positive=1, classes=("NORMAL", "PNEUMONIA")):
    return prevalence_finding(labels, patients, splits, positive=positive, classes=classes)


def test_parts_with_other_shares_are_told():
    found = shift(*parts(0.5, 0.5, 0.75))
    assert (found.kind, found.count) == ("prevalence_shift", 300)
    assert found.examples == ("PNEUMONIA: 50.0% of train, 50.0% of val, 75.0% of test",)
    assert "as frequent as in test" in found.effect
    assert "threshold" not in found.effect


def test_a_val_part_with_another_share_is_told_for_what_is_chosen_there():
    found = shift(*parts(0.5, 0.75))
    assert "threshold" in found.effect
    assert "test" not in found.effect


@pytest.mark.parametrize(
    "case",
    [
        parts(0.5, 0.5, 0.5),
        parts(0.5, 0.54, 0.54, images=100_000),  # certain, and too small
        parts(0.5, 0.6, 0.6, images=50),  # large, and chance
        parts(0.5, 0.5, 0.75, per_patient=30),  # many images of few patients
    ],
    ids=["equal", "small", "by chance", "of few patients"],
)
def test_equal_shares_and_chance_are_not_told(case):
    assert shift(*case) is None


def test_of_several_classes_those_that_shift_are_named():
    labels, patients, splits = parts(0.3, 0.3, 0.3)
    labels[splits["test"][100:220]] = 2
    labels[splits["train"][100:130]] = 2
    labels[splits["val"][100:130]] = 2
    found = shift(labels, patients, splits, positive=None, classes=("a", "b", "c"))
    assert [example[0] for example in found.examples] == ["a", "c"]


@pytest.mark.parametrize("seed", range(8))
def test_parts_that_are_cut_here_have_no_shift(seed):
    rng = np.random.default_rng(seed)
    labels, whose = (rng.random(600) < 0.2).astype(int), rng.integers(0, 250, 600)
    items = [
        Item(name=str(i), label=int(label), split=None, patient=str(patient), subgroup=None)
        for i, (label, patient) in enumerate(zip(labels, whose, strict=True))
    ]
    splits = split_items(items, seed=seed, positive=1).parts()
    assert shift(labels, [item.patient for item in items], splits) is None
